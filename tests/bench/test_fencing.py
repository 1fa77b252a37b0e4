"""The bench of fences runs: one order by each driver. Root, and Debian's packages (the bench installs them)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench
PROJECT = Path(__file__).resolve().parents[2]


def test_each_driver_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "fencing.json"
    out.write_text('{"another part": 1}')
    command = [sys.executable, "bench/fencing.py", "--only", "drivers", "--runs", "1", "--out", str(out)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text())
    assert result["another part"] == 1
    rows = {row["driver"]: row for row in result["drivers"]["rows"]}
    assert rows.keys() == {"redfish", "ipmi", "agent fence_ipmilan", "agent fence_redfish"}
    for row in rows.values():
        # An order, two readings, and the time between them: else something was not asked.
        assert row["proof_s_median"] > row["order_s_median"] + 0.3
        assert row["device_s_median"] > 0
