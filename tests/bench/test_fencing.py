"""The bench of fences runs, a few times less than when it measures. Root, and Debian's packages (the bench installs them)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.bench
PROJECT = Path(__file__).resolve().parents[2]


def measured(out: Path, *words: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of each part that was asked for."""
    out.write_text('{"another part": 1}')
    command = [sys.executable, "bench/fencing.py", "--runs", "1", "--out", str(out), *words]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text())
    assert result.pop("another part") == 1
    return {part: found["rows"] for part, found in result.items()}


def test_each_driver_is_measured(tmp_path: Path) -> None:
    found = measured(tmp_path / "fencing.json", "--only", "drivers")
    rows = {row["driver"]: row for row in found["drivers"]}
    assert rows.keys() == {"redfish", "ipmi", "agent fence_ipmilan", "agent fence_redfish"}
    for row in rows.values():
        # An order, two readings, and the time between them: else something was not asked.
        assert row["proof_s_median"] > row["order_s_median"] + 0.3
        assert row["device_s_median"] > 0


def test_the_controllers_side_is_measured(tmp_path: Path) -> None:
    found = measured(tmp_path / "fencing.json", "--only", "found", "proving", "--devices", "12")
    for row in found["found"]:
        assert row["orders"] == 0
        assert row["proof_s_median"] > 0.3 + row["read_s_median"]
    (row,) = found["proving"]
    assert row["devices"] == 12
    assert 0 < row["cpu_s_median"] <= row["pass_s_median"]


@pytest.mark.more
def test_what_takes_its_time_is_measured(tmp_path: Path) -> None:
    parts = ("hanging", "selffence", "heartbeat")
    found = measured(tmp_path / "fencing.json", "--only", *parts, "--nodes", "9", "--seconds", "2")
    ok, hang, hedged = found["hanging"]
    assert [row["first_level"] for row in (ok, hang, hedged)] == ["ok", "hang", "hang"]
    assert hang["proof_s_median"] > hedged["proof_s_median"] >= hedged["hedge_after_s"]
    assert hang["proof_s_median"] > ok["proof_s_median"]
    isolated, silent, unstoppable = found["selffence"]
    assert isolated["last_write_s_max"] < silent["last_write_s_max"] < unstoppable["last_write_s_max"]
    for row in found["selffence"]:
        assert row["margin_s_min"] > 0
    assert any(row.get("moving") == 9 for row in found["heartbeat"])
