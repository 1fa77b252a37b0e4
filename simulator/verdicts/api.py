"""The API server of a ring story: what nodes, agents and controllers have written there, for whoever reaches it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringfence.core.detection.evidence import Ready
from ringfence.core.election import LeaseView
from ringfence.core.gossip.members import Roster
from simulator.node import Node
from simulator.world import World, boot_id

KUBELET_RENEWS = 10.0
AGENT_RENEWS = 5.0
AGENT_HURRIES = 1.0
"""While most of its peers are silent for it (`agent/kubernetes_link.py`)."""
NOT_READY_AFTER = 40.0
"""The node controller's grace: a node whose Lease is older is Ready=Unknown."""


@dataclass
class NodeObject:
    """A Node with its two Leases. ``*_renewals`` count up, as renew times would."""

    uid: str
    boot_id: str
    reported: bool = False
    """Its agent of this boot has written a NodeReport."""
    kubelet_renewals: int = 0
    kubelet_at: float = float("-inf")
    agent_renewals: int = 0
    agent_at: float = float("-inf")

    def ready(self, now: float) -> Ready:
        return Ready.TRUE if now - self.kubelet_at <= NOT_READY_AFTER else Ready.UNKNOWN


@dataclass
class Incident:
    """A Failover, as far as limits ask for it."""

    node: str
    boot: str
    opened_at: float
    ordered_by: str | None = None
    proved: bool = False


@dataclass
class Api:
    """All objects."""

    roster: Roster
    nodes: dict[str, NodeObject] = field(default_factory=dict)
    lease: LeaseView = field(default_factory=lambda: LeaseView("", 0, "0"))
    incidents: dict[str, Incident] = field(default_factory=dict)
    """Those that are open, by node."""

    def reached_by(self, node: Node) -> bool:
        return node.kernel and not node.suspended and not node.api

    def turn(self, world: World) -> None:
        """What kubelets and agents write meanwhile."""
        self.roster = world.roster
        for node in world.nodes:
            if self.reached_by(node):
                self._written_by(node, world.now)

    def _written_by(self, node: Node, now: float) -> None:
        boot = boot_id(node.name, node.boot)
        known = self.nodes.get(node.name)
        if known is None or known.uid != node.uid:
            known = self.nodes[node.name] = NodeObject(node.uid, boot)
        if known.boot_id != boot:
            known.boot_id, known.reported = boot, False
        spread = 0.37 * node.index  # no two renew at once
        if now - known.kubelet_at >= KUBELET_RENEWS or known.kubelet_renewals == 0:
            known.kubelet_at = now - (spread if known.kubelet_renewals == 0 else 0.0)
            known.kubelet_renewals += 1
        if node.swim is None or node.frozen:
            return
        known.reported = True
        every = AGENT_HURRIES if node.swim.lonely else AGENT_RENEWS
        if now - known.agent_at >= every:
            known.agent_at = now - (spread if known.agent_renewals == 0 else 0.0)
            known.agent_renewals += 1

    def write_lease(self, seen: LeaseView, holder: str) -> LeaseView | None:
        """Compare and swap; None where somebody wrote first."""
        if seen.resource_version != self.lease.resource_version:
            return None
        epoch = self.lease.epoch + (holder not in {self.lease.holder, ""})
        self.lease = LeaseView(holder, epoch, str(int(self.lease.resource_version) + 1))
        return self.lease
