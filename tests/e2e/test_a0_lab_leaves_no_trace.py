"""Two labs stand side by side, and one that is killed in the middle of its start is cleaned up by ``down``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from lab import processes
from lab.cluster import Lab, traces
from lab.layout import Layout
from lab.prepare import PROJECT
from lab.wait import until

pytestmark = pytest.mark.lab
NAME = "second"


def lab_command(*words: str) -> list[str]:
    return [sys.executable, "-m", "lab", "--name", NAME, *words]


def test_a_killed_lab_is_cleaned_up_beside_another(bare: Lab) -> None:
    env = {**os.environ, "PYTHONPATH": str(PROJECT / "tests")}
    starting = subprocess.Popen(
        lab_command("up", "--bare", "--nodes", "1"), env=env, stdout=subprocess.DEVNULL
    )
    try:
        until("the second lab to be known", lambda: Layout.find(NAME), 60)
        layout = Layout.find(NAME)
        assert layout is not None
        group = f"{layout.prefix}-n1"
        until("its node to run", lambda: processes.named(group, "containerd"), 120, every=0.2)
    finally:
        starting.send_signal(signal.SIGKILL)
        starting.wait(timeout=10)
    assert traces(layout), "a lab that was killed in the middle leaves something to clean up"
    subprocess.run(lab_command("down"), env=env, check=True, timeout=120)
    assert traces(layout) == []
    assert bare.kubevirt.answers(), "the first lab has been disturbed"
    assert all(node.running() for node in bare.nodes.values())
