"""By how much a view came later than the others of its stream: TCP holds back what follows a lost packet for seconds.

A view tells ages, so one that waited says of an old verdict that it is new. Its sender's clock and ours are never compared:
the least difference between them of late stands for a view that did not wait.
"""

from __future__ import annotations

SPAN = 10.0
"""The least difference is of the last one to two such spans, in seconds: rates that differ by a thousandth make 20 ms of it."""


class Lateness:
    """One stream's."""

    __slots__ = ("_before", "_least", "_since")

    def __init__(self) -> None:
        self._before = self._least = float("inf")
        self._since = float("-inf")

    def of(self, sent_at: float | None, received_at: float) -> float:
        """Seconds by which the view that was sent at this time of the sender's clock is late by ours; 0 where it doesn't tell."""
        if sent_at is None:
            return 0.0
        apart = received_at - sent_at
        if received_at - self._since > SPAN:
            self._before, self._least, self._since = self._least, apart, received_at
        self._least = min(self._least, apart)
        return apart - min(self._before, self._least)
