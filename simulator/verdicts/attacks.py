"""Who holds one agent's keys and lies: to the controllers by that agent's stream, to the ring by its datagrams.

He has the group key, that node's signing key, and every vote that was ever cast. He hasn't the others' keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ringfence.core.gossip.corroboration import refusal, vote_payload
from ringfence.core.gossip.members import Member
from ringfence.core.gossip.report import AgentView, SubjectView
from ringfence.core.gossip.rings import rings_of
from ringfence.core.gossip.wire import Ballot, Crypto, Header, Votes, boot_bytes, encode, tag_of
from ringfence.core.model import RingState, SignedVote, Vote
from simulator.node import Node
from simulator.verdicts.controller import Controller, Verify
from simulator.world import World, boot_id

EVERY = 0.1
"""Between two of the thief's datagrams to the same agent."""


class Attacker:
    """Knows what all controllers have been told, and begins what a script's line says."""

    def __init__(self, world: World, controllers: tuple[Controller, ...], verify: Verify) -> None:
        self._world = world
        self._controllers = controllers
        self._verify = verify
        self._seen: dict[str, dict[bytes, tuple[SignedVote, ...]]] = {}
        """Rounds that called a node unreachable, by node."""
        self._versions: dict[str, tuple[int, int]] = {}
        self._counter = 0

    def watch(self) -> None:
        """Keep the votes that make verdicts."""
        for node in self._world.nodes:
            if node.swim is None or self._versions.get(node.name) == (node.process, node.swim.version):
                continue
            self._versions[node.name] = node.process, node.swim.version
            for one in node.swim.view(node.clock(self._world.now)).subjects:
                if one.state is RingState.UNREACHABLE and one.votes:
                    rounds = self._seen.setdefault(one.subject.node, {})
                    if len(one.votes) >= len(rounds.get(one.votes[0].round_id, ())):
                        rounds[one.votes[0].round_id] = one.votes

    def begin(self, words: list[str]) -> Iterator[str]:
        """``lie n5 about n3 with KIND for SECONDS``, or ``spread``. Yields what is to be told of it."""
        how, thief, _, victim, _, kind, _, seconds = words
        node, member = self._world.by_name[thief], self._world.roster.by_name[victim]
        votes = self._votes(kind, node, victim)
        yield f"thief: {len(votes)} votes that {victim} is unreachable; {self._told(votes, member)}"
        if how == "lie":
            rounds = [votes] if kind != "replayed" else list(self._seen[victim].values())
            self._lie(thief, victim, rounds, float(seconds))
        else:
            self._spread(node, victim, votes, float(seconds))

    def _told(self, votes: Iterable[SignedVote], about: Member) -> str:
        """Whose votes count by themselves, and why the others don't."""
        roster = self._world.roster
        by_reason: dict[str, list[str]] = {}
        for vote in votes:
            reason = refusal(vote, roster, about.boot, self._verify, rings_of(roster)) or "valid"
            by_reason.setdefault(reason, []).append(vote.voter)
        return "; ".join(f"{reason}: {', '.join(sorted(names))}" for reason, names in by_reason.items())

    # --- votes -----------------------------------------------------------------------------------------

    def _votes(self, kind: str, thief: Node, victim: str) -> tuple[SignedVote, ...]:
        roster = self._world.roster
        crypto, _ = self._world.make_crypto(thief.name, thief.boot)
        member = roster.by_name[victim]
        observers = [m.name for m in rings_of(roster).observers(member.uid)]
        match kind:
            case "forged":  # in everybody's name, by the one key that it has
                return tuple(self._sign(crypto, name, victim, roster.epoch) for name in observers)
            case "own":
                return (self._sign(crypto, thief.name, victim, roster.epoch),)
            case "replayed":  # genuine, from the last time that the node was really silent
                return max(reversed(list(self._seen[victim].values())), key=len)
            case "relabelled":  # genuine, with the present boot written over the one that they were about
                old = max(reversed(list(self._seen[victim].values())), key=len)
                return tuple(replace(vote, subject=member.boot, roster_epoch=roster.epoch) for vote in old)
            case "itself":  # the victim's own name among the voters, and the thief's twice
                own = self._sign(crypto, thief.name, victim, roster.epoch)
                return (own, own, self._sign(crypto, victim, victim, roster.epoch))
        raise ValueError(f"no such votes: {kind}")

    def _sign(self, crypto: Crypto, voter: str, victim: str, epoch: int) -> SignedVote:
        boot = self._world.roster.by_name[victim].boot
        unsigned = SignedVote(voter, boot, Vote.NONE, epoch, b"thieves!", b"")
        return replace(unsigned, signature=crypto.sign(vote_payload(self._world.roster.cluster, unsigned)))

    # --- on the stream ---------------------------------------------------------------------------------

    def _lie(self, thief: str, victim: str, rounds: list[tuple[SignedVote, ...]], seconds: float) -> None:
        began = self._world.now

        def forge(view: AgentView) -> AgentView:
            votes = rounds[int(self._world.now - began) % len(rounds)]  # another one each second

            def accused(one: SubjectView) -> SubjectView:
                if one.subject.node != victim:
                    return one
                subject = self._world.roster.by_name[victim].boot
                return SubjectView(subject, RingState.UNREACHABLE, 0.0, None, None, None, 0.0, votes)

            subjects = tuple(accused(one) for one in view.subjects)
            return replace(view, healthy=True, subjects=subjects)

        def over(_: None) -> None:
            for controller in self._controllers:
                del controller.forged[thief]

        for controller in self._controllers:
            controller.forged[thief] = forge
        self._world.later(seconds, over)

    # --- among the agents ------------------------------------------------------------------------------

    def _spread(self, thief: Node, victim: str, votes: Iterable[SignedVote], seconds: float) -> None:
        """The thief's own agent stands still meanwhile: the others' replay windows follow the thief's counters."""
        roster, world = self._world.roster, self._world
        crypto, _ = world.make_crypto(thief.name, thief.boot)
        votes = tuple(votes)
        ballots = tuple(Ballot(tag_of(roster.by_name[v.voter].uid), v.vote, v.signature) for v in votes)
        boot = boot_bytes(roster.by_name[victim].boot_id)
        tag = tag_of(roster.by_name[victim].uid)
        message = Votes(votes[0].round_id, tag, boot, votes[0].roster_epoch, ballots)
        world.freeze(thief)
        end = world.now + seconds

        def strike(_: None) -> None:
            if world.now >= end:
                world.stop_agent(thief)
                world.start_agent(thief)
                return
            for told in world.nodes:
                if told is not thief and told.name != victim:
                    world.inject(told, self._sealed(crypto, thief, told, message), thief.address)
            world.later(EVERY, strike)

        strike(None)

    def _sealed(self, crypto: Crypto, thief: Node, told: Node, message: Votes) -> bytes:
        self._counter += 1
        raw = boot_bytes(boot_id(thief.name, thief.boot))
        counter = self._world.first_counter(thief) + self._counter
        header = Header(tag_of(thief.uid), raw, counter).encode()
        body = encode(message, self._world.roster.epoch & 0xFFFF_FFFF)
        return header + crypto.seal(thief.uid, raw, counter, header + tag_of(told.uid), body)
