"""Leaves: an agent that ends in an orderly way says so, and no vote is needed to find out.

From then on its kernel has to answer instead of it.
"""

from __future__ import annotations

from collections.abc import Callable

from ringfence.core.gossip import rounds
from ringfence.core.gossip.corroboration import leave_payload
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.kernels import Kernels
from ringfence.core.gossip.sender import Sender
from ringfence.core.gossip.states import States
from ringfence.core.gossip.subject import Subject
from ringfence.core.gossip.wire import Leave
from ringfence.core.model import Boot, RingState

LEAVES = 2
"""How often a leave is said: who misses it asks the kernel."""


class Leaves:
    """Ours and the others'. ``doubt`` is called about one whose kernel doesn't answer either."""

    def __init__(
        self,
        desk: Desk,
        *,
        states: States,
        sender: Sender,
        kernels: Kernels,
        doubt: Callable[[Subject, float], None],
    ) -> None:
        self._desk = desk
        self._directory = desk.directory
        self._states = states
        self._sender = sender
        self._kernels = kernels
        self._doubt = doubt

    def say(self, boot_id: str, now: float) -> None:
        """Our process of this boot ends: let those who watch us know."""
        me, roster, rings = self._directory.me, self._directory.roster, self._directory.rings
        if me is None or roster is None or rings is None:
            return
        boot = Boot(self._directory.node, me.uid, boot_id)
        message = Leave(self._desk.crypto.sign(leave_payload(roster.cluster, boot)))
        for _ in range(LEAVES):
            self._sender.tell_all(message, rings.observers(me.uid), now)

    def take(self, subject: Subject, signature: bytes, now: float) -> None:
        """It says that it leaves."""
        payload = leave_payload(self._directory.present_roster.cluster, subject.boot)
        verify = self._desk.crypto.verify
        if not subject.observed or not verify(payload, signature, subject.member.public_key):
            self._desk.journal.drop("leave", subject.member.name)
        elif subject.state in {RingState.ALIVE, RingState.UNKNOWN, RingState.PARTIAL}:
            subject.ask_at = None
            self._states.enter(subject, RingState.LEFT, "its agent ended in an orderly way", now)

    def still_left(self, subject: Subject, now: float) -> None:
        """It has left and answers no probe, as it should; what has to answer is its kernel."""

        def judge(now: float, _late: float) -> None:
            silent = subject.kernel_at is None or subject.kernel_at < asked_at
            if subject.state is RingState.LEFT and silent:
                self._doubt(subject, now)

        asked_at = now
        self._kernels.ask_everywhere(subject)
        self._desk.timers.at(now + rounds.EXAMINATION, judge)
