"""What is wrong with an HAZone, seen beside the cluster's nodes, the other zones and the FenceDevices.

The first trouble is the zone's condition ``Ready``; all of them are told when somebody writes the zone (``admission.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.api.v1alpha1.hazone import HAZone
from ringfence.controller.world import World


@dataclass(frozen=True, slots=True)
class Trouble:
    """The condition's reason, a sentence with the mend, and the field to mend."""

    reason: str
    sentence: str
    field: str


def claims(world: World, zones: Iterable[HAZone]) -> dict[str, list[str]]:
    """The names of the enabled zones among these that claim a node, by the node's name."""
    claimed: dict[str, list[str]] = {}
    for zone in zones:
        if zone.spec.enabled:
            for node in world.nodes_of(zone):
                claimed.setdefault(node.name, []).append(zone.metadata.name)
    return claimed


def troubles(world: World, zone: HAZone, claimed: Mapping[str, list[str]]) -> Iterator[Trouble]:
    """All troubles, the worst first. ``claimed`` is of all zones, this one included."""
    devices = world.own.all(FenceDevice)
    nodes = sorted(n.name for n in world.nodes_of(zone))
    if doubled := [n for n in nodes if len(claimed.get(n, [])) > 1]:
        others = sorted({z for n in doubled for z in claimed[n]} - {zone.metadata.name})
        yield Trouble(
            "NodeInTwoZones",
            f"{', '.join(doubled)} also in zone {', '.join(others)}: take them out of one, until then none acts on them",
            "spec.nodes",
        )
    named = {d for level in zone.spec.fencing.levels for d in level.devices}
    if missing := sorted(d for d in named if ("", d) not in devices):
        yield Trouble(
            "FenceDeviceNotFound", f"no FenceDevice {', '.join(missing)}", "spec.fencing.levels[].devices"
        )
    if not nodes:
        yield Trouble("NoNodes", "spec.nodes matches no node of the cluster", "spec.nodes")
    elif unknown := sorted(set(zone.spec.nodes.names) - set(nodes)):
        yield Trouble("NodeNotFound", f"no node {', '.join(unknown)}", "spec.nodes.names")
    if bare := [n for n in nodes if not any(world.levels(zone, n))]:
        yield Trouble(
            "NoFenceDevice", f"no fence device reaches {', '.join(bare)}", "spec.fencing.levels[].devices"
        )
