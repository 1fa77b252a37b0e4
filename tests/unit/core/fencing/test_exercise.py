"""When a proof that a device works is too old to count on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.core.fencing.exercise import DAY, Exercise, span, unproved

PROVED = Exercise("bmc-n1", "n1", trouble=None, proved_ago=30.0)
HOUR = 3600.0


@pytest.mark.parametrize(
    ("exercise", "drill_max_age", "words"),
    [
        (replace(PROVED, trouble="wrong password"), None, "wrong password"),
        (replace(PROVED, proved_ago=None), None, "not looked at yet"),
        (
            replace(PROVED, proved_ago=HOUR + 1),
            None,
            "last proved 1 h ago, which its zone takes for too long",
        ),
        (PROVED, 30 * DAY, "drilled never, and its zone wants a drill every 30 days: drain n1"),
        (replace(PROVED, drilled_ago=31 * DAY), 30 * DAY, "drilled last 31 d ago"),
        (replace(PROVED, drilled_ago=31 * DAY), 30 * DAY, "then ringfence fence drill bmc-n1 n1"),
    ],
)
def test_what_is_not_counted_on(exercise: Exercise, drill_max_age: float | None, words: str) -> None:
    assert words in (unproved(exercise, HOUR, drill_max_age) or "")


@pytest.mark.parametrize(
    ("exercise", "drill_max_age"),
    [
        (PROVED, None),
        (replace(PROVED, proved_ago=HOUR), None),
        (replace(PROVED, drilled_ago=30 * DAY), 30 * DAY),
        (replace(PROVED, drillable=False), 30 * DAY),
    ],
)
def test_what_is(exercise: Exercise, drill_max_age: float | None) -> None:
    assert unproved(exercise, HOUR, drill_max_age) is None


def test_a_span_in_its_largest_whole_unit() -> None:
    assert [span(s) for s in (59, 60, 3599, 7200, 200000)] == ["59 s", "1 min", "59 min", "2 h", "2 d"]
