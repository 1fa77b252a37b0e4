"""One controller replica of a ring story: the real eye (Witness), verdict, election and limits, without their shells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ringfence.controller.evidence import Witness
from ringfence.controller.streams import REDIAL, chosen
from ringfence.core import timing
from ringfence.core.detection.evidence import NEVER
from ringfence.core.detection.verdict import Judgement, judge
from ringfence.core.election import Election, LeaseAction
from ringfence.core.failover import limits
from ringfence.core.gossip.report import AgentView
from ringfence.core.model import Mode, RingState
from ringfence.net.stream import PUSH_EVERY, QUIET
from ringfence.net.views import decode_view, encode_view
from simulator.node import Node
from simulator.verdicts.api import Api
from simulator.world import World

Verify = Callable[[bytes, bytes, bytes], bool]


@dataclass
class _Stream:
    """A verdict stream from one agent's process."""

    process: int
    version: int = -1
    pushed_at: float = NEVER
    heard_at: float = NEVER


class Controller:
    """The replica on ``home``. `turn` once a tick while it runs."""

    def __init__(self, home: Node, world: World, api: Api, verify: Verify, zones: Mapping[str, str]) -> None:
        self.home = home
        self.name = home.name
        self.forged: dict[str, Callable[[AgentView], AgentView]] = {}
        """Agents whose process is somebody else's, and what he makes of its views."""
        self._world = world
        self._api = api
        self._verify = verify
        self._zones = zones
        self.restart()

    def restart(self) -> None:
        """A new process: it knows nothing but what is stored."""
        self._boot = self.home.boot
        self.started_at = self._world.now
        self.witness = Witness(self._verify)
        self.election = Election(self.name)
        self.paused_until = NEVER
        self.judgements: dict[str, Judgement] = {}
        self._streams: dict[str, _Stream] = {}
        self._failed_at: dict[str, float] = {}
        self._dialled_at = NEVER
        self._asked_at: dict[str, float] = {}
        self._contact_at = self._world.now
        self._saw_majority = False

    # --- what it sees ----------------------------------------------------------------------------------

    @property
    def runs(self) -> bool:
        return self.home.kernel and not self.home.suspended and self._world.now >= self.paused_until

    def pause(self, seconds: float) -> None:
        """SIGSTOP. Its streams have been quiet for too long when it goes on, so it dials anew."""
        self.paused_until = self._world.now + seconds
        if seconds > QUIET:
            self._streams.clear()

    def turn(self) -> None:
        now = self._world.now
        if self.home.boot != self._boot:
            self.restart()
        if self._api.reached_by(self.home):
            self._read_api(now)
        self._read_agents(now)
        for node in tuple(self.witness.nodes()):
            evidence = self.witness.evidence(node, now, device_proved=True)
            assert evidence is not None
            self.judgements[node] = judge(evidence, now)
            self.witness.down(node, self.judgements[node].may_be_fenced, now)
            if evidence.ring.state is RingState.UNREACHABLE:
                self._ask(node, now)
            if evidence.ring.single and not evidence.own_probe_silent:
                self.witness.probe_seen(node, self.reaches(self._world.by_name[node]), now)
        for gone in self.judgements.keys() - set(self.witness.nodes()):
            del self.judgements[gone]
        self._elect(now)

    def _read_api(self, now: float) -> None:
        self._contact_at = now
        self.witness.roster = self._api.roster
        for name in set(self.witness.nodes()) - self._api.nodes.keys():
            self.witness.forget(name)
        for name, node in self._api.nodes.items():
            self.witness.boot_seen(name, node.uid, node.boot_id)
            self.witness.ready_seen(name, node.ready(now))
            self.witness.renewal_seen(name, "kubelet_lease", str(node.kubelet_renewals), now, now)
            self.witness.renewal_seen(name, "agent_lease", str(node.agent_renewals), now, now)
            if node.reported:
                self.witness.agent_seen(name)

    def _read_agents(self, now: float) -> None:
        if self.witness.roster is None:
            return
        if now - self._dialled_at >= REDIAL:
            self._dialled_at = now
            wanted = chosen(self.witness.roster, self.name, self.name, self._failed_at, now)
            for name in self._streams.keys() - {m.name for m in wanted}:
                del self._streams[name]
            for member in wanted:
                if member.name not in self._streams:
                    self._dial(member.name, now)
        for name, stream in tuple(self._streams.items()):
            self._follow(self._world.by_name[name], stream, now)

    def reaches(self, node: Node) -> bool:
        """Whether packets pass both ways between it and that node's kernel."""
        if not node.kernel or node.suspended:
            return False
        return node is self.home or not self._world.links.cut_since(
            self.home.index, node.index, self._world.now
        )

    @property
    def read(self) -> tuple[str, ...]:
        """The agents whose streams it reads."""
        return tuple(self._streams)

    def _dial(self, name: str, now: float) -> None:
        node = self._world.by_name[name]
        if node.listens and self.reaches(node):
            self._failed_at.pop(name, None)
            self._streams[name] = _Stream(node.process, heard_at=now)
        else:
            self._failed_at[name] = now

    def _follow(self, node: Node, stream: _Stream, now: float) -> None:
        hung_up = node.process != stream.process and self.reaches(node)
        if hung_up or now - stream.heard_at > QUIET:
            del self._streams[node.name]
            self._failed_at[node.name] = now
            return
        swim = node.swim
        if swim is None or node.frozen or node.process != stream.process or not self.reaches(node):
            return
        if swim.version != stream.version or now - stream.pushed_at >= PUSH_EVERY:
            stream.version, stream.pushed_at, stream.heard_at = swim.version, now, now
            view = swim.view(node.clock(now))
            if node.name in self.forged:
                view = self.forged[node.name](view)
            self.witness.view_seen(decode_view(encode_view(view)), now)

    def _ask(self, name: str, now: float) -> None:
        """As `controller/questions.py`: its agent's own word."""
        if now - self._asked_at.get(name, NEVER) >= timing.LOOK_EVERY:
            self._asked_at[name] = now
            node = self._world.by_name[name]
            if node.swim is not None and node.listens and self.reaches(node):
                self.witness.answered(node.swim.view(node.clock(now)), now)

    # --- whether it may act ----------------------------------------------------------------------------

    @property
    def leads(self) -> bool:
        return self.election.leads(self._world.now)

    def _elect(self, now: float) -> None:
        if not self._api.reached_by(self.home):
            return
        self.election = self.election.observe(self._api.lease, now).able(self._sees_majority(now), now)
        action = self.election.action(now)
        if action is LeaseAction.NOTHING:
            return
        self.election = self.election.tried(now)
        holder = "" if action is LeaseAction.GIVE_WAY else self.name
        written = self._api.write_lease(self._api.lease, holder)
        assert written is not None
        if action is LeaseAction.GIVE_WAY:
            self.election = self.election.gives_way()
        else:
            self.election = self.election.succeeded(written, now, now)

    def _sees_majority(self, now: float) -> bool:
        electorate = self._electorate("")
        majority = limits.sees_half(self.witness.alive(now), electorate) or self.witness.calm(now)
        self._saw_majority |= majority
        return majority or not (self._saw_majority or self.witness.fresh_views(now))

    def _proved(self) -> frozenset[str]:
        return frozenset(n for n, incident in self._api.incidents.items() if incident.proved)

    def _electorate(self, node: str) -> frozenset[str]:
        assert self.witness.roster is not None
        return frozenset(m.name for m in self.witness.roster.members) - (self._proved() - {node})

    def situation(self, node: str) -> limits.Situation:
        """As `controller/loop.py` puts it together."""
        now = self._world.now
        incidents, proved = self._api.incidents, self._proved()
        zone = self._zones[node]
        members = frozenset(name for name, of in self._zones.items() if of == zone)
        since = self.witness.down(node, self.judgements[node].may_be_fenced, now)
        down = {n for n, j in self.judgements.items() if j.may_be_fenced and n not in proved}
        return limits.Situation(
            node=node,
            mode=Mode.ACTIVE,
            zone=zone,
            zone_trouble=None,
            protected_vms=1,
            alive=self.witness.alive(now),
            electorate=self._electorate(node),
            zone_size=len(members),
            storm_fraction=0.4,
            down_in_zone=frozenset((down | incidents.keys()) & members),
            in_flight_elsewhere=frozenset(n for n in incidents if n not in proved and n != node),
            fencing=frozenset(n for n, i in incidents.items() if i.ordered_by and not i.proved),
            proved=proved,
            leader_node=self.name,
            power_devices=True,
            settled_for=now - self.started_at,
            cache_age=now - self._contact_at,
            writable=self.leads or not self.election.holder,
            down_for=now - since if since > NEVER else 0.0,
            zone_members=members,
            refuge=self.witness.alive(now) - members,
        )

    def why_not(self, node: str) -> str | None:
        """Why it may not have this node fenced, now that its hold is over; None: it may."""
        if not self._api.reached_by(self.home):
            return "it doesn't reach the API server"
        if not self.leads:
            return f"{self._api.lease.holder or 'nobody'} leads"
        return limits.limitation(self.situation(node))
