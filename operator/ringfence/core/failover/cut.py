"""A cut from the storage after it was ordered: whether it stands, and how it is lifted again.

A cut says something about the VMs that it names and nothing about their node (:class:`StorageCut`). So life on the
network doesn't void it: the node is expected to live. A write does, or a fence that somebody has lifted. And it
outlasts its incident: it is lifted only after a later boot, or when no guest is left whose VM was moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ringfence.core import timing
from ringfence.core.failover.record import Record, VmRecord, VmState
from ringfence.core.fencing.orders import Action, Order, ReadPower
from ringfence.core.fencing.proof import CutVm, FencingProof, StorageCut
from ringfence.core.fencing.rungs import DeviceLook, Rungs
from ringfence.core.model import PowerState

READ_SPACING = 1.0
"""Seconds between two reads of a storage that is being lifted, or that has to go on cutting."""


@dataclass(frozen=True, slots=True)
class LiftCut:
    """Let the node at its storage again. Only after a later boot, or when no guest is left whose VM was moved."""

    device: str


def storages(levels: Rungs) -> dict[str, DeviceLook]:
    """The devices that cut the node from its storage, by name."""
    return {d.name: d for level in levels for d in level if isinstance(d, DeviceLook) and d.cuts is not None}


def void_because(proofs: Iterable[FencingProof], levels: Rungs, slot_moved_at: float) -> str | None:
    """Why a cut holds no more: the node has written, or somebody has lifted it. Life on the network is no reason."""
    known = storages(levels)
    for proof in proofs:
        if not isinstance(proof, StorageCut):
            continue
        if slot_moved_at > proof.seen_at:
            return f"its storage slot moved {slot_moved_at - proof.seen_at:.1f} s after the first reading"
        device = known.get(proof.device)
        last = device.readings[-1] if device is not None and device.readings else None
        if last is None or last.asked_at <= proof.seen_at or last.state is PowerState.OFF:
            continue
        if last.state is PowerState.ON:
            return f"{proof.device} lets it at its storage again"
        # Set to be lifted and left there it never reads `on`.
        return f"{proof.device} reads {last.state}: somebody has touched its fence"
    return None


def stands(proofs: Iterable[FencingProof], levels: Rungs, now: float) -> bool:
    """Whether each cut was just read to stand. Nothing else would tell: life of the node voids none."""
    known = storages(levels)
    return all(
        (device := known.get(proof.device)) is not None and device.reads_off(now)
        for proof in proofs
        if isinstance(proof, StorageCut)
    )


def outgrown(named: Iterable[CutVm], proofs: Iterable[FencingProof], seen: Iterable[CutVm]) -> str | None:
    """Which of these VMs its guest on the node writes to more than the cuts have shown, or is another guest by now."""
    reach = {volume for proof in proofs if isinstance(proof, StorageCut) for volume in proof.volumes}
    looks = {(vm.namespace, vm.name): vm for vm in seen}
    for vm in named:
        look = looks.get((vm.namespace, vm.name), vm)
        if look.vmi_uid != vm.vmi_uid:
            return f"{vm.name} has another instance there by now"
        if more := [volume for volume in look.volumes if volume not in reach]:
            return f"{vm.name} writes to {', '.join(more)} by now"
    return None


def watch(proofs: Iterable[FencingProof], levels: Rungs, now: float) -> tuple[ReadPower, ...]:
    """Read on whether the cuts stand."""
    known = storages(levels)
    due = []
    for name in sorted({p.device for p in proofs if isinstance(p, StorageCut)}):
        device = known.get(name)
        if device is None or device.busy or now < device.next_try_at:
            continue
        if not device.readings or now - device.readings[-1].asked_at >= READ_SPACING:
            due.append(ReadPower(name))
    return tuple(due)


def moved(record: Record) -> tuple[VmRecord, ...]:
    """VMs whose old launcher was deleted, or may be by now: they may run elsewhere."""
    return tuple(v for v in record.vms if v.released_wall is not None)


def guests_gone(record: Record, guests: frozenset[str] | None) -> bool:
    """Whether the agent of this very boot has said, since the proof, that none of the moved VMs' guests is left there.

    Nor of those that their users have stopped: they may start them again, elsewhere. ``guests`` is what it said, as
    ``namespace_name``; None: nothing.
    """
    old = (v for v in record.vms if v.released_wall is not None or v.state is VmState.LEFT)
    return guests is not None and not any(f"{v.namespace}_{v.name}" in guests for v in old)


def left_standing_without_its_object(cuts: Iterable[str]) -> str:
    """The same where the Node object is gone, and with it what said which devices are the node's."""
    left = sorted(set(cuts))
    if not left:
        return ""
    return f"; it may still be cut from its storage by {', '.join(left)}, and nobody lifts that after its Node object was deleted: see its NetworkFence"


def left_standing(cuts: Iterable[str], levels: Rungs) -> str:
    """The cuts that nobody here can lift any more, as the end of a sentence; empty: none."""
    left = sorted(set(cuts) - storages(levels).keys())
    if not left:
        return ""
    return f"; it may still be cut from its storage by {', '.join(left)}, which is no device of it any more: see its NetworkFence"


def lift(record: Record, levels: Rungs, now: float) -> tuple[ReadPower | LiftCut, ...] | None:
    """What is due so that none of the record's cuts stands any more; None: none stands, and none can come late."""
    known = storages(levels)
    commands: list[ReadPower | LiftCut] = []
    standing = False
    for name in record.cuts:
        device = known.get(name)
        if device is None:
            continue  # its FenceDevice was deleted: whoever did that has to lift it
        last = device.readings[-1] if device.readings else None
        age = float("inf") if last is None else now - last.asked_at
        late = _may_come_until(record.orders, device)
        let_in = last is not None and last.state is PowerState.ON
        if last is not None and let_in and age <= timing.READ_FRESH and last.asked_at >= late:
            continue
        standing = True
        if device.busy or now < device.next_try_at:
            continue
        # One after the other: a fresh reading, then a step of lifting, then a reading again. One that can't be read, since the
        # node has other addresses by now, is lifted all the same.
        read = age >= READ_SPACING and device.error is None
        if read:
            commands.append(ReadPower(name))
        elif not let_in or now >= late:
            commands.append(LiftCut(name))
    return tuple(commands) if standing else None


def _may_come_until(orders: Iterable[Order], device: DeviceLook) -> float:
    """Until when an order to cut that has not been seen to do anything may do so: before, `on` doesn't say that it won't."""
    return max(
        (
            order.effective_until
            for order in orders
            if order.device == device.name
            and order.action is Action.OFF
            and not any(r.asked_at >= order.sent_at and r.state is not PowerState.ON for r in device.readings)
        ),
        default=float("-inf"),
    )
