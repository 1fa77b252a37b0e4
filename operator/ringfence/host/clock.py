"""The host's clocks and its boot id."""

from __future__ import annotations

import time
from pathlib import Path

from ringfence.core.gossip.wire import boot_bytes

_PER_MILLISECOND = (
    20  # bits: a process may send a million datagrams a millisecond before it meets its successor
)


def read_boot_id(path: Path) -> str:
    """The boot id that the kernel (or the lab's node) shows there. Raises OSError, or ValueError where it is none."""
    boot_id = path.read_text(encoding="ascii").strip().lower()
    boot_bytes(boot_id)
    return boot_id


def first_counter() -> int:
    """Where a process' datagram counter starts: above all that an earlier process of this boot has used."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000 << _PER_MILLISECOND


def wall_offset() -> float:
    """Wall clock minus monotonic clock, seconds."""
    return time.time() - time.monotonic()


class JumpDetector:
    """Sees the host sleep: suspended or moved while its monotonic clock stood still."""

    def __init__(self) -> None:
        self._gap = self._measure()

    def jumped(self) -> float:
        """Seconds that the host has slept since the last call."""
        gap = self._measure()
        slept, self._gap = gap - self._gap, gap
        return max(0.0, slept)

    @staticmethod
    def _measure() -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
