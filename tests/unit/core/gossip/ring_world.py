"""A world of agents in virtual time: the real machine, a network that delays, loses and cuts, kernels that answer.

Seeded; an event heap; nothing sleeps. Crypto is a fake that keeps what the real one promises to the core: what one
sender sealed opens only as that sender's, and a signature is only its key's.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ringfence.core.gossip.corroboration import Tally, tally
from ringfence.core.gossip.events import KernelProbe, NetworkChanged, StateChanged
from ringfence.core.gossip.members import Member, Roster
from ringfence.core.gossip.report import SubjectView
from ringfence.core.gossip.swim import Swim
from ringfence.core.model import MANAGEMENT, RingState

WINDOWS = 12
"""So many of the first agents are read by somebody."""


class FakeCrypto:
    def __init__(self, key: bytes) -> None:
        self.public = hashlib.sha256(key).digest()
        self.used = 0
        self.held = frozenset({0})

    def seal(self, uid: str, boot: bytes, counter: int, header: bytes, body: bytes) -> bytes:
        return self._mac(self.used, uid, boot, counter, header, body) + body

    def open(
        self, key: int, uid: str, boot: bytes, counter: int, header: bytes, sealed: bytes
    ) -> bytes | None:
        body = sealed[16:]
        return body if sealed[:16] == self._mac(key, uid, boot, counter, header, body) else None

    def sign(self, payload: bytes) -> bytes:
        return hashlib.sha512(self.public + payload).digest()

    def verify(self, payload: bytes, signature: bytes, public_key: bytes) -> bool:
        return hashlib.sha512(public_key + payload).digest() == signature

    @staticmethod
    def _mac(key: int, uid: str, boot: bytes, counter: int, header: bytes, body: bytes) -> bytes:
        return hashlib.blake2b(
            b"|".join((b"%d" % key, uid.encode(), boot, b"%d" % counter, header, body)), digest_size=16
        ).digest()


def boot_id(name: str, number: int = 0) -> str:
    digest = hashlib.sha256(f"{name} {number}".encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def member(number: int, *, zone: str = "", boot: int = 0, networks: Iterable[str] = ()) -> Member:
    name = f"n{number}"
    key = hashlib.sha256(f"{name} {boot}".encode()).digest()
    return Member(
        name,
        f"uid-{name}",
        boot_id(name, boot),
        (f"10.0.0.{number}",),
        zone,
        FakeCrypto(key).public,
        networks=tuple((network, f"{network}.{number}") for network in sorted(networks)),
    )


def roster_of(count: int, *, zones: int = 1, epoch: int = 1, networks: Iterable[str] = ()) -> Roster:
    members = tuple(
        member(number, zone=f"z{number % zones}", networks=networks) for number in range(1, count + 1)
    )
    return Roster(epoch, "test", b"salt", members)


@dataclass(order=True)
class _Happening:
    at: float
    sequence: int
    action: Callable[[], None] = field(compare=False)


@dataclass
class _Node:
    name: str
    address: str
    swim: Swim
    crypto: FakeCrypto
    agent: bool = True
    kernel: bool = True
    paused: bool = False
    woken_at: float | None = None
    queue: list[tuple[bytes, str, float]] = field(default_factory=list)
    """What its socket holds, and when each came."""


class World:
    """Agents on nodes n1, n2, ... and what happens to them."""

    def __init__(
        self, count: int, *, seed: int = 1, loss: float = 0.0, zones: int = 1, networks: Iterable[str] = ()
    ) -> None:
        self.dice = random.Random(seed)
        self.now = 1000.0
        self.loss = loss
        self.roster = roster_of(count, zones=zones, networks=networks)
        self.log: list[tuple[float, str, StateChanged | NetworkChanged]] = []
        self.cuts: set[tuple[str, str, str]] = set()
        self.sent: Counter[str] = Counter()
        """Datagrams by network."""
        self.nodes: dict[str, _Node] = {}
        self._heap: list[_Happening] = []
        self._sequence = 0
        self._versions: list[int] = []
        self._watched: dict[str, int] = {}
        self._verdict_seen: set[tuple[str, bytes]] = set()
        self.verdicts: list[tuple[float, str, Tally]] = []
        for one in self.roster.members:
            self._place(one, 0)

    def _place(self, one: Member, boot: int) -> None:
        crypto = FakeCrypto(hashlib.sha256(f"{one.name} {boot}".encode()).digest())
        swim = Swim(
            node=one.name,
            boot_id=boot_id(one.name, boot),
            crypto=crypto,
            dice=random.Random(self.dice.random()),
        )
        swim.window = int(one.name[1:]) <= WINDOWS
        self.nodes[one.name] = _Node(one.name, one.addresses[0], swim, crypto)
        swim.install(self.roster, self.now)
        self._settle(self.nodes[one.name])

    def publish(self, roster: Roster) -> None:
        """Everybody who runs gets this roster at once."""
        self.roster = roster
        for node in self.nodes.values():
            if node.agent:
                node.swim.install(roster, self.now)
                self._settle(node)

    # -- faults

    def crash(self, name: str) -> None:
        self.nodes[name].agent = self.nodes[name].kernel = False

    def stop_agent(self, name: str, *, orderly: bool = False) -> None:
        node = self.nodes[name]
        if orderly:
            node.swim.leave(self.now)
            self._settle(node)
        node.agent = False

    def reboot(self, name: str, boot: int = 1) -> None:
        self._place(self.roster.by_name[name], boot)

    def pause(self, name: str) -> None:
        self.nodes[name].paused = True

    def resume(self, name: str) -> None:
        node = self.nodes[name]
        node.paused = False
        self._wake(node)

    def cut(self, sources: Iterable[str], targets: Iterable[str], *, on: Iterable[str] = ()) -> None:
        """On these networks, or on all."""
        targets, on = list(targets), list(on) or [MANAGEMENT, *set(self.roster.network_of.values())]
        self.cuts |= {
            (source, target, network)
            for source in sources
            for target in targets
            if source != target
            for network in on
        }

    def isolate(self, name: str, *, on: Iterable[str] = ()) -> None:
        others = [other for other in self.nodes if other != name]
        self.cut([name], others, on=on)
        self.cut(others, [name], on=on)

    def heal(self) -> None:
        self.cuts.clear()

    # -- time

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        end = self.now + seconds
        while self._heap and self._heap[0].at <= end:
            happening = heapq.heappop(self._heap)
            self.now = max(self.now, happening.at)
            happening.action()
            if until is not None and self._moved() and until():
                return True
        self.now = end
        return until is not None and until()

    def view(self, reporter: str, subject: str) -> SubjectView:
        view = self.nodes[reporter].swim.view(self.now)
        return next(one for one in view.subjects if one.subject.node == subject)

    def state(self, reporter: str, subject: str) -> RingState:
        return self.view(reporter, subject).state

    def tally(self, reporter: str, subject: str) -> Tally:
        view = self.view(reporter, subject)
        return tally(view.votes, self.roster, view.subject, FakeCrypto(b"").verify)

    def all_see(self, subject: str, state: RingState) -> bool:
        return all(
            self.state(name, subject) is state
            for name, node in self.nodes.items()
            if name != subject and node.agent
        )

    def everybody_alive(self) -> bool:
        names = list(self.nodes)
        return all(self.state(a, b) is RingState.ALIVE for a in names for b in names if a != b)

    # -- machinery

    def _moved(self) -> bool:
        """Whether any machine's view has changed since this was last asked (asking it in full is slow)."""
        versions = [node.swim.version for node in self.nodes.values()]
        changed = versions != self._versions
        self._versions = versions
        return changed

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, _Happening(self.now + delay, self._sequence, action))

    def _gets_through(self, source: str, target: str, network: str) -> bool:
        return (source, target, network) not in self.cuts and self.dice.random() >= self.loss

    def _at(self, address: str) -> tuple[_Node, str]:
        """Who has this address, and on which network."""
        network = self.roster.network_of.get(address, MANAGEMENT)
        found = next(one for one in self.roster.members if address in (one.addresses[0], one.on(network)))
        return self.nodes[found.name], network

    def _settle(self, node: _Node) -> None:
        """Send what the machine wants to send, act on its events, and wake it in time."""
        for datagram, address in node.swim.datagrams_to_send(self.now):
            self._send(node, datagram, address)
        while (event := node.swim.next_event()) is not None:
            match event:
                case KernelProbe():
                    self._probe_kernel(node, event)
                case StateChanged() | NetworkChanged():
                    self.log.append((self.now, node.name, event))
        self._watch(node)
        deadline = node.swim.next_deadline()
        if deadline is not None and (
            node.woken_at is None or deadline < node.woken_at or node.woken_at <= self.now
        ):
            node.woken_at = deadline
            self._later(max(0.0, deadline - self.now), lambda: self._wake(node))

    def _watch(self, node: _Node) -> None:
        if self._watched.get(node.name) == node.swim.version:
            return
        self._watched[node.name] = node.swim.version
        for one in node.swim.view(self.now).subjects:
            if not one.votes or (node.name, one.votes[0].round_id) in self._verdict_seen:
                continue
            count = tally(one.votes, self.roster, one.subject, node.crypto.verify)
            if count.unreachable:
                self._verdict_seen.add((node.name, one.votes[0].round_id))
                self.verdicts.append((self.now, one.subject.node, count))

    def _wake(self, node: _Node) -> None:
        if self.nodes[node.name] is not node or not node.agent or node.paused:
            return
        for datagram, address, at in node.queue:
            node.swim.receive(datagram, address, self.now, at=at)
        node.queue.clear()
        deadline = node.swim.next_deadline()
        if deadline is not None and deadline <= self.now:
            node.swim.handle_timer(self.now)
        self._settle(node)

    def _send(self, source: _Node, datagram: bytes, address: str) -> None:
        target, network = self._at(address)
        self.sent[network] += 1
        if self._gets_through(source.name, target.name, network):
            own = self.roster.by_name[source.name].on(network) or source.address
            self._later(self.dice.uniform(0.0002, 0.001), lambda: self._arrive(target.name, datagram, own))

    def _arrive(self, name: str, datagram: bytes, address: str) -> None:
        node = self.nodes[name]
        if node.kernel and node.agent:
            node.queue.append((datagram, address, self.now))
            self._wake(node)

    def _probe_kernel(self, source: _Node, probe: KernelProbe) -> None:
        target, network = self._at(probe.address)
        assert network == probe.network
        for _port in range(2):
            if self._gets_through(source.name, target.name, network) and self._gets_through(
                target.name, source.name, network
            ):
                self._later(0.001, lambda: self._kernel_answer(source, target, probe))

    def _kernel_answer(self, source: _Node, target: _Node, probe: KernelProbe) -> None:
        if target.kernel and source.agent and not source.paused:
            source.swim.kernel_answered(probe.uid, self.now, probe.network)
            self._settle(source)
