"""The guests that run on this host: QEMU processes, those of KubeVirt by their names, and their end.

They are seen only where the process shares the host's pid namespace (`hostPID`), and killed only with CAP_KILL. A process
is held by its pidfd from the look to the signal, so that a pid that is used again is never hit.

Two kill, by two measures. A node that reads that it is *fenced* lives on: :func:`kill` ends one guest of KubeVirt. A node that its
watchdog is about to *reset*: :func:`stop_guests` ends every program of that name, since nothing outlives the reset.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_MARKS = ("kubevirt", "kubepods")
"""What tells KubeVirt's QEMU from another one of this host: the first stands in its command line (the private folder of its
libvirt), the second in its control group's path, unless that is shown from a namespace of its own."""


@dataclass(frozen=True, slots=True)
class Guest:
    """One running guest."""

    pid: int
    name: str
    """As KubeVirt names the domain: namespace_name."""


def guests(proc: Path = PROC) -> tuple[Guest, ...]:
    """The guests of KubeVirt that run here. Never raises: what ends meanwhile is left out."""
    return tuple(guest for pid in _pids(proc) if (guest := _guest(proc, pid)) is not None)


def sees_host(proc: Path = PROC) -> bool:
    """Whether this process sees the host's processes: then process 1 is neither of ours nor its pod's pause."""
    try:
        first = (proc / "1" / "comm").read_text(encoding="ascii").strip()
        ours = b"\0ringfence." in (proc / "1" / "cmdline").read_bytes()
    except (OSError, ValueError):
        return False
    return os.getpid() != 1 and first != "pause" and not ours


def dying(proc: Path = PROC) -> int:
    """QEMU processes without a command line: killed, and not gone before their last I/O has come back."""
    return sum(_named("qemu-", proc, pid) and not _line(proc, pid) for pid in _pids(proc))


def names(proc: Path = PROC) -> list[str] | None:
    """The guests' names for a report; None, and not a shorter list, where they can't be seen or one has lost its name."""
    if not sees_host(proc):
        return None
    # In this order: one that dies meanwhile is seen here or there.
    known = sorted({guest.name for guest in guests(proc)})
    return None if dying(proc) else known


class Census:
    """The guests' names, asked in a thread of its own: a process of a storage that hangs can hold whoever reads of it.

    A thread that hangs is waited for no longer than ``patience`` seconds, and no second one is begun beside it.
    """

    def __init__(self, ask: Callable[[], list[str] | None] = names, patience: float = 1.0) -> None:
        self._ask = ask
        self._patience = patience
        self._asking: threading.Thread | None = None

    def names(self) -> list[str] | None:
        """As :func:`names`; None where that takes too long."""
        if self._asking is not None and self._asking.is_alive():
            return None
        told: list[list[str] | None] = []
        self._asking = threading.Thread(target=lambda: told.append(self._ask()), name="census", daemon=True)
        self._asking.start()
        self._asking.join(self._patience)
        return told[0] if told else None


def kill(guest: Guest, proc: Path = PROC) -> bool:
    """SIGKILL it, if it is still the same; False where that is not permitted. It dies when its last I/O has come back."""
    return _end(guest.pid, lambda: _guest(proc, guest.pid) == guest) is not None


def stop_guests(program: str, proc: Path = PROC) -> tuple[int, int]:
    """SIGKILL every process whose program's name begins with ``program`` (``qemu-``). Returns (told, refused).

    All of them, not the protected ones alone: whoever calls this expects the node to be reset, and no guest outlives that.
    """
    told = refused = 0
    for pid in _pids(proc):
        named = functools.partial(_named, program, proc, pid)
        if not named():
            continue
        match _end(pid, named):
            case True:
                told += 1
            case None:
                refused += 1
    return told, refused


def _end(pid: int, same: Callable[[], bool]) -> bool | None:
    """SIGKILL a process if it is still the ``same`` once it is held. False: it is gone already; None: it can't be."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except OSError:  # no descriptor is left: whether it lives isn't known
        return None
    try:
        if not same():
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        return False
    except PermissionError:
        return None
    finally:
        os.close(descriptor)
    return True


def _pids(proc: Path) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for entry in proc.iterdir():
            if entry.name.isdigit():
                yield int(entry.name)


def _named(program: str, proc: Path, pid: int) -> bool:
    """Whether the process is there, and its program's name begins so."""
    try:
        return (proc / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").startswith(program)
    except OSError:
        return False


def _line(proc: Path, pid: int) -> str:
    """Its command line; empty where it has none, or none that can be read."""
    try:
        return (proc / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _guest(proc: Path, pid: int) -> Guest | None:
    try:
        line = _line(proc, pid)
        words = line.split("\0")
        program = words[0].rpartition("/")[2]
        if not (program.startswith("qemu-system-") or program == "qemu-kvm"):
            return None
        group = (proc / str(pid) / "cgroup").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    if not any(mark in line or mark in group for mark in _MARKS):
        return None
    for option, value in itertools.pairwise(words):
        if option == "-name":
            first = value.partition(",")[0]
            return Guest(pid, first.removeprefix("guest="))
    return None
