"""One schedule played from beginning to end, and a failing one made as short as it will go."""

from __future__ import annotations

import logging
import random
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum

from simulator.shrink import shrink
from simulator.system.controller import Controller
from simulator.system.device import LadderSetup
from simulator.system.invariants import Invariants
from simulator.system.replicas import WARM_UP, Replicas, Story
from simulator.system.rules import Broken
from simulator.system.schedule import CONTROLLERS, Act, Schedule, draw
from simulator.system.scheduler import Placement
from simulator.system.triples import Triple
from simulator.system.watchdogs import kennel
from simulator.system.world import World

STAND_IN_ONLY = frozenset({"migrate", "roster", "backup-when", "restore"})
"""Faults that are not played where the controller's own loops lead: nothing shows them there."""
EVERY = 20
REPLICAS = 2
"""Of the controller, where its own loops lead: as many as the chart has."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a schedule."""

    schedule: Schedule
    broken: str
    """The sentence of the invariant that broke; empty: none."""
    incidents: int
    held: int
    """Incidents that were held back."""
    recovered: int
    triples: frozenset[Triple]
    log: tuple[str, ...]
    real: bool = False
    """The controller's own loops have led, not the stand-in for them."""
    ring: bool = False
    """The real ring has run inside."""
    cpu: float = 0.0
    """Seconds that it took to play."""

    @property
    def number(self) -> str:
        """Of the invariant that broke."""
        return self.broken.partition(":")[0]


def build(schedule: Schedule, *, real: bool = False, ring: bool = False) -> World:
    """The cluster of the schedule, before anything has gone wrong. ``real``: with the controller's own loops; ``ring``: and the
    ring's own agents.
    """
    cluster = schedule.cluster
    nodes = list(cluster.nodes)
    ladder, dogs, bmcs = LadderSetup(), None, dict.fromkeys(nodes, "ok")
    none: dict[str, str | None] = dict.fromkeys(nodes)
    heartbeat, behind = None, None
    match cluster.ladder:
        case "pdu" | "two-proofs":
            ladder = LadderSetup(dict.fromkeys(nodes, "ok"))
        case "hedge":
            ladder = LadderSetup(dict.fromkeys(nodes, "ok"), (2.0,))
        case "chassis":
            ladder = LadderSetup(dict.fromkeys(nodes, "ok"), most_at_once=1)
        case "slot":
            heartbeat = {"stopGuests": schedule.seed % 2 == 0}
        case "storage":
            behind = list(cluster.vms)
        case "watchdog":
            names = ("isolationSeconds", "timeoutSeconds", "assumeSeconds")
            dogs = kennel({"nodes": nodes, **dict(zip(names, cluster.isolation, strict=True))})
    world = World(
        nodes,
        cluster.vms,
        none if cluster.ladder == "watchdog" else {**bmcs},
        "Active",
        cluster.volumes,
        dogs,
        heartbeat=heartbeat,
        storage_fence=behind,
        node_leases=cluster.ladder == "leases",
        ladder=ladder,
        controllers=list(CONTROLLERS),
        strategies=cluster.strategies,
        proofs=2 if cluster.ladder == "two-proofs" else 1,
        placement=Placement(priority=cluster.priority, after=cluster.after, boots=cluster.boots),
        spread=True,
        zones={zone: list(members) for zone, members in cluster.zones.items()},
        verdict_after=cluster.verdict_after,
        on_hung=cluster.on_hung,
        control=(
            lambda plant, memory: Replicas(plant, memory, CONTROLLERS[:REPLICAS], schedule.seed, ring=ring)
        )
        if real
        else Controller,
        warm_up=WARM_UP if real else 0.0,
    )
    world.memory.dice = random.Random(f"writes {schedule.seed}")
    return world


def play(
    schedule: Schedule, *, real: bool = False, ring: bool = False, tell: logging.Logger | None = None
) -> Outcome:
    """Play it to its end, or until an invariant breaks.

    Args:
        real: the controller's own loops lead.
        ring: and the ring's own machines tell them what they see.
        tell: what real replicas log there stands in the story too.
    """
    began = time.process_time()
    world = build(schedule, real=real, ring=ring)
    invariants = Invariants(world, real=real)
    world.controller.watched_by(invariants)
    with _heard(world, tell):
        broken = _play(world, invariants, schedule)
    return Outcome(
        schedule,
        broken,
        world.memory.opened,
        len(invariants.held),
        len(invariants.recovered),
        frozenset(invariants.triples),
        tuple(world.log),
        real,
        ring,
        time.process_time() - began,
    )


def _play(world: World, invariants: Invariants, schedule: Schedule) -> str:
    """What broke; empty: nothing."""
    try:
        for act in schedule.acts:
            _run_until(world, invariants, act.at)
            if act.words != ("end",):
                _do(world, act)
        invariants.end()
    except Broken as error:
        return str(error) if str(error)[1:2] == ":" or str(error)[2:3] == ":" else f"1: {error}"
    except Exception:  # noqa: BLE001 (whatever it is, it came out of the program: that is the finding)
        return f"raised: {world.now:.2f}: {traceback.format_exc()}"
    return ""


@contextmanager
def _heard(world: World, tell: logging.Logger | None) -> Iterator[None]:
    """Real replicas end with their schedule; what they log goes into the story, or nowhere."""
    if not isinstance(world.controller, Replicas):
        yield
        return
    logger = tell or logging.getLogger("ringfence")
    level, handler = logger.level, Story(world.plant)
    logger.addHandler(handler)
    if tell is None:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        world.controller.close()


def _run_until(world: World, invariants: Invariants, instant: float) -> None:
    while world.now < instant:
        world.tick()
        invariants.tick()


def _do(world: World, act: Act) -> None:
    kind, device = act.words[0], act.words[1] if len(act.words) > 1 else ""
    if kind == "confirm" and not _true(world, device):
        return
    if kind in STAND_IN_ONLY and isinstance(world.controller, Replicas):
        return
    if kind == "restore" and not world.controller.backed_up:
        return
    if kind == "release" and not any(r.boot.node == device for r in world.memory.open):
        return
    if kind == "migrate" and not _movable(world, *act.words[1:3]):
        return
    boxes = {"bmc": world.plant.bmcs, "pdu": world.plant.pdus}.get(kind)
    if boxes is None or device in boxes:
        world.do(list(act.words))


def _movable(world: World, name: str, target: str) -> bool:
    """Whether KubeVirt would begin to migrate it there."""
    vm, plant = world.plant.vms[name], world.plant
    ends = [plant.nodes[node] for node in (vm.node, target) if node in plant.nodes]
    runs = vm.phase == "Running" and not (vm.target or vm.stopped or vm.deleted)
    return (
        runs and vm.node != target and vm.qemu == {vm.node} and all(plant.takes_pods(node) for node in ends)
    )


def _true(world: World, node: str) -> bool:
    """Whether a person who looks finds the node off, and is asked about it."""
    asked = any(r.boot.node == node for r in world.memory.open)
    return asked and not world.plant.nodes[node].powered


class Led(StrEnum):
    """Which schedules are led by the controller's own loops: they cost twenty times as much."""

    SOME = "some"
    """Every twentieth."""
    ALL = "all"
    NONE = "none"

    def real(self, seed: int) -> bool:
        return self is Led.ALL or (self is Led.SOME and seed % EVERY == 0)


def play_seed(seed: int, led: Led = Led.NONE) -> Outcome:
    """The real ring runs inside every twentieth schedule, if the controller's own loops lead it."""
    return play(draw(seed), real=led.real(seed), ring=led.real(seed) and seed % EVERY == 0)


def shorten(outcome: Outcome, *, attempts: int = 60) -> Outcome:
    """The shortest schedule that still breaks the same invariant, as far as so many plays find it."""
    return shrink(
        outcome,
        lambda best: _shorter(best.schedule),
        lambda schedule: play(schedule, real=outcome.real, ring=outcome.ring),
        lambda played: played.number == outcome.number,
        attempts=attempts,
    )


def _shorter(schedule: Schedule) -> Iterator[Schedule]:
    for place, act in enumerate(schedule.acts):
        if act.words not in (("mend",), ("end",)):
            yield replace(schedule, acts=(*schedule.acts[:place], *schedule.acts[place + 1 :]))
