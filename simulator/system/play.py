"""One schedule played from beginning to end, and a failing one made as short as it will go."""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace

from simulator.shrink import shrink
from simulator.system.controller import Controller
from simulator.system.device import LadderSetup
from simulator.system.invariants import Invariants
from simulator.system.replicas import WARM_UP, Replicas
from simulator.system.rules import Broken
from simulator.system.schedule import CONTROLLERS, NODES, Act, Schedule, draw
from simulator.system.triples import Triple
from simulator.system.watchdogs import kennel
from simulator.system.world import World


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

    @property
    def number(self) -> str:
        """Of the invariant that broke."""
        return self.broken.partition(":")[0]


def build(schedule: Schedule, *, real: bool = False) -> World:
    """The cluster of the schedule, before anything has gone wrong. ``real``: with the controller's own loops."""
    cluster = schedule.cluster
    nodes = list(NODES)
    ladder, dogs, bmcs = LadderSetup(), None, dict.fromkeys(NODES, "ok")
    none: dict[str, str | None] = dict.fromkeys(NODES)
    heartbeat, behind = None, None
    match cluster.ladder:
        case "pdu" | "two-proofs":
            ladder = LadderSetup(dict.fromkeys(NODES, "ok"))
        case "hedge":
            ladder = LadderSetup(dict.fromkeys(NODES, "ok"), (2.0,))
        case "chassis":
            ladder = LadderSetup(dict.fromkeys(NODES, "ok"), most_at_once=1)
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
        spread=True,
        verdict_after=cluster.verdict_after,
        control=(lambda plant, memory: Replicas(plant, memory, CONTROLLERS, schedule.seed))
        if real
        else Controller,
        warm_up=WARM_UP if real else 0.0,
    )
    world.memory.dice = random.Random(f"writes {schedule.seed}")
    return world


def play(schedule: Schedule, *, real: bool = False) -> Outcome:
    """Play it to its end, or until an invariant breaks."""
    world = build(schedule, real=real)
    invariants = Invariants(world, real=real)
    world.controller.watched_by(invariants)
    broken = ""
    try:
        for act in schedule.acts:
            _run_until(world, invariants, act.at)
            if act.words != ("end",):
                _do(world, act)
        invariants.end()
    except Broken as error:
        broken = str(error) if str(error)[1:2] == ":" or str(error)[2:3] == ":" else f"1: {error}"
    except Exception:  # noqa: BLE001 (whatever it is, it came out of the program: that is the finding)
        broken = f"raised: {world.now:.2f}: {traceback.format_exc()}"
    if isinstance(world.controller, Replicas):
        world.controller.close()
    return Outcome(
        schedule,
        broken,
        world.memory.opened,
        len(invariants.held),
        len(invariants.recovered),
        frozenset(invariants.triples),
        tuple(world.log),
    )


def _run_until(world: World, invariants: Invariants, instant: float) -> None:
    while world.now < instant:
        world.tick()
        invariants.tick()


def _do(world: World, act: Act) -> None:
    kind, device = act.words[0], act.words[1] if len(act.words) > 1 else ""
    boxes = {"bmc": world.plant.bmcs, "pdu": world.plant.pdus}.get(kind)
    if boxes is None or device in boxes:
        world.do(list(act.words))


def play_seed(seed: int) -> Outcome:
    return play(draw(seed))


def shorten(outcome: Outcome, *, attempts: int = 60) -> Outcome:
    """The shortest schedule that still breaks the same invariant, as far as so many plays find it."""
    return shrink(
        outcome,
        lambda best: _shorter(best.schedule),
        play,
        lambda played: played.number == outcome.number,
        attempts=attempts,
    )


def _shorter(schedule: Schedule) -> Iterator[Schedule]:
    for place, act in enumerate(schedule.acts):
        if act.words not in (("mend",), ("end",)):
            yield replace(schedule, acts=(*schedule.acts[:place], *schedule.acts[place + 1 :]))
