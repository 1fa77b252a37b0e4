"""What a storage heartbeat costs: many real heartbeat processes on one shared file, and on one shared block device.

``python bench/slots.py`` prints a table and writes ``bench/out/slots.json``. Each node is a process ``ringfence.slots`` with
an address of its own on loopback, with the file that feeds a watchdog (one read more); controllers are streams from this process. Figures a node are means over all nodes of the
kind (read by a controller, or not) over the window: CPU in per cent of one core, requests and bytes a second as the kernel
accounts them to the process, and what the volume itself took as the block device counts it. Needs root for the loop device.

Also told: how old a node's last write looks to a controller (the age of life, which bounds what a failover waits for), and how
long after a SIGKILL of a node's process its slot is called silent.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "operator"))

from ringfence.core.detection.heartbeats import Heartbeats  # noqa: E402 - the product lies in operator/
from ringfence.core.fencing.slotwatch import SlotState  # noqa: E402
from ringfence.core.gossip.keys import KeySet  # noqa: E402
from ringfence.core.model import Boot  # noqa: E402
from ringfence.net.crypto import GROUP_KEY_FILE, ROSTER_PUBLIC_FILE, make_group_keys  # noqa: E402
from ringfence.net.slot_stream import SlotClient  # noqa: E402
from ringfence.net.stream import StreamError  # noqa: E402

PORT = 7950
CONTROLLERS, STREAMS = 3, 3
TICKS = os.sysconf("SC_CLK_TCK")
START = 180.0
MEGABYTE = 1 << 20


@dataclass
class Cost:
    """One kind of node in one setting; means over its nodes."""

    volume: str
    kind: str
    nodes: int
    cpu_percent: float
    requests_per_s: float
    read_kib_per_s: float
    written_kib_per_s: float
    rss_mib: float


@dataclass
class Device:
    """What the volume took, all nodes together."""

    volume: str
    nodes: int
    read_by: int
    reads_per_s: float
    writes_per_s: float
    read_kib_per_s: float
    written_kib_per_s: float


@dataclass
class Sight:
    """What one controller sees."""

    volume: str
    moving: int
    life_age_p50_s: float
    life_age_p99_s: float
    silent_after_kill_s: float


def address(number: int) -> str:
    return f"127.0.91.{number}"


def boot(number: int) -> Boot:
    return Boot(f"n{number}", f"uid-{number}", f"00000000-0000-4000-8000-{number:012d}")


class Fleet:
    """So many heartbeat processes."""

    def __init__(self, folder: Path, volume: Path, nodes: int, keys: dict[str, bytes]) -> None:
        # In memory, as the legs under /run are, so that only the volume is accounted.
        for name in (GROUP_KEY_FILE, ROSTER_PUBLIC_FILE):
            (folder / name).write_bytes(keys[name])
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        for number in range(1, nodes + 1):
            (folder / f"boot-{number}").write_text(boot(number).boot_id)
            self.processes[number] = subprocess.Popen(
                [
                    sys.executable, "-m", "ringfence.slots", f"--volume={volume}", f"--slots={2 * nodes}",
                    f"--node-name=n{number}", f"--node-uid=uid-{number}", f"--node-ip={address(number)}", f"--port={PORT}",
                    f"--keys-dir={folder}", f"--boot-id-path={folder / f'boot-{number}'}",
                    f"--leg={folder / f'leg-{number}'}", "--feeds-watchdog", "--log-level=ERROR",
                ],
                env={**os.environ, "PYTHONPATH": str(PROJECT / "operator"), "MALLOC_ARENA_MAX": "2"},
            )  # fmt: skip
        end = time.monotonic() + START
        while not all((folder / f"leg-{n}").exists() for n in self.processes):
            if time.monotonic() > end:
                self.end()
                raise SystemExit("not all heartbeats have written their slot")
            time.sleep(0.1)  # between two looks of a bounded wait

    def end(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGKILL)
        for process in self.processes.values():
            process.wait()


@dataclass
class Usage:
    cpu_s: float
    requests: int
    read: int
    written: int
    rss: int


def usage(pid: int) -> Usage:
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat[stat.rindex(")") + 2 :].split()
    io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return Usage(
        cpu_s=(int(fields[11]) + int(fields[12])) / TICKS,
        requests=int(io["syscr"]) + int(io["syscw"]),
        read=int(io["read_bytes"]),
        written=int(io["write_bytes"]),
        rss=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
    )


def disk(name: str | None) -> tuple[int, int, int, int]:
    """Reads, writes, sectors read, sectors written of a block device."""
    if name is None:
        return (0, 0, 0, 0)
    fields = [int(word) for word in Path(f"/sys/block/{name}/stat").read_text().split()]
    return fields[0], fields[4], fields[2], fields[6]


class Eye:
    """One controller: its streams, and what they say."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._client = SlotClient(KeySet.first(keys[GROUP_KEY_FILE]))
        self.heartbeats = Heartbeats()

    async def follow(self, number: int) -> None:
        while True:
            with contextlib.suppress(StreamError, OSError, TimeoutError):
                async with self._client.session(address(number), PORT) as session:
                    while True:
                        self.heartbeats.take(await session.report(), time.monotonic())
            await asyncio.sleep(0.2)  # between two tries

    def states(self, nodes: int) -> dict[int, SlotState]:
        now = time.monotonic()
        return {n: self.heartbeats.of(boot(n), (), now).state for n in range(1, nodes + 1)}


async def measure(
    fleet: Fleet, volume: str, device: str | None, read_by: list[int], seconds: float, eyes: list[Eye]
) -> tuple[list[Cost], Device, list[float]]:
    nodes = len(fleet.processes)
    before = {n: usage(p.pid) for n, p in fleet.processes.items()}
    disk_before, began = disk(device), time.monotonic()
    ages: list[float] = []
    while time.monotonic() - began < seconds:
        await asyncio.sleep(0.25)
        now = time.monotonic()
        ages.extend(
            now - at
            for e in eyes
            for n in range(1, nodes + 1)
            if (at := e.heartbeats.moved_at(boot(n), ())) > 0
        )
    took = time.monotonic() - began
    after, disk_after = {n: usage(p.pid) for n, p in fleet.processes.items()}, disk(device)
    rows = []
    for kind, members in (
        ("read by a controller", read_by),
        ("others", [n for n in fleet.processes if n not in read_by]),
    ):
        if not members:
            continue

        def mean(pick: str, members: list[int] = members) -> float:
            spent = [float(getattr(after[n], pick) - getattr(before[n], pick)) for n in members]
            return statistics.mean(spent) / took

        rows.append(
            Cost(
                volume,
                kind,
                len(members),
                round(100 * mean("cpu_s"), 2),
                round(mean("requests"), 1),
                round(mean("read") / 1024, 1),
                round(mean("written") / 1024, 1),
                round(statistics.mean(after[n].rss for n in members) / MEGABYTE, 1),
            )
        )
    reads, writes, sectors_read, sectors_written = (
        b - a for a, b in zip(disk_before, disk_after, strict=True)
    )
    total = Device(
        volume,
        nodes,
        len(read_by),
        round(reads / took, 1),
        round(writes / took, 1),
        round(sectors_read / 2 / took, 1),
        round(sectors_written / 2 / took, 1),
    )
    return rows, total, ages


async def silence_after_kill(fleet: Fleet, eye: Eye, victim: int) -> float:
    """Seconds from the SIGKILL of a node's process to the controller's calling its slot silent."""
    fleet.processes[victim].send_signal(signal.SIGKILL)
    fleet.processes[victim].wait()
    killed = time.monotonic()
    async with asyncio.timeout(30):
        while eye.heartbeats.of(boot(victim), (), time.monotonic()).state is not SlotState.SILENT:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return round(time.monotonic() - killed, 2)


@contextlib.contextmanager
def volumes(folder: Path, nodes: int, kind: str) -> Iterator[tuple[Path, str | None]]:
    """The volume, and the block device whose counters tell what it took."""
    backing = folder / "heart"
    if kind == "file":
        source = os.stat(folder).st_dev  # noqa: PTH116 - a number is all that is asked
        link = Path(f"/sys/dev/block/{os.major(source)}:{os.minor(source)}")
        yield backing, link.resolve().name if link.exists() else None
        return
    with backing.open("wb") as file:
        file.truncate((1 + 4 * nodes) * 4096)
    made = subprocess.run(
        ["losetup", "--direct-io=on", "-f", "--show", str(backing)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    try:
        yield Path(made), made.removeprefix("/dev/")
    finally:
        subprocess.run(["losetup", "-d", made], check=True)


async def part(kind: str, nodes: int, seconds: float) -> tuple[list[Cost], list[Device], Sight]:
    keys = make_group_keys()
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as name,
        volumes(Path(name), nodes, kind) as (volume, device),
    ):
        folder = Path(name)
        fleet = Fleet(folder, volume, nodes, keys)
        try:
            quiet, quiet_disk, _ = await measure(fleet, kind, device, [], seconds, [])
            eyes = [Eye(keys) for _ in range(CONTROLLERS)]
            read_by = list(range(1, CONTROLLERS * STREAMS + 1))
            tasks = [
                asyncio.create_task(eye.follow(number))
                for place, eye in enumerate(eyes)
                for number in read_by[place * STREAMS : (place + 1) * STREAMS]
            ]
            async with asyncio.timeout(60):
                while not all(s is SlotState.MOVING for e in eyes for s in e.states(nodes).values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            busy, busy_disk, ages = await measure(fleet, kind, device, read_by, seconds, eyes)
            moving = sum(s is SlotState.MOVING for s in eyes[0].states(nodes).values())
            cuts = statistics.quantiles(ages, n=100)
            silent = await silence_after_kill(fleet, eyes[0], nodes)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            fleet.end()
    for row in quiet:
        row.kind = "nobody listens"
    return (
        [*quiet, *busy],
        [quiet_disk, busy_disk],
        Sight(kind, moving, round(cuts[49], 2), round(cuts[98], 2), silent),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/slots.py", description=__doc__)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=PROJECT / "bench" / "out" / "slots.json")
    parser.add_argument("--volumes", nargs="+", choices=("file", "block"), default=["file", "block"])
    chosen = parser.parse_args()
    costs: list[Cost] = []
    devices: list[Device] = []
    sights: list[Sight] = []
    for kind in chosen.volumes:
        more, taken, sight = asyncio.run(part(kind, chosen.nodes, chosen.seconds))
        costs += more
        devices += taken
        sights.append(sight)
    print(
        f"{'volume':7} {'node':21} {'n':>3} {'CPU %':>6} {'req/s':>6} {'read KiB/s':>11} {'written KiB/s':>14} {'MiB':>6}"
    )
    for c in costs:
        print(
            f"{c.volume:7} {c.kind:21} {c.nodes:3} {c.cpu_percent:6.2f} {c.requests_per_s:6.1f} {c.read_kib_per_s:11.1f}"
            f" {c.written_kib_per_s:14.1f} {c.rss_mib:6.1f}"
        )
    for d in devices:
        print(
            f"{d.volume:7} device, {d.nodes} nodes, {d.read_by} read by a controller: {d.reads_per_s:.1f} reads/s,"
            f" {d.writes_per_s:.1f} writes/s, {d.read_kib_per_s:.0f} KiB/s read, {d.written_kib_per_s:.0f} KiB/s written"
        )
    for s in sights:
        print(
            f"{s.volume:7} a controller sees {s.moving} moving; age of life p50 {s.life_age_p50_s} s, p99 {s.life_age_p99_s} s;"
            f" silent {s.silent_after_kill_s} s after a kill"
        )
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()}
    chosen.out.write_text(
        json.dumps(
            {
                "nodes": chosen.nodes,
                "interval_s": 1.0,
                "seconds": chosen.seconds,
                "machine": machine,
                "costs": [asdict(c) for c in costs],
                "devices": [asdict(d) for d in devices],
                "sights": [asdict(s) for s in sights],
            },
            indent=1,
        )
        + "\n"
    )
    print(f"written to {chosen.out}")


if __name__ == "__main__":
    main()
