"""The guests of the node: its QEMU processes, found by the name of their program and stopped at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path


def stop_guests(program: str, proc: Path = Path("/proc")) -> tuple[int, int]:
    """SIGKILL every process whose program's name begins with ``program`` (``qemu-``). Returns (told, refused).

    All of them, not the protected ones alone: whoever calls this expects the node to be reset, and no guest outlives that.
    """
    told = refused = 0
    for pid in _named(program, proc):
        try:
            os.kill(pid, signal.SIGKILL)
            told += 1
        except ProcessLookupError:
            continue
        except PermissionError:
            refused += 1
    return told, refused


def _named(program: str, proc: Path) -> Iterator[int]:
    for entry in os.scandir(proc):
        if not entry.name.isdigit():
            continue
        try:
            name = Path(entry.path, "comm").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        if name.startswith(program):
            yield int(entry.name)
