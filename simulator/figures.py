"""Figures of the ring at sizes that no lab has: what a quiet node costs, how soon a death is known, how halves heal.

Every figure is a row for JSON. Times are virtual seconds and don't depend on the machine that computes them; ``cpu_s``
and ``events_s`` do.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ringfence.core.model import RingState
from simulator.invariants import Watch
from simulator.links import Link, Rule
from simulator.node import Node
from simulator.script import FURTHER
from simulator.world import World

Row = dict[str, object]
_SETTLING = 2.5
_PATIENCE = 6.0


@dataclass(frozen=True, slots=True)
class Command:
    """One figure: what the command line says of it, how it is measured, its options and their defaults."""

    description: str
    measure: Callable[..., Row]
    options: dict[str, int | float] = field(default_factory=dict)


class _Meter:
    """What was sent and computed between two instants."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cpu = time.process_time()
        self._events = world.events
        self._began = world.now
        self._sent = [(node.sent, node.sent_bytes) for node in world.nodes]

    def row(self) -> Row:
        """Means a node and second, the busiest node that isn't a window and that is, and the cost of computing it."""
        world = self._world
        seconds = world.now - self._began
        cpu = time.process_time() - self._cpu
        events = world.events - self._events
        packets = [
            node.sent - before
            for node, (before, _) in zip(world.nodes, self._sent, strict=True)
            if node.listens
        ]
        spent = [
            (node.index in world.windows, node.sent_bytes - before)
            for node, (_, before) in zip(world.nodes, self._sent, strict=True)
            if node.listens
        ]
        octets = [sent for _, sent in spent]
        return {
            "seconds": round(seconds, 3),
            "packets_s": round(sum(packets) / len(packets) / seconds, 2),
            "bytes_s": round(sum(octets) / len(octets) / seconds, 1),
            "most_bytes_s": round(max(sent for window, sent in spent if not window) / seconds, 1),
            "window_bytes_s": round(max(sent for window, sent in spent if window) / seconds, 1),
            "events": events,
            "cpu_s": round(cpu, 2),
            "events_s": round(events / cpu),
        }


def _settled(n: int, seed: int, loss: float = 0.0, networks: int = 1) -> tuple[World, Watch]:
    world = World(n, seed=seed, networks=FURTHER[: networks - 1])
    watch = Watch(world)
    world.run(_SETTLING)
    if loss:
        world.links.add(Rule(None, None, Link(delay=0, jitter=0, loss=loss)), world.now)
        world.run(1.0)
    return world, watch


def quiet(n: int, *, seed: int, seconds: float, networks: int) -> Row:
    """Nothing happens: packets and bytes that a node sends."""
    world, watch = _settled(n, seed, networks=networks)
    meter = _Meter(world)
    world.run(seconds)
    return {
        "figure": "quiet",
        "n": n,
        "networks": networks,
        **meter.row(),
        "false_verdicts": len(watch.verdicts),
    }


def storage(n: int, *, seed: int, seconds: float, lost: int) -> Row:
    """Nodes lose their storage network, ``lost`` of them or all (0); how soon all their observers know."""
    world, watch = _settled(n, seed, networks=2)
    world.run(5.0)
    victims = random.Random(f"{seed} victims").sample(world.nodes, lost or n)
    meter = _Meter(world)
    for node in victims:
        only = frozenset({node.index})
        for sources, targets in ((only, None), (None, only)):
            world.links.add(Rule(sources, targets, Link(delay=0, jitter=0, loss=1.0), "storage"), world.now)
    began = world.now
    known: dict[str, float] = {}
    while world.now - began < seconds:
        world.run(0.1)
        for node in victims:
            if node.name not in known and watch.network_known(node, "storage"):
                known[node.name] = world.now - began
    return {
        "figure": "storage",
        "n": n,
        "lost": len(victims),
        **_times(sorted(known.values()), len(victims)),
        **meter.row(),
        "false_verdicts": len(watch.verdicts),
    }


def crash(n: int, *, seed: int, crashes: int, loss: float) -> Row:
    """Nodes crash, spread over half a second; how long until any agent shows each verdict."""
    world, watch = _settled(n, seed, loss)
    dice = random.Random(f"{seed} victims")
    died: dict[str, float] = {}

    def die(node: Node) -> None:
        died[node.name] = world.now
        world.crash(node)

    for node in dice.sample(world.nodes, crashes):
        world.later(dice.random() / 2, die, node)
    meter = _Meter(world)
    _wait(world, watch, crashes)
    known = _first_known(watch, died)
    return {
        "figure": "crash",
        "n": n,
        "loss": loss,
        "crashes": crashes,
        **_times(known, crashes),
        **meter.row(),
    }


def tenth(n: int, *, seed: int, share: float) -> Row:
    """So many die in the same instant."""
    world, watch = _settled(n, seed)
    victims = random.Random(f"{seed} victims").sample(world.nodes, round(n * share))
    died = {node.name: world.now for node in victims}
    meter = _Meter(world)
    for node in victims:
        world.crash(node)
    _wait(world, watch, len(victims), at_least=3.0)
    known = _first_known(watch, died)
    false = {verdict.subject.node for verdict in watch.verdicts} - died.keys()
    return {
        "figure": "tenth",
        "n": n,
        "dead": len(victims),
        **_times(known, len(victims)),
        **meter.row(),
        "false_verdicts": len(false),
    }


def partition(n: int, *, seed: int, seconds: float, parts: int) -> Row:
    """60/40 (two parts) or three equal ones, for a while; who was accused by whom, and when all is well again."""
    world, watch = _settled(n, seed)
    order = random.Random(f"{seed} sides").sample(range(n), n)
    if parts == 2:
        sides = [order[: round(n * 0.6)], order[round(n * 0.6) :]]
    else:
        sides = [order[place::parts] for place in range(parts)]
    everyone = [frozenset(side) for side in sides]
    rules = [Rule(one, other, Link(loss=1.0)) for one in everyone for other in everyone if one is not other]
    meter = _Meter(world)
    for rule in rules:
        world.links.add(rule, world.now)
    world.run(seconds)
    majority = {world.nodes[index].name for index in sides[0]} if len(sides[0]) * 2 > n else set()
    wrong = [verdict for verdict in watch.verdicts if verdict.by not in majority]
    row = meter.row()
    for rule in rules:
        world.links.end(rule, world.now)
    healed_at = world.now
    while not (healed := _all_alive(world)) and world.now - healed_at < _PATIENCE:
        world.run(0.05)
    return {
        "figure": "partition",
        "n": n,
        "sides": [len(side) for side in sides],
        "verdicts": len({verdict.subject for verdict in watch.verdicts}),
        "verdicts_of_a_minority": len(wrong),
        "heal_s": round(world.now - healed_at, 3) if healed else None,
        **row,
    }


def _all_alive(world: World) -> bool:
    """Whether whoever observes a node sees it alive, and nobody calls anybody unreachable or himself cut off."""
    return not any(node.swim.awareness.isolated for node in world.nodes if node.swim is not None) and all(
        subject.state is RingState.ALIVE
        if subject.observed
        else subject.state in {RingState.UNKNOWN, RingState.ALIVE}
        for node in world.nodes
        if node.swim is not None
        for subject in node.swim.subjects
    )


def _wait(world: World, watch: Watch, count: int, at_least: float = 0.0) -> None:
    """Until so many nodes are known, and for so long at least."""
    began = world.now
    while world.now - began < max(at_least, 0.0) or (
        len({verdict.subject for verdict in watch.verdicts}) < count and world.now - began < _PATIENCE
    ):
        world.run(0.1)


def _first_known(watch: Watch, died: dict[str, float]) -> list[float]:
    first: dict[str, float] = {}
    for verdict in watch.verdicts:
        first.setdefault(verdict.subject.node, verdict.at)
    return sorted(at - died[name] for name, at in first.items() if name in died)


def _times(known: Sequence[float], wanted: int) -> Row:
    def at(share: float) -> float | None:
        place = min(int(share * wanted), wanted - 1)
        return round(known[place], 3) if place < len(known) else None

    return {"known": len(known), "p50_s": at(0.5), "p90_s": at(0.9), "p99_s": at(0.99), "max_s": at(1.0)}


COMMANDS = {
    "quiet": Command("packets and bytes of a quiet ring", quiet, {"seconds": 5.0, "networks": 1}),
    "storage": Command("the storage network of some, or of all", storage, {"seconds": 20.0, "lost": 1}),
    "crash": Command("crash to verdict", crash, {"crashes": 20, "loss": 0.0}),
    "tenth": Command("a tenth dies at once", tenth, {"share": 0.1}),
    "partition": Command("60/40, or three parts", partition, {"seconds": 10.0, "parts": 2}),
}
