"""The one page of metrics; docs/metrics.md is its other half, and a test holds them together.

The agent counts in its machine; here its counts get names and units when somebody asks. No label's values grow with time:
peers are those that an agent observes (about the rings' K), reasons and steps are words of the code, and only the
controller has one value a node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ringfence.core.failover.phase import ENDED, Phase

disable_created_metrics()  # type: ignore[no-untyped-call]  # when a counter began: a second series for each, read by nobody
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class PeerSample:
    """One peer that the agent observes."""

    name: str
    state: str
    round_trip: float | None
    loss: float | None = None
    networks: tuple[tuple[str, str], ...] = ()
    """Name and state of each further network on which it is probed."""


@dataclass(frozen=True, slots=True)
class AgentSample:
    """The agent at one moment."""

    counts: Mapping[str, int] = field(default_factory=dict)
    peers: tuple[PeerSample, ...] = ()
    healthy: bool = False
    isolated: bool = False
    lag: float = 0.0
    worst_lag: float = 0.0
    stretch: float = 1.0
    dropped: int = 0
    carrier: bool | None = None
    epoch: int = 0
    members: int = 0
    read: bool = False
    lease_held: bool = False
    key: int = 0


_COUNTED = {
    "probes": "Pings sent.",
    "answered": "Pings answered.",
    "missed": "Pings not answered in time.",
    "doubted": "Peers doubted after a probe, its retry and the relays.",
    "rounds": "Corroboration rounds opened.",
    "appeals": "Rounds opened that ask the second set too, because too few observers were left.",
    "rounds put off": "Rounds not opened, because enough had been said in that second.",
    "looks": "Looks opened: its observers asked what they find on each of a peer's networks.",
    "looks put off": "Looks not opened, because enough had been said of networks, or it was unwell.",
    "look votes": "Votes cast in looks.",
    "votes kept back": "Votes `none` not passed on, because enough had been said in that second.",
    "surveys": "Surveys begun: looks whether most members are in reach.",
    "wide surveys": "Surveys that had to ask a sample of the whole roster.",
    "surveys put off": "Surveys ended without a result, because enough samples had been asked in that second.",
    "strolls": "Probes of members that it doesn't observe.",
    "kernel probes": "Kernel probes sent.",
    "sent": "Datagrams sent.",
    "received": "Datagrams accepted.",
    "late": "Timers that fired more than 0.1 s late.",
    "verdicts": "Peers found unreachable.",
    "rosters pulled": "Rosters taken from a peer.",
    "rosters refused": "Rosters of a peer that the roster key hasn't signed.",
}


class AgentMetrics(Collector):
    """Turns samples of an agent into Prometheus' text."""

    def __init__(
        self,
        sample: Callable[[], AgentSample],
        version: str = "",
        permitted: Mapping[str, bool] | None = None,
    ) -> None:
        self._sample = sample
        self._version = version
        self._permitted = permitted or {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        """The text exposition."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Prometheus' side of it."""
        sample = self._sample()
        for key, text in _COUNTED.items():
            name = f"ringfence_agent_{key.replace(' ', '_')}"
            yield CounterMetricFamily(name, text, value=sample.counts.get(key, 0))
        votes = CounterMetricFamily("ringfence_agent_votes", "Votes cast.", labels=["vote"])
        drops = CounterMetricFamily("ringfence_agent_drops", "Datagrams refused.", labels=["reason"])
        for key, count in sample.counts.items():
            if key.startswith("vote "):
                votes.add_metric([key.removeprefix("vote ")], count)
            elif key.startswith("drop "):
                drops.add_metric([key.removeprefix("drop ")], count)
        yield votes
        yield drops
        yield GaugeMetricFamily(
            "ringfence_agent_healthy", "1: it may accuse, 0: it abstains.", value=sample.healthy
        )
        yield GaugeMetricFamily(
            "ringfence_agent_isolated", "1: it holds itself for cut off.", value=sample.isolated
        )
        yield GaugeMetricFamily(
            "ringfence_agent_lag_seconds", "How late its last timer was.", value=sample.lag
        )
        yield GaugeMetricFamily(
            "ringfence_agent_worst_lag_seconds",
            "The most that a timer was late of late; halves in 20 s.",
            value=sample.worst_lag,
        )
        yield GaugeMetricFamily(
            "ringfence_agent_stretch",
            "How many times longer than usual it waits for an answer.",
            value=sample.stretch,
        )
        yield CounterMetricFamily(
            "ringfence_agent_overflows",
            "Datagrams that its kernel had no room for.",
            value=sample.dropped,
        )
        if sample.carrier is not None:
            yield GaugeMetricFamily(
                "ringfence_agent_carrier", "1: its interface has a link.", value=sample.carrier
            )
        yield GaugeMetricFamily("ringfence_agent_roster_epoch", "Its roster's epoch.", value=sample.epoch)
        yield GaugeMetricFamily(
            "ringfence_agent_roster_members", "Members of its roster.", value=sample.members
        )
        yield GaugeMetricFamily(
            "ringfence_agent_read", "1: a controller reads its verdicts.", value=sample.read
        )
        yield GaugeMetricFamily(
            "ringfence_agent_lease_held", "1: its Lease was renewed.", value=sample.lease_held
        )
        info = GaugeMetricFamily("ringfence_agent_info", "1, by its release.", labels=["version"])
        info.add_metric([self._version], 1)
        yield info
        permitted = GaugeMetricFamily(
            "ringfence_agent_permitted", "1: its host lets it do this.", labels=["what"]
        )
        for what, may in sorted(self._permitted.items()):
            permitted.add_metric([what], may)
        yield permitted
        yield GaugeMetricFamily(
            "ringfence_agent_group_key", "Id of the group key that it seals with.", value=sample.key
        )
        trips = GaugeMetricFamily(
            "ringfence_agent_rtt_seconds", "Mean round trip to a peer.", labels=["peer"]
        )
        states = GaugeMetricFamily(
            "ringfence_agent_peer_state", "1: the peer's state.", labels=["peer", "state"]
        )
        losses = GaugeMetricFamily(
            "ringfence_agent_loss_ratio",
            "Share of probes that a peer has not answered in time, of about the last minute.",
            labels=["peer"],
        )
        networks = GaugeMetricFamily(
            "ringfence_agent_network_state",
            "1: the state of a further network of the peer.",
            labels=["peer", "network", "state"],
        )
        for peer in sample.peers:
            states.add_metric([peer.name, peer.state], 1)
            for network, state in peer.networks:
                networks.add_metric([peer.name, network, state], 1)
            if peer.round_trip is not None:
                trips.add_metric([peer.name], peer.round_trip)
            if peer.loss is not None:
                losses.add_metric([peer.name], peer.loss)
        yield states
        yield trips
        yield losses
        yield networks


class ControllerMetrics:
    """The controller's metrics; one object a process."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._leader = Gauge("ringfence_leader", "1: this replica leads.", registry=registry)
        self._slot_streams = Gauge(
            "ringfence_slot_streams", "Open streams from heartbeat processes.", registry=registry
        )
        self._slots = Gauge(
            "ringfence_slots", "Nodes by what is seen of their storage slot.", ["state"], registry=registry
        )
        self._streams = Gauge(
            "ringfence_agent_streams", "Open verdict streams from agents.", registry=registry
        )
        self._verdicts = Gauge(
            "ringfence_node_verdict", "1: the node's verdict.", ["node", "verdict"], registry=registry
        )
        self._changes = Counter(
            "ringfence_verdict_changes", "Changes to this verdict.", ["verdict"], registry=registry
        )
        self._failovers = Counter(
            "ringfence_failovers", "Failovers that entered this phase.", ["phase"], registry=registry
        )
        # From nought on: of a series that begins at 1, nobody sees that it has grown.
        for phase in Phase:
            self._failovers.labels(phase)
        self._open = Gauge(
            "ringfence_open_failovers", "Failovers that are in this phase now.", ["phase"], registry=registry
        )
        self._unread = Gauge(
            "ringfence_unread_failovers",
            "Open failovers that this controller can't read.",
            registry=registry,
        )
        self._dissents = Gauge(
            "ringfence_verdicts_differing",
            "Nodes of which this controller has found something else than the one that leads, for half a minute.",
            registry=registry,
        )
        self._durations = Histogram(
            "ringfence_failover_step_seconds",
            "Seconds from the first doubt to this step.",
            ["step"],
            buckets=(0.25, 0.5, 1, 2, 3, 4, 5, 7.5, 10, 15, 30, 60, 300),
            registry=registry,
        )
        self._refused = Counter(
            "ringfence_writes_refused", "Writes that the API server has turned down.", registry=registry
        )
        self._waiting = Gauge(
            "ringfence_writes_waiting",
            "Writes that the API server turns down now, each tried again.",
            registry=registry,
        )
        self._protected = Gauge("ringfence_protected_vms", "VMs that are protected now.", registry=registry)
        self._declared = Gauge("ringfence_declared_vms", "VMs that shall be protected.", registry=registry)
        self._epoch = Gauge("ringfence_roster_epoch", "The roster's epoch.", registry=registry)
        self._members = Gauge("ringfence_roster_members", "Members of the roster.", registry=registry)
        self._alive = Gauge(
            "ringfence_members_alive",
            "Members that the followed agents have heard of late.",
            registry=registry,
        )

        self._generation = Gauge(
            "ringfence_group_key_generation", "How often the group key was changed.", registry=registry
        )
        self._waits = Gauge(
            "ringfence_group_key_waits", "Agents that a change of the group key waits for.", registry=registry
        )
        self._distrusting = Gauge(
            "ringfence_roster_distrusting_agents",
            "Agents that go by another roster key than the one that signs rosters now, and refuse them.",
            registry=registry,
        )

        self._proved = Gauge(
            "ringfence_fence_device_proved_timestamp_seconds",
            "When this replica last proved the device usable for the node; 0: never.",
            ["device", "node"],
            registry=registry,
        )
        self._drilled = Gauge(
            "ringfence_fence_device_drilled_timestamp_seconds",
            "When the device last passed an off/on drill with the node.",
            ["device", "node"],
            registry=registry,
        )

    def devices(
        self, proved: Mapping[tuple[str, str], float], drilled: Mapping[tuple[str, str], float]
    ) -> None:
        """When each (device, node) was last proved usable and drilled, in seconds since the epoch."""
        for gauge, walls in ((self._proved, proved), (self._drilled, drilled)):
            gauge.clear()
            for (device, node), wall in walls.items():
                gauge.labels(device, node).set(wall)

    def keys(self, generation: int, waits: int) -> None:
        self._generation.set(generation)
        self._waits.set(waits)

    def distrust(self, agents: int) -> None:
        """So many agents refuse the leader's rosters."""
        self._distrusting.set(agents)

    def leader(self, leads: bool) -> None:
        self._leader.set(leads)

    def streams(self, number: int) -> None:
        self._streams.set(number)

    def ring(self, epoch: int, members: int, alive: int) -> None:
        """The ring as this replica hears it: its roster, and how many of it are on its own side."""
        self._epoch.set(epoch)
        self._members.set(members)
        self._alive.set(alive)

    def slot_streams(self, number: int) -> None:
        self._slot_streams.set(number)

    def slots(self, counts: Mapping[str, int]) -> None:
        """Nodes by what is seen of their storage slot."""
        for state, number in counts.items():
            self._slots.labels(state).set(number)

    def verdict(self, node: str, before: str | None, after: str) -> None:
        """A node's verdict has changed; ``before`` is None for the first."""
        if before is not None:
            self._verdicts.remove(node, before)
        self._verdicts.labels(node, after).set(1)
        self._changes.labels(after).inc()

    def node_gone(self, node: str, verdict: str) -> None:
        self._verdicts.remove(node, verdict)

    def phase(self, phase: str) -> None:
        """A failover has entered a phase."""
        self._failovers.labels(phase).inc()

    def open_failovers(self, counts: Mapping[str, int]) -> None:
        """How many failovers are in each phase now; those that have ended are not told of."""
        for phase in Phase:
            if phase not in ENDED:
                self._open.labels(phase).set(counts.get(phase, 0))

    def unread_failovers(self, number: int) -> None:
        """So many open failovers can't be read: their nodes are left alone."""
        self._unread.set(number)

    def verdicts_differing(self, number: int) -> None:
        """Of so many nodes this replica and the leader have found something else for long."""
        self._dissents.set(number)

    def step(self, step: str, seconds: float) -> None:
        """A step of a failover was reached, so long after the first doubt."""
        self._durations.labels(step).observe(seconds)

    def write_refused(self) -> None:
        """The API server has turned down a write."""
        self._refused.inc()

    def writes_waiting(self, number: int) -> None:
        """So many writes wait to be tried again."""
        self._waiting.set(number)

    def vms(self, protected: int, declared: int) -> None:
        self._protected.set(protected)
        self._declared.set(declared)

    def render(self) -> bytes:
        """The text exposition."""
        return generate_latest(self._registry)
