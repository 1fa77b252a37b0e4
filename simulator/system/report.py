"""What one piece of a long run came to, a line each: appended to a report, so that twenty thousand schedules may run in pieces."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

HEAD = """\
| day | program | seeds | with the real loops | violations | incidents | held back | recovered | triples seen | CPU seconds | a second and core |
|---|---|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """One run over some seeds."""

    revision: str
    seeds: str
    real: int
    """Schedules that were led by the controller's own loops."""
    violations: int
    incidents: int
    held: int
    recovered: int
    seen: int
    possible: int
    cpu: float
    schedules: int

    def row(self) -> str:
        day = datetime.now(UTC).date().isoformat()
        pace = self.schedules / self.cpu if self.cpu else 0.0
        counts = (self.real, self.violations, self.incidents, self.held, self.recovered)
        cells = (
            *(day, self.revision, self.seeds, *counts),
            f"{self.seen} of {self.possible}",
            f"{self.cpu:.0f}",
            f"{pace:.2f}",
        )
        return f"| {' | '.join(map(str, cells))} |\n"


def append(path: Path, piece: Piece) -> None:
    """Write the piece's row; a new file gets its head first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", encoding="utf-8") as file:
        file.write((HEAD if new else "") + piece.row())


def revision(folder: Path) -> str:
    """The program's commit, and a mark of what it has beyond that; "unknown" outside of a checkout."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    try:
        commit = git("rev-parse", "--short", "HEAD").strip()
        beyond = git("diff", "HEAD", "--", "simulator", "operator")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + (f"+{hashlib.sha256(beyond.encode()).hexdigest()[:6]}" if beyond else "")
