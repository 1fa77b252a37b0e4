"""Virtual time: a number that is advanced tick by tick, what is to happen later, and the story as it was told."""

from __future__ import annotations

from collections.abc import Callable

TICK = 0.05
"""Seconds; random schedules go twice as fast."""


class Timeline:
    """Nothing sleeps: :meth:`advance` is the only clock."""

    def __init__(self, tick: float = TICK, start: float = 0.0) -> None:
        self.now = start
        self._tick = tick
        self._number = round(start / tick)
        """Of the present tick."""
        self.log: list[str] = []
        self._periods: dict[float, int] = {}
        """So many seconds in ticks."""
        self._later: list[tuple[float, Callable[[], None]]] = []

    def advance(self) -> None:
        """One tick further; what was due by then happens, in the order in which it was asked for."""
        self.now = round(self.now + self._tick, 3)
        self._number = round(self.now / self._tick)
        if not self._later:
            return
        due = [f for at, f in self._later if at <= self.now]
        if due:
            self._later = [(at, f) for at, f in self._later if at > self.now]
        for act in due:
            act()

    def after(self, delay: float, act: Callable[[], None]) -> None:
        self._later.append((self.now + delay, act))

    def every(self, seconds: float) -> bool:
        """Whether this tick is one of those that come every so many seconds."""
        period = self._periods.get(seconds)
        if period is None:
            period = self._periods[seconds] = round(seconds / self._tick)
        return self._number % period == 0

    def say(self, line: str) -> None:
        self.log.append(f"{self.now:7.2f} {line}")
