"""What the lab tells the person in front of it: one line an event, with the seconds since the start."""

from __future__ import annotations

import time

_STARTED = time.monotonic()


def say(text: str) -> None:
    """Print *text* behind the seconds since the lab's program started."""
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {text}", flush=True)
