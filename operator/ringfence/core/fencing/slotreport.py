"""What one node's heartbeat process says to controllers: the slots that it has looked at, and how its own writing goes.

Ages, not instants: clocks of two machines are never compared. The receiver subtracts them from when it got the report, so a
sign of life counts as younger than it is by what the way took, never as older.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ringfence.core.fencing.slots import MAX_INTERVAL, MIN_INTERVAL, Flag
from ringfence.core.fencing.slotwatch import NEVER, Sighting
from ringfence.core.model import Boot


@dataclass(frozen=True, slots=True)
class SlotRow:
    """One boot's slot. Ages are seconds at the moment of sending; None is never."""

    boot: Boot
    index: int
    sequence: int
    interval: float
    flags: int
    first_age: float
    looked_age: float
    moved_age: float | None
    moved_after_age: float | None
    told: str = ""
    issued: int = 0

    def sighting(self, received_at: float) -> Sighting:
        """The row on the receiver's own clock; nothing in it is from the future, nor waited for longer than a slot allows."""

        def at(age: float | None) -> float:
            return NEVER if age is None else received_at - max(0.0, age)

        return Sighting(
            boot=self.boot,
            index=self.index,
            sequence=self.sequence,
            interval=min(max(self.interval, MIN_INTERVAL), MAX_INTERVAL),
            flags=Flag(self.flags),
            first_at=at(self.first_age),
            looked_at=at(self.looked_age),
            moved_at=at(self.moved_age),
            moved_after=at(self.moved_after_age),
            told=self.told,
            issued=self.issued,
        )


@dataclass(frozen=True, slots=True)
class OwnSlot:
    """How the reporter's own writing goes."""

    index: int | None = None
    """Its slot; None while it has none."""
    written_age: float | None = None
    """Since its last good write began."""
    hanging_age: float | None = None
    """Since a read or write began that has not come back and should have."""
    trouble: str = ""
    """Why it does not write, in one sentence."""
    fenced: bool = False
    """It has read that its boot is fenced."""
    guests: int | None = None
    """Guests that run there; None where the process can't see them."""


@dataclass(frozen=True, slots=True)
class SlotReport:
    """Everything that one heartbeat process knows, complete in itself."""

    reporter: Boot
    volume: str
    """The volume's name, as the zone calls it."""
    own: OwnSlot
    rows: tuple[SlotRow, ...] = ()
    at: float = 0.0
    """The reporter's clock when it sent this: for what it is asked to do only until then and then."""


def rows_of(sightings: Iterable[Sighting], now: float) -> tuple[SlotRow, ...]:
    """The sightings as they are told to others at ``now``."""
    return tuple(
        SlotRow(
            boot=s.boot,
            index=s.index,
            sequence=s.sequence,
            interval=s.interval,
            flags=int(s.flags),
            first_age=now - s.first_at,
            looked_age=now - s.looked_at,
            moved_age=_age(now, s.moved_at),
            moved_after_age=_age(now, s.moved_after),
            told=s.told,
            issued=s.issued,
        )
        for s in sightings
    )


def _age(now: float, at: float) -> float | None:
    return None if at == NEVER else now - at
