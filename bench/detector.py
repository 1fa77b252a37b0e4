"""How soon a dead node is known, and how often a live one is called dead: ringfence beside Serf, in one run.

``python bench/detector.py`` (root; 40 min at most on 2 cores) makes 30 network namespaces with an agent of each system
in every one, prints tables and writes ``bench/out/detector.json``. A part only: ``--only crashes --crashes 20``.
``FULL=1`` does 30 and 50 nodes, 300 crashes a series and 10 min a fault, in about four hours; cost also with 10 real nodes
and with 100, 1,000 and 5,000 simulated ones. What has been measured is written after each part, and ``--resume`` (what
``FULL=1`` does) goes on after the last whole part of an earlier run of the same code and options; ``setup.parts`` tells when
each began. A ``FULL=1`` run is longer than many a session, so its parts are kept in ``bench/reports/detector.json`` too, which
is committed: it goes on there on another machine.

- **Crash**: the bridge passes nothing from or to a node any more, at one instant for both systems, until both know;
  then it is back until both see it well. Up to a tenth of the nodes are down at once, each at its own time (``down``
  says how many others were). ``known_s`` is seconds from just before the bridge is told; null: not within 40 s.
  For ringfence it ends when the controller has accepted the verdict: its own code reads five agents' streams in the
  first node (which never crashes) and checks the votes. For Serf when the first living Serf reports ``failed``.
  Beside it: ``doubted_s`` and ``first_agent_s``, the first of our agents that doubted it and that called it unreachable;
  ``gaps``, to what the controller withdrew the verdict while the node was dead; ``eye_lag_s``, how late this process ran.
- **Quiet fault**: no node dies, so every verdict is false. ``false_verdicts`` counts beginnings of a node being called
  dead by ringfence's controller or by any Serf; ``by_any_agent`` the same by any single agent, whom ringfence doesn't
  believe. Counting goes on until both are well again. ``accused`` says when (seconds from the beginning), whom, by whom (beside crashes: only the controller's, when, whom, and on whose word).
- **Cost**: an agent's mean while nothing happens. ``cpu`` is per cent of one core, ``bytes_s`` IP bytes sent to other
  nodes (as many come in); what streams of views to the controller cost stands apart.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "operator"), str(PROJECT / "tests"), str(PROJECT)]

from bench.detector_net import LOCK, Net, Node, claim, feed, starve  # noqa: E402 - the paths are set above
from bench.detector_systems import Program, Reports, Ring, Serf  # noqa: E402
from lab import machine  # noqa: E402
from lab.console import say  # noqa: E402
from ringfence.core.model import RingState, Vote  # noqa: E402
from ringfence.host.privileges import NICE  # noqa: E402
from simulator import figures  # noqa: E402

PACKAGES = ("iproute2", "nftables", "serf")
FULL = os.environ.get("FULL") == "1"
KEPT = PROJECT / "bench/reports/detector.json"
"""Where a full run's parts outlive the machine."""
LOSS = 20
GIVE_UP = 40.0
"""Seconds after which a crash counts as not found, and a node that isn't well again is left to itself."""
STARTING_AT_ONCE = 4
QUIET = ("paused", "starved", "quota", "loss", "one-way", "roll-out")
PARTS = ("cost", "crashes", "quiet")
DETECTOR = (
    "HEAD:operator/ringfence/core/gossip",
    "HEAD:operator/ringfence/agent",
    "HEAD:operator/ringfence/net",
)
"""The code that is measured: figures of other code are not put beside its."""
ALIKE = (
    # 99342b7. A stream that has ended says so by another exception since: it ends as it did.
    [
        "83dbe7488e27ebe503d53ccb091d6d668451eb20",
        "4b9ac82ec936c9bc229a5bcd3e262bc4d1e138f4",
        "38e7d7585a99cca287090f6d7ad3f2bb19db2ccd",
    ],
)
"""Earlier states of it that differ in nothing that is measured, each with what differs: a full run may go on after theirs. Its parts
say by which commit they were measured.
"""
FEWEST = 30
"""In smaller rings only the cost is measured: that it doesn't depend on their size."""
SIMULATED = (100, 1_000, 5_000)
HEADERS = 28
"""IP's and UDP's bytes of a datagram, which a simulated one hasn't got."""
Row = dict[str, Any]


class Bench:
    """Both systems at one size, up and well."""

    def __init__(self, net: Net, ring: Ring, serf: Serf, dice: random.Random, at_once: int | None) -> None:
        self.net, self.ring, self.serf, self.dice = net, ring, serf, dice
        self.at_once = at_once or self.tenth
        self.down: set[str] = set()
        self.eye_lag: deque[tuple[float, float]] = deque(maxlen=5000)
        """When this process was late, and by how much (seconds): its own share in what it measures."""
        self.notes: list[tuple[float, str]] = []
        """What the fault under way did, and when: for the puzzle that a false verdict is."""

    def note(self, what: str) -> None:
        self.notes.append((time.monotonic(), what))

    @property
    def nodes(self) -> list[Node]:
        return list(self.net.nodes.values())

    @property
    def size(self) -> int:
        return len(self.net.nodes)

    @property
    def tenth(self) -> int:
        return max(1, self.size // 10)

    @property
    def counted(self) -> dict[str, Reports]:
        """Whose word is each system's verdict."""
        return {self.ring.impl: self.ring.verdicts, self.serf.impl: self.serf.reports}

    def programs(self, node: Node) -> list[Program]:
        return [self.ring.programs[node.name], self.serf.programs[node.name]]

    def well(self, node: Node) -> bool:
        """Whether both systems hold it for well, and it the others."""
        systems = (self.ring.reports, self.serf.reports, self.ring.verdicts)
        return not any(one.against(node.name) for one in systems)

    def mute(self, node: Node, on: bool) -> None:
        for reports in (self.ring.reports, self.serf.reports):
            reports.mute(node.name, on)

    def signal(self, node: Node, number: signal.Signals) -> None:
        for program in self.programs(node):
            program.signal(number)

    def cpu(self) -> dict[str, float]:
        """Seconds of a core that each system's agents have used."""
        return {
            one.impl: sum(cpu(program.pid) for program in one.programs.values())
            for one in (self.ring, self.serf)
        }

    async def start(self) -> None:
        say(f"n={self.size}: starting {self.size} agents of each")
        few = asyncio.Semaphore(STARTING_AT_ONCE)

        async def start(system: Ring | Serf, name: str) -> None:
            async with few:
                await system.start(name)
                # Whoever knows somebody has started; the first has nobody to know yet.
                await until(lambda: bool(system.reports.known(name)), 2.0)

        for system in (self.serf, self.ring):
            await asyncio.gather(*(start(system, name) for name in self.net.nodes))
            if not await until(system.complete, 90.0):
                raise RuntimeError(f"the {self.size} agents of {system.impl} have not found each other")
        say(f"n={self.size}: all know all")

    async def stop(self) -> None:
        everything = [*self.ring.programs.values(), *self.serf.programs.values()]
        await asyncio.gather(*(program.stop() for program in everything if program.started))

    async def watch_lag(self) -> None:
        """Note when this process runs late."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.02)
            self.eye_lag.append((before, time.monotonic() - before - 0.02))


async def until(true: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true within the time. What is measured is never measured by this."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= end:
            return False
        await asyncio.sleep(0.05)
    return True


# -- crashes ----------------------------------------------------------------------------------------------------------


async def crashes(bench: Bench, loss: int, count: int, into: list[Row]) -> list[Row]:
    """That many crashes, their rows added as they come; rows of what was called dead meanwhile that was not."""
    say(f"n={bench.size}: {count} crashes at {loss} % loss")
    await bench.net.lose(loss)
    done = 0
    began = time.monotonic()
    away: list[tuple[str, float, float]] = []
    numbers = iter(range(count))
    deadline = began + 60 + 15 * count / bench.at_once

    async def one_after_the_other() -> None:
        nonlocal done
        for _ in numbers:
            victim = await pick(bench, deadline)
            if victim is None:
                return
            died = time.monotonic()
            into.extend(await crash(bench, victim, loss))
            away.append((victim.name, died, time.monotonic()))
            done += 1
            if done % 10 == 0:
                say(f"n={bench.size}: {done} crashes")

    await asyncio.gather(*(one_after_the_other() for _ in range(bench.at_once)))
    await bench.net.lose(0)
    seconds = time.monotonic() - began
    if done < count:
        say(f"n={bench.size}: time for {done} crashes only")

    def false(reports: Reports) -> list[tuple[float, str, str]]:
        accused = [(node, at) for at, node, _ in reports.episodes if at >= began]
        said = bench.ring.why if reports is bench.ring.verdicts else {}
        return [
            (
                round(at - began, 3),
                name,
                next((s for (t, n), s in said.items() if n == name and abs(t - at) < 0.1), ""),
            )
            for name, at in accused
            if not any(name == n and a <= at <= b for n, a, b in away)
        ]

    fault = f"others crash, {loss} % loss"
    return [
        quiet_row(bench, impl, fault, seconds, len(wrong := false(one))) | {"accused": wrong}
        for impl, one in bench.counted.items()
    ]


async def pick(bench: Bench, deadline: float) -> Node | None:
    """A node that may die now, at an instant that nothing else is in step with."""
    while time.monotonic() < deadline:
        await asyncio.sleep(bench.dice.uniform(0.5, 2.0))
        fit = [node for node in bench.nodes[1:] if node.name not in bench.down and bench.well(node)]
        if fit:
            victim = bench.dice.choice(fit)
            bench.down.add(victim.name)
            return victim
    return None


async def crash(bench: Bench, victim: Node, loss: int) -> list[Row]:
    name, down = victim.name, len(bench.down) - 1
    bench.mute(victim, True)
    at = time.monotonic()
    await bench.net.silence(victim)

    def begun(reports: Reports) -> list[float]:
        return [round(when - at, 3) for when, node, _ in reports.episodes if node == name and when >= at]

    await until(lambda: all(begun(reports) for reports in bench.counted.values()), GIVE_UP)
    common = {"n": bench.size, "loss": loss, "victim": name, "down": down}
    rows: list[Row] = []
    for impl, reports in bench.counted.items():
        known = begun(reports)
        rows.append({"impl": impl, **common, "known_s": known[0] if known else None})
    # A verdict that is withdrawn while the node is dead comes again, but its hold begins anew: to what it was withdrawn.
    rows[0]["gaps"] = [
        str(what) for what in bench.ring.verdicts.said(name, at) if what != RingState.UNREACHABLE
    ]
    for column, state in (("doubted_s", RingState.DOUBTED), ("first_agent_s", RingState.UNREACHABLE)):
        first = bench.ring.reports.first(name, state, at)
        rows[0][column] = None if first is None else round(first - at, 3)
    lags = [lag for when, lag in bench.eye_lag if at <= when <= at + 1.5]
    rows[0]["eye_lag_s"] = round(max(lags, default=0.0), 3)
    await bench.net.restore(victim)
    if not await until(lambda: bench.well(victim), GIVE_UP):
        for system in (bench.ring, bench.serf):
            say(
                f"{system.impl}, {GIVE_UP:.0f} s after {name} is back: "
                + ", ".join(system.reports.against(name))
            )
    bench.mute(victim, False)
    bench.down.discard(name)
    return rows


# -- quiet faults -----------------------------------------------------------------------------------------------------


async def quiet(bench: Bench, fault: str, seconds: float) -> list[Row]:
    """One fault for that long, and until both systems are well again."""
    say(f"n={bench.size}: {fault} for {seconds:.0f} s")
    began = time.monotonic()
    bench.notes.clear()
    everything = {**bench.counted, "agents": bench.ring.reports}
    before = {impl: len(reports.episodes) for impl, reports in everything.items()}
    async with FAULTS[fault](bench):
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
    if not await until(lambda: all(bench.well(node) for node in bench.nodes), GIVE_UP):
        say(f"n={bench.size}: not all well {GIVE_UP:.0f} s after {fault}")
    counts = {impl: len(reports.episodes) - before[impl] for impl, reports in everything.items()}
    rows = [quiet_row(bench, impl, fault, time.monotonic() - began, counts[impl]) for impl in bench.counted]
    rows[0]["by_any_agent"] = counts["agents"]
    rows[0]["accused"] = sorted(
        {
            (round(at - began, 3), node, who)
            for one in (bench.ring.verdicts, bench.ring.reports)
            for at, node, who in one.episodes
            if at >= began
        }
    )
    if bench.ring.traces:
        told = {"began": began, "fault": fault, "notes": bench.notes, "accused": rows[0]["accused"]}
        (bench.ring.traces / f"{fault}.json").write_text(json.dumps(told, indent=1))
    say(f"n={bench.size}: {fault}: " + ", ".join(f"{impl} {count}" for impl, count in counts.items()))
    return rows


def quiet_row(bench: Bench, impl: str, fault: str, seconds: float, count: int) -> Row:
    return {"impl": impl, "n": bench.size, "fault": fault, "seconds": round(seconds), "false_verdicts": count}


@contextlib.asynccontextmanager
async def beside(*loops: Awaitable[None]) -> AsyncIterator[None]:
    """Run these for as long as the fault lasts."""
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


@contextlib.asynccontextmanager
async def paused(bench: Bench) -> AsyncIterator[None]:
    """A tenth of the nodes' agents are stopped, each for 1 to 60 s (as many short ones as long), then others."""
    stopped: set[str] = set()

    async def pause() -> None:
        while True:
            node = bench.dice.choice([node for node in bench.nodes if node.name not in stopped])
            stopped.add(node.name)
            try:
                bench.signal(node, signal.SIGSTOP)
                await asyncio.sleep(math.exp(bench.dice.uniform(0, math.log(60))))
            finally:
                bench.signal(node, signal.SIGCONT)
            await asyncio.sleep(2)
            stopped.discard(node.name)

    async with beside(*(pause() for _ in range(bench.tenth))):
        yield


def third(bench: Bench) -> list[Node]:
    return bench.dice.sample(bench.nodes, max(1, bench.size // 3))


@contextlib.asynccontextmanager
async def starved(bench: Bench) -> AsyncIterator[None]:
    """The agents of a third of the nodes run 50 ms of every second."""

    async def stutter(node: Node) -> None:
        await asyncio.sleep(bench.dice.random())
        try:
            while True:
                bench.signal(node, signal.SIGSTOP)
                await asyncio.sleep(0.95)
                bench.signal(node, signal.SIGCONT)
                await asyncio.sleep(0.05)
        finally:
            bench.signal(node, signal.SIGCONT)

    async with beside(*(stutter(node) for node in third(bench))):
        yield


@contextlib.asynccontextmanager
async def quota(bench: Bench) -> AsyncIterator[None]:
    """The agents of a third of the nodes get 0.5 % of a core each."""
    pids = [program.pid for node in third(bench) for program in bench.programs(node)]
    with contextlib.ExitStack() as limits:
        for pid in pids:
            starve(pid, 0.5)
            limits.callback(feed, pid)
        yield


@contextlib.asynccontextmanager
async def loss(bench: Bench) -> AsyncIterator[None]:
    """A fifth of all frames is lost, everywhere."""
    await bench.net.lose(LOSS)
    try:
        yield
    finally:
        await bench.net.lose(0)


@contextlib.asynccontextmanager
async def one_way(bench: Bench) -> AsyncIterator[None]:
    """20 s of every 30: no IP packet comes to a tenth of the nodes, nor on a tenth of all ways from one node to another."""

    async def turn() -> None:
        while True:
            ways = [(a, b) for a in bench.nodes for b in bench.nodes if a is not b]
            cut = bench.dice.sample(ways, len(ways) // 10)
            deaf = bench.dice.sample(bench.nodes, bench.tenth)
            await bench.net.one_way(deaf, cut)
            bench.note(
                f"deaf: {' '.join(node.name for node in deaf)}; "
                f"cut: {' '.join(f'{a.name}>{b.name}' for a, b in cut)}"
            )
            await asyncio.sleep(20)
            await bench.net.one_way([], [])
            bench.note("none deaf, none cut")
            await asyncio.sleep(10)

    try:
        async with beside(turn()):
            yield
    finally:
        await bench.net.one_way([], [])


@contextlib.asynccontextmanager
async def roll_out(bench: Bench) -> AsyncIterator[None]:
    """Every node's agents end (SIGTERM) and start again 5 s later, one node after the other, at least once round."""

    async def replace(node: Node) -> None:
        await asyncio.gather(*(program.stop() for program in bench.programs(node)))
        await asyncio.sleep(5)
        await bench.ring.start(node.name)
        await bench.serf.start(node.name)

    for node in bench.nodes:
        await replace(node)
    over = asyncio.Event()

    async def go_on() -> None:
        while not over.is_set():
            await replace(bench.dice.choice(bench.nodes))

    going_on = asyncio.create_task(go_on())
    try:
        yield
    finally:
        over.set()  # not cancelled: the one in hand must come back
        await going_on


FAULTS = {
    "paused": paused, "starved": starved, "quota": quota, "loss": loss, "one-way": one_way, "roll-out": roll_out,
}  # fmt: skip


# -- cost -------------------------------------------------------------------------------------------------------------


async def cost(bench: Bench, seconds: float) -> list[Row]:
    """What an agent costs while nothing happens."""
    say(f"n={bench.size}: cost for {seconds:.0f} s")
    before, cpu_before = bench.net.counters(), bench.cpu()
    began = time.monotonic()
    await asyncio.sleep(seconds)
    took, after, cpu_after = time.monotonic() - began, bench.net.counters(), bench.cpu()
    rows = []
    for system, counter in ((bench.ring, "ring"), (bench.serf, "serf")):

        def rate(what: str, name: str = counter) -> float:
            return round(float(after[name][what] - before[name][what]) / took / bench.size, 1)

        memory = [rss(program.pid) for program in system.programs.values()]
        spent = cpu_after[system.impl] - cpu_before[system.impl]
        rows.append({
            "impl": system.impl,
            "n": bench.size,
            "seconds": round(took),
            "cpu": round(100 * spent / took / bench.size, 2),
            "rss_mib": round(sum(memory) / len(memory), 1),
            "rss_most_mib": round(max(memory), 1),
            "bytes_s": rate("bytes"),
            "packets_s": rate("packets"),
        })  # fmt: skip
    streamed = after["streams"]["bytes"] - before["streams"]["bytes"]
    rows[0]["streams_bytes_s"] = round(streamed / took)
    return rows


def cpu(pid: int) -> float:
    """Seconds of a core that it has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss(pid: int) -> float:
    """MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:")) / 1024


# -- the run ----------------------------------------------------------------------------------------------------------


class Load:
    """How busy the machine was: a share of all cores in use, and the load average, by part."""

    def __init__(self) -> None:
        self.parts: dict[str, Row] = {}

    @contextlib.contextmanager
    def during(self, part: str) -> Any:
        began = self._jiffies()
        try:
            yield
        finally:
            self._note(part, began)

    def _note(self, part: str, began: tuple[int, int]) -> None:
        busy, total = (now - then for now, then in zip(self._jiffies(), began, strict=True))
        self.parts[part] = {
            "busy": round(busy / max(1, total), 2),
            "load_average": round(os.getloadavg()[0], 2),
        }

    @staticmethod
    def _jiffies() -> tuple[int, int]:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(fields) - fields[3] - fields[4], sum(fields)


def punctuality(bench: Bench) -> Row:
    """What our agents say of themselves: timers more than 0.1 s late so far, how much longer than usual they wait for an
    answer now, votes cast so far and how many of these were ``abstain``, and round trips to peers.

    On a machine with more agents than cores this is where seconds go: time-outs follow the round trips, and all agents read
    the pressure of the one host that they share (`awareness.strain_of`). Late timers and abstentions are the machine's or
    the ring's own: where there are many of these without those, it is the ring's.
    """
    late, votes, abstained = 0, 0, 0
    stretches, trips = [], []
    for node in bench.nodes:
        with urllib.request.urlopen(f"http://{node.address}:7948/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                name, _, value = line.rpartition(" ")
                if name == "ringfence_agent_late_total":
                    late += int(float(value))
                elif name == "ringfence_agent_stretch":
                    stretches.append(float(value))
                elif name.startswith("ringfence_agent_votes_total{"):
                    votes += int(float(value))
                    abstained += int(float(value)) if f'"{Vote.ABSTAIN}"' in name else 0
                elif name.startswith("ringfence_agent_rtt_seconds{"):
                    trips.append(1000 * float(value))
    said = {"late_timers": late, "stretch_most": max(stretches), "votes": votes, "abstained": abstained}
    return said | {
        f"rtt_p{share}_ms": round(quantile(trips, share / 100), 1) for share in (50, 90, 99) if trips
    }


def simulated(n: int) -> Row:
    """What an agent sends in a quiet ring too large for real sockets."""
    row = figures.quiet(n, seed=1, seconds=5.0, networks=1)
    packets, octets = float(str(row["packets_s"])), float(str(row["bytes_s"]))
    return {
        "impl": "ringfence, simulated",
        "n": n,
        "seconds": 5,
        "bytes_s": round(octets + HEADERS * packets, 1),
        "packets_s": packets,
    }


@dataclass
class Record:
    """What has been measured, part by part, in a file."""

    out: Path
    setup: Row
    load: Load
    result: dict[str, list[Row]]
    copies: tuple[Path, ...] = ()

    @property
    def parts(self) -> dict[str, Row]:
        """The parts that are whole."""
        found: dict[str, Row] = self.setup["parts"]
        return found

    def take_over(self) -> None:
        """What an earlier run that was ended early has left, if it was of the same code and options."""
        found = next((file for file in (self.out, *self.copies) if file.exists()), None)
        if found is None:
            return
        before = json.loads(found.read_text())
        setup = before["setup"]
        alike = setup.get("detector") in (self.setup["detector"], *ALIKE)
        if (
            setup["whole"]
            or not alike
            or any(setup.get(key) != self.setup[key] for key in ("options", "cpus"))
        ):
            return
        say(f"going on after {len(setup['parts'])} parts of the run that began at {setup['began']}")
        self.setup["began"], self.setup["parts"] = setup["began"], setup["parts"]
        self.load.parts |= setup["load"]
        whole = {crashes_part(row["n"], row["loss"]) for row in before["crashes"]} & set(setup["parts"])
        self.result["quiet"] += before["quiet"]
        self.result["cost"] += before["cost"]
        self.result["crashes"] += [
            row for row in before["crashes"] if crashes_part(row["n"], row["loss"]) in whole
        ]

    @contextlib.contextmanager
    def part(self, name: str) -> Any:
        """A part under way; it counts when it has come to its end."""
        began = datetime.now(UTC).isoformat(timespec="seconds")
        with self.load.during(name):
            yield
        self.parts[name] = {"began": began, "commit": self.setup["commit"]}
        self.save()

    def save(self) -> None:
        for file in (self.out, *self.copies):
            file.write_text(self.text())

    def text(self) -> str:
        """A row a line."""
        rows = {
            what: "[\n" + ",\n".join(json.dumps(row) for row in found) + "\n]"
            for what, found in self.result.items()
        }
        fields = ",\n".join(f'"{what}": {text}' for what, text in rows.items())
        return f'{{"setup": {json.dumps(self.setup, indent=1)},\n{fields}}}\n'


def crashes_part(n: int, percent: int) -> str:
    return f"n={n} crashes {percent} %"


def parts_of(size: int, chosen: argparse.Namespace) -> list[str]:
    """The names of all that is measured at one size."""
    parts = [f"n={size} cost"] if "cost" in chosen.only else []
    if size < min(FEWEST, max(chosen.n)):
        return parts
    if "crashes" in chosen.only:
        parts += [crashes_part(size, percent) for percent in chosen.loss]
    if "quiet" in chosen.only:
        parts += [f"n={size} {fault}" for fault in chosen.faults]
    return parts


async def measure(net: Net, place: Path, chosen: argparse.Namespace, record: Record) -> None:
    """All that was asked for and has not been measured yet, at one size."""
    me = asyncio.current_task()
    assert me is not None

    def died(sentence: str) -> None:
        say(sentence)
        me.cancel()

    ring, serf = Ring(net, place / "ring", died, traced=chosen.trace), Serf(net, place / "serf", died)
    bench = Bench(net, ring, serf, random.Random(chosen.seed), chosen.at_once)
    net.enter(bench.nodes[0])
    helpers = [asyncio.create_task(bench.ring.run_eye()), asyncio.create_task(bench.watch_lag())]
    load, result = record.load, record.result
    due = [part for part in parts_of(bench.size, chosen) if part not in record.parts]
    try:
        with load.during(f"n={bench.size} start"):
            await bench.start()
        if (part := f"n={bench.size} cost") in due:
            await asyncio.sleep(5)  # what starting up has left to do
            with record.part(part):
                result["cost"] += await cost(bench, min(60.0, chosen.seconds))
            load.parts[part] |= punctuality(bench)
        for percent in chosen.loss:
            if (part := crashes_part(bench.size, percent)) in due:
                with record.part(part):
                    began, before = time.monotonic(), bench.cpu()
                    others = await crashes(bench, percent, chosen.crashes, result["crashes"])
                    took, after = time.monotonic() - began, bench.cpu()
                    result["quiet"] += others
                spent = {f"{impl}_cores": round((after[impl] - before[impl]) / took, 2) for impl in after}
                load.parts[part] |= spent | punctuality(bench)
        for fault in chosen.faults:
            if (part := f"n={bench.size} {fault}") in due:
                with record.part(part):
                    result["quiet"] += await quiet(bench, fault, chosen.seconds)
        record.save()
    finally:
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        await bench.stop()
        net.leave()


def quantile(values: list[float], share: float) -> float:
    """The nearest rank's value: one that was really measured."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def tables(result: dict[str, list[Row]]) -> str:
    """What a person reads."""
    lines = []
    if result["crashes"]:
        lines.append(f"{'seconds after a crash':36} {'nodes':>5} {'loss':>4} {'crashes':>7} {'never':>5}"
                     f" {'p50':>7} {'p90':>7} {'p99':>7} {'most':>7}")  # fmt: skip
    steps = {"doubted_s": "  first doubt", "first_agent_s": "  first agent's verdict", "known_s": "known"}
    for impl, n, percent in dict.fromkeys((row["impl"], row["n"], row["loss"]) for row in result["crashes"]):
        rows = [r for r in result["crashes"] if (r["impl"], r["n"], r["loss"]) == (impl, n, percent)]
        for step, text in steps.items():
            if step not in rows[0]:
                continue
            values = [row[step] for row in rows if row[step] is not None]
            cells = [quantile(values, share) for share in (0.5, 0.9, 0.99, 1)] if values else []
            lines.append(
                f"{impl + ' ' + text:36} {n:5} {percent:3}% {len(rows):7} {len(rows) - len(values):5} "
                + " ".join(f"{cell:7.2f}" for cell in cells)
            )
    for part in ("quiet", "cost"):
        rows = result[part]
        if rows:
            columns = list(dict.fromkeys(column for row in rows for column in row if column != "accused"))
            width = {c: max(len(c), *(len(str(row.get(c, ""))) for row in rows)) + 1 for c in columns}
            lines += ["", " ".join(f"{c:>{width[c]}}" for c in columns)]
            lines += [" ".join(f"{row.get(c, '')!s:>{width[c]}}" for c in columns) for row in rows]
    return "\n".join(lines)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--n", type=int, nargs="+", default=[10, 30, 50] if FULL else [30], help="sizes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--crashes", type=int, default=300 if FULL else 100, help="a series")
    parser.add_argument("--at-once", type=int, help="nodes that may be down at once; else a tenth of them")
    parser.add_argument("--loss", type=int, nargs="+", default=[0, LOSS], help="per cent, a series each")
    parser.add_argument("--faults", nargs="+", choices=QUIET, default=list(QUIET))
    parser.add_argument("--seconds", type=float, default=600.0 if FULL else 180.0, help="a quiet fault lasts")
    parser.add_argument("--seed", type=int, default=1, help="who dies when")
    parser.add_argument(
        "--resume", action="store_true", default=FULL, help="go on after an earlier run's parts"
    )
    parser.add_argument(
        "--trace", action="store_true", help="keep the agents' logs and traces (and pay for them)"
    )
    parser.add_argument("--out", type=Path, default=PROJECT / "bench/out/detector.json")
    return parser.parse_args()


def command(*words: str) -> str:
    return subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()


def end(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    signal.raise_signal(signal.SIGINT)


def main() -> int:
    chosen = options()
    if os.geteuid() != 0:
        say("the bench makes network namespaces: run it as root")
        return 1
    with LOCK.open("w") as lock:
        try:
            claim(lock)
        except BlockingIOError:
            say("another run of this bench is under way")
            return 1
        return run(chosen)


def run(chosen: argparse.Namespace) -> int:
    machine.equip(PACKAGES)
    setup: Row = {
        "command": " ".join(sys.argv),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": command("git", "rev-parse", "HEAD"),
        "detector": command("git", "rev-parse", *DETECTOR).split(),
        "options": {
            key: value for key, value in vars(chosen).items() if key not in ("out", "resume", "trace")
        },
        "parts": {},
        "python": platform.python_version(),
        "serf": command("dpkg-query", "--show", "--showformat=${Version}", "serf"),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "load_average_before": [round(one, 2) for one in os.getloadavg()],
    }
    # Who measures must be as punctual as who is measured.
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    # An end from outside is one like Ctrl-C, once: everything is taken down.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, end)
    load = Load()
    result: dict[str, list[Row]] = {"crashes": [], "quiet": [], "cost": []}
    setup["load"], setup["whole"] = load.parts, False
    record = Record(chosen.out, setup, load, result, (KEPT,) if FULL else ())
    place = Path(tempfile.mkdtemp(prefix="rfb-"))
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    if chosen.resume:
        record.take_over()
    try:
        for size in chosen.n:
            if set(parts_of(size, chosen)) <= set(record.parts):
                continue
            with Net(size) as net:
                asyncio.run(measure(net, place / str(size), chosen, record))
        for size in SIMULATED if FULL and "cost" in chosen.only else ():
            if (part := f"n={size} simulated") not in record.parts:
                say(part)
                with record.part(part):
                    result["cost"].append(simulated(size))
        setup["whole"] = True
    except KeyboardInterrupt:
        say("ended early: what was measured is kept")
    record.save()
    if chosen.trace:
        say(f"logs and traces: {place}")
    else:
        shutil.rmtree(place)  # a run that failed keeps its logs
    print(tables(result))
    print(json.dumps(setup, indent=1))
    return 0 if setup["whole"] else 130


if __name__ == "__main__":
    sys.exit(main())
