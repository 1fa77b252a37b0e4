"""Two runs of pytest at once: the tests that only compute behind those that wait for a cluster.

The lab's stories wait most of their time, for a guest that boots or a deadline that passes; the tests of decisions and of
virtual time need a processor and nothing else. So these run behind those, on what they leave.

    python -m beside tests/unit/core tests/scenarios -- -m "not more"

runs ``pytest tests -m "not more"`` without the two paths in front, and ``pytest -m "not more"`` of the two paths behind it:
every test in exactly one of them. The output of the one in front comes as it is written, that of the other when both are
over. Fails when either fails. Ctrl-C interrupts both, by their process ids; the lab is taken down before this ends.

**Not in the lab's way.** What runs behind is in a control group of the idle class (``cpu.idle``), born into it with all its
workers. The group lies at the top of the hierarchy, where the lab's nodes have theirs: a lower priority *within* a session
would count for nothing against them, nor against other sessions (autogroups). Whatever wants to run in any other group goes
first and preempts it. When the one in front is over the group is dissolved, and the rest goes on at the priority of this
process. What runs behind can so be starved for as long as the other one computes: it may hold no test that looks at a clock.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

HIERARCHY = Path("/sys/fs/cgroup/cpu")
NAME = "ringfence-behind-"
GRACE = 15.0
"""Seconds that the one behind has to end after Ctrl-C; it holds nothing that would have to be taken down."""
PYTEST = (sys.executable, "-m", "pytest")


class IdleGroup:
    """A control group whose processes run when no other group's wants to."""

    def __init__(self) -> None:
        if not (HIERARCHY / "cgroup.procs").exists():
            raise SystemExit(f"beside: no cgroup v1 hierarchy `cpu` at {HIERARCHY}: run pytest by itself")
        for left in HIERARCHY.glob(f"{NAME}*"):
            if not Path("/proc", left.name.removeprefix(NAME)).exists():  # of a run that was killed
                _remove(left)
        self._folder = HIERARCHY / f"{NAME}{os.getpid()}"
        self._folder.mkdir()
        (self._folder / "cpu.idle").write_text("1")

    def enter(self) -> None:
        """Take the calling process in; between fork and exec, so as little as can be."""
        with open(self._folder / "cgroup.procs", "w") as procs:  # noqa: PTH123
            procs.write("0")

    def dissolve(self) -> None:
        """Put whatever runs in it where this process is; again until none is left, as they may fork meanwhile.

        The kernel removes only a group that nobody is in, so one that is gone held nobody.
        """
        while members := self._members():
            for pid in members:
                try:
                    (_home() / "cgroup.procs").write_text(pid)
                except ProcessLookupError:
                    continue  # it has ended
        _remove(self._folder)

    def _members(self) -> list[str]:
        try:
            return (self._folder / "cgroup.procs").read_text().split()
        except OSError as gone:
            if gone.errno in (errno.ENOENT, errno.ENODEV):
                return []
            raise


def _home() -> Path:
    """The folder of the group that this process is in."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            return HIERARCHY / path.lstrip("/")
    return HIERARCHY


def _remove(group: Path) -> None:
    try:
        group.rmdir()
    except OSError:
        return  # somebody runs in it, or it is gone


class Run:
    """One of the two pytests, in a process group of its own: a terminal's Ctrl-C finds only us, and reaches each once."""

    def __init__(
        self, name: str, words: Sequence[str], out: IO[bytes] | None, enter: Callable[[], None] | None
    ) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [*PYTEST, *words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT if out else None,
            process_group=0,
            preexec_fn=enter,  # noqa: PLW1509 - we have one thread
        )

    def interrupt(self) -> None:
        """As Ctrl-C does: pytest takes down what it has set up, and ends."""
        self._process.send_signal(signal.SIGINT)

    def over(self, within: float | None = None) -> bool:
        """Whether it has ended, waiting for at most *within* seconds; None: until it has."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """It and its workers, by the id of their process group, which is its own."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def code(self) -> int:
        """Of an ended run, as a shell tells it: 128 and the signal's number where a signal ended it."""
        code = self._process.wait()
        if code < 0:
            print(f"beside: what ran {self.name} was ended by {signal.Signals(-code).name}", flush=True)
        return code if code >= 0 else 128 - code


def beside(paths: Sequence[str], words: Sequence[str]) -> int:
    """Run the tests under *paths* behind all the others, both with *words*; the exit code of whichever failed."""
    runs: list[Run] = []
    interrupted = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        for run in runs:
            run.interrupt()

    group = IdleGroup()
    with tempfile.NamedTemporaryFile(prefix=NAME, suffix=".log") as log:
        print(
            f"beside: {' '.join(paths)} run behind the others; their output is in {log.name} until both are over",
            flush=True,
        )
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, interrupt)
        # One cache for the two would be written by whichever ends last, with only its own half in it.
        behind = Run("behind", ["-p", "no:cacheprovider", *words, *paths], log.file, group.enter)
        runs.append(behind)
        front = Run("in front", [*words, *(f"--ignore={path}" for path in paths), "tests"], None, None)
        runs.append(front)
        if interrupted:  # before there was a second one to tell
            front.interrupt()
        front.over()
        group.dissolve()
        while not behind.over(GRACE):
            if interrupted:
                behind.kill()
        print("beside: and this is what ran behind", flush=True)
        sys.stdout.buffer.write(Path(log.name).read_bytes())
        sys.stdout.flush()
    return front.code() or behind.code()


def main() -> int:
    """Paths to run behind, ``--``, words for both pytests."""
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    paths, words = sys.argv[1:cut], sys.argv[cut + 1 :]
    missing = [path for path in paths if not Path(path).exists()]
    if not paths or missing:
        print(
            f"beside: {missing[0]} is not there" if missing else "beside: say which paths are to run behind",
            file=sys.stderr,
        )
        return 2
    return beside(paths, words)


if __name__ == "__main__":
    sys.exit(main())
