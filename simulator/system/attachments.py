"""Kubernetes' attach-detach controller and a CSI driver behind it."""

from __future__ import annotations

from ringfence.core.failover.recovery import AttachmentLook
from simulator.system import users
from simulator.system.plant import Plant
from simulator.system.vm import Volume

ATTACH_NEEDS = 0.7
"""Detaching a volume from a node that is out of service, or attaching it (KUBEVIRT §1)."""
FORCE_DETACH_AFTER = 360.0
"""What Kubernetes waits for an unmount by a kubelet that is no more, without the out-of-service taint."""


def turn(plant: Plant, name: str, volume: Volume) -> None:
    """One tick of the VM's volume."""
    wanted = plant.vms[name].launcher_on
    others = users.nodes_of(plant, name) if plant.users else frozenset[str]()
    if volume.attached == {wanted} and volume.wanted_since is None:
        return
    for node in sorted(volume.attached - {wanted} - others):
        since = volume.unwanted_since.setdefault(node, plant.now)
        here = plant.nodes[node]
        at_once = here.out_of_service or (plant.takes_pods(here))
        if plant.csi_detaches and plant.now - since >= (ATTACH_NEEDS if at_once else FORCE_DETACH_AFTER):
            volume.attached.discard(node)
            del volume.unwanted_since[node]
            plant.time.say(f"world: the volume of {name} is detached from {node}")
    for node in sorted(others - volume.attached):
        if plant.up(plant.nodes[node]) and (volume.shared or not volume.attached):
            volume.attached.add(node)  # it was there before the VM's new launcher
            plant.time.say(f"world: the volume of {name} is attached to {node}")
    if not wanted or wanted in volume.attached or (volume.attached and not volume.shared):
        volume.wanted_since = None
    elif volume.wanted_since is None:
        volume.wanted_since = plant.now
    elif plant.now - volume.wanted_since >= ATTACH_NEEDS:
        volume.attached.add(wanted)
        plant.time.say(f"world: the volume of {name} is attached to {wanted}")


def attached_to(plant: Plant, node: str) -> tuple[AttachmentLook, ...]:
    return tuple(
        AttachmentLook(
            f"csi-{name}",
            f"pv-{name}",
            wanted=node in {plant.vms[name].launcher_on, *users.nodes_of(plant, name)},
        )
        for name, volume in plant.volumes.items()
        if node in volume.attached
    )
