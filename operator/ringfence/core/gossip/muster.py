"""The roll call of a window: while anybody is doubted, it counts heads, so that its controller knows which side is its own.

No message can carry what is known of thousands within 2 s, so each window asks everybody itself (DESIGN §3, "own side");
in a small roster it does so anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.notices import Notices
from ringfence.core.gossip.report import ALIVE_WITHIN
from ringfence.core.gossip.rings import is_small
from ringfence.core.gossip.states import TROUBLE
from ringfence.core.gossip.subject import Subject
from ringfence.core.model import RingState

ROLL = 1.3
"""Seconds that a muster takes to call everybody: with the answer's way less than `ALIVE_WITHIN`."""
ROLL_STEP = 0.1
MOST_CALLED = 150
"""Members called in a step at most. Rosters of more than twice 150 * 1.3 / 0.1 = 1950 are not all called in time, and a
controller there can't see a majority alive: it fences nobody."""


class Muster:
    """One agent's. ``ping`` sends one ping."""

    def __init__(self, desk: Desk, notices: Notices, ping: Callable[[Subject, float], object]) -> None:
        self._directory = desk.directory
        self._timers = desk.timers
        self._notices = notices
        self._ping = ping
        self._mustering = False
        self._called = 0
        """Place in the roster of the last member that was called."""

    def call(self, now: float) -> None:
        """Somebody is doubted."""
        roster = self._directory.roster
        if self._notices.window and not self._mustering and roster is not None and not is_small(roster):
            self._mustering = True
            self._timers.at(now, self._call_roll)

    def _call_roll(self, now: float, _late: float) -> None:
        doubted = (one.state in TROUBLE for one in self._directory.subjects.values())
        self._mustering = self._notices.window and any(doubted)
        if not self._mustering:
            return
        members = self._directory.present_roster.members
        for _ in range(min(ceil(len(members) * ROLL_STEP / ROLL), MOST_CALLED)):
            self._called = (self._called + 1) % len(members)
            subject = self._directory.subject(members[self._called].uid)
            if subject is None or subject.state is RingState.UNREACHABLE:
                continue
            if subject.two_way_at is None or now - subject.two_way_at > ALIVE_WITHIN - ROLL:
                self._ping(subject, now)
        self._timers.at(now + ROLL_STEP, self._call_roll)
