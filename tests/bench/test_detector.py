"""The bench of the detector runs: four nodes, one crash. Root, and Debian's serf (the bench installs it)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench
PROJECT = Path(__file__).resolve().parents[2]
BOUND = 150
"""Seconds; it takes about 20, more where packages are missing or the machine is busy."""


def test_one_crash_is_measured_on_both_systems_and_leaves_no_trace(tmp_path: Path) -> None:
    out = tmp_path / "detector.json"
    command = [sys.executable, "bench/detector.py", "--n", "4", "--only", "crashes", "--out", str(out)]
    command += ["--crashes", "1", "--loss", "0"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=BOUND, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text(encoding="utf-8"))
    ours, serfs = result["crashes"]
    assert (ours["impl"], serfs["impl"]) == ("ringfence", "serf")
    assert ours["victim"] == serfs["victim"]
    # Each step was seen, in its order: otherwise the bench has lost sight of the agents' log or of the streams.
    assert 0 < ours["doubted_s"] < ours["known_s"] < serfs["known_s"]
    assert ours["doubted_s"] < ours["first_agent_s"]
    false = [row["false_verdicts"] for row in result["quiet"] if row["impl"] == "ringfence"]
    assert false == [0]
    namespaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert "rfb-" not in namespaces
