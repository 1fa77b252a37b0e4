"""What keeps an agent punctual on a busy host: each taken only where the host permits it, and reported as it then is.

What counts is what the kernel says afterwards, not whether our own request went through: a kubelet gives the pods of a
node-critical class their OOM score itself.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
from pathlib import Path

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
NICE = -10
OOM_SCORE = -997
IPC_LOCK = 14
"""The number of CAP_IPC_LOCK."""


def take_privileges() -> dict[str, bool]:
    """Lock memory, raise priority, shield from the OOM killer. Returns which of them hold now."""
    return {"mlock": _lock_memory(), "priority": _raise_priority(), "oomScore": _shield_from_oom()}


def return_spare_memory() -> None:
    """Give back to the host what starting up has left over (a few MiB of the agent's 45)."""
    gc.collect()
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)


def may_lock(limit: int, capabilities: int) -> bool:
    """Whether memory stays lockable, whatever comes: no limit (RLIMIT_MEMLOCK, in bytes), or the right to pass it.

    Under a limit the lock may well succeed at the start; the allocation that passes the limit later fails, and ends us.
    """
    return limit == resource.RLIM_INFINITY or bool(capabilities >> IPC_LOCK & 1)


def _lock_memory() -> bool:
    if not may_lock(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0], _capabilities()):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    # On fault: only pages that are in use, else every library and stack would stay resident in full.
    return bool(libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0)


def _capabilities() -> int:
    """The effective ones, as a mask."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = next((line for line in status.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    return int(found.split()[1], 16)


def _raise_priority() -> bool:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    except OSError:
        return os.getpriority(os.PRIO_PROCESS, 0) <= NICE
    return True


def _shield_from_oom() -> bool:
    score = Path("/proc/self/oom_score_adj")
    try:
        score.write_text(f"{OOM_SCORE}\n", encoding="ascii")
    except OSError:
        return int(score.read_text(encoding="ascii")) <= OOM_SCORE
    return True
