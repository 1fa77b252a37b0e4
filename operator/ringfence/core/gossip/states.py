"""A subject's state: the one place where it is written, and what its states have in common."""

from __future__ import annotations

from collections.abc import Callable

from ringfence.core.gossip import rounds
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.events import StateChanged
from ringfence.core.gossip.subject import Subject
from ringfence.core.model import RingState

NO_ANSWER = frozenset({RingState.UNREACHABLE, RingState.AGENT_DOWN})
"""What only rounds tell and rounds renew."""
ABSENT = NO_ANSWER | {RingState.LEFT}
QUIET = frozenset({RingState.ALIVE, RingState.UNKNOWN, RingState.LEFT})
"""Nobody asks for rounds about these."""
TROUBLE = frozenset({RingState.DOUBTED, RingState.UNREACHABLE})


class States:
    """The writer. ``entered(subject, now)`` is called after each change: what it sets off."""

    def __init__(self, desk: Desk, entered: Callable[[Subject, float], None]) -> None:
        self._journal = desk.journal
        self._timers = desk.timers
        self._entered = entered

    def enter(self, subject: Subject, state: RingState, why: str, now: float) -> None:
        """It is in this state now."""
        old = subject.state
        if state is old:
            return
        subject.state, subject.since = state, now
        self.note(subject, old, why)
        self._entered(subject, now)

    def note(self, subject: Subject, old: RingState, why: str) -> None:
        """Tell that its state, or its boot, is another one now."""
        self._journal.version += 1
        self._journal.tell(StateChanged(subject.boot, old, subject.state, why))

    def lapse(self, subject: Subject, since: float) -> None:
        """What others have told us of it then holds for a while, unless somebody confirms it."""

        def lapse(now: float, _late: float) -> None:
            lapsed = now - subject.confirmed_at >= rounds.LAPSE
            if lapsed and not subject.observed and subject.state in NO_ANSWER:
                self.enter(subject, RingState.UNKNOWN, "nobody has confirmed the verdict for 3 s", now)

        self._timers.at(since + rounds.LAPSE, lapse)
