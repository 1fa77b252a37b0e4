"""A proof that one boot of one node can no longer write: the only key to recovery.

No boolean says "fenced". Each kind of proof is a type that can only be built from what was *seen*; what a device
answered to an order is not among it. A proof is for a node and boot id, does not expire by time, and covers a list of
pods by UID: nothing else may be force-deleted under it (DESIGN §3, "Decisions").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ringfence.core.model import Boot, PowerState
from ringfence.core.timing import READ_FRESH, READ_SPACING


class PowerOffHow(StrEnum):
    ORDERED = "ordered"
    """Read as off after our order."""
    FOUND = "found"
    """Read as off without an order of ours."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A device's answer to "what is the node's power state", and when it was asked and answered (monotonic)."""

    state: PowerState
    asked_at: float
    seen_at: float


@dataclass(frozen=True, slots=True)
class PoweredOff:
    """The node's power was read as off, twice, ``READ_SPACING`` apart, on a device whose identity is the node's.

    ``seen_at`` is when the *first* reading was asked for: life newer than that voids the proof.
    """

    boot: Boot
    device: str
    how: PowerOffHow
    seen_at: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Rebooted:
    """A later boot id was reported by the node itself: the earlier boot is over, whatever ended it."""

    boot: Boot
    new_boot_id: str
    seen_at: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SelfFenced:
    """The node's watchdog has reset it: its armed time is over (:mod:`ringfence.core.fencing.selffence`).

    ``seen_at`` is what the time was counted from: life newer than that voids the proof.
    """

    boot: Boot
    device: str
    seen_at: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AdminConfirmed:
    """A person states that the node is off and takes responsibility by name."""

    boot: Boot
    confirmed_by: str
    statement: str
    seen_at: float
    detail: str = ""


FencingProof = PoweredOff | Rebooted | SelfFenced | AdminConfirmed


def powered_off(
    boot: Boot, device: str, readings: tuple[Reading, ...], ordered_at: float | None
) -> PoweredOff | None:
    """The proof that these readings of one device make, or ``None``.

    Args:
        readings: oldest first. The newest two must both say ``off``, ``READ_SPACING`` to ``READ_FRESH`` apart.
        ordered_at: when our order to this device was sent, if one was: readings before it prove nothing about it.
    """
    off: list[Reading] = []
    for reading in readings:
        if reading.state is not PowerState.OFF:
            off = []
        elif ordered_at is None or reading.asked_at >= ordered_at:
            off.append(reading)
    for first in off[:-1]:
        apart = off[-1].asked_at - first.asked_at
        if READ_SPACING <= apart <= READ_FRESH:
            how = PowerOffHow.FOUND if ordered_at is None else PowerOffHow.ORDERED
            return PoweredOff(boot, device, how, first.asked_at, f"read as off twice, {apart:.1f} s apart")
    return None


def void_because(proof: FencingProof, life_at: float, sign: str) -> str | None:
    """Why this proof does not hold (any more): a sign of life of that boot newer than what it saw."""
    if isinstance(proof, Rebooted) or life_at <= proof.seen_at:
        return None
    return f"{sign} was seen {life_at - proof.seen_at:.1f} s after the proof's first reading"


def independent_methods(proofs: tuple[FencingProof, ...]) -> int:
    """How many independent methods stand behind these proofs: devices count once each, a person once."""
    return len({f"device {p.device}" if isinstance(p, PoweredOff) else type(p).__name__ for p in proofs})


@dataclass(frozen=True, slots=True)
class Recover:
    """Leave to recover what ran on one boot of a node. Built by :func:`permit` only."""

    boot: Boot
    proofs: tuple[FencingProof, ...]
    _token: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._token is not _PERMIT:
            raise TypeError("Recover comes from ringfence.core.fencing.proof.permit()")


_PERMIT = object()


def permit(boot: Boot, proofs: tuple[FencingProof, ...], required: int) -> Recover | None:
    """Leave to recover, if the proofs are for this very boot and enough: a reboot or a person's word stands alone."""
    valid = tuple(p for p in proofs if p.boot == boot)
    if any(isinstance(p, Rebooted | AdminConfirmed) for p in valid) or (
        valid and independent_methods(valid) >= max(1, required)
    ):
        return Recover(boot, valid, _PERMIT)
    return None
