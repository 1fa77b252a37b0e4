"""What the restart of a VM hangs on beside its dead node, read from the caches: its place in the order, room elsewhere, what
KubeVirt and the scheduler say, and the live migrations that end on the node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from ringfence.api.v1alpha1.protectedvm import ProtectedVM
from ringfence.controller.failovers import OUT_OF_SERVICE, SUSPECT
from ringfence.controller.world import World
from ringfence.core.failover import planner
from ringfence.core.failover.phase import ENDED
from ringfence.core.failover.record import Record
from ringfence.kube.objects import NodeObject, ReadyStatus, VmiObject, VmObject, condition
from ringfence.kube.store import Key

SCHEDULABLE = "kubevirt.io/schedulable"
_KEPT_OUT = ("NoSchedule", "NoExecute")


def protected(world: World) -> Mapping[Key, ProtectedVM]:
    """The VMs that are to be restarted, each with its ProtectedVM; of two that name one VM the more important."""
    return world.own.work_out(ProtectedVM, _protected)


def declared(world: World) -> Mapping[Key, Sequence[ProtectedVM]]:
    """The VMs that are to be restarted, each with all ProtectedVMs that say so."""
    return world.own.work_out(ProtectedVM, _declared)


def _protected(declared: Mapping[Key, ProtectedVM]) -> Mapping[Key, ProtectedVM]:
    # The first of the most important: max() gives the first.
    return {key: max(all_, key=lambda pvm: pvm.spec.priority) for key, all_ in _declared(declared).items()}


def _declared(declared: Mapping[Key, ProtectedVM]) -> Mapping[Key, Sequence[ProtectedVM]]:
    found: dict[Key, list[ProtectedVM]] = {}
    for (namespace, _), pvm in declared.items():
        if pvm.spec.on_node_failure == "Restart":
            found.setdefault((namespace, pvm.spec.vm.name), []).append(pvm)
    return found


def room(world: World, records: Iterable[Record], own: str, wall: float) -> int:
    """How many VMs of the incident of that name may be starting now."""
    targets = sum(takes_vms(node) for node in world.nodes.store.values())
    elsewhere = sum(
        planner.starting(r.vms, wall) for r in records if r.proofs and r.phase not in ENDED and r.name != own
    )
    return planner.room(targets, elsewhere)


def takes_vms(node: NodeObject) -> bool:
    """Whether a VM that tolerates nothing may be placed there now."""
    barred = any(t.key in (SUSPECT, OUT_OF_SERVICE) and t.effect in _KEPT_OUT for t in node.taints)
    return (
        node.ready.status is ReadyStatus.TRUE
        and not node.unschedulable
        and not barred
        and node.labels.get(SCHEDULABLE) == "true"
    )


def after(pvm: ProtectedVM | None, namespace: str) -> tuple[Key, ...]:
    """The VMs that are to be ready before this one starts."""
    return tuple((namespace, vm.name) for vm in pvm.spec.depends_on) if pvm is not None else ()


def unready(world: World, keys: Iterable[Key]) -> frozenset[Key]:
    """Those of these VMs that are not ready, and are to be: nobody waits for one that is gone, or that its user has stopped."""
    return frozenset(key for key in keys if _awaited(world.vms.store.get(key)) and not _ready(world, key))


def _awaited(vm: VmObject | None) -> bool:
    return vm is not None and not vm.deleting and vm.run_strategy == "Always"


def _ready(world: World, key: Key) -> bool:
    vmi = world.vmis.store.get(key)
    found = condition(vmi.conditions, "Ready") if vmi is not None else None
    return vmi is not None and vmi.phase == "Running" and found is not None and found.status == "True"


def unschedulable(vmi: VmiObject) -> str:
    """Why no node takes it; KubeVirt copies the launcher's condition to the instance."""
    found = condition(vmi.conditions, "PodScheduled")
    if found is None or found.status != "False" or found.reason != "Unschedulable":
        return ""
    return found.message.rstrip(". ")[:300] or "the scheduler doesn't say why"


def blocked(vm: VmObject | None) -> str:
    """Why KubeVirt starts the VM only after a person has done something (KUBEVIRT §1)."""
    found = condition(vm.conditions, "ManualRecoveryRequired") if vm is not None else None
    if found is None or found.status != "True":
        return ""
    said = f": {found.message[:300]}" if found.message else ""
    return f"KubeVirt starts it only after a person's recovery (ManualRecoveryRequired){said}"


_WAITS = {
    "Provisioning": "KubeVirt waits for its DataVolumes to be filled",
    "WaitingForVolumeBinding": "KubeVirt waits for its DataVolumes to be bound",
    "DataVolumeError": "one of its DataVolumes has failed, KubeVirt waits for it",
}
"""By the VM's ``printableStatus``: what keeps KubeVirt from making or placing its next instance, as the end of a sentence."""


def held_up(world: World, key: Key) -> str:
    """What the start of the VM's next instance waits for, that is likely to end by itself; empty: nothing that is known.

    Before it has a node these are its DataVolumes; afterwards, pods of other nodes that use a volume which one node at a time can have.
    Those are left alone: they live, and whoever runs them ends them (KubeVirt ends its exports as soon as there is an instance).
    """
    vm, vmi = world.vms.store.get(key), world.vmis.store.get(key)
    if vm is None or (vmi is not None and vmi.phase == "Running"):
        return ""
    own = world.launchers_of(vmi.uid) if vmi is not None else ()
    nodes = {pod.node for pod in own}
    if not nodes:
        return _WAITS.get(vm.printable_status, "")
    mine = {pod.uid for pod in own}
    others = {
        f"its claim {claim} is in use by pod {pod.name} on {pod.node}"
        for claim, pod in world.users_of(world.claims_of([key]))
        if pod.uid not in mine and pod.owner_uid not in mine and pod.node not in nodes
    }
    return "; ".join(sorted(others)[:_NAMED])


_NAMED = 3
"""Pods in one sentence."""


def arrives(vmi: VmiObject, node: str, lost: Collection[str]) -> bool:
    """Whether a migration of it ends on that node while its source is lost too: until the target's pod is gone KubeVirt makes
    no new instance of it.
    """
    moving = vmi.migration
    return (
        moving is not None and moving.in_flight and moving.target_node == node and moving.source_node in lost
    )


def targets_on(world: World, node: str, vms: Collection[Key]) -> frozenset[str]:
    """The instances of these VMs that have a migration's target on the node: its pod goes with the others (KUBEVIRT §2.5)."""
    here = {p.vmi_uid for p in world.pods_at(node) if p.is_migration_target}
    if not here:
        return frozenset()
    return frozenset(
        vmi.uid
        for key in vms
        if (vmi := world.vmis.store.get(key)) is not None and vmi.uid in here and vmi.node != node
    )
