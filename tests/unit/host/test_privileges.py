"""What the agent takes of its host, in processes with all rights that the tests have, and with none."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import pytest

from ringfence.host.privileges import IPC_LOCK, NICE, OOM_SCORE, may_lock

TAKE = """
import json, os
from pathlib import Path
from ringfence.host.privileges import take_privileges
taken = take_privileges()
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
facts = {
    "locked": int(status["VmLck"].split()[0]),
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "score": int(Path("/proc/self/oom_score_adj").read_text()),
}
spare = bytearray(64 << 20)
print(json.dumps([taken, facts]))
"""
WITHOUT_RIGHTS = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"] if os.geteuid() == 0 else []


def taken(*wrapped: str) -> tuple[dict[str, bool], dict[str, int]]:
    command = [*wrapped, sys.executable, "-c", TAKE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    said, facts = json.loads(done.stdout)
    return said, facts


def check(said: dict[str, bool], facts: dict[str, int]) -> None:
    """What it says is what the kernel says."""
    assert said == {
        "mlock": facts["locked"] > 0,
        "priority": facts["nice"] <= NICE,
        "oomScore": facts["score"] <= OOM_SCORE,
    }


def test_it_says_what_it_has() -> None:
    check(*taken())


def test_without_rights_it_runs_on_with_less_and_says_so() -> None:
    said, facts = taken(*WITHOUT_RIGHTS)
    check(said, facts)
    assert not said["priority"]


@pytest.mark.parametrize(
    ("limit", "capabilities", "may"),
    [
        (resource.RLIM_INFINITY, 0, True),
        (8 << 20, 1 << IPC_LOCK, True),
        (8 << 20, (1 << 40) - 1 & ~(1 << IPC_LOCK), False),
        # Enough for what it has at its start, and so for a lock that kills it later.
        (64 << 20, 0, False),
    ],
)
def test_memory_is_locked_only_where_it_stays_lockable(limit: int, capabilities: int, may: bool) -> None:
    assert may_lock(limit, capabilities) is may
