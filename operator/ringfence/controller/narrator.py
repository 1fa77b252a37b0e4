"""One choke point: each act and each refusal is one sentence, the same in log, Event, condition and metric."""

from __future__ import annotations

import asyncio
import logging

from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import Record
from ringfence.kube import kinds
from ringfence.ports import Cluster, ObjectRef

logger = logging.getLogger(__name__)

_WARNING = frozenset(
    {Phase.HOLDING, Phase.HELD, Phase.FENCING, Phase.AWAITING_CONFIRMATION, Phase.RECOVERING}
)


class Narrator:
    """Tells what was decided. Events are a courtesy: they are sent beside the work and never hold it up."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, about: ObjectRef, reason: str, sentence: str, *, warning: bool = False) -> None:
        """One sentence about one object."""
        logger.info("%s %s: %s", about.kind.kind, about.name, sentence, extra={"reason": reason})
        task = asyncio.create_task(
            self._cluster.record_event(about, "Warning" if warning else "Normal", reason, sentence[:1000])
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def phase(self, record: Record, uid: str) -> None:
        """A failover has entered a phase, or its sentence has changed."""
        self.tell(
            ObjectRef(kinds.FAILOVER, record.name, uid=uid),
            record.phase.value,
            record.sentence,
            warning=record.phase in _WARNING,
        )
