"""How each kind of fault of a script is done to the world, and undone."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable

from ringfence.core.gossip.corroboration import vote_payload
from ringfence.core.gossip.rings import Rings
from ringfence.core.gossip.wire import Ballot, Crypto, Header, Votes, boot_bytes, encode, tag_of
from ringfence.core.model import SignedVote, Vote
from simulator.links import Link, Rule
from simulator.node import Node
from simulator.rotation import Rotation
from simulator.script import Fault
from simulator.world import World, boot_id

_EVERY = 0.02
"""An attacker's pace, seconds."""


class UnknownFault(ValueError):
    """A script names a kind of fault that doesn't exist."""


def begin(world: World, fault: Fault) -> None:
    """Do it now, and arm its end."""
    try:
        act = _ACTS[fault.kind]
    except KeyError:
        raise UnknownFault(fault.kind) from None
    act(world, fault, [world.by_name[name] for name in fault.nodes] or list(world.nodes))


def _after(world: World, seconds: float | None, end: Callable[[], None]) -> None:
    if seconds is not None:
        world.later(seconds, lambda _: end())


# -- nodes --------------------------------------------------------------------------------------------------------


def _crash(world: World, fault: Fault, nodes: list[Node]) -> None:
    struck = [node for node in nodes if node.kernel]

    def back() -> None:
        for node in struck:
            world.power_on(node)
            world.relieve(node)

    for node in struck:
        world.crash(node)
        world.trouble(node)
    _after(world, fault.seconds, back)


def _kill(world: World, fault: Fault, nodes: list[Node]) -> None:
    for node in nodes:
        world.trouble(node)
        world.stop_agent(node)
        _after(world, fault.seconds, lambda node=node: _start(world, node))  # type: ignore[misc]


def _start(world: World, node: Node) -> None:
    world.start_agent(node)
    world.relieve(node)


def _roll_out(world: World, fault: Fault, nodes: list[Node]) -> None:
    """One after the other, each away for ``by`` seconds, as at a change of version: they take their leave."""

    def replace(node: Node) -> None:
        world.leave(node)
        _kill(world, Fault(0, "kill", seconds=fault.amount), [node])

    for place, node in enumerate(nodes):
        world.later((fault.seconds or 0.0) * place / len(nodes), replace, node)


def _pause(world: World, fault: Fault, nodes: list[Node]) -> None:
    for node in nodes:
        world.trouble(node)
        world.freeze(node)

    def go_on() -> None:
        for node in nodes:
            world.thaw(node)
            world.relieve(node)

    _after(world, fault.seconds, go_on)


def _starve(world: World, fault: Fault, nodes: list[Node]) -> None:
    """Stopped for ``by`` of every second: what comes meanwhile is read late."""
    end = world.now + (fault.seconds or 0.0)

    def turn(node: Node) -> None:
        if world.now >= end:
            world.relieve(node)
        else:
            world.freeze(node)
            world.later(fault.amount, world.thaw, node)
            world.later(1.0, turn, node)

    for node in nodes:
        world.trouble(node)
        world.later(world.dice.random(), turn, node)


def _suspend(world: World, fault: Fault, nodes: list[Node]) -> None:
    seconds = fault.seconds or 0.0
    struck = [node for node in nodes if node.kernel]
    for node in struck:
        world.trouble(node)
        world.suspend(node)

    def back() -> None:
        for node in struck:
            world.resume(node, seconds)
            world.later(1.5, world.relieve, node)  # until then its agent need not have noticed

    _after(world, seconds, back)


def _rate(world: World, fault: Fault, nodes: list[Node]) -> None:
    def set_all(rate: float) -> None:
        for node in nodes:
            world.set_rate(node, rate)

    set_all(fault.amount)
    _after(world, fault.seconds, lambda: set_all(1.0))


def _jump(_world: World, fault: Fault, nodes: list[Node]) -> None:
    """A wall clock is set: the agent notices at its next start, when it aligns its probes."""
    for node in nodes:
        node.wall_jump += fault.amount


def _disk(world: World, _fault: Fault, nodes: list[Node]) -> None:
    for node in nodes:
        world.lose_disk(node)
    _kill(world, Fault(0, "kill", seconds=0.5), nodes)


def _api(world: World, fault: Fault, nodes: list[Node]) -> None:
    for node in nodes:
        node.api += 1

    def back() -> None:
        for node in nodes:
            node.api -= 1
        world.publish()
        world.fetch(nodes)

    _after(world, fault.seconds, back)


def _rotate(world: World, fault: Fault, _nodes: list[Node]) -> None:
    """The group keys are changed; kubelets take up to ``by`` seconds for each step, and nobody waits for the nodes named."""
    late = [world.by_name[name] for name in fault.nodes]
    Rotation(world, late, fault.amount, random.Random(f"{world.seed} {fault}"))


# -- paths --------------------------------------------------------------------------------------------------------


def _paths(
    worse: Callable[[float], Link], *, both: bool = False
) -> Callable[[World, Fault, list[Node]], None]:
    def act(world: World, fault: Fault, nodes: list[Node]) -> None:
        sources = _indices(nodes) if fault.nodes else None
        targets = _indices(world.by_name[name] for name in fault.others) if fault.others else None
        rules = [Rule(sources, targets, worse(fault.amount), fault.network)]
        if both:
            rules.append(Rule(targets, sources, worse(fault.amount), fault.network))
        for rule in rules:
            world.links.add(rule, world.now)
            _after(world, fault.seconds, lambda rule=rule: world.links.end(rule, world.now))  # type: ignore[misc]

    return act


def _indices(nodes: Iterable[Node]) -> frozenset[int]:
    return frozenset(node.index for node in nodes)


def _no_change(**change: float) -> Link:
    return Link(**{"delay": 0.0, "jitter": 0.0, **change})  # type: ignore[arg-type]


# -- attackers ----------------------------------------------------------------------------------------------------


def _attack(world: World, fault: Fault, strike: Callable[[random.Random], None]) -> None:
    dice = random.Random(f"{world.seed} {fault}")
    end = world.now + (fault.seconds or 0.0)

    def again(_: None) -> None:
        if world.now < end:
            strike(dice)
            world.later(_EVERY, again)

    again(None)


def _replay(world: World, fault: Fault, _nodes: list[Node]) -> None:
    """What was sent in the last seconds comes again, also to where it was not meant for."""
    heard: deque[tuple[Node, bytes]] = deque(maxlen=5000)

    def sniff(node: Node, datagram: bytes, _address: str) -> None:
        heard.append((node, datagram))

    def strike(dice: random.Random) -> None:
        for _ in range(min(5, len(heard))):
            source, datagram = heard[dice.randrange(len(heard))]
            world.inject(dice.choice(world.nodes), datagram, source.address)

    world.sniffers.append(sniff)
    _attack(world, fault, strike)
    _after(world, fault.seconds, lambda: world.sniffers.remove(sniff))


def _garbage(world: World, fault: Fault, nodes: list[Node]) -> None:
    """Bytes of any length, some of them behind a header that looks right."""

    def strike(dice: random.Random) -> None:
        for node in nodes:
            source = dice.choice(world.nodes)
            noise = dice.randbytes(dice.choice((0, 5, 31, 60, 200, 1200, 1500)))
            header = Header(tag_of(source.uid), dice.randbytes(16), dice.getrandbits(63)).encode()
            for datagram in (noise, header + noise):
                world.inject(node, datagram, source.address)

    _attack(world, fault, strike)


def _forge(world: World, fault: Fault, nodes: list[Node]) -> None:
    """Who holds the group key and one node's signing key says in everybody's name that a node is dead."""
    thief = nodes[0]
    victim = world.by_name[fault.others[0]] if fault.others else nodes[0]
    crypto, _ = world.make_crypto(thief.name, thief.boot)
    # The others' replay windows now follow the forger's counters, so the thief's own agent is not heard: its trouble.
    world.trouble(thief)

    def strike(dice: random.Random) -> None:
        member = world.roster.by_uid[victim.uid]
        round_id = dice.randbytes(8)
        ballots = []
        for observer in Rings(world.roster).observers(victim.uid):
            said = SignedVote(observer.name, member.boot, Vote.NONE, world.roster.epoch, round_id, b"")
            ballots.append(
                Ballot(tag_of(observer.uid), Vote.NONE, crypto.sign(vote_payload(world.roster.cluster, said)))
            )
        votes = Votes(
            round_id, tag_of(victim.uid), boot_bytes(member.boot_id), world.roster.epoch, tuple(ballots)
        )
        told = dice.choice(world.nodes)
        world.inject(told, _sealed(world, crypto, (thief, told), votes, dice), thief.address)

    def over() -> None:
        world.stop_agent(thief)
        world.later(0.5, lambda _: _start(world, thief))

    _attack(world, fault, strike)
    _after(world, fault.seconds, over)


def _sealed(world: World, crypto: Crypto, way: tuple[Node, Node], votes: Votes, dice: random.Random) -> bytes:
    thief, told = way
    boot = boot_bytes(boot_id(thief.name, thief.boot))
    counter = world.first_counter(thief) + 1000 + dice.getrandbits(10)
    header = Header(tag_of(thief.uid), boot, counter).encode()
    body = encode(votes, world.roster.epoch & 0xFFFF_FFFF)
    return header + crypto.seal(thief.uid, boot, counter, header + tag_of(told.uid), body)


_ACTS: dict[str, Callable[[World, Fault, list[Node]], None]] = {
    "crash": _crash,
    "kill": _kill,
    "rollout": _roll_out,
    "pause": _pause,
    "starve": _starve,
    "suspend": _suspend,
    "rate": _rate,
    "jump": _jump,
    "disk": _disk,
    "api": _api,
    "cut": _paths(lambda _: _no_change(loss=1.0)),
    "split": _paths(lambda _: _no_change(loss=1.0), both=True),
    "loss": _paths(lambda amount: _no_change(loss=amount)),
    "delay": _paths(lambda amount: _no_change(delay=amount), both=True),
    "jitter": _paths(lambda amount: _no_change(jitter=amount), both=True),
    "duplicate": _paths(lambda amount: _no_change(duplicate=amount)),
    "reorder": _paths(lambda amount: _no_change(reorder=amount)),
    "mtu": _paths(lambda amount: _no_change(mtu=amount), both=True),
}
_ACTS |= {"rotate": _rotate}
_ACTS |= {"replay": _replay, "garbage": _garbage, "forge": _forge}
