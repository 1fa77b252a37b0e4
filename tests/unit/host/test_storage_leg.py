"""The storage leg's file, between two processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.host.storage_leg import NEVER, held_at, put

BOOT = "00000000-0000-4000-8000-000000000001"


def test_what_was_put_is_read(tmp_path: Path) -> None:
    file = tmp_path / "run" / "leg"
    put(file, BOOT, 12.5)
    assert held_at(file, BOOT, 12.5) == 12.5
    put(file, BOOT, 13.5)
    assert held_at(file, BOOT, 100.0) == 13.5
    assert [one.name for one in file.parent.iterdir()] == ["leg"]


def test_a_file_that_has_outlived_its_boot_says_nothing(tmp_path: Path) -> None:
    """CLOCK_BOOTTIME begins anew: its instant would hold the leg for days."""
    put(tmp_path / "leg", BOOT, 80_000.0)
    assert held_at(tmp_path / "leg", "00000000-0000-4000-8000-000000000002", 90_000.0) == NEVER
    assert held_at(tmp_path / "leg", BOOT, 20.0) == NEVER, "nothing holds in the future"


@pytest.mark.parametrize(
    "text", ["", "12.5", f"{BOOT} nan", f"{BOOT} inf", f"{BOOT} soon", f"{BOOT} 1 2", "\xff"]
)
def test_what_is_no_file_of_ours_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "leg").write_text(text, encoding="latin-1")
    assert held_at(tmp_path / "leg", BOOT, 100.0) == NEVER
    assert held_at(tmp_path / "none", BOOT, 100.0) == NEVER
