from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.host.pressure import read_pressure, some_avg10

CPU = "some avg10=23.45 avg60=0.31 avg300=0.15 total=9501501467\n"
MEMORY = (
    "some avg10=1.02 avg60=0.07 avg300=0.01 total=316761759\nfull avg10=7.00 avg60=0.04 avg300=0.00 total=1\n"
)


def test_some_avg10_is_read_and_full_is_not() -> None:
    assert some_avg10(CPU) == 23.45
    assert some_avg10(MEMORY) == 1.02
    assert some_avg10("\n".join(reversed(MEMORY.splitlines()))) == 1.02


@pytest.mark.parametrize(
    "text", ["", "\n", "some", "some avg10", "some avg10=", "some avg10=x", "full avg10=3.0"]
)
def test_a_text_that_does_not_say_is_none(text: str) -> None:
    assert some_avg10(text) is None


def test_what_a_kernel_does_not_tell_is_left_out(tmp_path: Path) -> None:
    assert read_pressure(tmp_path / "absent") == {}
    (tmp_path / "cpu").write_text(CPU)
    (tmp_path / "memory").write_bytes(b"some avg10=\xff\n")
    (tmp_path / "io").mkdir()
    assert read_pressure(tmp_path) == {"cpu": 23.45}
