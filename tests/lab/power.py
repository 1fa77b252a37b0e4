"""What the BMCs of the lab know of a node: whether it is really on, and the log of what they were asked and did."""

from __future__ import annotations

import json
import time
from pathlib import Path

from lab.processes import start_time


def really_on(node_dir: Path) -> bool:
    """Whether the node's process 1 lives: this very process, not another with its number."""
    try:
        pid, started = (int(word) for word in (node_dir / "init.pid").read_text().split())
    except (OSError, ValueError):
        return False
    return start_time(pid) == started


def note(log: Path, node: str, what: str, **more: object) -> None:
    """One line in a BMC's log, with the wall clock."""
    line = json.dumps({"t": time.time(), "node": node, "what": what, **more})
    with log.open("a") as file:
        file.write(line + "\n")
