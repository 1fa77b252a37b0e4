"""What ends in error runs again soon; an orderly end is the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from lab.wait import until

PROJECT = Path(__file__).parents[3]


def start(*command: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "operator")}
    return subprocess.Popen([sys.executable, "-m", "ringfence.agent.supervise", *command], env=environment)


def test_it_runs_again_until_it_ends_in_order(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    script = f"echo x >> {runs}; [ $(wc -l < {runs}) -ge 3 ]"
    assert start("sh", "-c", script).wait(30) == 0
    assert runs.read_text() == "x\n" * 3


def test_a_signal_to_end_is_passed_on_and_ends_both(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    supervisor = start("sh", "-c", f"trap 'exit 7' TERM; echo $$ > {pid}; while :; do sleep 0.05; done")
    until("the command to run", lambda: pid.exists() and pid.read_text(), 10, every=0.02)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(10) == 7


def test_the_command_dies_with_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    supervisor = start("sh", "-c", f"echo $$ > {pid}; exec sleep 600")
    until("the command to run", lambda: pid.exists() and pid.read_text(), 10, every=0.02)
    child = int(pid.read_text())
    supervisor.kill()
    supervisor.wait(10)
    until("the command to die", lambda: not alive(child), 10, every=0.02)


def test_by_realtime_its_command_begins_before_ordinary_processes_where_that_is_permitted(
    tmp_path: Path,
) -> None:
    ask = "import os, sys; open(sys.argv[1], 'w').write(str(os.sched_getscheduler(0)))"
    permitted = subprocess.run(
        [sys.executable, "-c", "import os; os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))"],
        stderr=subprocess.DEVNULL,
        check=False,
    )
    ordinary = os.sched_getscheduler(0)  # these tests may run in a class of their own, such as the idle one
    for options, expected in (
        (["--realtime"], ordinary if permitted.returncode else os.SCHED_RR),
        ([], ordinary),
    ):
        found = tmp_path / f"scheduler{len(options)}"
        assert start(*options, sys.executable, "-c", ask, str(found)).wait(30) == 0
        assert int(found.read_text()) == expected


def test_without_a_command_it_says_how() -> None:
    assert start().wait(10) == 2


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
