"""Pods that use a VM's volume and are not the VM's own: imports, exports, backups. Their owners know when they are done."""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.core.failover.record import PodRef
from ringfence.core.failover.recovery import PodLook, PodRole
from simulator.system.plant import Plant
from simulator.system.vm import Vm


@dataclass(frozen=True)
class User:
    """One such pod; its name is its UID."""

    name: str
    vm: str
    node: str


def begin(plant: Plant, name: str, vm: str, node: str) -> None:
    """It is there, and wants the VM's volume on that node."""
    plant.users[name] = User(name, vm, node)


def nodes_of(plant: Plant, vm: str) -> frozenset[str]:
    """The nodes on which somebody else uses the VM's volume."""
    return frozenset(user.node for user in plant.users.values() if user.vm == vm)


def alone(plant: Plant, vm: str) -> bool:
    """Whether one node at a time can have the VM's volume."""
    return vm in plant.volumes and not plant.volumes[vm].shared


def looks(plant: Plant, node: str) -> tuple[PodLook, ...]:
    """Those that are bound to the node."""
    return tuple(
        PodLook(
            PodRef("default", user.name, user.name),
            PodRole.HOLDER if alone(plant, user.vm) else PodRole.OTHER,
            protected=alone(plant, user.vm),
        )
        for user in plant.users.values()
        if user.node == node
    )


def in_the_way(plant: Plant, vm: Vm) -> str:
    """Who has the volume that the VM's new instance waits for; empty: nobody."""
    if not vm.launcher_on or vm.phase == "Running" or not alone(plant, vm.name):
        return ""
    return "; ".join(
        f"its claim {vm.name} is in use by pod {user.name} on {user.node}"
        for user in plant.users.values()
        if user.vm == vm.name and user.node != vm.launcher_on
    )


def delete(plant: Plant, uid: str, *, force: bool) -> bool:
    """The pod is gone, or will be when its kubelet runs again. False: there is none of that UID."""
    user = plant.users.get(uid)
    if user is None:
        return False
    if force or plant.takes_pods(plant.nodes[user.node]):
        del plant.users[uid]
        plant.time.say(f"world: pod {user.name} is gone from {user.node}")
    return True
