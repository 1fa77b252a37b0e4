"""All that the world is made of but the controller: nodes, devices, VMs, volumes. The modules beside say how it moves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ringfence.core.detection.evidence import Life
from ringfence.core.model import OnHung
from ringfence.core.setback import SetBack
from simulator.system.device import Device, LadderSetup
from simulator.system.node import Node
from simulator.system.timeline import Timeline
from simulator.system.vm import Vm, Volume
from simulator.system.watchdogs import Dog, Kennel

if TYPE_CHECKING:
    from simulator.system.infrastructure import Infrastructure
    from simulator.system.scheduler import Placement
    from simulator.system.users import User


@dataclass
class Plant:
    time: Timeline
    nodes: dict[str, Node]
    bmcs: dict[str, Device]
    vms: dict[str, Vm]
    volumes: dict[str, Volume]
    ladder: LadderSetup
    placement: Placement
    pdus: dict[str, Device]
    cutters: dict[str, Device]
    """How the storage's fence behaves, by node."""
    storage_fence: list[str] | None
    """The VMs whose disks are behind a storage that can shut a node out; None: there is no such device."""
    kennel: Kennel | None
    heartbeat: bool
    stop_guests: bool
    on_hung: OnHung = OnHung.ALERT
    """The policy of every zone."""
    cutting: set[str] = field(default_factory=set)
    """Nodes that their storage is about to shut out."""
    csi_detaches: bool = True
    spread: bool = False
    """The scheduler looks at how many VMs a node has."""
    api_out: bool = False
    """The API server answers nobody."""
    write_needs: float = 0.03
    """Seconds that a write to the API server takes."""
    zone: bool = True
    """The nodes' HAZone is there."""
    outside: set[str] = field(default_factory=set)
    """Nodes that somebody has taken out of every zone."""
    zones: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The HAZones that claim a node, where there is another than the one named a that claims all."""
    maintained: dict[str, str] = field(default_factory=dict)
    """Nodes that a NodeMaintenance names, and what it says."""
    apart: frozenset[str] = frozenset()
    """Nodes between which and the others the ring's packets don't pass."""
    viewer: str = ""
    """The node on which the leader runs, whose side it hears; empty: that of most."""
    verdict_after: float = 0.7
    """Seconds that the ring needs from a crash to its votes."""
    proofs_required: int = 1
    roster: int = 1
    """The epoch of the roster that the agents hold."""
    set_back: SetBack | None = None
    """What the controller knows of a store that was set back."""
    last_run: dict[str, str] = field(default_factory=dict)
    """Where each VM has last been seen running."""
    life: dict[str, Life] = field(default_factory=dict)
    """The signs of life of each node, as the controller has seen them."""
    working: set[object] = field(default_factory=set)
    """What is under way on the controller's behalf: devices at work, deletions sent."""
    infrastructure: list[Infrastructure] = field(default_factory=list)
    """KubeVirt's own pods, where the story places them; none: KubeVirt works whatever happens."""
    users: dict[str, User] = field(default_factory=dict)
    """Pods of others that use a VM's volume, by name."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Names that machines had, and those that they have."""
    at_chassis: list[str] = field(default_factory=list)
    """Devices behind the chassis whose order it has not answered or carried out yet, whoever gave it."""

    @property
    def now(self) -> float:
        return self.time.now

    @property
    def dogs(self) -> dict[str, Dog]:
        return self.kennel.dogs if self.kennel is not None else {}

    def in_zone(self, node: str) -> bool:
        """Whether a HAZone claims it."""
        return bool(self.zones_of(node))

    def up(self, node: Node) -> bool:
        return node.up(self.time.now)

    def in_ring(self, node: Node) -> bool:
        """Whether the ring's packets pass between it and the leader's side."""
        if node.name == self.viewer:
            return True
        alone = self.viewer in self.nodes and not self.nodes[self.viewer].peers
        return node.peers and not alone and (node.name in self.apart) == (self.viewer in self.apart)

    def heard(self) -> frozenset[str]:
        """The nodes whose agents are heard on the leader's side."""
        now = self.time.now
        return frozenset(
            [
                n.name
                for n in self.nodes.values()
                if n.agent and n.registered and n.up(now) and self.in_ring(n)
            ]
        )

    @property
    def members(self) -> frozenset[str]:
        """The nodes that the roster names: who has no Node object is none."""
        return frozenset([n.name for n in self.nodes.values() if n.registered])

    def heard_by(self, node: Node) -> frozenset[str]:
        """The nodes whose agents this node hears, itself included."""
        return self.heard_by_each([node.name])[node.name]

    def heard_by_each(self, names: Iterable[str]) -> dict[str, frozenset[str]]:
        """The same of several nodes."""
        now, apart, nodes = self.time.now, self.apart, self.nodes
        speak = frozenset([n.name for n in nodes.values() if n.agent and n.peers and n.up(now)])
        sides = (speak - apart, speak & apart) if apart else (speak, speak)
        heard = {}
        for name in names:
            node = nodes[name]
            alone = frozenset((name,))
            heard[name] = sides[name in apart] | alone if node.peers and node.up(now) else alone
        return heard

    def kernel_heard(self, node: Node) -> bool:
        """Whether its kernel answers somebody on the leader's side."""
        return node.kernel_answers and self.in_ring(node)

    def with_api(self, node: Node) -> bool:
        """Whether it runs and reaches the API server."""
        return node.api and not self.api_out and node.up(self.time.now)

    def with_api_of(self, name: str) -> bool:
        return self.with_api(self.nodes[name])

    def takes_pods(self, node: Node) -> bool:
        """Whether its kubelet starts what is bound to it."""
        return node.kubelet and not node.shutting_down and self.with_api(node)

    def zones_of(self, name: str) -> tuple[str, ...]:
        """The HAZones that its Node object is in."""
        return self.zones_naming(name) if self.nodes[name].registered else ()

    def zones_naming(self, name: str) -> tuple[str, ...]:
        """The HAZones whose hosts have its name, whether there is such a node or not."""
        if not self.zone or name in self.outside:
            return ()
        return self.zones.get(name, ()) if self.zones else ("a",)

    def zone_of(self, name: str) -> str | None:
        """Its one HAZone; None: it is in none, or in two."""
        claims = self.zones_of(name)
        return claims[0] if len(claims) == 1 else None

    def zone_members(self, name: str) -> frozenset[str]:
        """The nodes of its zone, itself included; none where it is in no zone, or in two."""
        zone = self.zone_of(name)
        return frozenset(n for n in self.nodes if zone in self.zones_of(n))

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
