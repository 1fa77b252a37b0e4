"""Randomness as the machine uses it: handed in, so that a seed tells the same story again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

_T = TypeVar("_T")


class Dice(Protocol):
    """The randomness that the machine uses; ``random.Random`` fits."""

    def random(self) -> float:
        """In [0, 1)."""

    def getrandbits(self, bits: int, /) -> int:
        """That many random bits."""

    def sample(self, population: Sequence[_T], k: int) -> list[_T]:
        """That many different ones."""
