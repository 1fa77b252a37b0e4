"""One script played from beginning to end, and a failing one made as short as it will go."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from simulator import faults
from simulator.invariants import Broken, Storm, Verdict, Watch
from simulator.script import Script, random_script
from simulator.shrink import shrink
from simulator.world import World

SETTLING = 3.0
"""Quiet seconds before a script's time 0."""
CONVERGED = 30.0
"""Seconds after the last fault by which the ring must have come to rest (GOSSIP §10.8)."""
_RAISED = 0
"""Not an invariant of the list: no input may raise out of the machine."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a script."""

    script: Script
    broken: tuple[Broken, ...]
    verdicts: tuple[Verdict, ...]
    events: int
    seconds: float
    """Played."""
    trace: str
    """Digest of everything that happened; empty unless asked for."""

    def breaks(self, number: int) -> bool:
        """Whether this invariant is broken."""
        return any(one.number == number for one in self.broken)


def play_seed(seed: int, nodes: int) -> tuple[Outcome, float]:
    """What comes of this seed's random script, and the seconds of CPU that it took."""
    began = time.process_time()
    outcome = play(random_script(seed, nodes))
    return outcome, time.process_time() - began


def play(script: Script, trace: Callable[[str], None] | None = None, *, digest: bool = False) -> Outcome:
    """Play it until the ring has come to rest, at the latest 30 s after the last fault.

    ``trace`` gets a line for everything that happens.
    """
    hasher = hashlib.blake2b(digest_size=16)

    def note(line: str) -> None:
        hasher.update(line.encode() + b"\n")
        if trace is not None:
            trace(line)

    world = World(
        script.nodes,
        seed=script.seed,
        zones=script.zones,
        networks=script.further,
        trace=note if digest or trace is not None else None,
    )
    watch = Watch(world)
    try:
        world.run(SETTLING)
        for fault in script.faults:
            world.later(fault.at, lambda fault: faults.begin(world, fault), fault)
        last = max((fault.end for fault in script.faults), default=0.0)
        world.run(last)
        _rest(world, watch)
    except Storm:
        pass  # the watch has said so
    except Exception:  # noqa: BLE001 (whatever it is, it came out of the machine: that is the finding)
        watch.broken.append(Broken(_RAISED, world.now, traceback.format_exc()))
    return Outcome(
        script,
        tuple(watch.broken),
        tuple(watch.verdicts),
        world.events,
        world.now,
        hasher.hexdigest() if digest else "",
    )


def _rest(world: World, watch: Watch) -> None:
    """Play on until all is as it should be and has stayed so for a second."""
    latest = world.now + CONVERGED
    while world.now < latest:
        world.run(0.5)
        if watch.unsettled() is None:
            world.run(1.0)
            if watch.unsettled() is None:
                return
    reason = watch.unsettled()
    if reason is not None:
        watch.broken.append(Broken(8, world.now, f"{CONVERGED:.0f} s after the last fault {reason}"))


def shorten(outcome: Outcome, number: int, *, attempts: int = 40) -> Outcome:
    """The shortest script that still breaks this invariant, as far as so many plays find it.

    Leaves out faults one by one, then nodes that a fault is at, for as long as what is left still fails.
    """
    return shrink(
        outcome,
        lambda best: _shorter(best.script),
        play,
        lambda played: played.breaks(number),
        attempts=attempts,
    )


def _shorter(script: Script) -> Iterator[Script]:
    faults = script.faults
    for place in range(len(faults)):
        yield replace(script, faults=faults[:place] + faults[place + 1 :])
    for place, fault in enumerate(faults):
        for field in ("nodes", "others"):
            names = getattr(fault, field)
            for half in (names[: len(names) // 2], names[len(names) // 2 :]):
                if half and half != names:
                    smaller = replace(fault, **{field: half})
                    yield replace(script, faults=(*faults[:place], smaller, *faults[place + 1 :]))
