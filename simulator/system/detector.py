"""The ring's stand-in: when a node's signs of life are seen, and what the agents say of it, with the real ring's delays.

What a node's agent reports of its guests is here too.
"""

from __future__ import annotations

from ringfence.core import timing
from ringfence.core.detection.evidence import NEVER, Evidence, Life, Ready, RingEvidence
from ringfence.core.model import RingState
from simulator.system import machines, slots
from simulator.system.node import Node
from simulator.system.plant import Plant

AGENT_RENEWS = 5
LONELY_RENEWS = 1
"""As ``agent/kubernetes_link.py``: an agent that most peers don't hear says in time that it lives."""
KUBELET_RENEWS = 10


def renews_every(plant: Plant, node: Node) -> int:
    """Seconds between two renewals of its agent's Lease."""
    lonely = node.silent_since is not None and 2 * len(plant.heard_by(node)) <= len(plant.nodes)
    return LONELY_RENEWS if lonely else AGENT_RENEWS


def live(plant: Plant, node: Node) -> None:
    """The signs of life that the node gives in this tick."""
    time, life = plant.time, plant.life[node.name]
    now = time.now
    if node.powered and now >= node.booted_at:
        node.came_up = node.boot
    up = node.up(now)
    api = up and node.api and not plant.api_out
    seen: dict[str, float] = {}
    if not node.registered and node.registers and plant.takes_pods(node):
        machines.register(plant, node)
    if up and node.agent and plant.in_ring(node):
        node.silent_since = None
        if node.registered:  # else no roster names it, and nobody takes its packets
            seen["packet"] = now
    elif node.silent_since is None:
        node.silent_since = now
    # Both periods are whole ones of the shorter: who is lonely need be asked in few ticks only.
    if api and node.agent and time.every(LONELY_RENEWS) and time.every(renews_every(plant, node)):
        dog = plant.dogs.get(node.name)
        if dog is None or dog.revoked != node.identity:
            seen["agent_lease"] = now
    starts = plant.spread and node.renewed != node.boot
    # Its Lease goes with its Node object, and without one it makes no other.
    if api and node.kubelet and node.registered and (starts or time.every(KUBELET_RENEWS)):
        node.renewed = node.boot
        seen["kubelet_lease"] = now
    if api and (node.agent or node.kubelet) and not node.knows_boot and node.registered:
        node.known_boot = node.identity.boot_id
    # Peers refuse the packets of a boot whose key they don't have, which comes with what the API server was told.
    if seen.keys() - {"packet"} or (seen and node.knows_boot):
        node.heard = node.boot
    if node.silent_since is not None and node.registered and plant.kernel_heard(node):
        seen["kernel"] = now
    if seen:
        get = seen.get  # `replace` would cost three times as much, in every tick and of every node
        plant.life[node.name] = Life(
            get("packet", life.packet),
            get("kernel", life.kernel),
            get("agent_lease", life.agent_lease),
            get("kubelet_lease", life.kubelet_lease),
            life.heartbeat,
            life.slot,
            life.boot,
            max(life.renewed_after, get("agent_lease", NEVER), get("kubelet_lease", NEVER)),
            now if "packet" in seen and now - life.packet > timing.HEARD_GAP else life.packets_since,
        )


def report(plant: Plant, node: Node) -> None:
    """The kubelet has ended what was deleted from under it; the agent reports its guests on change."""
    name = node.name
    for vm in plant.vms.values() if plant.storage_fence is not None else ():
        if name in vm.qemu and vm.launcher_on != name and node.kubelet:
            plant.time.say(f"world: the kubelet of {name} ends the old guest of {vm.name}")
            vm.qemu.discard(name)
    guests = frozenset([vm.guest for vm in plant.vms.values() if name in vm.qemu])
    if guests != node.guests:
        node.guests, node.guests_at = guests, plant.now


def evidence(plant: Plant, node: Node) -> Evidence:
    """All that the controller knows of the node now."""
    ring = RingEvidence(state=RingState.DOUBTED if node.doubted else RingState.ALIVE)
    if node.silent_since is not None:
        ring = _silent(plant, node, node.silent_since)
    ready = Ready.TRUE if plant.takes_pods(node) else Ready.UNKNOWN
    life, silent = plant.life[node.name], node.silent_since
    return Evidence(
        node.known,
        ring,
        life,
        ready,
        has_agent=True,
        slot=slots.seen(plant, node),
        kubelet_silent_since=life.kubelet_lease,
        # virt-handler stands still with the agent; when its last heartbeat came is not played.
        heartbeat_silent_since=plant.now if silent is None else silent,
        agent_down_at=silent if silent is not None and ring.state is RingState.AGENT_DOWN else NEVER,
    )


def doubted(plant: Plant, node: Node) -> bool:
    """Whether its peers doubt the node, or worse, and its kernel doesn't answer: since when is in its evidence then."""
    return node.silent_since is not None and not plant.kernel_heard(node)


def _silent(plant: Plant, node: Node, since: float) -> RingEvidence:
    silent = plant.now - since
    if plant.kernel_heard(node):
        if node.left:
            return RingEvidence(state=RingState.LEFT)
        return RingEvidence(state=RingState.AGENT_DOWN if silent > plant.verdict_after else RingState.DOUBTED)
    heard = plant.heard()
    peers = [name for name in plant.nodes if name != node.name and name in heard]
    if silent < plant.verdict_after or not peers:
        return RingEvidence(state=RingState.DOUBTED, doubted_at=since + 0.2)
    return RingEvidence(
        state=RingState.UNREACHABLE,
        sentence=f"{len(peers)} of {len(peers)} peers: {', '.join(peers)}",
        voters=tuple(peers),
        single=len(peers) == 1,
        doubted_at=since + 0.2,
        round_at=max(since + 0.4, plant.now - 1.0),
    )
