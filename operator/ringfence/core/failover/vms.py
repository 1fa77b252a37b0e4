"""The VMs of an incident on record: which belong to it, which launchers are theirs, when they were let go."""

from __future__ import annotations

from dataclasses import replace

from ringfence.core.failover.look import Look
from ringfence.core.failover.record import PodRef, VmRecord
from ringfence.core.failover.recovery import PodLook, PodRole


def merged(before: tuple[VmRecord, ...], seen: tuple[VmRecord, ...]) -> tuple[VmRecord, ...]:
    """VMs already on record keep their state (a proof can be void and given anew); new ones join."""
    known = {(v.namespace, v.name): v for v in before if v.released_wall is not None}
    kept = dict(known)
    for vm in seen or before:
        kept.setdefault((vm.namespace, vm.name), vm)
    return tuple(kept.values())


def of_earlier_boot(vms: tuple[VmRecord, ...], look: Look, node: str) -> tuple[VmRecord, ...]:
    """Without those whose launchers have started under the node's later boot, which is known by now: they are healthy.

    A launcher that was bound to the node and had not run when it fell silent is started by the next boot's kubelet. One that the
    earlier boot had started is never seen to run after that: its pod has failed.
    """
    runs = {
        (v.namespace, v.name): v.vmi.uid
        for v in look.vms
        if v.vmi is not None and v.vmi.phase == "Running" and v.vmi.node == node and not v.vmi.deleting
    }
    return tuple(v for v in vms if not (v.unstarted and runs.get((v.namespace, v.name)) == v.vmi_uid))


def with_pods(vms: tuple[VmRecord, ...], pods: tuple[PodLook, ...]) -> tuple[VmRecord, ...]:
    launchers = {p.vmi_uid: p.ref.uid for p in pods if p.role is PodRole.LAUNCHER}
    return tuple(replace(v, pod_uid=v.pod_uid or launchers.get(v.vmi_uid, "")) for v in vms)


def followed(
    vms: tuple[VmRecord, ...],
    before: tuple[VmRecord, ...],
    pods: tuple[PodLook, ...],
    cover: tuple[PodRef, ...],
) -> tuple[VmRecord, ...]:
    """These VMs, and of those on record before each whose launcher is deleted under the proof too: somebody has to see it run again.

    Who protects a VM no more when its node has been ordered off (an HAPolicy was deleted, say) doesn't have it left half-way.
    """
    refs = set(cover)
    deleted = {p.vmi_uid for p in pods if p.role is PodRole.LAUNCHER and p.ref in refs}
    known = {(v.namespace, v.name) for v in vms}
    left = (v for v in before if v.vmi_uid in deleted and (v.namespace, v.name) not in known)
    return (*vms, *with_pods(tuple(left), pods))


def has_launcher(vm: VmRecord, pods: tuple[PodLook, ...]) -> bool:
    return vm.vmi_uid != "" and any(p.vmi_uid == vm.vmi_uid for p in pods)


def released(vms: tuple[VmRecord, ...], pods: set[str], look: Look) -> tuple[VmRecord, ...]:
    """Those whose launcher is about to be deleted may run elsewhere from here on: on record before it is done."""
    return tuple(
        replace(v, released_wall=look.wall) if v.released_wall is None and v.pod_uid in pods else v
        for v in vms
    )
