"""The picture in the docs is drawn from the trace beside it, and shows what that holds."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench.picture import draw

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((PICTURES / "detection.json").read_text(encoding="utf-8"))
    return read


def test_the_committed_picture_is_the_committed_traces(told: dict[str, Any]) -> None:
    committed = (PICTURES / "detection.svg").read_text(encoding="utf-8")
    assert committed == draw(told), "run: make picture"


def test_the_trace_is_a_whole_detection(told: dict[str, Any]) -> None:
    steps = [
        next(line["at"] for line in told["lines"] if line["at"] > 0 and wanted.items() <= line.items())
        for wanted in (
            {"what": "missed", "about": told["victim"]},
            {"what": "sent", "kind": "relay", "about": told["victim"]},
            {"what": "missed again", "about": told["victim"]},
            {"what": "state", "new": "doubted"},
            {"what": "received", "kind": "ask"},
            {"what": "sent", "kind": "votes"},
            {"what": "closed", "about": told["victim"]},
            {"what": "state", "new": "unreachable"},
            {"what": "reads", "states": {told["victim"]: "unreachable"}},
        )
    ]
    assert steps == sorted(steps)
    assert told["silent_ms"] < steps[0]
    assert steps[-1] <= told["verdict_ms"] < 1200


def test_words_stay_in_the_picture_and_off_each_other(told: dict[str, Any]) -> None:
    root = ET.fromstring(draw(told))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes: list[tuple[str, float, float, float, float]] = []
    for text in root.iter(f"{SVG}text"):
        words, size = text.text or "", float(text.attrib["font-size"])
        long = 0.52 * size * len(words)  # Arial's mean
        left = float(text.attrib["x"]) - {"middle": long / 2, "end": long}.get(
            text.get("text-anchor", ""), 0.0
        )
        bottom = float(text.attrib["y"])
        boxes.append((words, left, left + long, bottom - 0.75 * size, bottom))
    assert {told["victim"], "controller"} <= {box[0] for box in boxes}
    for words, left, right, top, bottom in boxes:
        assert 0 <= left < right <= width, words
        assert 0 <= top < bottom <= height, words
    for number, one in enumerate(boxes):
        for other in boxes[number + 1 :]:
            apart = one[2] <= other[1] or other[2] <= one[1] or one[4] <= other[3] or other[4] <= one[3]
            assert apart, (one[0], other[0])


def test_each_observer_votes_once_in_the_picture(told: dict[str, Any]) -> None:
    voters = {
        line["node"] for line in told["lines"] if line["what"] == "sent" and line.get("kind") == "votes"
    }
    votes = re.findall(r'width="9" height="9" fill="#24292f"', draw(told))
    assert len(votes) == len(voters) + 1, "and one in the legend"
