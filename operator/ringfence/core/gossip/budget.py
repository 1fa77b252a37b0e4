"""How much an agent may say about the dead in a second: when half a hall falls silent, load stays bounded (GOSSIP §10.9).

A leaky bucket over the packets of rounds. Who has spent his budget opens no round of his own until it has leaked, and
repeats nothing; what he is asked he still answers, until he has spent three times as much: then he keeps even his ``none`` and
``abstain`` to himself. For ``alive`` he always has words left. So verdicts about very many take longer, by as much as they are more, and
nobody is called anything that he isn't.
"""

from __future__ import annotations

RATE = 40.0
"""Packets a second that leak out of the bucket: with a vote's 165 bytes about seven thousand bytes."""
BURST = 35.0
"""Packets that it holds: rounds about two members at once."""
OVERSPENT = 100.0
"""Packets in it at which no ``none`` or ``abstain`` is told any more: six rounds' whole say. A tenth of the nodes dying at once brings
nobody there, a cut through the middle does."""
OVERSPENT_RENEWING = 60.0
"""The same about those who are called dead already: the next renewal is near, and the others' verdicts come first."""


class Budget:
    """One agent's bucket."""

    __slots__ = ("_at", "_burst", "_level")

    def __init__(self, burst: float = BURST) -> None:
        self._burst = burst
        self._level = 0.0
        self._at = float("-inf")

    def spend(self, packets: int, now: float) -> None:
        """So many packets leave now."""
        self._level = self._left(now) + packets
        self._at = now

    def exhausted(self, now: float) -> bool:
        """Whether nothing should be said that can wait."""
        return self._left(now) >= self._burst

    def overspent(self, now: float, *, renewed: bool = False) -> bool:
        """Whether nothing should be said that only helps to call somebody dead; ``renewed``: who is called so already."""
        return self._left(now) >= (OVERSPENT_RENEWING if renewed else OVERSPENT)

    def _left(self, now: float) -> float:
        return max(0.0, self._level - max(0.0, now - self._at) * RATE) if self._level else 0.0
