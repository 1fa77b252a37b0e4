"""What must never happen in the ring, whatever a script does: GOSSIP §10, as far as it is the ring's matter.

The watch judges by what is true in the world (who lives, which path has carried what since when), never by what a
machine believes. Where a guarantee holds only under conditions, the conditions stand here beside it, in seconds and
losses. "Clean" is a path that has lost nothing and held nothing up for more than 10 ms.

A *verdict* is what a controller would see: an agent's view whose votes `corroboration.tally` calls unreachable under
the newest roster. It is judged at the first instant at which any agent shows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ringfence.core.gossip.corroboration import H, Tally, tally
from ringfence.core.gossip.events import StateChanged
from ringfence.core.gossip.members import Roster
from ringfence.core.gossip.networks import Look, tally_networks
from ringfence.core.gossip.rings import Rings, is_small
from ringfence.core.gossip.rounds import Round
from ringfence.core.gossip.subject import Subject
from ringfence.core.gossip.survey import FRESH, SAMPLE
from ringfence.core.model import MANAGEMENT, Boot, NetworkState, RingState, Vote
from simulator.links import LOSSY
from simulator.node import Node
from simulator.world import World, boot_id

LATEST_VOTE = 0.15
"""An exchange so late before the verdict need not have reached its counters: copies leave until 100 ms after."""
KNOWN_CLEAN, KNOWN_LOSSY = 2.0, 4.0
"""Crash to verdict, seconds: on clean paths, and with up to a fifth of all packets lost."""
STEADY = 10.0
"""So many seconds after a trouble of its own an agent's time-outs, which follow the round trips, are short again."""
ALIVE_AGAIN = 2.7
"""A boot is alive for all who observe it within two periods and the time-outs of one probe."""
WITHDRAWN = 1.5
"""A verdict is gone everywhere: 1 s, and half a second to be told."""
MOST_PACKETS, MOST_BYTES = 600, 60_000
"""What a node may send in a second whatever happens. The worst is a second in which a cut through the middle begins or ends,
when every observer loses half of whom it watches: 53 KB in some 800 seeds, 57 KB in the one (854) whose cut lasts for
0.96 s, so that one second holds both; 35 times of a quiet second (1,500 bytes
with all that may come to it), where a tenth of the nodes dying at once is ten at the most (`simulator tenth`). GOSSIP §10
asks for ten."""
FURTHER_SHARE = 0.35
"""What each further network may add to that: a quarter for its probes, a tenth for its column in every vote."""
LOOK_PACKETS, LOOK_BYTES = 100, 20_000
"""What the looks of those who have further networks may add: their budget's burst and a second's leak, 200 bytes a vote."""
SAMPLED_SIDE = 0.45
"""The share of the roster below which five voters' samples don't all take their side for a majority by chance."""
ENOUGH_LOSSY = 4
"""So many observers on lossy paths are as good as one on a clean path: all would have to fail at once."""


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant was seen broken. ``number`` is GOSSIP §10's; 14, which it doesn't have: no network that carries
    packets is called dead.
    """

    number: int
    at: float
    sentence: str

    def __str__(self) -> str:
        return f"invariant {self.number} broken at {self.at:.3f}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The first sight of one round's verdict."""

    at: float
    by: str
    subject: Boot
    voters: tuple[str, ...]


_LIVES = frozenset({Vote.ALIVE, Vote.AGENT_DOWN})


class Storm(Exception):
    """The machines call each other without end; the play is over."""


_STORM = 2000
"""Events a node and second: ten times what the most packets make."""


class Watch:
    """Looks at everything that happens in one world and keeps what it must not have seen."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.broken: list[Broken] = []
        self.verdicts: list[Verdict] = []
        self._known: dict[Boot, float] = {}
        """When a boot was last newly called unreachable."""
        self._counted: set[bytes] = set()
        self._looked: set[bytes] = set()
        """Looks that have been judged."""
        self._heard: dict[int, float] = {}
        """When a node last heard another one: by `_pair`."""
        self._open: list[dict[str, Subject]] = [{} for _ in world.nodes]
        """By node, of whom it shows a round that is no verdict, and could become one."""
        self._nones = [0] * len(world.nodes)
        self._processes = [0] * len(world.nodes)
        self._newest: dict[tuple[int, int, str], int] = {}
        self._taken_back: dict[tuple[int, int, Boot], float] = {}
        """When a process last took back its verdict about a boot because somebody had reached it."""
        self._numbers: dict[str, int] = {}
        self._sent = [(0, 0)] * len(world.nodes)
        self._rings: tuple[Roster, Rings] | None = None
        self._most_events = 0
        self._everybody = frozenset(range(len(world.nodes)))
        world.witness = self
        for node in world.nodes:
            self.started(node)
        self._count_load(None)

    def rings(self) -> Rings:
        """Of the newest roster."""
        if self._rings is None or self._rings[0] is not self._world.roster:
            self._rings = (self._world.roster, Rings(self._world.roster))
        return self._rings[1]

    # -- what the world tells -----------------------------------------------------------------------------------

    def heard(self, node: Node, source: int) -> None:
        """Invariant 1 asks who has exchanged packets."""
        self._heard[self._pair(node.index, source)] = self._world.now

    def worked(self, node: Node) -> None:
        """Invariant 4: who is late itself, or cut off, says ``none`` of nobody."""
        assert node.swim is not None
        if self._world.events > self._most_events:
            self._break(9, f"more than {_STORM} events a node and second")
            raise Storm
        nones = node.swim.stats["vote none"]
        index = node.index
        if self._processes[index] != node.process:
            self._processes[index], self._nones[index] = node.process, 0
        if nones == self._nones[index]:
            return
        self._nones[index] = nones
        if self._world.now < node.late_until:
            self._break(4, f"{node.name} voted none though its timers had just been late")
        if node.swim.awareness.isolated:
            self._break(4, f"{node.name} voted none though it held itself for cut off")

    def state_changed(self, node: Node, event: StateChanged) -> None:
        """Invariants 6 and 7."""
        world, boot = self._world, event.subject
        number = self._number(boot)
        key = (node.index, node.process, boot.node)
        newest = self._newest.get(key, -1)
        if event.old is RingState.UNREACHABLE and event.new is not RingState.UNREACHABLE:
            self._check_kept(node, event)
        self._check_taken_back(node, event)
        if number < newest:
            self._break(6, f"{node.name} went back from boot {newest} of {boot.node} to boot {number}")
        self._newest[key] = max(newest, number)
        if event.new is RingState.ALIVE and any(known.node == boot.node for known in self._known):
            world.later(WITHDRAWN, self._check_withdrawn, (world.by_name[boot.node], world.now))

    def changed(self, node: Node) -> None:
        """A view has changed: is there a verdict in it that nobody has shown yet?"""
        assert node.swim is not None
        shows = self._open[node.index]
        if shows:
            # Late votes are still added to a round that is shown, so it stays here as long as they could make it a verdict.
            for uid, subject in list(shows.items()):
                shown = subject.shown if node.swim.known(uid) is subject else None
                if shown is not None and shown.round_id not in self._counted and _promising(shown):
                    self._count(node, subject, shown)
                if shown is None or shown.round_id in self._counted or _refuted(shown):
                    del shows[uid]
        if self._world.networks:
            for subject in node.swim.subjects:
                look = subject.reach.shown
                if look is not None and look.round_id not in self._looked:
                    self._check_network(node, subject, look)

    def started(self, node: Node) -> None:
        """Its machine tells when its view shows another round: who knows thousands need not be asked about each of them."""
        swim = node.swim
        if swim is None:
            return
        shows = self._open[node.index] = {}

        def shown(uid: str) -> None:
            if (subject := swim.known(uid)) is not None:
                shows[uid] = subject

        swim.follow(shown)

    def crashed(self, node: Node) -> None:
        """Invariant 3 begins to wait."""
        world = self._world
        if world.now - node.calm_since >= KNOWN_CLEAN and self._seen_by_all(node):
            for bound in (KNOWN_CLEAN, KNOWN_LOSSY):
                world.later(bound, self._check_known, (node, node.boot, world.now, bound))

    def booted(self, node: Node) -> None:
        """Invariant 6, its second half, begins to wait."""
        if node.disk is not None:
            self._world.later(ALIVE_AGAIN, self._check_alive, (node, node.boot, self._world.now))

    # -- group keys: invariant 12 ---------------------------------------------------------------------------------

    def unopened(self, node: Node, source: Node) -> None:
        """In a change of keys everybody that is waited for opens what everybody that is waited for seals."""
        if not {node.name, source.name} & self._world.behind:
            self._break(
                12, f"{node.name} ({node.keys}) doesn't open what it heard of {source.name} ({source.keys})"
            )

    def opened(self, node: Node) -> None:
        """A removed key opens nothing."""
        self._break(12, f"{node.name} took in what was sealed with a key that it has removed")

    def _check_taken_back(self, node: Node, event: StateChanged) -> None:
        """Invariant 7: who has taken back a verdict doesn't come back to it by a round that had begun before."""
        assert node.swim is not None
        key = (node.index, node.process, event.subject)
        if event.old is RingState.UNREACHABLE and event.new in {RingState.ALIVE, RingState.PARTIAL}:
            self._taken_back[key] = self._world.now
        elif event.new is RingState.UNREACHABLE and key in self._taken_back:
            known = node.swim.known(event.subject.node_uid)
            shown = known.shown if known is not None else None
            ago = self._world.now - self._taken_back[key]
            if shown is not None and node.clock(self._world.now) - shown.started > ago + 1e-9:
                self._break(
                    7,
                    f"{node.name} took back its verdict about {event.subject} and came back to it {ago:.3f} s later",
                )

    def _check_kept(self, node: Node, event: StateChanged) -> None:
        """No verdict about a dead node is lost in a change of keys: as long as all its observers are well, somebody shows it."""
        world, boot = self._world, event.subject
        dead = world.by_name[boot.node]
        if dead.kernel or not world.group.generation:
            return
        since = world.now - 4.0
        judges = [world.by_uid[member.uid] for member in self.rings().observers(dead.uid)]
        if any(one.listens and self._state(one, dead) is RingState.UNREACHABLE for one in world.nodes):
            return
        if all(
            one.listens and one.calm_since <= since and world.pinned[one.uid] == one.boot for one in judges
        ) and all(
            world.links.past(one.index, other.index, since).clean
            for place, one in enumerate(judges)
            for other in judges[:place]
        ):
            self._break(12, f"{node.name} lost the verdict about {boot}: {event.sentence}")

    # -- verdicts: invariants 1, 2 and 5 --------------------------------------------------------------------------

    def _count(self, node: Node, subject: Subject, shown: Round) -> None:
        world = self._world
        assert node.crypto is not None
        count = tally(
            shown.votes.values(), world.roster, shown.subject, node.crypto.verify, rings=self.rings()
        )
        if not count.unreachable:
            return
        self._counted.add(shown.round_id)
        self.verdicts.append(Verdict(world.now, node.name, shown.subject, count.voters))
        self._known[shown.subject] = world.now
        began = self._began(node, shown)
        self._check_votes(node, shown, count)
        self._check_side(node, subject, count.voters, began)
        self._check_reachable(node, world.by_uid[subject.member.uid], shown.subject, count, began)

    def _began(self, node: Node, shown: Round) -> float:
        """When the round began, by who has known it longest: who only hears of it knows it from when its votes come."""
        began = self._world.now - max(0.0, node.clock(self._world.now) - shown.started)
        for member in self.rings().judges(shown.subject.node_uid, second=True):
            observer = self._world.by_uid[member.uid]
            subject = observer.swim.known(shown.subject.node_uid) if observer.swim is not None else None
            known = subject.rounds.get(shown.round_id) if subject is not None else None
            if known is not None:
                began = min(began, observer.world_time(known.started))
        return began

    def _check_votes(self, node: Node, shown: Round, count: Tally) -> None:
        """Invariant 2, first half: enough different observers, from two zones."""
        roster = self._world.roster
        uid = shown.subject.node_uid
        rings = self.rings()
        judges = {member.name for member in rings.judges(uid, second=True)}
        deciding = rings.second(uid) if count.by_second else rings.observers(uid)
        zone_of = {member.name: member.zone for member in deciding if member.name in count.voters}
        needed = 2 if is_small(roster) else H
        spread = {member.zone for member in roster.voters if member.uid != uid}
        voters = set(count.voters)
        if not voters <= judges or len(voters) != len(count.voters) or len(zone_of) < needed:
            self._break(2, f"{node.name} shows a verdict about {shown.subject} by {sorted(voters)}")
        elif not is_small(roster) and len(spread) > 1 and len(set(zone_of.values())) < 2:
            self._break(2, f"{node.name} shows a verdict about {shown.subject} by one zone")

    def _check_side(self, node: Node, subject: Subject, voters: Sequence[str], began: float) -> None:
        """Invariant 2, second half: nobody accuses from a side that is less than half of the roster.

        The side is what it was when the voters looked around: who has fallen silent since was one of it. Larger rosters go
        by a sample, which can't tell 47 % from 53 and errs now and then; there it takes most of the voters to be of a
        smaller side too, and the controller counts heads (its muster).
        """
        world = self._world
        gone = frozenset(
            other.index for other in world.nodes if not other.listens and other.silent_since <= began - FRESH
        )
        seen = self._side(node, began, gone)
        if len(world.nodes) <= SAMPLE:
            minority = 2 * seen < len(world.nodes)
        else:
            least = SAMPLED_SIDE * len(world.nodes)
            small = sum(self._side(world.by_name[name], began, gone) < least for name in voters)
            minority = seen < least and 2 * small >= len(voters)
        if minority:
            self._break(
                2,
                f"{node.name}, whose side is {seen} of {len(world.nodes)}, calls {subject.boot} unreachable",
            )

    def _side(self, node: Node, began: float, gone: frozenset[int]) -> int:
        """How many nodes, itself included, a node was connected with then; ``gone`` are those that read nothing."""
        cut = self._world.links.cut_off(node.index, self._everybody, began - FRESH)
        return len(self._everybody) - len((gone | cut) - {node.index})

    def _check_reachable(self, node: Node, accused: Node, boot: Boot, count: Tally, began: float) -> None:
        """Invariants 1 and 5: none of the observers, connected with those who voted, could have reached it.

        A boot that is over nobody reaches, though its node has another one.
        """
        if boot != _boot(accused, accused.boot):
            return
        world = self._world
        links = world.links
        before = began - 0.3
        alive = accused.kernel and not accused.suspended and accused.resumed_at <= before
        judges = {node.index, *(world.by_name[name].index for name in count.voters)}
        clean: list[str] = []
        lossy: list[str] = []
        for member in self.rings().judges(accused.uid, second=count.by_second):
            observer = world.by_uid[member.uid]
            if not observer.listens or observer.calm_since > before - 0.5:
                continue
            others = [links.past(observer.index, index, before) for index in judges - {observer.index}]
            paths = [  # one network that carries packets both ways is enough
                links.past(observer.index, accused.index, before, network)
                for network in (MANAGEMENT, *world.networks)
            ]
            if all(past.clean for past in others):
                exchanged = self._heard.get(self._pair(observer.index, accused.index), -math.inf)
                exchange = began <= exchanged <= world.now - LATEST_VOTE
                if exchange or (alive and any(path.clean for path in paths)):
                    clean.append(observer.name)
            if alive and any(path.serves for path in paths) and all(past.serves for past in others):
                lossy.append(observer.name)
        if clean or len(lossy) >= ENOUGH_LOSSY:
            reached = accused.listens and accused.calm_since <= before
            self._break(
                1 if reached else 5,
                f"{node.name} shows {boot} unreachable by {', '.join(count.voters)} in a round since {began:.3f}; "
                f"{', '.join(clean or lossy)} could reach it",
            )

    # -- networks: 14 -----------------------------------------------------------------------------------------------

    def _check_network(self, node: Node, subject: Subject, look: Look) -> None:
        """No network is called dead on which an observer, connected with those who voted, could have got an answer."""
        world = self._world
        assert node.crypto is not None
        found = tally_networks(
            look.votes.values(), world.roster, look.subject, node.crypto.verify, rings=self.rings()
        )
        accused = world.by_uid[subject.member.uid]
        began = world.now - max(0.0, node.clock(world.now) - look.started)
        before = began - 0.3
        if not accused.kernel or accused.suspended or accused.resumed_at > before:
            return
        links = world.links
        for one in (one for one in found if one.dead):
            self._looked.add(look.round_id)
            judges = {node.index, *(world.by_name[name].index for name in one.voters)}
            for member in self.rings().observers(accused.uid):
                observer = world.by_uid[member.uid]
                if (
                    observer.listens
                    and observer.calm_since <= before - 0.5
                    and links.past(observer.index, accused.index, before, one.network).clean
                    and all(links.past(observer.index, i, before).clean for i in judges - {observer.index})
                    and not self._unsure(observer)
                ):
                    self._break(
                        14,
                        f"{node.name} shows {one.network} of {look.subject} dead by {', '.join(one.voters)} in a look"
                        f" since {began:.3f}; {observer.name} could reach it there",
                    )

    def _unsure(self, observer: Node) -> bool:
        """Whether it holds itself for cut off or unwell, and so says nothing in a look."""
        assert observer.swim is not None
        return not observer.swim.awareness.healthy(observer.clock(self._world.now))

    # -- times: invariants 3, 6 and 7 -----------------------------------------------------------------------------

    def _check_known(self, what: tuple[Node, int, float, float]) -> None:
        """Invariant 3: enough connected, healthy observers know a crash in time."""
        node, boot, crashed_at, bound = what
        if node.boot != boot or self._known.get(_boot(node, boot), -math.inf) >= crashed_at:
            return
        observers = [self._world.by_uid[member.uid] for member in self.rings().observers(node.uid)]
        since = crashed_at - KNOWN_CLEAN
        good = [one for one in observers if self._fit(one, since)]
        pasts = [
            self._world.links.past(one.index, other.index, since)
            for place, one in enumerate(good)
            for other in good[:place]
        ]
        clean = all(past.clean for past in pasts) and all(
            one.calm_since <= crashed_at - STEADY for one in good
        )
        lossy = all(past.serves for past in pasts)
        if not (clean if bound == KNOWN_CLEAN else lossy):
            return
        if is_small(self._world.roster):
            enough = len(good) >= 2 and all(one in good or not one.kernel for one in observers)
        else:
            # Where exactly H are left each vote is needed, and one that is lost costs a round.
            needed = H if bound == KNOWN_CLEAN else H + 1
            enough = len(good) >= needed and len({one.zone for one in good}) >= min(2, len(self._zones()))
        if enough:
            names = ", ".join(one.name for one in good)
            self._break(3, f"{node.name} crashed at {crashed_at:.3f}, its observers {names} made no verdict")

    def _fit(self, node: Node, since: float) -> bool:
        """Whether nothing was wrong with an observer, with what it stands on, and with most of whom it watches."""
        world = self._world
        if not node.listens or node.calm_since > since or world.pinned[node.uid] != node.boot:
            return False
        watched = [world.by_uid[member.uid] for member in self.rings().subjects(node.uid)]
        answering = [
            one
            for one in watched
            if one.listens
            and one.calm_since <= since
            and world.links.past(node.index, one.index, since).loss <= LOSSY
        ]
        return 2 * len(answering) >= len(watched)

    def _seen_by_all(self, node: Node) -> bool:
        """Whether all its observers that run hold it for alive."""
        for member in self.rings().observers(node.uid):
            observer = self._world.by_uid[member.uid]
            if observer.listens and self._state(observer, node) is not RingState.ALIVE:
                return False
        return True

    def _check_alive(self, what: tuple[Node, int, float]) -> None:
        """Invariant 6: a restarted node is alive again within two periods."""
        node, boot, since = what
        if node.boot != boot or node.calm_since > since or not node.listens:
            return
        for member in self.rings().observers(node.uid):
            observer = self._world.by_uid[member.uid]
            if (
                observer.listens
                and observer.calm_since <= since - 1
                and self._world.links.past(observer.index, node.index, since).clean
                and self._state(observer, node) is not RingState.ALIVE
            ):
                self._break(
                    6, f"{observer.name} does not see {node.name} alive {ALIVE_AGAIN} s after its boot"
                )

    def _check_withdrawn(self, what: tuple[Node, float]) -> None:
        """Invariant 7: once a boot has answered somebody, nobody calls that boot unreachable any longer.

        What is still said of an earlier boot of the node is true; that it ends is asked by invariants 6 and 8.
        """
        node, answered_at = what
        world = self._world
        if not node.listens or node.calm_since > answered_at:
            return
        observers = [world.by_uid[member.uid] for member in self.rings().observers(node.uid)]
        since = answered_at - 0.5
        if not all(
            one.listens and one.calm_since <= since and world.links.past(one.index, node.index, since).clean
            for one in observers
        ):
            return
        for other in world.nodes:
            if other is node or not other.listens or other.calm_since > since:
                continue
            subject = self._subject(other, node)
            if subject is None or subject.state is not RingState.UNREACHABLE:
                continue
            if subject.boot != _boot(node, node.boot):
                continue
            age = other.clock(world.now) - subject.since
            if world.now - age < answered_at and all(
                world.links.past(other.index, one.index, since).clean for one in observers if one is not other
            ):
                self._break(
                    7,
                    f"{other.name} still calls {node.name} unreachable, which answered at {answered_at:.3f}",
                )

    # -- the end: invariant 8, and load: 9 -------------------------------------------------------------------------

    def network_known(self, node: Node, network: str) -> bool:
        """Whether all its observers that run show this network of it dead."""
        observers = [self._world.by_uid[member.uid] for member in self.rings().observers(node.uid)]
        shown = [
            subject.reach.shown
            for observer in observers
            if observer.listens and (subject := self._subject(observer, node)) is not None
        ]
        return bool(shown) and all(look is not None and network in look.dead for look in shown)

    def unsettled(self) -> str | None:
        """Invariant 8: why the ring has not come to rest, or None. Asked when the faults are over."""
        world = self._world
        rings = self.rings()
        for node in world.nodes:
            swim = node.swim
            if swim is None or not node.listens or node.troubles:
                continue
            if swim.roster is None or swim.roster.epoch != world.roster.epoch:
                return f"{node.name} has roster {swim.roster.epoch if swim.roster else 'none'}"
            if not swim.awareness.healthy(node.clock(world.now)):
                return f"{node.name} holds itself for unwell"
            for subject in swim.subjects:
                if not self._right(subject, rings):
                    legs = ", ".join(f"{leg.network} {leg.state}" for leg in subject.reach.legs.values())
                    return f"{node.name} calls {subject.boot} {subject.state}{legs and f' ({legs})'}"
        return None

    def _right(self, subject: Subject, rings: Rings) -> bool:
        other = self._world.by_uid[subject.member.uid]
        state = subject.state
        if other.listens:
            if subject.observed:
                answers = all(leg.state is NetworkState.ANSWERS for leg in subject.reach.legs.values())
                alive = state is RingState.ALIVE and subject.boot == _boot(other, other.boot)
                return alive and answers and subject.reach.shown is None
            return state in {RingState.ALIVE, RingState.UNKNOWN}
        if not subject.observed:
            return other.kernel is False or state is not RingState.UNREACHABLE
        if other.kernel:
            return state in {RingState.AGENT_DOWN, RingState.LEFT}
        live = [one for m in rings.observers(other.uid) if (one := self._world.by_uid[m.uid]).listens]
        if subject.boot.boot_id != subject.member.boot_id:
            # A boot of a few milliseconds, that hardly anybody has met and the roster never: the others hold the one before
            # it for dead, and who met it goes on doubting alone.
            others = [
                one for one in live if (seen := self._subject(one, other)) and seen.boot != subject.boot
            ]
            if len(others) >= H:
                return state in {RingState.UNREACHABLE, RingState.DOUBTED}
        enough = len(live) >= (2 if is_small(self._world.roster) else H)
        enough = enough and len({one.zone for one in live}) >= min(2, len(self._zones()))
        return state is RingState.UNREACHABLE or (not enough and state is not RingState.ALIVE)

    def _count_load(self, _: None) -> None:
        """Invariant 9, once a second."""
        more = 1 + len(self._world.networks) * FURTHER_SHARE
        looks = 1 if self._world.networks else 0
        most_packets = MOST_PACKETS * more + looks * LOOK_PACKETS
        most_bytes = MOST_BYTES * more + looks * LOOK_BYTES
        for node in self._world.nodes:
            packets, octets = self._sent[node.index]
            self._sent[node.index] = (node.sent, node.sent_bytes)
            if node.sent - packets > most_packets or node.sent_bytes - octets > most_bytes:
                self._break(
                    9,
                    f"{node.name} sent {node.sent - packets} packets, {node.sent_bytes - octets} bytes in a second",
                )
        self._most_events = self._world.events + _STORM * len(self._world.nodes)
        self._world.later(1.0, self._count_load)

    # -- small parts ------------------------------------------------------------------------------------------------

    def _break(self, number: int, sentence: str) -> None:
        self.broken.append(Broken(number, self._world.now, sentence))

    def _pair(self, one: int, other: int) -> int:
        return one * len(self._world.nodes) + other

    def _zones(self) -> set[str]:
        return {member.zone for member in self._world.roster.voters}

    def _subject(self, node: Node, other: Node) -> Subject | None:
        assert node.swim is not None
        return node.swim.known(other.uid)

    def _state(self, node: Node, other: Node) -> RingState | None:
        subject = self._subject(node, other)
        return None if subject is None or subject.boot != _boot(other, other.boot) else subject.state

    def _number(self, boot: Boot) -> int:
        known = self._numbers.get(boot.boot_id)
        if known is None:
            node = self._world.by_name[boot.node]
            known = next((n for n in range(node.boot + 1) if boot_id(node.name, n) == boot.boot_id), -1)
            self._numbers[boot.boot_id] = known
        return known


def _boot(node: Node, number: int) -> Boot:
    return Boot(node.name, node.uid, boot_id(node.name, number))


def _promising(shown: Round) -> bool:
    """Whether a count of these votes could be a verdict at all (counting checks signatures, and views change often)."""
    said = [vote.vote for vote in shown.votes.values()]
    return said.count(Vote.NONE) >= 2 and not _refuted(shown)


def _refuted(shown: Round) -> bool:
    """Whether these votes are no verdict, whatever may be added to them: nobody takes such a word back."""
    return any(vote.vote in _LIVES for vote in shown.votes.values())
