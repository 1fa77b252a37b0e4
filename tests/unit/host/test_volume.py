"""A volume that goes past the page cache: on a real file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.host.volume import Volume, VolumeUnfit

BLOCK = 4096


def test_what_is_written_is_read_by_another(tmp_path: Path) -> None:
    first = Volume.open(tmp_path / "heart", create=True)
    first.grow(3 * BLOCK)
    first.write(BLOCK, b"\7" * BLOCK)
    second = Volume.open(tmp_path / "heart")
    assert second.size() == 3 * BLOCK
    assert second.read(0, 3 * BLOCK) == bytes(BLOCK) + b"\7" * BLOCK + bytes(BLOCK)
    first.close()
    second.close()


def test_more_than_one_request(tmp_path: Path) -> None:
    volume = Volume.open(tmp_path / "heart", create=True)
    volume.grow(600 * BLOCK)
    volume.write(599 * BLOCK, b"\1" * BLOCK)
    assert volume.read(BLOCK, 599 * BLOCK)[-BLOCK:] == b"\1" * BLOCK
    volume.close()


def test_growing_keeps_what_is_there_and_never_shrinks(tmp_path: Path) -> None:
    volume = Volume.open(tmp_path / "heart", create=True)
    volume.grow(2 * BLOCK)
    volume.write(0, b"\2" * BLOCK)
    volume.grow(4 * BLOCK)
    volume.grow(BLOCK)
    assert volume.size() == 4 * BLOCK
    assert volume.read(0, BLOCK) == b"\2" * BLOCK
    volume.close()


def test_a_read_behind_the_end_is_an_error(tmp_path: Path) -> None:
    volume = Volume.open(tmp_path / "heart", create=True)
    volume.grow(BLOCK)
    with pytest.raises(OSError, match="shorter than its header says"):
        volume.read(0, 2 * BLOCK)
    volume.close()


def test_what_is_missing_is_made_only_where_asked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Volume.open(tmp_path / "heart")
    with pytest.raises(FileNotFoundError):
        Volume.open(Path("/dev/ringfence-no-such-device"), create=True)


def test_a_folder_or_a_character_device_is_unfit(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Is a directory"):
        Volume.open(tmp_path)
    with pytest.raises(VolumeUnfit):
        Volume.open(Path("/dev/null"))
