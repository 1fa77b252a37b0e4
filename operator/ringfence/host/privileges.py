"""What keeps an agent punctual on a busy host: each taken only where the host permits it, and reported either way."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
NICE = -10
OOM_SCORE = -997


def take_privileges() -> dict[str, bool]:
    """Lock memory, raise priority, shield from the OOM killer. Returns what was permitted."""
    return {"mlock": _lock_memory(), "priority": _raise_priority(), "oomScore": _shield_from_oom()}


def return_spare_memory() -> None:
    """Give back to the host what starting up has left over (a few MiB of the agent's 45)."""
    gc.collect()
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)


def _lock_memory() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    # On fault: only pages that are in use, else every library and stack would stay resident in full.
    return bool(libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0)


def _raise_priority() -> bool:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    except OSError:
        return False
    return True


def _shield_from_oom() -> bool:
    try:
        Path("/proc/self/oom_score_adj").write_text(f"{OOM_SCORE}\n", encoding="ascii")
    except OSError:
        return False
    return True
