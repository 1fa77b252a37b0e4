"""One choke point: each act and each refusal is one sentence, the same in log, Event, condition and metric."""

from __future__ import annotations

import asyncio
import logging

from ringfence.core.failover import sentences
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import Record
from ringfence.kube import kinds
from ringfence.ports import Cluster, ObjectRef

logger = logging.getLogger(__name__)

_WARNING = frozenset(
    {Phase.HOLDING, Phase.HELD, Phase.FENCING, Phase.AWAITING_CONFIRMATION, Phase.RECOVERING}
)


AT_ONCE = 8
"""Events on their way: an incident's own writes go through the same few connections."""
MOST = 1000
"""Events that wait. What comes then stands in the log alone."""


class Narrator:
    """Tells what was decided. Events are a courtesy: they are sent beside the work and never hold it up."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Semaphore(AT_ONCE)

    def tell(self, about: ObjectRef, reason: str, sentence: str, *, warning: bool = False) -> None:
        """One sentence about one object."""
        logger.info("%s %s: %s", about.kind.kind, about.name, sentence, extra={"reason": reason})
        if len(self._tasks) < MOST:  # one bad device may concern thousands of VMs
            task = asyncio.create_task(
                self._record(about, "Warning" if warning else "Normal", reason, sentence[:1000])
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _record(self, about: ObjectRef, type_: str, reason: str, sentence: str) -> None:
        async with self._turn:
            await self._cluster.record_event(about, type_, reason, sentence)

    def phase(self, record: Record, uid: str) -> None:
        """A failover has entered a phase, or its sentence has changed."""
        self.tell(
            ObjectRef(kinds.FAILOVER, record.name, uid=uid),
            record.phase.value,
            record.sentence,
            warning=record.phase in _WARNING or sentences.NEVER_OFF in record.sentence,
        )
