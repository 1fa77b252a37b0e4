"""The agents' voices: what each agent would show controllers, by the detector's model, as views with signed votes.

The controllers' Witness is the product's own: it counts the votes, checks each signature, turns ages into instants. What the agents see of
each other is told here from what is true, with the real ring's delays (`bench/reports`): a doubt after 0.2 s, votes after `verdict_after`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace

from ringfence.core.gossip.corroboration import ROUND_ID_BYTES, vote_payload
from ringfence.core.gossip.keys import KeySet
from ringfence.core.gossip.members import Roster
from ringfence.core.gossip.report import AgentView, Hearing, SubjectView
from ringfence.core.model import Boot, RingState, SignedVote, Vote
from ringfence.net.stream import PUSH_EVERY, QUIET, StreamError
from simulator.crypto import Keyring
from simulator.system.node import Node
from simulator.system.plant import Plant
from simulator.system.processes import Agenda

DOUBT_AFTER = 0.2
ROUND_AFTER, ROUND_EVERY = 0.4, 1.0
"""Seconds from the silence to the first round, and from one round to the next."""
LOOK = 0.1
"""Seconds between two looks of a stream whether its agent has something to say."""
DIALS = 0.01


@dataclass
class Voices:
    """What all agents see, renewed once a tick."""

    plant: Plant
    keyring: Keyring
    roster: Callable[[], Roster | None]
    """As it is published."""
    _process: dict[str, int] = field(default_factory=dict)
    _ran: dict[str, bool] = field(default_factory=dict)
    _booted: dict[str, int] = field(default_factory=dict)
    """The boot (its number) that each agent's process is of."""
    _since: dict[str, float] = field(default_factory=dict)
    """Since when each agent's process runs."""
    _silent: dict[tuple[str, str], float] = field(default_factory=dict)
    """(observer, subject): since when the one doesn't hear the other."""
    _kernel: dict[tuple[str, str], float] = field(default_factory=dict)
    _heard: dict[str, frozenset[str]] = field(default_factory=dict)
    _rounds: dict[tuple[str, str], tuple[bytes, tuple[SignedVote, ...]]] = field(default_factory=dict)
    """(observer, subject): the last round, and its votes."""
    _views: dict[str, tuple[float, AgentView]] = field(default_factory=dict)
    _changes: int = 0
    _quiet: object = None
    _states: dict[tuple[str, str], tuple[RingState, float]] = field(default_factory=dict)

    def tick(self) -> None:
        """Let every agent look around."""
        plant, now = self.plant, self.plant.now
        self._heard = {}
        for node in plant.nodes.values():
            name, runs = node.name, node.agent and node.powered and now >= node.booted_at
            if runs and not (self._ran.get(name) and self._booted[name] == node.boot):
                self._process[name] = self._process.get(name, 0) + 1
                self._since[name], self._booted[name] = now, node.boot
            self._ran[name] = runs
            if runs:
                self._heard[name] = plant.heard_by(node)
        for key in [key for key in self._silent if key[0] not in self._heard]:
            del self._silent[key]
        for observer, heard in self._heard.items():
            for node in plant.nodes.values():
                key = (observer, node.name)
                if node.name in heard and node.name in self._heard:
                    self._silent.pop(key, None)
                else:
                    self._silent.setdefault(key, now)
                if key in self._silent and self.reaches(plant.nodes[observer], node):
                    self._kernel[key] = now
        quiet = (self.roster(), tuple(self._booted.items()), tuple(self._heard))
        if self._silent or any(node.doubted for node in plant.nodes.values()) or quiet != self._quiet:
            self._changes += 1
            self._quiet = quiet

    def reaches(self, one: Node, other: Node) -> bool:
        """Whether packets of the ring's network pass both ways between the kernels of the two."""
        plant = self.plant
        if one is other:
            return one.powered
        sides = (one.name in plant.apart) == (other.name in plant.apart)
        return one.kernel_answers and other.kernel_answers and one.peers and other.peers and sides

    def runs(self, name: str) -> bool:
        """Whether the agent there runs, and answers."""
        return name in self._heard

    def process(self, name: str) -> int:
        """The number of the agent's process there."""
        return self._process[name]

    def version(self, _name: str) -> int:
        """Another number for as long as the agent there may have something new to say."""
        return self._changes

    # --- what an agent shows --------------------------------------------------------------------------------------

    def public_key(self, node: Node) -> str:
        return base64.b64encode(self.keyring.make(node.name, node.number)[1]).decode()

    def view(self, name: str) -> AgentView:
        """All that the agent there sees now."""
        plant, now = self.plant, self.plant.now
        if (known := self._views.get(name)) is not None and known[0] == now:
            return known[1]
        roster = self.roster()
        heard = self._heard[name]
        healthy = len(heard) > 1 or len(plant.nodes) == 1
        subjects = [self._subject(name, node, roster) for node in plant.nodes.values() if node.name != name]
        view = AgentView(
            plant.nodes[name].identity,
            roster.epoch if roster is not None else 0,
            healthy,
            heard.intersection(self._heard),
            tuple(one for one in subjects if one is not None),
            sent_at=now,
        )
        self._views[name] = (now, view)
        return view

    def _subject(self, observer: str, node: Node, roster: Roster | None) -> SubjectView | None:
        now = self.plant.now
        member = roster.by_name.get(node.name) if roster is not None else None
        if member is None:
            return None
        boot = member.boot
        silent_since = self._silent.get((observer, node.name))
        kernel_at = self._kernel.get((observer, node.name))
        kernel = None if kernel_at is None or silent_since is None else now - kernel_at
        if silent_since is None and boot != node.identity:
            # The roster does not name the boot that speaks yet: its packets are a stranger's.
            return SubjectView(boot, RingState.UNKNOWN, 0.0, None, None, None, None, ())
        if silent_since is None and not node.doubted:
            self._states.pop((observer, node.name), None)
            return SubjectView(boot, RingState.ALIVE, 5.0, 0.1, 0.3, None, None, ())
        silence = now - silent_since if silent_since is not None else 0.0
        state, votes, round_at = self._state(observer, node, boot, silence, kernel, roster)
        known, since = self._states.get((observer, node.name), (RingState.ALIVE, now))
        if known is not state:
            since = now
            self._states[observer, node.name] = (state, now)
        listened = now - self._since[observer] > silence
        return SubjectView(
            boot,
            state,
            now - since,
            silence + 0.1 if listened else None,
            silence + 0.3 if listened else None,
            kernel,
            None if round_at is None else now - round_at,
            votes,
        )

    def _state(
        self,
        observer: str,
        node: Node,
        boot: Boot,
        silence: float,
        kernel: float | None,
        roster: Roster | None,
    ) -> tuple[RingState, tuple[SignedVote, ...], float | None]:
        """What it calls the node; the votes of its last round, and when that began."""
        if node.doubted and not silence:
            return RingState.DOUBTED, (), None
        if silence < DOUBT_AFTER:
            return RingState.ALIVE, (), None
        answers = kernel is not None and kernel < DOUBT_AFTER
        if silence < self.plant.verdict_after:
            return RingState.DOUBTED, (), None
        if answers:
            return (RingState.LEFT if node.left else RingState.AGENT_DOWN), (), None
        renewed = int(silence - self.plant.verdict_after)
        round_at = self.plant.now - silence + ROUND_AFTER + renewed * ROUND_EVERY
        votes = self._round(observer, node, boot, round_at, roster)
        said = [vote.vote for vote in votes]
        if Vote.ALIVE in said or Vote.AGENT_DOWN in said:
            return RingState.PARTIAL, votes, round_at
        if said.count(Vote.NONE) >= 2:
            return RingState.UNREACHABLE, votes, round_at
        return RingState.DOUBTED, votes, round_at

    def _round(
        self, observer: str, node: Node, boot: Boot, round_at: float, roster: Roster | None
    ) -> tuple[SignedVote, ...]:
        """The votes about the node on the observer's side."""
        if roster is None:
            return ()
        seed = f"{observer} {boot.boot_id} {round_at:.1f}".encode()
        number = hashlib.blake2b(seed, digest_size=ROUND_ID_BYTES).digest()
        if (known := self._rounds.get((observer, node.name))) is not None and known[0] == number:
            return known[1]
        votes = []
        for member in roster.members:
            voter = member.name
            if voter == node.name or voter not in self._heard[observer] or not member.votes:
                continue
            if self.plant.nodes[voter].identity != member.boot:
                continue
            votes.append(self._vote(roster, voter, boot, self._answer(voter, node), number))
        self._rounds[observer, node.name] = (number, tuple(votes))
        return tuple(votes)

    def _answer(self, voter: str, node: Node) -> Vote:
        heard = self._heard.get(voter, frozenset())
        if len(heard) <= 1:
            return Vote.ABSTAIN
        if node.name in heard and node.name in self._heard:
            return Vote.ALIVE
        return Vote.AGENT_DOWN if self.reaches(self.plant.nodes[voter], node) else Vote.NONE

    def _vote(self, roster: Roster, voter: str, boot: Boot, vote: Vote, number: bytes) -> SignedVote:
        bare = SignedVote(voter, boot, vote, roster.epoch, number, b"")
        crypto, _ = self.keyring.make(voter, self.plant.nodes[voter].number)
        return replace(bare, signature=crypto.sign(vote_payload(roster.cluster, bare)))

    def hearing(self, name: str, uid: str) -> Hearing | None:
        """When the agent there has last heard the member; None: it knows none of that UID."""
        now = self.plant.now
        roster = self.roster()
        member = roster.by_uid.get(uid) if roster is not None else None
        if member is None:
            return None
        since, listens = self._silent.get((name, member.name)), now - self._since[name]
        silence = 0.1 if since is None else now - since + 0.1
        heard = (
            silence if silence < listens and self.plant.nodes[member.name].identity == member.boot else None
        )
        return Hearing(name, member.boot, heard, listens)


@dataclass
class Ears:
    """A controller's side: stands where :class:`ringfence.net.stream.StreamClient` does."""

    voices: Voices
    agenda: Agenda
    home: str
    """The node that the controller runs on."""
    by_address: Callable[[str], str]

    def rekey(self, keys: KeySet) -> None:
        """Group keys seal nothing here."""

    async def views(self, address: str, port: int) -> AsyncGenerator[AgentView, None]:
        """The views of the agent there, until the stream is lost."""
        name = await self._dial(address, port)
        voices = self.voices
        process, version, pushed_at, heard_at = voices.process(name), -1, float("-inf"), self._now()
        content: object = None
        while True:
            now = self._now()
            if self.reached(name):
                if not voices.runs(name) or voices.process(name) != process:
                    raise StreamError(f"{address} has hung up")
                heard_at, due = now, now - pushed_at >= PUSH_EVERY
                view = voices.view(name) if due or version != voices.version(name) else None
                version = voices.version(name)
                if view is not None and (due or view.content != content):
                    content, pushed_at = view.content, now
                    yield view
            elif now - heard_at > QUIET:
                raise TimeoutError
            await asyncio.sleep(LOOK)

    async def hearing(self, address: str, port: int, uid: str) -> Hearing:
        """When the agent there last heard the member of that UID."""
        name = await self._dial(address, port)
        found = self.voices.hearing(name, uid)
        if found is None:
            raise StreamError(f"{address} knows no member {uid}")
        return found

    async def roster(self, address: str, port: int, epoch: int, digests: bytes) -> bytes:
        """Nothing: here all agents have the roster that the store has."""
        del epoch, digests
        await self._dial(address, port)
        return b""

    async def _dial(self, address: str, port: int) -> str:
        name = self.by_address(address)
        await asyncio.sleep(DIALS)
        waited = 0.0
        while not self.reached(name):
            if waited >= QUIET:
                raise TimeoutError
            waited += LOOK
            await asyncio.sleep(LOOK)
        if not self.voices.runs(name):
            raise ConnectionRefusedError(f"{address}:{port}")
        return name

    def reached(self, name: str) -> bool:
        nodes = self.voices.plant.nodes
        return self.voices.reaches(nodes[self.home], nodes[name])

    def _now(self) -> float:
        return self.voices.plant.now
