"""What `pip install` gives: the product, the simulator, and the stories as they are in the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from simulator import library

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the project's own build system and unpacked as an installer does."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = Path(sys.executable).parent / "uv"
    build = [str(uv), "build", "--quiet", "--wheel", f"--out-dir={folder}", str(ROOT)]
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(build, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def python(site: Path, *words: str) -> str:
    """Run this Python away from the checkout, with what was installed before everything else."""
    done = subprocess.run(
        [sys.executable, *words],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(site), "HOME": str(site)},
        cwd=site,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_carries_every_story_and_nothing_of_the_tests(site: Path) -> None:
    stories = site / "simulator" / "scenarios"
    assert sorted(one.parent.name for one in stories.glob("*/script.txt")) == list(library.names())
    assert {one.name for one in stories.rglob("*") if one.is_file()} == {
        library.CLUSTER,
        library.SCRIPT,
        library.README,
    }
    assert {one.name for one in site.iterdir() if one.suffix != ".dist-info"} == {"ringfence", "simulator"}


def test_an_installed_one_plays_them(site: Path) -> None:
    where = python(site, "-c", "import simulator, ringfence; print(simulator.__file__, ringfence.__file__)")
    assert all(one.startswith(str(site)) for one in where.split())
    command = "from ringfence.cli.main import main; main()"
    listed = python(site, "-c", command, "simulate")
    assert len(listed.splitlines()) == 1 + len(library.names())
    played = python(site, "-c", command, "simulate", "a1-network-cut")
    expected = (library.shelf() / "a1-network-cut" / "expected.log").read_text(encoding="utf-8")
    assert expected in played
