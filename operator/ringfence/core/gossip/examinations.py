"""Examinations: an observer's own look at a subject for all rounds that are open meanwhile; it ends in one vote.

Pings on every network, questions to the kernel, and a survey of our own reach, for a fixed time (`rounds`). The first
packet of the subject ends it early.
"""

from __future__ import annotations

from collections.abc import Callable

from ringfence.core.gossip import rounds
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.kernels import Kernels
from ringfence.core.gossip.looks import Looks
from ringfence.core.gossip.pings import Pings
from ringfence.core.gossip.rounds import Examination
from ringfence.core.gossip.subject import Subject
from ringfence.core.gossip.surveyor import Surveyor
from ringfence.core.gossip.timers import Action
from ringfence.core.model import Column, Vote

Conclude = Callable[[Subject, Vote, float, tuple[Column, ...] | None], None]
"""Give this vote in all rounds that wait for it, with these answers network by network (None: those of late)."""


class Examinations:
    """One agent's. ``conclude`` takes its vote."""

    def __init__(
        self,
        desk: Desk,
        *,
        pings: Pings,
        kernels: Kernels,
        surveyor: Surveyor,
        looks: Looks,
        conclude: Conclude,
    ) -> None:
        self._timers = desk.timers
        self._journal = desk.journal
        self._awareness = desk.awareness
        self._pings = pings
        self._kernels = kernels
        self._surveyor = surveyor
        self._looks = looks
        self._vote = conclude

    def begin(self, subject: Subject, now: float) -> None:
        """Examine it from now on."""
        examination = subject.examination = Examination(now)
        self._journal.step("examines", subject.tag)
        self._pings.ping(subject, now)
        self._looks.examine(subject, now)
        self._kernels.ask_everywhere(subject)
        if not self._awareness.isolated:
            self._surveyor.look_around(now)

        def unless_over(action: Callable[[float], object]) -> Action:
            return lambda now, _late: action(now) if subject.examination is examination else None

        at = self._timers.at
        for after in rounds.PINGS:
            at(now + after, unless_over(lambda now: self._pings.ping(subject, now)))
        at(now + rounds.KERNEL_AGAIN, unless_over(lambda _now: self._kernels.ask_everywhere(subject)))
        at(now + rounds.EXAMINATION, unless_over(lambda now: self._conclude(subject, examination, now)))
        if subject.heard_since(now - rounds.BEFORE):
            self._vote(subject, Vote.ALIVE, now, None)

    def _conclude(self, subject: Subject, examination: Examination, now: float) -> None:
        if subject.kernel_at is not None and subject.kernel_at >= examination.started:
            vote = Vote.AGENT_DOWN
        elif self._awareness.healthy(now) and self._surveyor.reaches_most(examination.started):
            vote = Vote.NONE
        else:
            vote = Vote.ABSTAIN
        columns = subject.reach.columns(examination.started, final=True) if vote is not Vote.ABSTAIN else ()
        self._vote(subject, vote, now, columns)
