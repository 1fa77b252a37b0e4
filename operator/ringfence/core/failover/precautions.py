"""What needs no proof: the suspect taint, the way cleared for KubeVirt's writes, the word to a node that may live yet."""

from __future__ import annotations

from ringfence.core.failover import recovery
from ringfence.core.failover.commands import AddSuspectTaint, Command, RehearseAdmission, TellFenced
from ringfence.core.failover.look import Look
from ringfence.core.failover.record import Record


def early(record: Record, look: Look) -> tuple[Command, ...]:
    """What needs no proof and is better done before it."""
    taint = () if look.suspect_taint or not look.node_exists else (AddSuspectTaint(record.boot.node),)
    return (*taint, *rehearsal(record, look))


def tell(record: Record, look: Look) -> tuple[TellFenced, ...]:
    """For the node itself, should it live: due with the first order, and as long as nobody has seen the word stand."""
    if look.told_fenced is not False:
        return ()
    return (TellFenced(record.boot, record.name, look.stop_guests),)


def rehearsal(record: Record, look: Look) -> tuple[Command, ...]:
    vms = record.vms or look.affected
    lost = any(p.role is recovery.PodRole.VIRT_API for p in look.pods)
    return (RehearseAdmission(vms[0].namespace, vms[0].name),) if lost and vms else ()
