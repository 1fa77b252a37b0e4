"""Writes that the API server turns down: each is tried again with a pause of its own, told once, and known when it is over.

An admission webhook that is not ready, a quota, a schema, a full etcd, a server that asks for patience (429): whatever
it is, the object that one write is about must not hold up those of others, the server must not be asked twenty times a
second, and a person has to learn of it. When one of them goes through that had failed, the others are due at once: most
often they had the same reason.

Kept by the leader for one term. A write that nobody wants any more is forgotten after a while.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from ringfence.controller.narrator import Narrator
from ringfence.core import timing
from ringfence.metrics import ControllerMetrics
from ringfence.ports import Clock, ClusterError, ObjectRef, Refused, Unavailable

logger = logging.getLogger(__name__)

NOTABLE = 3
"""So often in a row a write fails until it is told, unless the server says that it will never pass: a server that restarts fails
each once or twice.
"""


@dataclass(slots=True)
class _Refusal:
    """One write."""

    what: str
    about: ObjectRef | None
    failures: int = 0
    not_before: float = float("-inf")
    sentence: str = ""
    told: set[tuple[str, int]] = field(default_factory=set)
    """Kinds of error that were told of it: the text of one may differ each time."""


def unanswered(error: ClusterError) -> bool:
    """Whether nobody has answered: that took the whole time-out, and whoever writes the next may wait as long."""
    return isinstance(error, Unavailable) and error.status == 0


class Refusals:
    """See the module."""

    def __init__(
        self, clock: Clock, narrator: Narrator, metrics: ControllerMetrics, draw: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._narrator = narrator
        self._metrics = metrics
        self._draw = draw
        self._waiting: dict[Hashable, _Refusal] = {}

    def due(self, key: Hashable) -> bool:
        """Whether the write may be tried now: it was not turned down, or its pause is over."""
        known = self._waiting.get(key)
        return known is None or self._clock.monotonic() >= known.not_before

    def failed(self, key: Hashable, what: str, error: ClusterError, about: ObjectRef | None = None) -> None:
        """It was turned down.

        Args:
            what: what is written, as a noun.
            about: the object whose Event says it; None: the log alone does.
        """
        now = self._clock.monotonic()
        self._forget(now)
        refusal = self._waiting.setdefault(key, _Refusal(what, about))
        refusal.what, refusal.about = what, about
        refusal.failures += 1
        wish = error.retry_after if isinstance(error, Unavailable) else None
        # However many chores are turned down, perhaps for ever: an incident's write comes back within a second.
        beside = sum((other.about is None) == (about is None) for other in self._waiting.values())
        pause = timing.write_pause(refusal.failures, wish, self._draw(), beside)
        if about is None and unanswered(error):
            pause = max(pause, timing.WRITE_UNANSWERED * beside)
        refusal.not_before = now + pause
        self._metrics.write_refused()
        kind = (type(error).__name__, error.status)
        if kind not in refusal.told and (refusal.failures >= NOTABLE or isinstance(error, Refused)):
            refusal.told.add(kind)
            refusal.sentence = f"the API server does not take {what}: {error}; it is tried again"
            self._tell(about, "WriteRefused", refusal.sentence, warning=True)
        self._metrics.writes_waiting(len(self._waiting))

    def taken(self, key: Hashable) -> None:
        """It went through."""
        refusal = self._waiting.pop(key, None)
        if refusal is None:
            return
        if refusal.told:
            sentence = f"the API server has taken {refusal.what}, at try {refusal.failures + 1}"
            self._tell(refusal.about, "WriteTaken", sentence)
        for other in self._waiting.values():
            other.not_before = self._clock.monotonic()
        self._metrics.writes_waiting(len(self._waiting))

    def clear(self) -> None:
        """End of the term: it is the next leader's business."""
        self._waiting.clear()
        self._metrics.writes_waiting(0)

    @property
    def sentence(self) -> str | None:
        """What is not stored of the incidents, for a condition; the same for as long as that lasts. None: all is."""
        self._forget(self._clock.monotonic())
        told = [r.sentence for r in self._waiting.values() if r.told and r.about is not None]
        if not told:
            return None
        more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
        return f"{told[0]}{more}"

    def _tell(self, about: ObjectRef | None, reason: str, sentence: str, *, warning: bool = False) -> None:
        if about is not None:
            self._narrator.tell(about, reason, sentence, warning=warning)
        else:
            logger.log(logging.WARNING if warning else logging.INFO, "%s", sentence)

    def _forget(self, now: float) -> None:
        over = [k for k, r in self._waiting.items() if now >= r.not_before + timing.WRITE_OVER]
        for key in over:
            del self._waiting[key]
        if over:
            self._metrics.writes_waiting(len(self._waiting))
