"""Lines about what was refused: one a minute and reason, whatever comes."""

from __future__ import annotations

from collections import Counter

from ringfence.agent.refusals import EVERY, Refusals


def test_each_reason_is_said_at_once_and_then_once_a_minute_with_how_many_there_were() -> None:
    refusals, counts, whose = Refusals(), Counter({"sent": 7}), {"bad seal": "10.0.0.1", "replayed": "n4"}
    lines: list[tuple[float, str]] = []
    for second in range(200):
        now = 1000.0 + second
        counts["drop bad seal"] += 50_000
        counts["sent"] += 5
        if second == 10:
            counts["drop replayed"] += 1
        lines += [(second, line) for line in refusals.news(counts, whose, now)]
    assert lines == [
        (0, "50000 refused: bad seal (the last by 10.0.0.1)"),
        (10, "1 refused: replayed (the last by n4)"),
        (60, "3000000 refused: bad seal (the last by 10.0.0.1)"),
        (120, "3000000 refused: bad seal (the last by 10.0.0.1)"),
        (180, "3000000 refused: bad seal (the last by 10.0.0.1)"),
    ]
    assert EVERY == 60.0


def test_what_came_within_the_minute_is_said_after_it() -> None:
    refusals = Refusals()
    assert list(refusals.news({"drop replayed": 1}, {}, 0.0)) == [
        "1 refused: replayed (the last by nobody knows whom)"
    ]
    assert list(refusals.news({"drop replayed": 3}, {"replayed": "n2"}, 59.0)) == []
    assert list(refusals.news({"drop replayed": 3}, {"replayed": "n2"}, 60.0)) == [
        "2 refused: replayed (the last by n2)"
    ]
    assert list(refusals.news({"drop replayed": 3}, {"replayed": "n2"}, 300.0)) == []
