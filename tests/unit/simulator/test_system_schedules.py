"""Some random schedules of the whole system, as `make sim` plays them: a minute and a half on two cores."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.system.__main__ import main


@pytest.mark.long
def test_no_schedule_breaks_an_invariant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["play", "--from", "1", "--seeds", "300", "--ledger", str(tmp_path / "sim.jsonl")])
    told = capsys.readouterr().out
    assert code == 0, told
    assert "sim: schedules=300 violations=0 " in told.splitlines()[-1]
