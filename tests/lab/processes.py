"""Processes of the lab, found again after any crash by the control groups that they were born into.

Every process that a lab starts joins one of the lab's own groups before it runs its program. Whatever is in such a
group is the lab's and may be ended; nothing else is ever touched.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lab.wait import until

CGROUPS = Path("/sys/fs/cgroup")
MARK = "pids"
"""The hierarchy that says which process is whose."""


def hierarchies() -> list[Path]:
    """The control group hierarchies of this machine (v1 controllers, and the unified one where it is mounted)."""
    return sorted(p for p in CGROUPS.iterdir() if p.is_dir() and (p / "cgroup.procs").exists())


def make(group: str) -> None:
    """Create the group in every hierarchy."""
    for hierarchy in hierarchies():
        folder = hierarchy / group
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (folder / name).exists() and not (folder / name).read_text().strip():
                (folder / name).write_text((hierarchy / name).read_text())


def members(group: str) -> list[int]:
    """Every process in the group and below it."""
    found: set[int] = set()
    for folder, _, _ in os.walk(CGROUPS / MARK / group):  # walks on when a group goes away meanwhile
        try:
            found.update(int(line) for line in Path(folder, "cgroup.procs").read_text().split())
        except OSError:
            continue  # the group went away while we looked
    return sorted(found)


def groups(prefix: str) -> list[str]:
    """The groups of a lab, by its prefix."""
    return sorted(p.name for p in (CGROUPS / MARK).glob(f"{prefix}-*") if p.is_dir())


def end(group: str) -> None:
    """Kill what is in the group, wait until it is gone, and remove the group everywhere."""
    freezer = CGROUPS / "freezer" / group / "freezer.state"
    if freezer.exists():
        freezer.write_text("THAWED")

    def gone() -> bool:
        alive = members(group)
        kill(alive)
        return not alive

    until(f"the processes of {group} to end", gone, 30, every=0.02)
    until(f"the control groups of {group} to be removed", lambda: _removed(group), 20, every=0.05)


def _removed(group: str) -> bool:
    left = False
    for hierarchy in hierarchies():
        top = hierarchy / group
        if not top.exists():
            continue
        for folder, _, _ in os.walk(top, topdown=False):
            _rmdir(Path(folder))
        left = left or top.exists()
    return not left


def _rmdir(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # not empty yet: the caller looks again


def spawn(
    group: str,
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    everywhere: bool = False,
) -> None:
    """Start a program in the group, as nobody's child and in a session of its own, its output in ``log``.

    ``everywhere``: in the group of every hierarchy, so that it can be frozen and measured; else only where it is marked.
    """
    homes = hierarchies() if everywhere else [CGROUPS / MARK]
    files = [str(h / group / "cgroup.procs") for h in homes]

    def join() -> None:
        for file in files:
            with open(file, "w") as procs:  # noqa: PTH123 - between fork and exec: as little as can be
                procs.write("0")

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        subprocess.run(
            ["setsid", "--fork", *command],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=join,
            env=None if env is None else {**os.environ, **env},
        )


def kill(pids: Iterable[int]) -> None:
    """SIGKILL to each. One may have gone by then, for instance with the one before: that is what was wanted."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def start_time(pid: int) -> int | None:
    """When the process started (clock ticks since boot): a pid may be used again, this pair is not. None: it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat[stat.rindex(")") + 2 :].split()
    return None if state in ("Z", "X") else int(fields[18])


def named(group: str, program: str) -> list[int]:
    """Processes of the group whose program has that name."""
    found = []
    for pid in members(group):
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.path.basename(argv[0].decode(errors="replace")) == program:  # noqa: PTH119 - argv[0] is no path of ours
            found.append(pid)
    return found


def run(*command: str, check: bool = True, stdin: str | None = None) -> str:
    """Run a short program to its end and return what it printed; its error's text is in the exception."""
    done = subprocess.run(command, capture_output=True, text=True, input=stdin, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command[:6])}: exit {done.returncode}: {(done.stderr + done.stdout).strip()[-2000:]}"
        )
    return done.stdout
