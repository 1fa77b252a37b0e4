"""Waiting: always for a condition, never longer than a bound, and with the log's end when it never came."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")

LAST_LINES = 15


class NeverHappenedError(Exception):
    """What was waited for did not happen within its bound."""


def until(
    what: str, look: Callable[[], Found | None], within: float, *, every: float = 0.1, log: Path | None = None
) -> Found:
    """Return the first truthy answer of *look*, asked each *every* seconds for at most *within* seconds."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise NeverHappenedError(f"{what}: not within {within:g} s{end_of(log)}")
        time.sleep(every)


def end_of(log: Path | None, lines: int = LAST_LINES) -> str:
    """The last *lines* of *log*, as the tail of an error's sentence."""
    if log is None or not log.exists():
        return ""
    text = log.read_text(errors="replace").splitlines()[-lines:]
    return f"\nthe end of {log}:\n  " + "\n  ".join(text)
