"""The committed Containerfile says what the lab's image says, and nobody has changed it by hand."""

from __future__ import annotations

import tomllib
from pathlib import Path

from publish.containerfile import UV, containerfile

ROOT = Path(__file__).parents[3]


def test_committed_file_is_the_one_that_is_made() -> None:
    assert (ROOT / "Containerfile").read_text() == containerfile(), "run: make published"


def test_uv_is_the_projects_own() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert f"uv=={UV}" in groups["dev"]


def test_controllers_run_as_nobody_in_particular() -> None:
    assert "\nUSER 65532:65532\n" in containerfile()
