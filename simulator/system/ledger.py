"""What became of each schedule, a line of JSON each, so that a run that was stopped goes on where it was.

A row counts for the program that it was written by, and for schedules led in the same way: others are played again. Two ledgers
of two programs tell which schedules went another way (:func:`differing`): none, where a change was about speed only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringfence.core.failover.phase import Phase
from ringfence.core.model import Verdict
from simulator.system.play import Outcome
from simulator.system.triples import Triple


@dataclass(frozen=True, slots=True)
class Entry:
    """One schedule's outcome, without its story."""

    seed: int
    broken: str
    incidents: int
    held: int
    recovered: int
    triples: frozenset[Triple]
    real: bool = False
    """The controller's own loops have led."""
    cpu: float = 0.0
    """Seconds that it took."""
    story: str = ""
    """A mark of everything that it told."""

    @classmethod
    def of(cls, outcome: Outcome) -> Entry:
        return cls(
            outcome.schedule.seed,
            outcome.broken,
            outcome.incidents,
            outcome.held,
            outcome.recovered,
            outcome.triples,
            outcome.real,
            round(outcome.cpu, 2),
            hashlib.sha256("\n".join(outcome.log).encode()).hexdigest()[:16],
        )

    def line(self, revision: str) -> str:
        row = {
            "revision": revision,
            "seed": self.seed,
            "broken": self.broken,
            "incidents": self.incidents,
            "held": self.held,
            "recovered": self.recovered,
            "triples": sorted(self.triples),
            "real": self.real,
            "cpu": self.cpu,
            "story": self.story,
        }
        return json.dumps(row, separators=(",", ":"))


class Ledger:
    """``path`` None: nothing is kept. ``revision`` is the program's."""

    def __init__(self, path: Path | None, revision: str = "") -> None:
        self._path = path
        self.revision = revision
        self.entries: dict[int, Entry] = {}
        for row in _rows(path) if path is not None and path.exists() else ():
            if row.pop("revision", None) != revision:
                continue
            seen = frozenset((Verdict(v), limit, Phase(p)) for v, limit, p in row.pop("triples"))
            self.entries[row["seed"]] = Entry(**row, triples=seen)

    def enter(self, entry: Entry) -> None:
        self.entries[entry.seed] = entry
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(entry.line(self.revision) + "\n")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows as they stand there, whoever wrote them; the last may be half a line."""
    return (json.loads(line) for line in path.read_text().splitlines() if line.endswith("}"))


def differing(one: Path, other: Path) -> tuple[list[int], list[int]]:
    """The seeds that both have, and those of them that went another way: another outcome, other triples, another story."""
    ours, theirs = ({row.pop("seed"): row for row in _rows(path)} for path in (one, other))
    for row in (*ours.values(), *theirs.values()):
        del row["revision"], row["cpu"]
    both = sorted(ours.keys() & theirs.keys())
    return both, [seed for seed in both if ours[seed] != theirs[seed]]
