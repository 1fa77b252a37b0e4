"""The lab's own processes, known by pid *and* start time: a number alone may be somebody else's by tomorrow."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.wait import NeverHappenedError, until

# Field 22 of /proc/PID/stat, counted behind the command's name, which may hold blanks and brackets.
_STATE, _STARTED = 0, 19


@dataclass(frozen=True, slots=True)
class Process:
    """One process that the lab started; *started* in clock ticks since the host's boot."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Whether it is still this very process; a zombie is over."""
        fields = stat(self.pid)
        return fields is not None and int(fields[_STARTED]) == self.started and fields[_STATE] not in "ZX"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process, to nobody else and without complaint when it is gone."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, grace: float = 5.0) -> None:
        """Ask it to stop; kill it after *grace* seconds. Return when it is gone."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            until(f"process {self.pid} ends", lambda: not self.alive(), grace, every=0.02)
        except NeverHappenedError:  # whatever kept it: the next signal can't be refused
            self.kill()

    def kill(self) -> None:
        """Kill it and return when it is gone."""
        self.signal(signal.SIGKILL)
        until(f"killed process {self.pid} is gone", lambda: not self.alive(), 20, every=0.01)


def stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the name, or None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def known(pid: int) -> Process:
    """The process that has *pid* now."""
    fields = stat(pid)
    if fields is None:
        raise ProcessLookupError(f"process {pid} ended at once")
    return Process(pid, int(fields[_STARTED]))


def known_or_gone(pid: int) -> Process:
    """The process that has *pid* now, or one that is not alive."""
    fields = stat(pid)
    return Process(pid, int(fields[_STARTED]) if fields else -1)


def children(pid: int) -> list[int]:
    """The pids of the children of *pid*."""
    text = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(child) for child in text.read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def start(command: Sequence[str | Path], log: Path, *, env: Mapping[str, str] | None = None) -> Process:
    """Start *command* as a daemon that outlives us, its output appended to *log*.

    The shell in between ends at once, so that the host's init, not one of our programs, reaps the daemon.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    script = 'setsid -- "$@" >>"$LAB_LOG" 2>&1 </dev/null & echo $!'
    answer = subprocess.run(
        ["sh", "-c", script, "sh", *map(str, command)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {}), "LAB_LOG": str(log)},
    )
    return known(int(answer.stdout))


def run(*command: str | Path, text: str | None = None, check: bool = True, within: float = 120) -> str:
    """Run *command* to its end and return its output; a failure's error holds what it said."""
    done = subprocess.run(
        [str(word) for word in command],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=within,
    )
    if check and done.returncode:
        words = " ".join(str(word) for word in command)[:300]
        raise CommandFailedError(
            f"{words}: exit status {done.returncode}: {(done.stderr or done.stdout).strip()}"
        )
    return done.stdout


class CommandFailedError(Exception):
    """A program that the lab called failed; the sentence holds its own words."""
