from __future__ import annotations

import json

from .cluster import FakeReader, Object, named
from .conftest import Run


def event(name: str, at: str, reason: str, sentence: str, kind: str = "Node", about: str = "n2") -> Object:
    return named(
        name,
        "default",
        eventTime=at,
        type="Warning",
        reason=reason,
        message=sentence,
        involvedObject={"kind": kind, "name": about},
    )


DOWN = event("e1", "2030-01-01T12:00:00.8Z", "Down", "n2 is down: 2 of 2 peers: n1, n3")
HELD = event("e2", "2030-01-01T12:00:01Z", "Holding", "n2 is down; holding", "Failover", "n2-b0075678-x1")


def test_oldest_first_one_line_each(run: Run) -> None:
    shown = run(FakeReader(events=[[HELD, DOWN]]), "events")
    assert shown.exit_code == 0
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[0] == ["AT", "ABOUT", "REASON", "SENTENCE"]
    assert [line[1:3] for line in lines[1:]] == [["Node/n2", "Down"], ["Failover/n2-b0075678-x1", "Holding"]]


def test_json_carries_the_same(run: Run) -> None:
    shown = json.loads(run(FakeReader(events=[[DOWN]]), "events", "-o", "json").stdout)
    assert [(row["name"], row["reason"], row["warning"]) for row in shown] == [("n2", "Down", True)]


def test_none_is_said(run: Run) -> None:
    assert "no event of ringfence" in run(FakeReader(), "events").stdout


def test_a_watch_shows_each_once(run: Run) -> None:
    shown = run(FakeReader(events=[[DOWN], [DOWN], [DOWN, HELD]]), "events", "--watch")
    assert shown.exit_code == 0
    assert [line.split()[1] for line in shown.stdout.splitlines()] == ["Node/n2", "Failover/n2-b0075678-x1"]


def test_odd_events_end_nothing(run: Run) -> None:
    assert run(FakeReader(events=[[{}, {"eventTime": 7, "involvedObject": "x"}]]), "events").exit_code == 0
