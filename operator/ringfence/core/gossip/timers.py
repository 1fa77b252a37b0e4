"""One heap for everything that can wait. Each timer carries what it was armed for: one that comes late, or for a past
matter, is harmless.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable

from ringfence.core.gossip.awareness import LATE, Awareness

Action = Callable[[float, float], object]
"""``action(now, late)``: called ``late`` seconds after its time."""


class Timers:
    """One machine's timers. Those of one instant are called in the order in which they were armed."""

    def __init__(self, awareness: Awareness, stats: Counter[str]) -> None:
        self._awareness = awareness
        self._stats = stats
        self._heap: list[tuple[float, int, Action, Callable[[], bool] | None]] = []
        self._sequence = 0

    def at(self, when: float, action: Action, wanted: Callable[[], bool] | None = None) -> None:
        """Arm a timer; while ``wanted`` says no, nobody is woken for it."""
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, action, wanted))

    def run(self, now: float) -> None:
        """Do everything that is due."""
        while self._heap and self._heap[0][0] <= now:
            when, _, action, wanted = heapq.heappop(self._heap)
            if wanted is None or wanted():
                action(now, now - when)

    def next(self) -> float | None:
        """When `run` wants to be called; None: never."""
        while self._heap and (wanted := self._heap[0][3]) is not None and not wanted():
            heapq.heappop(self._heap)  # answered: nothing to wake up for
        return self._heap[0][0] if self._heap else None

    def check(self, now: float) -> None:
        """The process has come to this machine now: whether it has come late for the next timer is told to `awareness`."""
        if self._heap:
            late = now - self._heap[0][0]
            if late > LATE:
                self._stats["late"] += 1
            self._awareness.ran_late(max(0.0, late), now)
