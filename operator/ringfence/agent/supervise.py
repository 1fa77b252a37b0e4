"""``python -m ringfence.agent.supervise [--realtime] [--log-format=json] COMMAND...``: run it, and run it again soon whenever it ends in error.

A kubelet lets a container that keeps crashing wait for up to five minutes. Where a watchdog counts, that is too long: here the
longest pause is ``LAST``. Signals to end are passed on; an orderly end of the command is the end of this too, and the command dies
with this, so that it never stands beside its successor.

``--realtime``: this and the command have their turn before all ordinary processes, where that is permitted. A watchdog's feeder that
was killed is waited for by a device that runs: on a busy node an ordinary process takes seconds to start.

``--log-format=json``: what this says itself is said as the command says what it does, if that is told the same (:mod:`ringfence.logs`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable

FIRST, LAST = 0.5, 8.0
"""Pauses between two runs, seconds: doubled after each run that was shorter than ``STEADY``."""
STEADY = 30.0
_REALTIME = "--realtime"
_FORMATS = {"--log-format=text": "text", "--log-format=json": "json"}
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class Supervisor:
    """One command."""

    def __init__(self, command: list[str], say: Callable[[str], None]) -> None:
        self._command = command
        self._say = say
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
            self._say(f"{' '.join(self._command[:3])} ended ({code}); again in {pause:g} s")
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
                self._say(f"{self._command[0]}: {error.strerror}")
            finally:
                os._exit(127)
        return child


def _sayer(form: str) -> Callable[[str], None]:
    """What writes a line of this process's own."""
    if form == "text":
        return _plain
    # Here, so that whoever wants text is spared 2 MiB; and not only when there is something to say: there may be no memory then.
    import logging  # noqa: PLC0415

    from ringfence import logs  # noqa: PLC0415

    logs.begin("INFO", form)
    return logging.getLogger("ringfence.supervise").warning


def _plain(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command that stands on the command line."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    realtime, form = False, "text"
    while command and (command[0] == _REALTIME or command[0] in _FORMATS):
        option = command.pop(0)
        realtime, form = realtime or option == _REALTIME, _FORMATS.get(option, form)
    if not command or command[0].startswith("-"):
        sys.stderr.write(
            f"usage: python -m ringfence.agent.supervise [{_REALTIME}] [{'|'.join(_FORMATS)}] COMMAND...\n"
        )
        return 2
    say = _sayer(form)
    if realtime:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    supervisor = Supervisor(command, say)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.end)
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
