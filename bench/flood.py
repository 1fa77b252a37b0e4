"""What a flood of garbage does to one agent: five real agents in namespaces of their own, one of them is flooded.

``python bench/flood.py`` (root) floods n2 from n5's network with datagrams of every kind that agents refuse, prints what
became of the agents and writes ``bench/out/flood.json``: how many datagrams a second were sent, what the flooded agent
and the others thought of each other meanwhile, how much memory it took, and what it counted as refused.

``flood.py send`` is the other process: it sends prepared datagrams by sendmmsg at a given pace and tells how many went.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import random
import re
import socket
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "operator"), str(PROJECT / "tests"), str(PROJECT)]

from bench.detector_net import LOCK, RING_PORT, Net, claim  # noqa: E402 - the paths are set above
from bench.detector_systems import Ring  # noqa: E402
from ringfence.core.gossip.members import open_roster  # noqa: E402
from ringfence.core.gossip.wire import Header, boot_bytes, tag_of  # noqa: E402

AGENTS = 5
FLOODED, FLOODER = "n2", "n5"
SETTLING = 3.0
AFTER = 20.0
"""Seconds within which all must be well again."""
BATCH = 64
DIFFERENT = 16_384
"""Prepared datagrams, sent again and again; a seventh of them names a boot that nobody else names."""
METRICS_PORT = 7948


# -- sending ------------------------------------------------------------------------------------------------------


class _Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr of a connected socket: no name, one piece, nothing else."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("pieces", ctypes.POINTER(_Piece)),
        ("piece_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("sent", ctypes.c_uint))


def send(address: str, seconds: float, pace: float, roster: Path) -> None:
    """Send so many a second, or as many as go, and print how many that were."""
    datagrams = garbage(roster, random.Random(1))
    buffers = [ctypes.create_string_buffer(datagram, len(datagram)) for datagram in datagrams]
    pieces = (_Piece * len(buffers))(*(_Piece(ctypes.addressof(b), len(b)) for b in buffers))
    step = ctypes.sizeof(_Piece)
    messages = (_Message * len(buffers))()
    for number in range(len(buffers)):
        piece = ctypes.cast(ctypes.addressof(pieces) + number * step, ctypes.POINTER(_Piece))
        messages[number].header.pieces, messages[number].header.piece_count = piece, 1
    libc = ctypes.CDLL(None, use_errno=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((address, RING_PORT))
        began = now = time.monotonic()
        sent = 0
        while now - began < seconds:
            ahead = sent / pace - (now - began)
            if ahead > 0:
                time.sleep(ahead)
            first = ctypes.byref(messages, sent // BATCH * BATCH % DIFFERENT * ctypes.sizeof(_Message))
            went = libc.sendmmsg(sender.fileno(), first, BATCH, 0)
            sent += max(went, 0)
            now = time.monotonic()
    print(json.dumps({"sent": sent, "seconds": now - began, "a_second": sent / (now - began)}))


def garbage(roster_file: Path, dice: random.Random) -> list[bytes]:
    """Datagrams of each kind that an agent refuses, in equal parts, in any order.

    Noise; too short; too long; a wrong version; a sender that nobody knows; a known sender and boot with a wrong seal; a
    known sender in an invented boot.
    """
    members = open_roster(roster_file.read_text(), lambda _data, _signature: True).roster.members

    def header(tag: bytes, boot: bytes) -> bytes:
        return Header(tag, boot, dice.getrandbits(62)).encode()

    def one(kind: int) -> bytes:
        member = dice.choice(members)
        known, tag, boot = tag_of(member.uid), dice.randbytes(6), boot_bytes(member.boot_id)
        sealed = dice.randbytes(dice.randint(24, 300))
        match kind:
            case 0:
                return dice.randbytes(dice.randint(1, 1200))
            case 1:
                return header(known, boot)[: dice.randint(0, 31)]
            case 2:
                return header(known, boot) + dice.randbytes(1300)
            case 3:
                return bytes([99]) + header(known, boot)[1:] + sealed
            case 4:
                return header(tag, boot) + sealed
            case 5:
                return header(known, boot) + sealed
            case _:
                return header(known, dice.randbytes(16)) + sealed

    datagrams = [one(number % 7) for number in range(DIFFERENT)]
    dice.shuffle(datagrams)
    return datagrams


# -- watching -----------------------------------------------------------------------------------------------------


async def measure(place: Path, seconds: float, pace: float) -> dict[str, Any]:
    """One flood, from agents that are well to agents that are well."""
    deaths: list[str] = []
    with Net(AGENTS) as net:
        ring = Ring(net, place, deaths.append)
        flooded, flooder = net.nodes[FLOODED], net.nodes[FLOODER]
        for name in net.nodes:
            await ring.start(name)
        net.enter(net.nodes["n1"])
        eye = asyncio.create_task(ring.run_eye())
        if not await until(ring.complete, 60):
            raise RuntimeError(f"the agents have not found each other: {deaths}")
        await asyncio.sleep(SETTLING)
        pid = ring.programs[FLOODED].pid
        before, began, changes = resident(pid), time.monotonic(), len(ring.reports.changes)
        spent = cpu(pid)
        # The flood comes from another machine, so it doesn't wait for this one's cores.
        command = ["nice", "-n", "-15", sys.executable, __file__, "send"]
        command += [flooded.address, str(seconds), str(pace)]
        sender = await asyncio.create_subprocess_exec(
            *flooder.inside(*command, str(place / FLOODED / "roster.json")), stdout=asyncio.subprocess.PIPE
        )
        told, _ = await sender.communicate()
        spent = cpu(pid) - spent
        most, flooded_for = resident(pid), time.monotonic() - began
        said = [
            {"at": round(at - began, 2), "by": who, "of": of, "state": state}
            for at, who, of, state in ring.reports.changes[changes:]
        ]
        healed = await until(ring.complete, AFTER)
        row = {
            "sender": json.loads(told),
            "cpu": round(100 * spent / flooded_for, 1),
            "rss_before_mib": before,
            "rss_flooded_mib": most,
            "rss_after_mib": resident(pid),
            "lives": not deaths,
            "well_after": healed,
            "said": said,
            "verdicts": [(node, who) for _, node, who in ring.verdicts.episodes],
            "counts": await asyncio.to_thread(counts, flooded.address),
        }
        eye.cancel()
        await asyncio.gather(eye, return_exceptions=True)
        await asyncio.gather(*(program.stop() for program in ring.programs.values()))
        net.leave()
        row["log"] = (place / f"{FLOODED}.log").read_text().splitlines()
    return row


async def until(holds: Any, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        await asyncio.sleep(0.1)
    return bool(holds())


def resident(pid: int) -> float:
    """MiB of memory that the process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def cpu(pid: int) -> float:
    """Seconds of a core that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def counts(address: str) -> dict[str, float]:
    """What the agent has refused, by reason, and what its kernel had no room for."""
    with urllib.request.urlopen(f"http://{address}:{METRICS_PORT}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found = {
        reason: float(value)
        for reason, value in re.findall(
            r'^ringfence_agent_drops_total\{reason="([^"]+)"\} (\S+)$', text, re.MULTILINE
        )
    }
    overflows = re.search(r"^ringfence_agent_overflows_total (\S+)$", text, re.MULTILINE)
    return {**found, "overflows": float(overflows[1]) if overflows else 0.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--pace", type=float, default=50_000.0, help="datagrams a second, if as many go")
    parser.add_argument("--out", type=Path, default=PROJECT / "bench" / "out" / "flood.json")
    if sys.argv[1:2] == ["send"]:
        address, seconds, pace, roster = sys.argv[2:]
        send(address, float(seconds), float(pace), Path(roster))
        return 0
    chosen = parser.parse_args()
    with ExitStack() as stack:
        claim(stack.enter_context(LOCK.open("w")))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        row = asyncio.run(measure(place, chosen.seconds, chosen.pace))
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(row, indent=1) + "\n")
    print(json.dumps({key: value for key, value in row.items() if key != "log"}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
