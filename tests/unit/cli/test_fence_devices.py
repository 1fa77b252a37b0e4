"""Fence devices on the command line: what would work now, and drills."""

from __future__ import annotations

import json

import pytest

from .cluster import BEGUN, FakeReader, condition, incident, named
from .conftest import Run


def cells(text: str, *first: str) -> str:
    """The row that begins with these cells."""
    (row,) = (line.split() for line in text.splitlines() if tuple(line.split()[: len(first)]) == first)
    return " ".join(row)


def test_each_device_and_node_with_its_proof_and_drill(run: Run) -> None:
    reader = incident()
    reader.objects["fencedevices"] = [
        named(
            "pdu",
            spec={"driver": "agent", "nodes": ["n1", "n2"]},
            status={
                "powerState": [
                    {"node": "n1", "power": "on", "provedAt": BEGUN},
                    {"node": "n2", "power": "unknown"},
                ],
                "drills": [{"node": "n1", "passedAt": "2029-12-02T12:00:00Z"}],
                "drill": {"request": "n2 now", "phase": "Refused", "sentence": "n2 takes new pods"},
                "conditions": [condition("Ready", "False", "Unreachable", "n2: no answer")],
            },
        ),
        named(
            "dogs",
            spec={"driver": "watchdog", "nodes": ["n3"]},
            status={"provedAt": BEGUN, "conditions": [condition("Ready", "True", "Armed", "armed on n3")]},
        ),
    ]
    shown = run(reader, "fence", "status").stdout
    assert cells(shown, "pdu", "agent", "n1").startswith("pdu agent n1 Unreachable 42s 30d n2: no answer")
    assert cells(shown, "pdu", "agent", "n2").endswith(
        "never never n2: no answer; drill Refused: n2 takes new pods"
    )
    assert cells(shown, "dogs") == "dogs watchdog n3 True 42s never armed on n3"
    assert " on " in run(reader, "fence", "status", "-o", "wide").stdout
    told = json.loads(run(reader, "fence", "status", "-o", "json").stdout)
    assert [row["provedAt"] for row in told] == [BEGUN, BEGUN, ""]


def test_without_a_device_it_says_what_that_means(run: Run) -> None:
    reader = incident()
    reader.objects["fencedevices"] = []
    assert "a person must confirm" in run(reader, "fence", "status").stdout


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ({"phase": "Passed", "sentence": "n2 was off and is back"}, 0),
        ({"phase": "Failed", "sentence": "n2 did not come back"}, 1),
        ({"phase": "Refused", "sentence": "n2 takes new pods"}, 1),
    ],
)
def test_a_drill_is_watched_to_its_end(run: Run, end: dict[str, object], code: int) -> None:
    reader = incident()
    reader.drill_turns = [{"phase": "Running", "sentence": "n2 is switched off and on by bmc-n2"}, end]
    shown = run(reader, "fence", "drill", "bmc-n2", "n2", "--watch", answer="y\n")
    assert shown.exit_code == code
    assert reader.drills == [("bmc-n2", "uid-of-bmc-n2", "n2 2030-01-01T12:00:42Z")]
    told = shown.stdout.splitlines()[-3:]
    assert told == [
        "asked for; the acting controller has not taken it up yet",
        "Running: n2 is switched off and on by bmc-n2",
        f"{end['phase']}: {end['sentence']}",
    ]


def test_who_stops_watching_does_not_stop_it(run: Run) -> None:
    reader = incident()
    reader.drill_turns = [{"phase": "Running", "sentence": "n2 is switched off and on"}]
    assert run(reader, "fence", "drill", "bmc-n2", "n2", "--watch", "--yes").exit_code == 6


def test_nothing_is_asked_for_without_a_yes(run: Run) -> None:
    reader = incident()
    shown = run(reader, "fence", "drill", "bmc-n2", "n2", answer="n\n")
    assert (shown.exit_code, reader.drills) == (1, [])


@pytest.mark.parametrize(
    ("device", "node", "code", "words"),
    [
        ("bmc-n9", "n2", 4, "no FenceDevice bmc-n9"),
        ("bmc-n2", "n1", 1, "bmc-n2 doesn't cut n1: name one of n2"),
        ("dogs", "n3", 1, "dogs is a watchdog device: it has no power to switch"),
        ("busy", "n2", 1, "a drill of busy runs: n2 is switched off"),
    ],
)
def test_what_can_not_be_drilled(run: Run, device: str, node: str, code: int, words: str) -> None:
    reader: FakeReader = incident()
    reader.objects["fencedevices"] += [
        named("dogs", spec={"driver": "watchdog", "nodes": ["n3"]}),
        named(
            "busy",
            spec={"driver": "agent", "nodes": ["n2"]},
            status={"drill": {"request": "n2 x", "phase": "Running", "sentence": "n2 is switched off"}},
        ),
    ]
    shown = run(reader, "fence", "drill", device, node, "--yes")
    assert (shown.exit_code, reader.drills) == (code, [])
    assert words in shown.stderr
