"""The node's side of a fence in the bench: its watchdog and its storage heartbeat, each the real process.

**selffence**: feeders on a watchdog whose timer runs outside of them (``tests/lab/watchdog``), each with a guest that writes
every 20 ms. From the instant at which no leg holds any more: the guest's last write, the bite, and the time after which a
controller may assume the node gone, at the least that its settings allow. ``margin_s`` is what is left between the last
write and that time; it must never be negative.

**heartbeat**: what 50 processes cost on one shared file; ``bench/slots.py`` has the block device and all details.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench import slots
from bench.fencing_figures import Row
from lab.console import say
from lab.wait import until
from lab.watchdog.build import shim
from ringfence.core.timing import self_fence_seconds
from unit.agent.test_feeder import Node

ISOLATION, TIMEOUT = 5.0, 15
ASSUMED = self_fence_seconds(ISOLATION, TIMEOUT)
# Its interpreter by its path: through `env` the process would have the interpreter's name, and its feeder know no guest.
WRITER = """#!{python}
import time
with open({file!r}, "a") as file:
    while True:
        file.write(f"{{time.clock_gettime(time.CLOCK_BOOTTIME)}}\\n")
        file.flush()
        time.sleep(0.02)
"""


class Machine:
    """One node: a feeder, its watchdog, an agent, a guest that writes."""

    def __init__(self, folder: Path, library: Path, name: str, *, stops_guests: bool) -> None:
        self._writes = folder / "writes"
        program = folder / name
        program.write_text(WRITER.format(python=sys.executable, file=str(self._writes)))
        program.chmod(0o755)
        # The bite ends the node, and the guest with it.
        bite = ("sh", "-c", f"kill -9 $(cat {folder / 'guest.pid'})")
        self.node = Node(
            folder,
            library,
            isolation=ISOLATION,
            timeout=TIMEOUT,
            guest=name if stops_guests else "",
            bite=bite,
        )
        guest = self.node.start("guest", str(program))
        (folder / "guest.pid").write_text(str(guest.pid))
        self.node.agent()
        until("the timer to listen", (folder / "dog.sock").exists, 30, every=0.05)
        self.node.feeder()

    def last_write(self) -> float:
        """CLOCK_BOOTTIME of the guest's last write."""
        return max(float(line) for line in self._writes.read_text().splitlines()[:-1])

    def bite(self) -> float:
        """When its watchdog bit, as CLOCK_BOOTTIME."""
        (at,) = self.node.log("bite")
        return at - time.time() + time.clock_gettime(time.CLOCK_BOOTTIME)


def isolated(machine: Machine) -> float:
    """The agent sees that no leg holds any more."""
    return machine.node.isolate()


def silent(machine: Machine) -> float:
    """The agent ends with the last leg that it saw."""
    machine.node.silence()
    word = machine.node.mailbox.word()
    assert word is not None
    return word.held_at


CASES: dict[str, tuple[Callable[[Machine], float], bool]] = {
    "no leg holds": (isolated, True),
    "the agent is gone too": (silent, True),
    "guests can't be stopped": (isolated, False),
}


async def selffence(runs: int) -> list[Row]:
    return await asyncio.to_thread(_selffence, runs)


def _selffence(runs: int) -> list[Row]:
    with ExitStack() as stack:
        library = shim(Path(stack.enter_context(TemporaryDirectory(prefix="rff-"))))
        made: list[tuple[str, Machine]] = []
        for number, case in enumerate(case for case in CASES for _ in range(runs)):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="rff-")))
            made.append(
                (case, Machine(folder, library, f"rfg{number:03d}-guest", stops_guests=CASES[case][1]))
            )
            stack.callback(made[-1][1].node.close)
        for _, machine in made:
            machine.node.wait_state(armed=True, seconds=60)
        cut = [(case, machine, CASES[case][0](machine)) for case, machine in made]
        for _, machine, _ in cut:
            machine.node.wait_bite(ISOLATION + TIMEOUT + 30)
        rows: list[Row] = []
        for case in CASES:
            own = [(machine, at) for one, machine, at in cut if one == case]
            writes = [machine.last_write() - at for machine, at in own]
            bites = [machine.bite() - at for machine, at in own]
            rows.append(
                {
                    "case": case,
                    "n": len(own),
                    "isolation_s": ISOLATION,
                    "timeout_s": TIMEOUT,
                    "assumed_s": round(ASSUMED, 2),
                    "last_write_s_median": round(median(writes), 3),
                    "last_write_s_max": round(max(writes), 3),
                    "bite_s_max": round(max(bites), 3),
                    "margin_s_min": round(ASSUMED - max(writes), 3),
                }
            )
            say(" ".join(f"{key}={value}" for key, value in rows[-1].items()))
    if any(row["margin_s_min"] < 0 for row in rows):
        raise RuntimeError("a guest wrote after the node was to be assumed gone")
    return rows


async def heartbeat(nodes: int, seconds: float) -> list[Row]:
    """At least nine nodes: three controllers read three each."""
    costs, devices, sight = await slots.part("file", nodes, seconds)
    rows: list[Row] = [*map(asdict, costs), *map(asdict, devices), asdict(sight)]
    for row in rows:
        say(" ".join(f"{key}={value}" for key, value in row.items()))
    return rows
