"""A proof that one boot of one node can no longer write: the only key to recovery.

No boolean says "fenced". Each kind of proof is a type that can only be built from what was *seen*; what a device
answered to an order is not among it. A proof is for a node and boot id, does not expire by time, and covers a list of
pods by UID: nothing else may be force-deleted under it (DESIGN §3, "Decisions").
"""

from __future__ import annotations

from collections.abc import Iterable
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
    address: str = ""
    """Who has said so, behind whatever device; empty: the device alone knows."""


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


@dataclass(frozen=True, slots=True)
class CutVm:
    """One VM of the node: its pods there, and every volume that its guest could write."""

    namespace: str
    name: str
    vmi_uid: str
    pods: tuple[str, ...] = ()
    """UIDs of its launcher and its hotplug pods."""
    volumes: tuple[str, ...] = ()
    """``namespace/claim``; what is no claim (a file of the host) stands there under a name that no device cuts."""


@dataclass(frozen=True, slots=True)
class StorageCut:
    """A storage lets the node at none of these volumes any more: read so, twice, ``READ_SPACING`` apart.

    The node may run on, its guests may answer on the network: it says nothing about the node, and something only about
    the VMs that it names. Life on the network doesn't void it; a moving storage slot does.
    """

    boot: Boot
    device: str
    vms: tuple[CutVm, ...]
    volumes: tuple[str, ...]
    """What this device cuts."""
    seen_at: float
    detail: str = ""


WholeNodeProof = PoweredOff | Rebooted | SelfFenced | AdminConfirmed
"""What shows that nothing of the node writes any more."""
FencingProof = WholeNodeProof | StorageCut


def about_the_node(proofs: Iterable[FencingProof]) -> bool:
    """Whether one of them says that the node itself is over: after a mere cut from its storage it may live, and vote."""
    return any(not isinstance(proof, StorageCut) for proof in proofs)


def powered_off(
    boot: Boot, device: str, readings: tuple[Reading, ...], ordered_at: float | None, address: str = ""
) -> PoweredOff | None:
    """The proof that these readings of one device make, or ``None``.

    Args:
        readings: oldest first. The newest two must both say ``off``, ``READ_SPACING`` to ``READ_FRESH`` apart.
        ordered_at: when our order to this device was sent, if one was: readings before it prove nothing about it.
        address: of whoever was read.
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
            detail = f"read as off twice, {apart:.1f} s apart"
            return PoweredOff(boot, device, how, first.asked_at, detail, address)
    return None


def off_since(before: float | None, last: Reading | None, reading: Reading) -> float | None:
    """Since when a device has said nothing but ``off``, with this reading (:attr:`~ringfence.core.fencing.rungs.DeviceLook.off_since`).

    Args:
        before: since when it had, before that.
        last: the reading before, None if this is the incident's first.
    """
    if reading.state is not PowerState.OFF:
        return None
    goes_on = last is not None and reading.asked_at - last.asked_at <= READ_FRESH
    return before if before is not None and goes_on else reading.seen_at


def void_because(proof: FencingProof, life_at: float, sign: str) -> str | None:
    """Why this proof does not hold (any more): a sign of life of that boot newer than what it saw.

    A cut from the storage doesn't say that the node is dead; what voids it is another matter (the machine's).
    """
    if isinstance(proof, Rebooted | StorageCut) or life_at <= proof.seen_at:
        return None
    return f"{sign} was seen {life_at - proof.seen_at:.1f} s after the proof's first reading"


def independent_methods(proofs: tuple[FencingProof, ...]) -> int:
    """How many independent methods stand behind these proofs: devices count once each, a person once.

    What two devices read at one address is one method: a BMC that lies by Redfish lies by IPMI too.
    """
    return len({_method(proof) for proof in proofs})


def _method(proof: FencingProof) -> str:
    match proof:
        case PoweredOff(address=address) if address:
            return f"address {address}"
        case PoweredOff(device=device) | StorageCut(device=device):
            return f"device {device}"
        case _:
            return type(proof).__name__


@dataclass(frozen=True, slots=True)
class Recover:
    """Leave to recover whatever ran on one boot of a node. Built by :func:`permit` only."""

    boot: Boot
    proofs: tuple[FencingProof, ...]
    _token: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._token is not _PERMIT:
            raise TypeError("Recover comes from ringfence.core.fencing.proof.permit()")


@dataclass(frozen=True, slots=True)
class RecoverVms:
    """Leave to recover these VMs of a node that may live on: their pods may be deleted by UID, and nothing else be done.

    Another type than :class:`Recover`, so that what is about the whole node can't be built from it. Built by
    :func:`permit_vms` only.
    """

    boot: Boot
    vms: tuple[CutVm, ...]
    proofs: tuple[FencingProof, ...]
    _token: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._token is not _PERMIT:
            raise TypeError("RecoverVms comes from ringfence.core.fencing.proof.permit_vms()")

    @property
    def pods(self) -> frozenset[str]:
        """UIDs of the pods that may be deleted."""
        return frozenset(uid for vm in self.vms for uid in vm.pods)


_PERMIT = object()


def permit(boot: Boot, proofs: tuple[FencingProof, ...], required: int) -> Recover | None:
    """Leave to recover, if the proofs are for this very boot and enough: a reboot or a person's word stands alone.

    A cut from the storage is no proof about the node.
    """
    valid = tuple(p for p in proofs if p.boot == boot and not isinstance(p, StorageCut))
    if any(isinstance(p, Rebooted | AdminConfirmed) for p in valid) or (
        valid and independent_methods(valid) >= max(1, required)
    ):
        return Recover(boot, valid, _PERMIT)
    return None


def permit_vms(boot: Boot, proofs: tuple[FencingProof, ...], required: int) -> RecoverVms | None:
    """Leave to recover the VMs that are cut from *every* one of their volumes, by as many independent methods as required.

    A device that powers the node off counts for all volumes; a storage for those that it cuts. A VM without a volume is
    never cut off: there is nothing that could be read.
    """
    valid = tuple(p for p in proofs if p.boot == boot)
    cuts = [p for p in valid if isinstance(p, StorageCut)]
    off = independent_methods(tuple(p for p in valid if not isinstance(p, StorageCut)))
    allowed = []
    for vm in dict.fromkeys(vm for cut in cuts for vm in cut.vms):
        weakest = min(
            (len({cut.device for cut in cuts if volume in cut.volumes}) for volume in vm.volumes), default=0
        )
        if weakest and weakest + off >= required:
            allowed.append(vm)
    return RecoverVms(boot, tuple(allowed), valid, _PERMIT) if allowed else None
