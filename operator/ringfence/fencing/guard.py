"""Run another program only if it may still start, and never longer than it may run: ``guard.py UNTIL DEADLINE PROGRAM ...``.

A script of its own, started without site-packages (some 10 ms), because what it does must be done between fork and
exec. Both instants are seconds of CLOCK_BOOTTIME. Past DEADLINE (``-``: none) nothing is started. At UNTIL the *kernel* ends the program: its interval timer outlives exec, so a program that was frozen together
with us and thaws after its time has a pending SIGALRM and does not run another instruction, whoever is there to kill it.
"""

from __future__ import annotations

import os
import sys
import time
from signal import ITIMER_REAL, setitimer

TOO_LATE = 75, "guard: too late"
CANNOT_START = 127, "guard: can't start"
"""Exit status and first words on standard error; the program itself might end with the same status."""


def main(until: str, deadline: str, *command: str) -> int:
    """Become the program; return only if it was not started."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    if now >= float(until) or (deadline != "-" and now >= float(deadline)):
        return refuse(TOO_LATE)
    setitimer(ITIMER_REAL, float(until) - now)
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        return refuse(CANNOT_START, f": {error.strerror}")


def refuse(why: tuple[int, str], more: str = "") -> int:
    sys.stderr.write(why[1] + more)
    return why[0]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
