"""All that the world is made of but the controller: nodes, devices, VMs, volumes. The modules beside say how it moves."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringfence.core.detection.evidence import Life
from simulator.system.device import Device, LadderSetup
from simulator.system.node import Node
from simulator.system.timeline import Timeline
from simulator.system.vm import Vm, Volume
from simulator.system.watchdogs import Dog, Kennel


@dataclass
class Plant:
    time: Timeline
    nodes: dict[str, Node]
    bmcs: dict[str, Device]
    vms: dict[str, Vm]
    volumes: dict[str, Volume]
    ladder: LadderSetup
    pdus: dict[str, Device]
    cutters: dict[str, Device]
    """How the storage's fence behaves, by node."""
    storage_fence: list[str] | None
    """The VMs whose disks are behind a storage that can shut a node out; None: there is no such device."""
    kennel: Kennel | None
    heartbeat: bool
    stop_guests: bool
    csi_detaches: bool = True
    last_run: dict[str, str] = field(default_factory=dict)
    """Where each VM has last been seen running."""
    life: dict[str, Life] = field(default_factory=dict)
    """The signs of life of each node, as the controller has seen them."""
    working: set[object] = field(default_factory=set)
    """What is under way on the controller's behalf: devices at work, deletions sent."""
    at_chassis: list[str] = field(default_factory=list)
    """Devices behind the chassis whose order it has not answered or carried out yet, whoever gave it."""

    @property
    def now(self) -> float:
        return self.time.now

    @property
    def dogs(self) -> dict[str, Dog]:
        return self.kennel.dogs if self.kennel is not None else {}

    def up(self, node: Node) -> bool:
        return node.up(self.time.now)

    def heard(self) -> frozenset[str]:
        """The nodes whose agents are heard by the others."""
        return frozenset(n.name for n in self.nodes.values() if self.up(n) and n.agent)

    def boxes(self, node: str) -> list[Device]:
        """The devices that cut the node's power."""
        return [boxes[node] for boxes in (self.bmcs, self.pdus) if node in boxes]

    def box(self, device: str) -> Device:
        kind, _, node = device.partition("-")
        return (self.pdus if kind == "pdu" else self.bmcs)[node]

    def writers(self, vm: Vm) -> set[str]:
        """Nodes from which a guest of the VM can write to its disk."""
        behind = self.storage_fence is not None and vm.name in self.storage_fence
        return {name for name in vm.qemu if not (behind and self.nodes[name].shut_out)}
