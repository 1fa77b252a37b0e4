"""Who really runs: the QEMU processes of a lab, counted from outside while a test goes on.

The one thing that must never be is two of them for one guest on two nodes. A frozen one counts: it may thaw. Each
change is a line of ``logs/qemu.jsonl``, and every pair that was seen at the same time is kept until it is asked for.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

PERIOD = 0.2
"""Seconds between two looks: a second QEMU that lives shorter has written nothing yet (its guest boots for 5 s)."""
_COMM = "qemu-system-x86"


@dataclass(frozen=True, slots=True, order=True)
class Qemu:
    """One guest's process: ``namespace_name`` of the guest, the node that it is on, its pid on the host."""

    guest: str
    node: str
    pid: int


@dataclass(frozen=True, slots=True)
class Double:
    """A guest seen on two nodes at once; wall times of the first and last look that saw it."""

    guest: str
    nodes: tuple[str, ...]
    first: float
    last: float

    def __str__(self) -> str:
        span = self.last - self.first
        return (
            f"guest {self.guest} had a QEMU on {' and '.join(self.nodes)} at once, for {span:.1f} s or more"
        )


def doubles(seen: Iterable[Qemu]) -> dict[str, tuple[str, ...]]:
    """The guests that are on more than one node, with these nodes."""
    nodes: dict[str, set[str]] = {}
    for qemu in seen:
        nodes.setdefault(qemu.guest, set()).add(qemu.node)
    return {guest: tuple(sorted(on)) for guest, on in nodes.items() if len(on) > 1}


def guest_of(command_line: bytes) -> str:
    """The guest that a QEMU command line names, or nothing: libvirt also starts nameless ones to ask what they can."""
    words = command_line.split(b"\0")
    if b"-name" not in words[:-1]:
        return ""
    name = words[words.index(b"-name") + 1].decode(errors="replace")
    return name.partition(",")[0].removeprefix("guest=")


def node_of(cgroups: str, prefix: str) -> str:
    """The node whose control group a process is in, by its /proc/PID/cgroup; nothing: not of this lab."""
    for line in cgroups.splitlines():
        top = line.split(":", 2)[2].lstrip("/").partition("/")[0]
        if top.startswith(f"{prefix}-"):
            return top.removeprefix(f"{prefix}-")
    return ""


def look(prefix: str, proc: Path = Path("/proc")) -> set[Qemu]:
    """The QEMU processes with a guest in the lab whose control groups begin with *prefix*."""
    found = set()
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if (folder / "comm").read_text().strip() != _COMM:
                continue
            guest = guest_of((folder / "cmdline").read_bytes())
            node = node_of((folder / "cgroup").read_text(), prefix)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        if guest and node:
            found.add(Qemu(guest, node, int(folder.name)))
    return found


class Sightings:
    """Every time that a guest was on two nodes at once; seen again after a look without it, it is another time."""

    def __init__(self, allowed: frozenset[str] = frozenset()) -> None:
        self._allowed = allowed
        self.doubles: list[Double] = []
        self._lasting: dict[tuple[str, tuple[str, ...]], int] = {}
        """Those that the last look saw, by where they stand in the list."""

    def add(self, seen: Iterable[Qemu], at: float) -> None:
        """One look, at that wall time."""
        lasting: dict[tuple[str, tuple[str, ...]], int] = {}
        for guest, nodes in doubles(seen).items():
            if guest in self._allowed:
                continue
            place = self._lasting.get((guest, nodes), len(self.doubles))
            if place == len(self.doubles):
                self.doubles.append(Double(guest, nodes, at, at))
            self.doubles[place] = replace(self.doubles[place], last=at)
            lasting[guest, nodes] = place
        self._lasting = lasting


class Watch:
    """Look again and again, in a thread of its own, as long as the ``with`` block lasts."""

    def __init__(self, prefix: str, log: Path, *, allowed: Iterable[str] = ()) -> None:
        """*allowed*: guests that migrate live, hence may be on two nodes."""
        self._prefix = prefix
        self._log = log
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._sightings = Sightings(frozenset(allowed))
        self._thread = threading.Thread(target=self._run, name="qemu-witness", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def found(self) -> tuple[Double, ...]:
        """Every time that a guest was seen on two nodes at once so far."""
        with self._lock:
            return tuple(self._sightings.doubles)

    def _run(self) -> None:
        before: set[Qemu] = set()
        while True:
            now = look(self._prefix)
            self._note(before, now)
            before = now
            if self._stop.wait(PERIOD):
                return

    def _note(self, before: set[Qemu], now: set[Qemu]) -> None:
        at = time.time()
        with self._log.open("a") as log:
            for what, changed in (("ended", before - now), ("started", now - before)):
                for qemu in sorted(changed):
                    line = {"t": at, "node": qemu.node, "what": what, "guest": qemu.guest, "pid": qemu.pid}
                    log.write(json.dumps(line) + "\n")
        with self._lock:
            self._sightings.add(now, at)
