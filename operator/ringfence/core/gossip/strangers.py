"""Those that an agent doesn't observe: it visits one of them now and then, and calls all of them where it must know
whether most are in reach (the gossip leg of the self-fence).
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, gcd

from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.subject import Subject

STROLL = 2.0
"""Every so many seconds an agent pings one of the members that it doesn't observe, in a random order: so a path that
is broken in one direction, or for one pair only, is found wherever it lies."""
CALL_STEP = 0.25
"""Seconds between two helpings of the calls for the self-fence's gossip leg."""


class Strangers:
    """One agent's ways to them. ``ping`` sends one ping, ``probe`` waits for its answer too."""

    def __init__(
        self, desk: Desk, ping: Callable[[Subject, float], object], probe: Callable[[Subject, float], None]
    ) -> None:
        self._directory = desk.directory
        self._timers = desk.timers
        self._stats = desk.journal.stats
        self._dice = desk.dice
        self._ping = ping
        self._probe = probe
        self._place, self._stride = 0, 0
        """Where in the roster the stroll is, and how far its next step goes; no step before the first roster."""
        self._called = 0
        """Place among the strangers of the last one that was called."""

    def install(self, now: float) -> None:
        """The roster is another one. With the first the stroll begins."""
        if not self._stride:
            self._timers.at(now + STROLL * self._dice.random(), self._stroll)
        self._stride = self._coprime(len(self._directory.present_roster.members))

    def _coprime(self, count: int) -> int:
        """A stride that visits all of so many places before it comes back."""
        strides = (1 + int(self._dice.random() * count) for _ in range(64))
        return next((stride for stride in strides if gcd(stride, count) == 1), 1)

    def _stroll(self, now: float, _late: float) -> None:
        """Probe one of them; who only answers others is found here."""
        self._timers.at(now + STROLL * (0.75 + self._dice.random() / 2), self._stroll)
        members = self._directory.present_roster.members
        for _ in range(min(len(members), 2 * len(self._directory.watched) + 2)):
            self._place = (self._place + self._stride) % len(members)
            stranger = self._directory.subject(members[self._place].uid)
            if stranger is not None and not stranger.observed:
                self._stats["strolls"] += 1
                self._probe(stranger, now)
                return

    def call(self, every: float, now: float) -> None:
        """From now on ping each of them once in so many seconds at least."""

        def call(now: float, _late: float) -> None:
            self._timers.at(now + CALL_STEP, call)
            roster = self._directory.roster
            strangers = [
                member
                for member in (roster.members if roster else ())
                if (known := self._directory.subject(member.uid)) is not None and not known.observed
            ]
            for _ in range(min(len(strangers), ceil(len(strangers) * CALL_STEP / every))):
                self._called = (self._called + 1) % len(strangers)
                if (subject := self._directory.subject(strangers[self._called].uid)) is not None:
                    self._ping(subject, now)

        self._timers.at(now, call)
