"""When to probe, and how long to wait: periods, phases and time-outs (GOSSIP §3.3, §3.4).

All observers of a subject probe it once a period T, spread over T by their rank, so that somebody's probe falls into
every T/K after a crash. The spread is aligned by wall clock; clocks that disagree cost speed, never truth.
A probe that stays unanswered for the time-out is repeated once, with two peers asked to try as well.
"""

from __future__ import annotations

import hashlib

from ringfence.core.gossip.rings import K

PERIOD = 1.1
"""T in seconds for rosters of more than K members. With 1.0 an idle agent sent 1,542 bytes a second and took 1.04 % of a core
(`make bench-detector`, n=30), a little more than GOSSIP §8 grants; a tenth longer costs 30 ms of a detection.
"""
SHORTEST_PERIOD = 0.25
ROUNDED = 1e-6
"""Seconds: wall time in a double is a multiple of a quarter of a microsecond."""
FLOOR = 0.05
"""Shortest time-out of a probe in seconds: below it the scheduler's delays look like loss."""
LOSS_SPAN = 30.0
"""Seconds after which a lost probe weighs e times less: seven eighths of `RoundTrip.loss` are of the last minute."""


def period(members: int, k: int = K) -> float:
    """T in seconds. Fewer observers probe more often, so that the first miss comes as soon (DESIGN §3)."""
    observers = members - 1
    return PERIOD if observers >= k else max(SHORTEST_PERIOD, observers / k * PERIOD)


def phase(uid: str, rank: int, observers: int, every: float) -> float:
    """Where in its period (seconds from its start) the observer of this rank probes this subject."""
    own = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big") / 2**32
    return (own + rank / max(1, observers)) % 1.0 * every


def next_slot(after: float, offset: float, at: float, every: float) -> float:
    """The first instant later than ``after`` that lies at this phase; ``offset`` turns the clock into wall time.

    Later by more than times of this size are rounded by: asked at a slot itself it gives the next one.
    """
    wall = after + offset - at
    wait = every - wall % every
    return after + (wait if wait > ROUNDED else wait + every)


class RoundTrip:
    """Mean and deviation of a path's round-trip time, in seconds (Jacobson's estimator), and the share of lost probes."""

    __slots__ = ("_probes", "_weight", "deviation", "loss", "mean")

    def __init__(self) -> None:
        self.mean: float | None = None
        self.deviation = 0.0
        self.loss: float | None = None
        """Share of probes not answered in time (0 to 1), weighted towards the last ones; None before the first."""
        self._probes = 0
        self._weight = 1.0

    def observe(self, sample: float) -> None:
        """Learn from one answered probe."""
        if self.mean is None:
            self.mean, self.deviation = sample, sample / 2
            return
        error = sample - self.mean
        self.mean += error / 8
        self.deviation += (abs(error) - self.deviation) / 4

    def probed(self, every: float) -> None:
        """A probe leaves, one of many at this period. It counts as answered until `missed` says otherwise."""
        self._probes += 1
        # The plain share until there are enough of them: one lost among the first three is no hundred per cent.
        self._weight = max(every / LOSS_SPAN, 1 / self._probes)
        self.loss = (self.loss or 0.0) * (1 - self._weight)

    def missed(self) -> None:
        """The last probe was not answered in time."""
        self.loss = (self.loss or 0.0) + self._weight

    def timeout(self, every: float, stretch: float = 1.0) -> float:
        """How long to wait for an answer: mean + 8 deviations, 50 ms at least, stretched, up to half a period."""
        wanted = FLOOR if self.mean is None else max(FLOOR, self.mean + 8 * self.deviation)
        return max(FLOOR, min(wanted * stretch, every / 2))
