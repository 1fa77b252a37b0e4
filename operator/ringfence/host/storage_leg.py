"""The storage leg's file: when the node's slot last showed that it is not cut off, for whoever feeds the watchdog.

The heartbeat writes it, the agent reads it; both see one folder of the node's /run, so that neither has to wait for the other
or for the storage. It names the boot that it is of: CLOCK_BOOTTIME begins anew with each, and a file may outlive one.
"""

from __future__ import annotations

import math
from pathlib import Path

NEVER = float("-inf")


def put(path: Path, boot_id: str, held_at: float) -> None:
    """The leg held at this instant (CLOCK_BOOTTIME, seconds). Raises OSError."""
    replace(path, f"{boot_id} {held_at:.3f}\n")


def held_at(path: Path, boot_id: str, now: float) -> float:
    """When it last held in this boot. `NEVER` where the file is missing, of another boot, no file of ours, or of the future."""
    try:
        told_boot, told = path.read_text(encoding="ascii").split()
        instant = float(told)
    except (OSError, ValueError):
        return NEVER
    return instant if told_boot == boot_id and math.isfinite(instant) and instant <= now else NEVER


def replace(path: Path, text: str) -> None:
    """Put a whole new file in this place: nobody reads half of one. Raises OSError."""
    new = path.with_name(path.name + ".new")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    new.write_text(text, encoding="ascii")
    new.replace(path)
