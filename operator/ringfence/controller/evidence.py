"""What this replica has seen of every node, on its own clock: the agents' views and the signs of life.

Times inside messages and objects are never believed. A view's ages are turned into instants when it arrives; a Lease
or a heartbeat counts from the moment its change was *seen*; what stood there when the watch began is no change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ringfence.core import timing
from ringfence.core.detection.evidence import (
    NEVER,
    DeadNetwork,
    Evidence,
    Life,
    NetworkRole,
    Ready,
    RingEvidence,
    SlotEvidence,
)
from ringfence.core.detection.heartbeats import Heartbeats
from ringfence.core.fencing.slotreport import SlotReport
from ringfence.core.gossip.corroboration import Tally, tally
from ringfence.core.gossip.members import Roster
from ringfence.core.gossip.networks import FRESH as LOOK_FRESH
from ringfence.core.gossip.networks import NetworkTally, tally_networks
from ringfence.core.gossip.report import AgentView, SubjectView
from ringfence.core.gossip.rings import is_small
from ringfence.core.model import MANAGEMENT, Boot, RingState, SignedVote

Verify = Callable[[bytes, bytes, bytes], bool]


@dataclass(frozen=True, slots=True)
class _Seen:
    """One reporter's word about one subject, with instants instead of ages."""

    reporter: str
    view: SubjectView
    received_at: float
    late: float = 0.0
    """So long it waited on its way. Accusations are older by that; of signs of life nobody wants to know it."""

    @property
    def two_way_at(self) -> float:
        return NEVER if self.view.two_way_age is None else self.received_at - self.view.two_way_age

    @property
    def kernel_at(self) -> float:
        return NEVER if self.view.kernel_age is None else self.received_at - self.view.kernel_age

    @property
    def round_at(self) -> float:
        """By the reporter's word alone."""
        return NEVER if self.view.round_age is None else self.received_at - self.late - self.view.round_age

    @property
    def look_at(self) -> float:
        return NEVER if self.view.look_age is None else self.received_at - self.late - self.view.look_age

    def answered_at(self, network: str) -> float:
        """When the subject last answered the reporter on this network."""
        if network == MANAGEMENT:
            return self.two_way_at
        ages = (one.two_way_age for one in self.view.networks if one.network == network)
        age = next((age for age in ages if age is not None), None)
        return NEVER if age is None else self.received_at - age

    @property
    def state_at(self) -> float:
        return self.received_at - self.late - self.view.state_age


@dataclass(slots=True)
class _Node:
    """All that is remembered of one node."""

    boot: Boot
    boots: list[str] = field(default_factory=list)
    """Every boot id seen, oldest first; bounded."""
    life: Life = field(default_factory=Life)
    leases: dict[str, str] = field(default_factory=dict)
    silent_since: dict[str, float] = field(default_factory=dict)
    """When each of these was last seen to change, or first seen."""
    ready: Ready = Ready.MISSING
    has_agent: bool = False
    ill_at: float = NEVER
    """When an agent last said anything worse of it than nothing."""
    doubted_at: float = NEVER
    agent_down_at: float = NEVER
    down_since: float = NEVER
    down_at: float = NEVER
    """When it was last found that it may be fenced."""
    probe_silent_at: float = NEVER

    @property
    def past(self) -> frozenset[str]:
        """Boots that are over."""
        return frozenset(self.boots) - {self.boot.boot_id}


class Witness:
    """The evidence of one replica."""

    def __init__(self, verify: Verify) -> None:
        self._verify = verify
        self._nodes: dict[str, _Node] = {}
        self._gone: dict[str, _Node] = {}
        """Nodes whose objects were deleted: their machines may run on, and a proof about them may be false."""
        self._views: dict[str, tuple[AgentView, float, float]] = {}
        self._said: dict[str, dict[str, tuple[SubjectView, ...]]] = {}
        """By reporter: what its last view says of each node."""
        self._tallies: dict[tuple[str, str], tuple[tuple[SignedVote, ...], Tally]] = {}
        """The last count of each reporter's votes about each node."""
        self._rounds: dict[bytes, float] = {}
        """When each round was first heard of here, oldest first."""
        self._hearing_since = NEVER
        """Since when agents have spoken to us without a break."""
        self._network_tallies: dict[str, tuple[tuple[SignedVote, ...], tuple[NetworkTally, ...]]] = {}
        self.roster: Roster | None = None
        self.heartbeats = Heartbeats()

    # --- taking in -------------------------------------------------------------------------------------

    def boot_seen(self, node: str, uid: str, boot_id: str, now: float = NEVER) -> None:
        """A Node object or a NodeReport names a boot; an id never seen before is the later boot.

        That it is told of is a sign of life: a device that was read as off before says nothing of it.
        """
        if not boot_id:
            return
        known = self._nodes.get(node)
        if known is None or known.boot.node_uid != uid:
            if known is not None:
                self.heartbeats.forget(known.boot.node_uid)
            gone = self._gone.pop(node, known)
            self._nodes[node] = known = _Node(Boot(node, uid, boot_id), [boot_id])
            # The same machine, under another Node object.
            if gone is not None and gone.boot.boot_id == boot_id:
                known.life, known.leases = gone.life, gone.leases
            elif gone is not None:
                known.life = Life(boot=now)
            return
        if boot_id not in known.boots:
            known.boots = [*known.boots, boot_id][-16:]
            known.boot = Boot(node, uid, boot_id)
            known.life = Life(boot=now)
            self.heartbeats.forget(uid)
            known.doubted_at = known.down_since = known.down_at = known.ill_at = NEVER

    def forget(self, node: str) -> None:
        """The Node object is gone."""
        known = self._nodes.pop(node, None)
        if known is not None:
            self.heartbeats.forget(known.boot.node_uid)
            self._gone[node] = known
            while len(self._gone) > _GONE_KEPT:
                del self._gone[next(iter(self._gone))]

    def ready_seen(self, node: str, ready: Ready) -> None:
        if (known := self._nodes.get(node)) is not None:
            known.ready = ready

    def agent_seen(self, node: str) -> None:
        if (known := self._nodes.get(node)) is not None:
            known.has_agent = True

    def renewal_seen(self, node: str, source: str, version: str, now: float, after: float) -> None:
        """A Lease's renew time or virt-handler's heartbeat, as it stands; only a *change* is a sign of life.

        Args:
            source: ``kubelet_lease``, ``agent_lease`` or ``heartbeat``: a field of :class:`Life`.
            version: what changes with each renewal.
            after: it has changed since this instant; *now* it was seen, which may be later by a cut.
        """
        # A kubelet renews its Lease without a Node, too.
        known = self._nodes.get(node) or self._gone.get(node)
        if known is None or not version:
            return
        before = known.leases.get(source)
        known.leases[source] = version
        if before != version:
            known.silent_since[source] = now
        if before is not None and before != version:
            renewed_after = max(known.life.renewed_after, after)
            known.life = replace(known.life, **{source: now}, renewed_after=renewed_after)

    def view_seen(self, view: AgentView, now: float, late: float = 0.0) -> bool:
        """An agent's view arrived, so many seconds later than it might have. True if it says something else than the one before;
        ages grow by themselves.
        """
        before = self._views.get(view.reporter.node)
        if not self.fresh_views(now):
            self._hearing_since = now
        self._views[view.reporter.node] = (view, now, late)
        self._said[view.reporter.node] = _by_node(view)
        for subject in view.subjects:
            known = self._nodes.get(subject.subject.node)
            if known is None or known.boot.node_uid != subject.subject.node_uid:
                continue
            if subject.state not in _NO_ILL:
                known.ill_at = now
            for round_id in {vote.round_id for vote in (*subject.votes, *subject.look_votes)}:
                self._rounds.setdefault(round_id, now - late)
            seen = _Seen(view.reporter.node, subject, now)
            packet = NEVER if subject.heard_age is None else now - subject.heard_age
            packet = max(packet, seen.two_way_at)
            if subject.subject.boot_id == known.boot.boot_id:
                known.life = known.life.heard(packet)
            if seen.kernel_at > known.life.kernel:
                known.life = replace(known.life, kernel=seen.kernel_at)
        while len(self._rounds) > _ROUNDS_KEPT:
            del self._rounds[next(iter(self._rounds))]
        # A reporter is alive by its own stream: that is a packet of its boot, authenticated.
        self._own_word(view, now)
        return before is None or before[0].content != view.content

    def _own_word(self, view: AgentView, now: float) -> None:
        known = self._nodes.get(view.reporter.node)
        if known is not None and known.boot == view.reporter and view.healthy:
            known.life = known.life.heard(now)

    def answered(self, view: AgentView, now: float) -> None:
        """The agent of a node that others call unreachable has answered this controller: that boot lives.

        Of others its view says nothing here: it isn't one of the agents that are followed.
        """
        known = self._nodes.get(view.reporter.node)
        if known is not None and known.boot == view.reporter:
            known.life = known.life.heard(now)

    def probe_seen(self, node: str, answered: bool, now: float) -> None:
        """The controller's own kernel probe."""
        known = self._nodes.get(node)
        if known is None:
            return
        if answered:
            known.life = replace(known.life, kernel=now)
        else:
            known.probe_silent_at = now

    def slots_seen(self, report: SlotReport, now: float) -> None:
        """A heartbeat process has said what it sees on the heartbeat volume."""
        # The volume isn't sealed: of nodes that are invented there nothing is remembered.
        ours = {known.boot.node_uid for known in self._nodes.values()}
        report = replace(report, rows=tuple(row for row in report.rows if row.boot.node_uid in ours))
        self.heartbeats.take(report, now)
        uids = {row.boot.node_uid for row in report.rows}
        for known in self._nodes.values():
            if known.boot.node_uid in uids:
                moved_at = self.heartbeats.moved_at(known.boot, known.past)
                if moved_at != known.life.slot:
                    known.life = replace(known.life, slot=moved_at)

    # --- giving out ------------------------------------------------------------------------------------

    def boot(self, node: str) -> Boot | None:
        known = self._nodes.get(node)
        return known.boot if known else None

    def boots(self, node: str) -> tuple[str, ...]:
        """Every boot id seen of the node, oldest first."""
        known = self._nodes.get(node)
        return tuple(known.boots) if known else ()

    def nodes(self) -> Iterable[str]:
        return tuple(self._nodes)

    def fresh_views(self, now: float) -> tuple[AgentView, ...]:
        return tuple(view for view, at, _ in self._views.values() if now - at <= timing.VIEW_FRESH)

    def views(self, now: float) -> tuple[tuple[AgentView, float], ...]:
        """The fresh views, and how long ago each came (seconds): its ages are older by so much."""
        return tuple(
            (view, now - at) for view, at, _ in self._views.values() if now - at <= timing.VIEW_FRESH
        )

    def alive(self, now: float) -> frozenset[str]:
        """Own side: what the fresh streams of agents report alive."""
        return frozenset().union(*(view.alive | {view.reporter.node} for view in self.fresh_views(now)))

    def calm(self, now: float) -> bool:
        """Whether an agent of a ring too large to watch as a whole is well, in reach of most, and doubts nobody."""
        return (
            self.roster is not None
            and not is_small(self.roster)
            and any(
                view.healthy and not any(one.state in _DOUBTING for one in view.subjects)
                for view in self.fresh_views(now)
            )
        )

    def called_unreachable(self, now: float) -> frozenset[str]:
        """Nodes that as many agents call unreachable as a verdict takes, rightly or not: nobody need wait for an answer of theirs."""
        said = Counter(
            one.subject.node
            for view in self.fresh_views(now)
            for one in view.subjects
            if one.state is RingState.UNREACHABLE
        )
        return frozenset(node for node, agents in said.items() if agents >= REPORTERS)

    def life(self, node: str) -> Life:
        known = self._nodes.get(node)
        return known.life if known else Life()

    def life_of(self, boot: Boot) -> Life:
        """Signs of life of this boot, also of one whose Node object is gone."""
        known = self._nodes.get(boot.node) or self._gone.get(boot.node)
        return known.life if known is not None and known.boot.boot_id == boot.boot_id else Life()

    def evidence(
        self,
        node: str,
        now: float,
        *,
        device_proved: bool,
        roles: Mapping[str, NetworkRole] = MappingProxyType({}),
    ) -> Evidence | None:
        """All about the node's present boot. ``roles`` says what its zone's networks are for."""
        known = self._nodes.get(node)
        if known is None:
            return None
        seen = self._seen(known, now)
        ring = self._ring(known, seen, now)
        if seen and (dead := self._dead_networks(known, seen, now)):
            named = tuple(
                DeadNetwork(one.network, roles.get(one.network, NetworkRole.OTHER), one.sentence)
                for one in dead
            )
            # Nobody calls it alive, and no window need observe it: what is known is that it lives on another network.
            lost = any(one.network == MANAGEMENT for one in dead) and ring.state in _NO_ILL
            ring = replace(ring, dead_networks=named, state=RingState.PARTIAL if lost else ring.state)
        if ring.state in (RingState.ALIVE, RingState.AGENT_DOWN, RingState.LEFT, RingState.UNKNOWN):
            known.doubted_at = NEVER
        elif known.doubted_at == NEVER:
            known.doubted_at = ring.doubted_at
        # A copy is dear, and of a thousand nodes hardly one is doubted.
        if ring.doubted_at != known.doubted_at:
            ring = replace(ring, doubted_at=known.doubted_at)
        if ring.state is not RingState.AGENT_DOWN:
            known.agent_down_at = NEVER
        elif known.agent_down_at == NEVER:
            known.agent_down_at = now
        return Evidence(
            boot=known.boot,
            ring=ring,
            life=known.life,
            kubelet_silent_since=known.silent_since.get("kubelet_lease", NEVER),
            heartbeat_silent_since=known.silent_since.get("heartbeat", NEVER),
            agent_down_at=known.agent_down_at,
            ready=known.ready,
            has_agent=known.has_agent,
            own_probe_silent=known.probe_silent_at > max(ring.doubted_at, known.life.kernel) > NEVER,
            device_proved=device_proved,
            slot=self.heartbeats.of(known.boot, known.past, now),
        )

    def slot(self, node: str, now: float) -> SlotEvidence:
        """What is seen of the slot of the node's present boot."""
        known = self._nodes.get(node)
        return self.heartbeats.of(known.boot, known.past, now) if known else SlotEvidence()

    def told_fenced(self, boot: Boot, now: float) -> bool | None:
        """Whether the heartbeat volume tells this boot that it is fenced; None where nobody can say."""
        return self.heartbeats.told(boot, now)

    def dead_networks(self, node: str, now: float) -> tuple[NetworkTally, ...]:
        """The node's networks that the latest look's votes call dead while another lives, and that nobody saw alive since."""
        known = self._nodes.get(node)
        return () if known is None else self._dead_networks(known, self._seen(known, now), now)

    def _dead_networks(self, known: _Node, seen: list[_Seen], now: float) -> tuple[NetworkTally, ...]:
        # As of a verdict's round: no look is younger than our first word of it.
        began = {
            one.reporter: min(one.look_at, self._rounds.get(one.view.look_votes[0].round_id, NEVER))
            for one in seen
            if one.view.look_votes
        }
        looks = [one for one in seen if now - began.get(one.reporter, NEVER) <= LOOK_FRESH]
        if not looks:
            return ()
        latest = max(looks, key=lambda one: began[one.reporter])
        counted = self._tally_networks(latest.view, known.boot)
        if not any(one.lives for one in counted):
            return ()
        return tuple(
            one
            for one in counted
            if one.dead and not any(other.answered_at(one.network) > began[latest.reporter] for other in seen)
        )

    def down(self, node: str, may_be_fenced: bool, now: float) -> float:
        """Keep the hold's clock: since when the node has been one that may be fenced, without a break."""
        known = self._nodes[node]
        if not may_be_fenced:
            known.down_since = NEVER
        elif known.down_since == NEVER:
            known.down_since = now
        if may_be_fenced:
            known.down_at = now
        return known.down_since

    def down_at(self, node: str) -> float:
        """When it was last found that the node may be fenced."""
        known = self._nodes.get(node)
        return known.down_at if known else NEVER

    def _ring(self, known: _Node, seen: list[_Seen], now: float) -> RingEvidence:
        node = known.boot.node
        reporters = [
            at
            for reporter, (view, at, _) in self._views.items()
            if now - at <= timing.VIEW_FRESH and reporter != node and view.healthy
        ]
        if not reporters:
            return _UNHEARD
        if not seen:  # most nodes of a large ring: those that are read don't observe them, and doubt nobody
            return _ALIVE if self._undoubted(known, now) else _UNHEARD
        doubted_at = min((s.state_at for s in seen if s.view.state in _DOUBTING), default=NEVER)
        accusations = self._accusations(known.boot, seen, now)
        speaking = sum(now - at <= timing.VIEW_SPEAKS for at in reporters)
        if accusations and len(accusations) >= min(REPORTERS, speaking):
            round_at, one, counted = max(accusations, key=lambda accusation: accusation[0])
            contrary = [s for s in seen if max(s.two_way_at, s.kernel_at) >= round_at]
            return RingEvidence(
                state=RingState.PARTIAL if contrary else RingState.UNREACHABLE,
                sentence=counted.sentence,
                voters=tuple(counted.voters),
                votes=one.view.votes,
                vote_at=tuple(one.received_at - age for age in one.view.vote_ages),
                single=counted.single,
                by_second=counted.by_second,
                doubted_at=doubted_at,
                round_at=round_at,
            )
        states = {s.view.state for s in seen}
        for state in (RingState.PARTIAL, RingState.DOUBTED, RingState.UNREACHABLE):
            if state in states:
                found = RingState.DOUBTED if state is RingState.UNREACHABLE else state
                return RingEvidence(state=found, doubted_at=doubted_at)
        for state in (RingState.ALIVE, RingState.AGENT_DOWN, RingState.LEFT):
            if state in states:
                return RingEvidence(state=state)
        return _ALIVE if self._undoubted(known, now) else _UNHEARD

    def _undoubted(self, known: _Node, now: float) -> bool:
        """Whether a member that our agents don't observe has long been accused by nobody: of others they hear no more."""
        large = self.roster is not None and not is_small(self.roster)
        since = max(known.ill_at, self._hearing_since)
        return large and known.has_agent and now - since >= timing.UNDOUBTED

    def _accusations(self, boot: Boot, seen: Iterable[_Seen], now: float) -> list[tuple[float, _Seen, Tally]]:
        """Of each reporter that calls the boot unreachable: when its round began, and its votes, if they suffice.

        The only voter that is left can call nobody unreachable, it goes on doubting; what its one vote is worth beside
        other evidence is the rule table's matter.
        """
        found = []
        for one in seen:
            if one.view.state not in {RingState.UNREACHABLE, RingState.DOUBTED}:
                continue
            counted = self._tally(one, boot)
            if counted is None:
                continue
            alone = counted.single and one.view.state is RingState.DOUBTED
            if not (alone or (counted.unreachable and one.view.state is RingState.UNREACHABLE)):
                continue
            # Votes can be shown again. A round is no younger than our first word of it, whatever its reporter says.
            round_at = min(one.round_at, self._rounds.get(counted.round_id, NEVER))
            if now - round_at <= timing.ROUND_FRESH:
                found.append((round_at, one, counted))
        return found

    def _seen(self, known: _Node, now: float) -> list[_Seen]:
        """What healthy agents have said of it of late."""
        node = known.boot.node
        return [
            _Seen(reporter, subject, at, late)
            for reporter, (view, at, late) in self._views.items()
            for subject in self._said[reporter].get(node, ())
            if now - at <= timing.VIEW_FRESH
            and reporter != node
            and view.healthy
            and subject.subject.node_uid == known.boot.node_uid
        ]

    def _tally_networks(self, view: SubjectView, boot: Boot) -> tuple[NetworkTally, ...]:
        """As `_tally`, for a look's votes."""
        if self.roster is None or view.subject != boot:
            return ()
        cached = self._network_tallies.get(boot.node)
        if cached is None or cached[0] != view.look_votes:
            counted = tally_networks(view.look_votes, self.roster, view.subject, self._verify)
            cached = self._network_tallies[boot.node] = (view.look_votes, counted)
        return cached[1]

    def _tally(self, one: _Seen, boot: Boot) -> Tally | None:
        """Count the votes ourselves, signatures and all; once a round."""
        view = one.view
        if self.roster is None or view.subject != boot or not view.votes:
            return None
        key = one.reporter, boot.node
        cached = self._tallies.get(key)
        if cached is None or cached[0] != view.votes:
            cached = (view.votes, tally(view.votes, self.roster, view.subject, self._verify))
            self._tallies[key] = cached
        return cached[1]


def _by_node(view: AgentView) -> dict[str, tuple[SubjectView, ...]]:
    found: dict[str, tuple[SubjectView, ...]] = {}
    for subject in view.subjects:
        node = subject.subject.node
        found[node] = (*found.get(node, ()), subject)
    return found


_UNHEARD, _ALIVE = RingEvidence(), RingEvidence(state=RingState.ALIVE)
_NO_ILL = (RingState.ALIVE, RingState.UNKNOWN)
_DOUBTING = (RingState.DOUBTED, RingState.PARTIAL, RingState.UNREACHABLE)
REPORTERS = 2
"""Agents that must show the votes of a verdict, where so many speak: one may be a thief who has kept some from before."""
_GONE_KEPT = 64
_ROUNDS_KEPT = 4096
