"""Garbage at one of five real agents, 50,000 datagrams a second: it lives, accuses nobody, and isn't called dead. Root."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench
PROJECT = Path(__file__).resolve().parents[2]
BOUND = 150
"""Seconds; it takes about 25."""
A_FLOOD = 10_000
"""Datagrams a second that must have gone at least: a hundred times what an agent has to read, on a busy machine too."""
MOST_GROWTH = 20.0
"""MiB."""


def test_a_flood_neither_kills_an_agent_nor_makes_it_accuse_anyone(tmp_path: Path) -> None:
    out = tmp_path / "flood.json"
    command = [sys.executable, "bench/flood.py", "--seconds", "8", "--out", str(out)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=BOUND, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    row = json.loads(out.read_text(encoding="utf-8"))
    print(f"{row['sender']['a_second']:.0f} datagrams a second, {row['counts']}")
    assert row["sender"]["a_second"] >= A_FLOOD
    assert row["lives"]
    said_by_it = [
        said for said in row["said"] if said["by"] == "n2" and said["state"] not in {"alive", "unknown"}
    ]
    assert said_by_it == [], "the flooded agent has accused somebody"
    assert "unreachable" not in {said["state"] for said in row["said"]}
    assert row["verdicts"] == []
    assert row["rss_flooded_mib"] - row["rss_before_mib"] < MOST_GROWTH
    assert row["well_after"], "all is as before when it is over"
    # Whatever got through was refused for what it was, and the log didn't become a flood as well.
    reasons = {"wrong version", "oversized", "bad seal", "unknown sender", "truncated"}
    assert reasons <= row["counts"].keys()
    refusals = [line for line in row["log"] if " refused: " in line]
    for reason in reasons:
        assert sum(f"refused: {reason} " in line for line in refusals) == 1
