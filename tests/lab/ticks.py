"""The guests' own history, read from their disks: the witness that no log of ours can be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

SECTOR = 65536
"""Where the partition of the ticks begins, in sectors of 512 bytes."""
_SIZE = 512


@dataclass(frozen=True, slots=True)
class Tick:
    sequence: int
    instance: str
    epoch: int
    """The guest's own clock, whole seconds."""


@dataclass(frozen=True, slots=True)
class Run:
    """The ticks of one instance: one boot of the guest."""

    instance: str
    first: Tick
    last: Tick
    count: int
    longest_gap: int
    """Seconds between two neighbouring ticks."""


def parse(sector: bytes) -> Tick | None:
    """The tick in a sector; None where there is none, or half of one."""
    words = sector.strip(b" \n\0").split()
    try:
        sequence, instance, epoch = words
        return Tick(int(sequence), instance.decode(), int(epoch))
    except ValueError:
        return None


def last(disk: Path) -> Tick | None:
    """The newest tick, from the disk itself; from the history where its own sector is torn."""
    descriptor = os.open(disk, os.O_RDONLY)
    try:
        sector = os.pread(descriptor, _SIZE, SECTOR * _SIZE)
    finally:
        os.close(descriptor)
    # A power cut may tear the sector. To call that disk empty would blind the witness just when it matters.
    return parse(sector) or (_newest_in_history(disk) if sector.strip(b" \n\0") else None)


def _newest_in_history(disk: Path) -> Tick | None:
    with disk.open("rb") as image:
        image.seek((SECTOR + 1) * _SIZE)
        region = image.read()
    ticks = (parse(region[i : i + _SIZE]) for i in range(0, len(region), _SIZE))
    return max((tick for tick in ticks if tick), key=lambda tick: tick.sequence, default=None)


def history(disk: Path) -> list[Run]:
    """Every run on the disk, oldest first."""
    newest = last(disk)
    if newest is None:
        return []
    found = []
    with disk.open("rb") as image:
        image.seek((SECTOR + 1) * _SIZE)
        # The newest tick may be the slower one's of two writers: go on as long as sectors hold ticks.
        number = 0
        while sector := image.read(_SIZE):
            number += 1
            tick = parse(sector)
            if tick is not None:
                found.append(tick)
            elif number > newest.sequence:
                break
    return runs(found)


def runs(ticks: list[Tick]) -> list[Run]:
    """Ticks in the order of their sequence, gathered by instance."""
    gathered: dict[str, list[Tick]] = {}
    for tick in ticks:
        gathered.setdefault(tick.instance, []).append(tick)
    return [
        Run(
            instance=instance,
            first=own[0],
            last=own[-1],
            count=len(own),
            longest_gap=max((b.epoch - a.epoch for a, b in pairwise(own)), default=0),
        )
        for instance, own in gathered.items()
    ]


def overlaps(found: list[Run]) -> list[str]:
    """Runs that ticked when a later one had begun: two guests on one disk.

    The same second is an overlap too: a guest boots for seconds before its first tick.
    """
    return [
        f"{older.instance} still ticked at {older.last.epoch}, {newer.instance} had begun at {newer.first.epoch}"
        for number, older in enumerate(found)
        for newer in found[number + 1 :]
        if older.last.epoch >= newer.first.epoch
    ]
