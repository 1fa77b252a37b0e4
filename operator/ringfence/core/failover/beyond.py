"""The VMs that a cut from the storage doesn't name: the ladder goes on for them beside the recovery of the others.

The first proofs that free a VM win, and need not be about every VM of the node. A level that was slow may yet power the
node off, another storage may hold the rest; nobody else would look. What is proved meanwhile for some stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from ringfence.core import timing
from ringfence.core.failover.climb import ladder_of, new_pass, on_record, order_working, reads_due
from ringfence.core.failover.commands import Command
from ringfence.core.failover.look import Look
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.proof_in_hand import proof_in_hand
from ringfence.core.failover.record import Record, VmRecord
from ringfence.core.failover.step import Step, enter
from ringfence.core.failover.withdrawal import lives
from ringfence.core.fencing.orders import Action, OrderOff, RevokeAgentLease
from ringfence.core.fencing.proof import (
    CutVm,
    FencingProof,
    PoweredOff,
    RecoverVms,
    SelfFenced,
    StorageCut,
    permit,
    permit_vms,
)

READ_ON_EVERY = 10.0
"""Seconds between two readings of a device that still reads `on` when every level has been tried."""


def others(record: Record, recover: RecoverVms) -> tuple[VmRecord, ...]:
    """The incident's VMs that are not named by its cuts and not settled otherwise."""
    named = {(vm.namespace, vm.name) for vm in recover.vms}
    return tuple(v for v in record.vms if (v.namespace, v.name) not in named and not v.state.settled)


def ordered_for_them(record: Record) -> str:
    """The orders to the node itself that are in work or were in vain, as the end of a clause."""
    tries = Counter(
        o.device
        for o in record.orders
        if o.action is Action.OFF and not o.unsent and o.device not in record.cuts
    )
    return "".join(f"; {device} is ordered off (order {number})" for device, number in sorted(tries.items()))


def may_be_off_soon(record: Record, now: float) -> bool:
    """Whether an order off to the node itself may take effect, though its incident is past its first proof.

    Of two halves one node goes after the other (:func:`ringfence.core.failover.limits.half`): it counts as being fenced.
    """
    return record.phase is Phase.RECOVERING and any(
        now < o.effective_until and o.device not in record.cuts
        for o in record.orders
        if o.action is Action.OFF
    )


def climb_on(record: Record, look: Look, recover: RecoverVms) -> Step | tuple[Record, tuple[Command, ...]]:
    """One step up the ladder for those VMs: the step if it proves more, else the record with what is begun, and the commands.

    Orders are bound as they are before the first proof: the node may be fenced, no limit forbids it, and the Lease by
    which remediators keep out of each other's way is settled. Readings are bound by nothing.
    """
    left = {(v.namespace, v.name) for v in others(record, recover)}
    ladder = ladder_of(record, look)
    if not left:
        off = tuple(p for p in ladder.look(look.now).proofs if not isinstance(p, StorageCut))
        return _more(record, look, recover, off) or (record, ())
    ladder = replace(ladder, vms=tuple(vm for vm in look.vm_volumes if (vm.namespace, vm.name) in left))
    rung = ladder.climb(look.now, look.proofs_required)
    if (more := _more(record, look, recover, rung.proofs)) is not None:
        return more
    may_order = look.may_order and look.limit is None and look.node_lease.settled
    if rung.exhausted:
        # Read on: an order may take effect late, and the node may lose its power yet. Who is asked each second proves no other node.
        reads = reads_due(ladder.look(look.now).commands, look, READ_ON_EVERY)
        return _another_pass(record, look, may_order=may_order), reads
    if may_order:
        return on_record(record, look, ladder, rung), rung.commands
    return record, tuple(c for c in rung.commands if not isinstance(c, OrderOff | RevokeAgentLease))


def left_to_a_living_node(record: Record, look: Look, recover: RecoverVms) -> Step | None:
    """Back to before the proof, if all of its VMs are moved and the node lives: the way out from there lifts the cut.

    The others never stopped. Were the node found Down again, the incident would go on from there.
    """
    left = others(record, recover)
    if not left or not lives(record, look) or order_working(record, look):
        return None
    if any(not v.state.settled for v in record.vms if v not in left):
        return None
    stay = ", ".join(v.name for v in left)
    sentence = f"{look.judgement.sentence}; no proof about it is looked for any more, {stay} is left there"
    back = replace(new_pass(record, look), proofs=())
    return Step(enter(back, Phase.FENCING, sentence, look))


def _another_pass(record: Record, look: Look, *, may_order: bool) -> Record:
    """Order again once the longest back-off is over since the last order: the record keeps no other clock here."""
    last = max((o.effective_until for o in record.orders if o.action is Action.OFF), default=None)
    if not may_order or last is None or order_working(record, look):
        return record
    return new_pass(record, look) if look.now - last >= timing.LADDER_BACKOFF[-1] else record


def _more(record: Record, look: Look, recover: RecoverVms, found: tuple[FencingProof, ...]) -> Step | None:
    """The step, if these proofs beside those on record are about the node, or about more of its VMs."""
    new = tuple(p for p in found if not any(_says_as_much(known, p) for known in record.proofs))
    step = proof_in_hand(record, look, (*record.proofs, *new))
    if step is None:
        return None
    proofs = step.record.proofs
    if permit(record.boot, proofs, look.proofs_required) is not None:
        return step
    some = permit_vms(record.boot, proofs, look.proofs_required)
    return step if some is not None and not _names(some.vms) <= _names(recover.vms) else None


def _says_as_much(known: FencingProof, proof: FencingProof) -> bool:
    """Whether a proof of the same device is on record that says no less: the older one is void by more."""
    match known, proof:
        case StorageCut(), StorageCut():
            less = _names(proof.vms) <= _names(known.vms) and set(proof.volumes) <= set(known.volumes)
            return known.device == proof.device and less
        case PoweredOff(), PoweredOff():
            return known.device == proof.device
        case SelfFenced(), SelfFenced():
            return known.device == proof.device
        case _:
            return False


def _names(vms: Iterable[CutVm]) -> set[tuple[str, str, str]]:
    """The instances, whatever is left of their pods."""
    return {(vm.namespace, vm.name, vm.vmi_uid) for vm in vms}
