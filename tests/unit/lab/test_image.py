from __future__ import annotations

from pathlib import Path

import pytest

from lab.image import mirror

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
