"""``python -m ringfence.agent.supervise [--realtime] COMMAND...``: run it, and run it again soon whenever it ends in error.

A kubelet lets a container that keeps crashing wait for up to five minutes. Where a watchdog counts, that is too long: here the
longest pause is ``LAST``. Signals to end are passed on; an orderly end of the command is the end of this too, and the command dies
with this, so that it never stands beside its successor.

``--realtime``: this and the command have their turn before all ordinary processes, where that is permitted. A watchdog's feeder that
was killed is waited for by a device that runs: on a busy node an ordinary process takes seconds to start.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time

FIRST, LAST = 0.5, 8.0
"""Pauses between two runs, seconds: doubled after each run that was shorter than ``STEADY``."""
STEADY = 30.0
_REALTIME = "--realtime"
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class Supervisor:
    """One command."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._child: int | None = None
        self._ending = False

    def end(self, number: int, _frame: object) -> None:
        """Pass the signal on; what ends now is not started again."""
        self._ending = True
        if self._child is not None:
            os.kill(self._child, number)

    def _told_to_end(self) -> bool:
        return self._ending

    def run(self) -> int:
        """Until the command ends in order, or we are told to end. Returns the exit code of its last run."""
        pause = FIRST
        while True:
            began = time.monotonic()
            # Forked and unknown for a moment: a signal that comes just then is passed on below.
            self._child = self._spawn()
            if self._told_to_end():
                os.kill(self._child, signal.SIGTERM)
            _, status = os.waitpid(self._child, 0)
            self._child = None
            code = os.waitstatus_to_exitcode(status)
            if code == 0 or self._told_to_end():
                return code if code >= 0 else 128 - code
            pause = FIRST if time.monotonic() - began >= STEADY else pause
            sys.stderr.write(f"{' '.join(self._command[:3])} ended ({code}); again in {pause:g} s\n")
            time.sleep(pause)
            pause = min(2 * pause, LAST)
            if self._told_to_end():
                return 0

    def _spawn(self) -> int:
        child = os.fork()
        if child == 0:
            try:
                _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, signal.SIG_DFL)
                os.execvp(self._command[0], self._command)  # noqa: S606 - what a supervisor is for
            except OSError as error:
                sys.stderr.write(f"{self._command[0]}: {error.strerror}\n")
            finally:
                os._exit(127)
        return child


def main(arguments: list[str] | None = None) -> int:
    """Run the command that stands on the command line."""
    command = sys.argv[1:] if arguments is None else arguments
    realtime = command[:1] == [_REALTIME]
    command = command[realtime:]
    if not command:
        sys.stderr.write(f"usage: python -m ringfence.agent.supervise [{_REALTIME}] COMMAND...\n")
        return 2
    if realtime:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    supervisor = Supervisor(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.end)
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
