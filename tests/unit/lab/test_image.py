from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from lab.image import _forget_the_day, _pack, mirror

DEB822 = """\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
"""


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("sources.list.d/debian.sources", DEB822, "http://mirror.example/debian"),
        (
            "sources.list",
            "deb [arch=amd64] http://one.example/debian/ trixie main\n",
            "http://one.example/debian/",
        ),
        ("sources.list", "# deb http://off.example/debian trixie main\n", "http://deb.debian.org/debian"),
        (
            "sources.list",
            "deb http://x.example/debian-security trixie-security main\n",
            "http://deb.debian.org/debian",
        ),
    ],
)
def test_the_mirror_is_the_one_that_apt_uses(tmp_path: Path, file: str, text: str, expected: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / file).write_text(text)
    assert mirror(tmp_path) == expected


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    """Whenever, in whatever order and by whomever it was written."""

    def packed(name: str, order: list[str], at: float) -> bytes:
        folder = tmp_path / name
        folder.mkdir()
        for file in order:
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(file)
            os.utime(folder / file, (at, at))
        (folder / "link").symlink_to("a/one")
        os.link(folder / "a/one", folder / "twin")
        _pack(tmp_path / f"{name}.tar", ((folder, PurePosixPath("usr/lib")),))
        return (tmp_path / f"{name}.tar").read_bytes()

    files = ["a/one", "a/two", "b", "c/three"]
    assert packed("first", files, 1e9) == packed("second", files[::-1], 2e9)


def test_the_day_of_the_build_is_nowhere(tmp_path: Path) -> None:
    shadow = tmp_path / "shadow"
    shadow.write_text("root:*:20782:0:99999:7:::\ndaemon:*:20782:0:99999:7:::\n")
    _forget_the_day(shadow)
    assert shadow.read_text() == "root:*::0:99999:7:::\ndaemon:*::0:99999:7:::\n"
