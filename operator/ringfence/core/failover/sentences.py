"""Sentences, and ends of sentences, that no one phase alone says. They go on record, and from there to Events and people."""

from __future__ import annotations

from collections import Counter

from ringfence.core import timing
from ringfence.core.failover import limits, recovery
from ringfence.core.failover.look import Look
from ringfence.core.failover.record import Record, VmRecord, VmState
from ringfence.core.fencing.proof import (
    AdminConfirmed,
    FencingProof,
    PoweredOff,
    Rebooted,
    SelfFenced,
    StorageCut,
)

NEVER_OFF = "was never off, or has hibernated: make sure that no old guest runs there, and reboot it"
"""What a person has to know and to do at once, whatever phase says so."""
FEW = 12
"""More VMs than these are counted in a sentence, not named one by one; the record has each."""


def foreign_taint(look: Look) -> str:
    """For the sentence of an incident that has no proof yet: on that taint Kubernetes deletes pods, and KubeVirt starts VMs."""
    if not look.foreign_taint:
        return ""
    return "; it carries somebody else's out-of-service taint, and what Kubernetes does for that is not ours"


def deleted(record: Record, look: Look) -> str:
    """That somebody has deleted the incident's Node object, and what has its name by now."""
    again = " and registered again" if look.namesake is not None else ""
    return f"{record.boot.node} was deleted{again}"


def quarantine(look: Look) -> str:
    """For the end of an incident of a node that comes and goes."""
    if not look.quarantined:
        return ""
    minutes = f"{limits.FLAPS_WITHIN / 60:.0f} min"
    return f"; it has had {limits.FLAPS} incidents within {minutes}, so it stays in quarantine: no new VM comes to it, move those that it has"


def of_proof(proof: FencingProof) -> str:
    """The proof in words."""
    match proof:
        case PoweredOff():
            return f"{proof.device} reads off ({proof.how}; {proof.detail})"
        case Rebooted():
            return f"it has rebooted ({proof.detail})"
        case SelfFenced():
            return f"its own watchdog has reset it ({proof.device}: {proof.detail})"
        case AdminConfirmed():
            return f'{proof.confirmed_by} confirms: "{proof.statement}"'
        case StorageCut():
            return f"{proof.device} lets it no longer at {', '.join(proof.volumes)} ({proof.detail})"


def slow_detach(record: Record, look: Look) -> str:
    """The volumes that hold VMs up, as the end of a sentence; empty while it's too early to tell."""
    released = [v.released_wall for v in record.vms if not v.state.settled and v.released_wall is not None]
    if (
        released
        and look.wall - min(released) >= timing.DETACH_TOLD_AFTER
        and (left := recovery.left_attached(look.attachments))
    ):
        return f"; still attached to {record.boot.node}: {', '.join(left)}"
    return ""


def outcome(record: Record) -> str:
    if len(record.vms) > FEW:
        counted = Counter(v.message for v in record.vms)
        return f"recovered: {', '.join(f'{number} VMs ({what})' for what, number in counted.most_common(5))}"
    done = ", ".join(f"{v.name} {v.message}{_leftover(v)}" for v in record.vms) or "nothing was left to move"
    return f"recovered: {done}"


def _leftover(vm: VmRecord) -> str:
    return f" ({vm.leftover})" if vm.leftover else ""


def unsettled(record: Record) -> str:
    """The VMs that are still under way, each with how far it is; where they are many, how many are how far."""
    left = [v for v in record.vms if not v.state.settled]
    if len(left) > FEW:
        counted = Counter(v.state for v in left)
        return ", ".join(
            f"{counted[state]} {state.lower()} ({next(v.name for v in left if v.state is state)} ...)"
            for state in VmState
            if counted[state]
        )
    return ", ".join(f"{v.name} {v.state.lower()}" + (f" ({v.message})" if v.message else "") for v in left)
