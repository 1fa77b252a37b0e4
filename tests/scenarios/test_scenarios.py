"""Each folder here is a story: ``cluster.yaml`` and ``script.txt`` go in, ``expected.log`` must come out, whole.

Write the logs anew with ``RINGFENCE_REGENERATE=1 pytest tests/scenarios`` and review the difference as prose.
`ringfence simulate` plays them for people.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from simulator.library import play, read

HERE = Path(__file__).parent
STORIES = sorted(p.parent for p in HERE.glob("*/script.txt"))


@pytest.mark.parametrize("story", STORIES, ids=lambda p: p.name)
def test_story(story: Path) -> None:
    log = "\n".join(play(read(story))) + "\n"
    expected = story / "expected.log"
    if os.environ.get("RINGFENCE_REGENERATE"):
        expected.write_text(log)
    assert log == expected.read_text()


def test_every_story_is_told() -> None:
    assert STORIES
    for story in STORIES:
        assert read(story).title, f"{story.name} has no README"
