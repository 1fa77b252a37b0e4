"""Whose turn it is to be proved: devices between incidents, once a minute each, a few at a time.

A new one is looked at as soon as there is room, and then at an instant of its own within the period, so that a thousand
logins don't come in one second. At one address there is one proof at a time: a chassis' management module takes few
sessions. None begins where an incident or a drill has just been at work, and one under way is given up for it
(:mod:`ringfence.controller.devices`): what an incident asks never waits behind a proof.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

Key = tuple[str, str]
"""Device and node."""

PROVE_EVERY = 60.0
"""Seconds between two looks at a device; more, where there are so many that :data:`AT_ONCE` can't do them in that time."""
AT_ONCE = 16
"""Proofs at a time. A login with TLS takes a good BMC a second: that is a thousand a minute, and 5,000 in five minutes."""
QUIET = 5.0
"""Seconds for which an address is left to the incident that has asked or ordered there."""


@dataclass(slots=True)
class _Turn:
    address: str
    due: float = float("-inf")
    looked: bool = False


class Rota:
    """See the module. ``draw`` gives numbers from 0 to 1: each device's place in the period."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._turns: dict[Key, _Turn] = {}
        self._queue: list[tuple[float, Key]] = []
        """A heap; entries that say another instant than the turn itself are stale."""
        self._in_hand: dict[Key, str] = {}

    def declare(self, addresses: Mapping[Key, str]) -> None:
        """Take over who there is, and behind which address. Who is known keeps its turn."""
        for key in [k for k in self._turns if k not in addresses]:
            del self._turns[key]
        for key, address in addresses.items():
            if key in self._turns:
                self._turns[key].address = address
            else:
                self._turns[key] = _Turn(address)
                self._enqueue(key)

    def forget(self, key: Key) -> None:
        """Its declaration has changed: declared again it is due at once."""
        self._turns.pop(key, None)

    def all_due(self) -> None:
        for turn in self._turns.values():
            turn.due = float("-inf")
        self._queue = sorted((turn.due, key) for key, turn in self._turns.items())

    def due(self, key: Key) -> float:
        return self._turns[key].due

    def take(self, now: float, busy_nodes: Container[str], engaged: Container[str]) -> Key | None:
        """The most overdue one that may be looked at now; it is in hand until it is given back. None: nobody.

        Args:
            engaged: addresses where an incident or a drill is at work.
        """
        passed_over = []
        found = None
        taken = set(self._in_hand.values())
        while found is None and self._queue and self._queue[0][0] <= now:
            due, key = heapq.heappop(self._queue)
            turn = self._turns.get(key)
            if turn is None or turn.due != due:
                continue
            if (
                key in self._in_hand
                or turn.address in taken
                or turn.address in engaged
                or key[1] in busy_nodes
            ):
                passed_over.append((due, key))
            else:
                found = key
                self._in_hand[key] = turn.address
        for entry in passed_over:
            heapq.heappush(self._queue, entry)
        return found

    def give_back(self, key: Key, now: float, *, looked: bool) -> None:
        """``looked``: whether it was looked at, in vain or not; what was broken off is due still."""
        del self._in_hand[key]
        turn = self._turns.get(key)
        if turn is None:
            return
        if looked:
            turn.due = now + PROVE_EVERY * (1.0 if turn.looked else self._draw())
            turn.looked = True
        self._enqueue(key)

    def _enqueue(self, key: Key) -> None:
        heapq.heappush(self._queue, (self._turns[key].due, key))
