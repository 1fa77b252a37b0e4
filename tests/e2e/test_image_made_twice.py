"""The image made twice, from nothing and in two places, is the same image: layer by layer, and in the list of its content."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lab import image
from lab.prepare import PROJECT

pytestmark = [pytest.mark.lab, pytest.mark.more]


def described(archive: Path) -> dict[str, Any]:
    with tarfile.open(archive) as tar:
        file = tar.extractfile("config.json")
        assert file is not None
        found: dict[str, Any] = json.loads(file.read())
        return found


def test_two_builds_are_one_image(tmp_path: Path) -> None:
    archives = []
    for name in ("first", "second"):
        cache = tmp_path / name
        cache.mkdir()
        archives.append(image.build(cache, PROJECT))
    first, second = archives
    assert described(first)["rootfs"]["diff_ids"] == described(second)["rootfs"]["diff_ids"]
    assert first.name == second.name
    listed = [archive.with_suffix(".cdx.json").read_text() for archive in archives]
    assert listed[0] == listed[1]
    names = {part["name"] for part in json.loads(listed[0])["components"]}
    assert {"python3", "ipmitool", "kopf", "cryptography", "ringfence"} <= names
