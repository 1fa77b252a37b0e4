"""A guest's history, read from its disk: which boot of it ticked when. Proof of one writer, or of two."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.guest import SECTOR, TICKS_SECTOR


@dataclass(frozen=True, slots=True)
class Tick:
    """One second of a guest's life; *at* is its clock, whole seconds since 1970."""

    sequence: int
    instance: str
    at: int


@dataclass(frozen=True, slots=True)
class Run:
    """The unbroken ticks of one boot of the guest."""

    instance: str
    first: Tick
    last: Tick
    ticks: int
    longest_gap: int
    """Seconds between two ticks next to each other, at the most."""


@dataclass(frozen=True, slots=True)
class History:
    """All runs on one disk, in the order of their ticks."""

    runs: tuple[Run, ...]

    @property
    def instances(self) -> tuple[str, ...]:
        """The boots of the guest, each once, in the order of their first tick."""
        return tuple(dict.fromkeys(run.instance for run in self.runs))

    @property
    def overlap(self) -> int:
        """Seconds during which an earlier boot still ticked after a later one had begun; 0 is what must be."""
        worst = 0
        for index, instance in enumerate(self.instances):
            end = max(run.last.at for run in self.runs if run.instance == instance)
            for later in self.instances[index + 1 :]:
                begin = min(run.first.at for run in self.runs if run.instance == later)
                worst = max(worst, end - begin + 1)
        return worst

    @property
    def last(self) -> Tick | None:
        return self.runs[-1].last if self.runs else None


def parse(sector: bytes) -> Tick | None:
    """The tick in *sector*, or None where there never was one."""
    words = sector.strip(b" \n\0").split()
    if len(words) != 3 or not words[0].isdigit() or not words[2].isdigit():
        return None
    return Tick(int(words[0]), words[1].decode(errors="replace"), int(words[2]))


def last(disk: Path) -> Tick | None:
    """The last tick on *disk*."""
    with disk.open("rb") as file:
        file.seek(TICKS_SECTOR * SECTOR)
        return parse(file.read(SECTOR))


def read(disk: Path) -> History:
    """Everything that ever ticked on *disk*."""
    newest = last(disk)
    if newest is None:
        return History(())
    # A second writer may be ahead of the last tick: read on until the history ends.
    room = os.path.getsize(disk) // SECTOR - TICKS_SECTOR - 1
    found = []
    with disk.open("rb") as file:
        file.seek((TICKS_SECTOR + 1) * SECTOR)
        for number in range(room):
            tick = parse(file.read(SECTOR))
            if tick is None and number > newest.sequence:
                break
            if tick is not None:
                found.append(tick)
    return History(tuple(_runs(found)))


def _runs(ticks: Iterable[Tick]) -> list[Run]:
    runs: list[Run] = []
    for tick in ticks:
        if runs and runs[-1].instance == tick.instance:
            before = runs[-1]
            gap = max(before.longest_gap, tick.at - before.last.at)
            runs[-1] = Run(before.instance, before.first, tick, before.ticks + 1, gap)
        else:
            runs.append(Run(tick.instance, tick, tick, 1, 0))
    return runs
