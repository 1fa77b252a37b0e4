"""A guest's history must show who wrote when."""

from __future__ import annotations

from pathlib import Path

from lab.ticks import SECTOR, Tick, history, last, overlaps, parse


def disk(path: Path, *ticks: str, newest: str = "") -> Path:
    """An image as guests leave it: the last tick first, then each in its own sector."""
    with path.open("wb") as image:
        for sector, tick in enumerate((newest or (ticks[-1] if ticks else ""), *ticks)):
            image.seek((SECTOR + sector) * 512)
            image.write(f"{tick:<511}\n".encode() if tick else bytes(512))
    return path


def test_half_a_tick_is_none() -> None:
    assert parse(b"7 abc 100      \n") == Tick(7, "abc", 100)
    assert parse(bytes(512)) is None
    assert parse(b"7 abc") is None


def test_a_disk_that_never_ticked(tmp_path: Path) -> None:
    assert history(disk(tmp_path / "disk")) == []


def test_one_guest_after_the_other(tmp_path: Path) -> None:
    image = disk(tmp_path / "disk", "1 a 100", "2 a 101", "3 a 103", "4 b 120")
    first, second = history(image)
    assert (first.instance, first.count, first.longest_gap) == ("a", 3, 2)
    assert (second.first.sequence, last(image)) == (4, Tick(4, "b", 120))
    assert overlaps([first, second]) == []


def test_two_guests_at_once_are_seen(tmp_path: Path) -> None:
    found = history(disk(tmp_path / "disk", "1 a 100", "2 b 101", "3 a 102"))
    assert len(overlaps(found)) == 1


def test_the_same_second_is_an_overlap(tmp_path: Path) -> None:
    assert len(overlaps(history(disk(tmp_path / "disk", "1 a 100", "2 b 100")))) == 1


def test_a_torn_sector_hides_nothing(tmp_path: Path) -> None:
    image = disk(tmp_path / "disk", "1 a 100", "2 a 101", "3 b 120", "4 b 121")
    with image.open("r+b") as torn:
        torn.seek(SECTOR * 512)
        torn.write(b"4 b".ljust(512, b"\0"))
        torn.seek((SECTOR + 2) * 512)
        torn.write(bytes(512))
    assert last(image) == Tick(4, "b", 121)
    assert [(run.instance, run.count) for run in history(image)] == [("a", 1), ("b", 2)]


def test_a_writer_ahead_of_the_newest_tick_is_seen(tmp_path: Path) -> None:
    """Seen in the lab: the new guest goes on from 2 and overwrites the old one's 3, whose 4 and 5 stay."""
    found = history(
        disk(tmp_path / "disk", "1 a 100", "2 a 101", "3 b 102", "4 a 103", "5 a 104", newest="3 b 102")
    )
    assert [run.instance for run in found] == ["a", "b"]
    assert len(overlaps(found)) == 1
