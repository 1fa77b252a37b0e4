"""Record one detection from beginning to end, for the picture in docs/how-a-dead-node-is-found.md.

``python bench/detection.py`` (root; a minute or two) makes 12 network namespaces with an agent in each, which write down
every step (``--trace``), and the controller's eye in the first. Then a node falls silent, several times, one after
the other; the crash that took the middle time is kept: all lines about its node, from a little before until the
controller has accepted the verdict. Times are milliseconds since just before the bridge was told to pass nothing any
more from or to the node; ``silent_ms`` is when it had been told.

All clocks are one clock here (CLOCK_MONOTONIC of one machine): nothing had to be put straight. And all of it runs with
real-time priority: twelve nodes share a machine that may have other work, which a node's agent would see as its own lateness.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "operator"), str(PROJECT / "tests"), str(PROJECT)]

from bench.detector_net import LOCK, Net, Node, claim  # noqa: E402 - the paths are set above
from bench.detector_systems import Ring  # noqa: E402
from lab import machine  # noqa: E402
from lab.console import say  # noqa: E402
from ringfence.controller.evidence import Verify, Witness  # noqa: E402
from ringfence.core.gossip.report import AgentView  # noqa: E402
from ringfence.core.model import RingState  # noqa: E402

BEFORE, AFTER = 150.0, 40.0
"""Milliseconds that are kept before the crash and after the verdict."""
GIVE_UP = 30.0
Line = dict[str, Any]
_TOLD = frozenset({RingState.DOUBTED, RingState.UNREACHABLE})


@dataclass(frozen=True, slots=True)
class Crash:
    victim: str
    began: float
    silent: float
    known: float

    @property
    def took(self) -> float:
        return self.known - self.began


async def until(true: Callable[[], object], seconds: float) -> None:
    """Wait for it; what is measured is never measured by this. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - it looks at what others' logs say
            await asyncio.sleep(0.05)


class Notes(Witness):
    """The controller's evidence, which also notes when each view came."""

    def __init__(self, verify: Verify) -> None:
        super().__init__(verify)
        self.lines: list[Line] = []

    def view_seen(self, view: AgentView, now: float, late: float = 0.0) -> bool:
        said = {one.subject.node: one.state.value for one in view.subjects if one.state in _TOLD}
        if said:
            self.lines.append(
                {"at": now, "node": "controller", "what": "reads", "peer": view.reporter.node, "states": said}
            )
        return super().view_seen(view, now, late)


async def crash(net: Net, ring: Ring, victim: Node) -> Crash:
    began = time.monotonic()
    await net.silence(victim)
    silent = time.monotonic()
    ring.reports.mute(victim.name, True)
    try:
        await until(lambda: ring.verdicts.first(victim.name, RingState.UNREACHABLE, began), GIVE_UP)
        await asyncio.sleep(0.3)  # what is still on its way into the traces
    finally:
        await net.restore(victim)
        ring.reports.mute(victim.name, False)
    await until(ring.complete, GIVE_UP)
    known = ring.verdicts.first(victim.name, RingState.UNREACHABLE, began)
    assert known is not None
    return Crash(victim.name, began, silent, known)


async def record(net: Net, place: Path, count: int, dice: random.Random) -> tuple[list[Crash], list[Line]]:
    """The crashes, and what the controller read."""
    me = asyncio.current_task()
    assert me is not None

    def died(sentence: str) -> None:
        say(sentence)
        me.cancel()

    notes: list[Notes] = []

    def witness(check: Verify) -> Notes:
        notes.append(Notes(check))
        return notes[-1]

    ring = Ring(net, place, died, traced=True, witness=witness)
    nodes = list(net.nodes.values())
    net.enter(nodes[0])
    eye = asyncio.create_task(ring.run_eye())
    crashes = []
    try:
        for node in nodes:
            await ring.start(node.name)
        await until(ring.complete, 90.0)
        # Each another node: who was away lately is waited for longer.
        for victim in dice.sample(nodes[1:], count):
            await asyncio.sleep(dice.uniform(4.0, 5.0))  # a phase that nothing is in step with
            crashes.append(await crash(net, ring, victim))
            say(f"{crashes[-1].victim}: known after {1000 * crashes[-1].took:.0f} ms")
    finally:
        eye.cancel()
        await asyncio.gather(eye, return_exceptions=True)
        await asyncio.gather(*(program.stop() for program in ring.programs.values() if program.started))
        net.leave()
    return crashes, [line for one in notes for line in one.lines]


def about(lines: Iterable[Line], one: Crash) -> list[Line]:
    """What concerns this crash, in order, with times in milliseconds from its beginning."""
    kept = []
    for line in lines:
        at = round(1000 * (line["at"] - one.began), 2)
        named = {line.get("about"), line.get("peer"), line["node"], *line.get("states", ())}
        concerned = one.victim in named or line["what"] == "view"
        # What the cut off node thinks of the others is true as far as it can see, and not this story.
        alone = line["node"] == one.victim and at > 0
        if -BEFORE <= at <= 1000 * one.took + AFTER and concerned and not alone:
            kept.append({"at": at, **{key: value for key, value in line.items() if key != "at"}})
    return sorted(kept, key=lambda line: line["at"])


def story(place: Path, crashes: list[Crash], read: list[Line], size: int) -> dict[str, Any]:
    """The crash of the middle time, and what was done to get it."""
    one = sorted(crashes, key=lambda each: each.took)[len(crashes) // 2]
    traces = [json.loads(line) for file in place.glob("*.trace") for line in file.read_text().splitlines()]
    return {
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": f"python bench/detection.py --n {size} --crashes {len(crashes)}",
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}; real-time priority",
        "nodes": size,
        "all_ms": sorted(round(1000 * each.took) for each in crashes),
        "victim": one.victim,
        "silent_ms": round(1000 * (one.silent - one.began), 2),
        "verdict_ms": round(1000 * one.took, 2),
        "lines": about([*traces, *read], one),
    }


def written(told: dict[str, Any]) -> str:
    """As JSON with a line for each line: a difference between two traces can be read."""
    head = json.dumps({key: value for key, value in told.items() if key != "lines"}, indent=1)
    lines = ",\n".join(json.dumps(line) for line in told["lines"])
    return f'{head[:-2]},\n "lines": [\n{lines}\n]\n}}\n'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--n", type=int, default=12, help="nodes")
    parser.add_argument("--crashes", type=int, default=9, help="at most one less than nodes")
    parser.add_argument("--seed", type=int, default=1, help="who dies when")
    parser.add_argument("--out", type=Path, default=PROJECT / "docs/pictures/detection.json")
    chosen = parser.parse_args()
    if os.geteuid() != 0:
        say("this makes network namespaces: run it as root")
        return 1
    with LOCK.open("w") as lock:
        try:
            claim(lock)
        except BlockingIOError:
            say("a run of the detector's bench is under way")
            return 1
        machine.equip(("iproute2", "nftables"))
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # and what it starts
        place = Path(tempfile.mkdtemp(prefix="rfb-"))
        with Net(chosen.n) as net:
            crashes, read = asyncio.run(record(net, place, chosen.crashes, random.Random(chosen.seed)))
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(written(story(place, crashes, read, chosen.n)))
    shutil.rmtree(place)  # a run that failed keeps its logs
    return 0


if __name__ == "__main__":
    sys.exit(main())
