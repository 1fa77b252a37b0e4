"""A wait has a condition and a bound, and says what it waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class WaitError(AssertionError):
    """The condition did not come true in time."""


def until(what: str, condition: Callable[[], T | None], seconds: float, *, every: float = 0.1, log: Path | None = None) -> T:
    """The first true value of ``condition``; WaitError after ``seconds``, with the end of ``log``."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:]) if log and log.exists() else ""
            raise WaitError(f"waited {seconds:.0f} s for {what}" + (f"; {log} ends:\n{tail}" if tail else ""))
        time.sleep(every)  # between two looks at the condition
