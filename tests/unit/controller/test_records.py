"""The conditions of a Failover: what tools wait for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.controller.records import conditions_of, status_of
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import STATE_VERSION, Lie, Record
from ringfence.core.model import Boot, Verdict
from ringfence.ports import Json

HELD = Record(
    "n1-1", Boot("n1", "u", "b"), Phase.HELD, "n1 is down; not fencing: a storm", 0.0, 1.0, "2 of 2", ()
)


def said(record: Record, before: list[Json], wall: float, generation: int) -> dict[str, Json]:
    return {one["type"]: one for one in conditions_of(record, before, wall, generation)}


def test_each_says_for_which_generation_it_was_found_and_since_when() -> None:
    first = conditions_of(HELD, [], 1_800_000_000.0, 1)
    later = said(replace(HELD, phase=Phase.AWAITING_CONFIRMATION), first, 1_800_000_100.0, 2)
    assert {one["observedGeneration"] for one in first} == {1}
    assert {one["observedGeneration"] for one in later.values()} == {2}
    assert later["Blocked"]["lastTransitionTime"] == first[2]["lastTransitionTime"], "it was blocked before"
    over = said(replace(HELD, phase=Phase.RECOVERED), list(later.values()), 1_800_000_200.0, 2)
    assert over["Blocked"]["lastTransitionTime"] > later["Blocked"]["lastTransitionTime"]


@pytest.mark.parametrize(
    ("phase", "true"),
    [
        (Phase.HOLDING, set()),
        (Phase.HELD, {"Blocked"}),
        (Phase.FENCING, set()),
        (Phase.AWAITING_CONFIRMATION, {"Blocked"}),
        (Phase.RECOVERING, {"Proved"}),
        (Phase.RECOVERED, {"Proved", "Recovered"}),
        (Phase.WITHDRAWN, set()),
    ],
)
def test_what_is_true_in_each_phase(phase: Phase, true: set[str]) -> None:
    found = said(replace(HELD, phase=phase), [], 1_800_000_000.0, 1)
    assert {name for name, one in found.items() if one["status"] == "True"} == true


@pytest.mark.parametrize(
    ("record", "version"),
    [
        (HELD, 1),
        (replace(HELD, verdict=Verdict.HUNG), 2),
        (replace(HELD, verdict=Verdict.HUNG, phase=Phase.RECOVERING), 2),
        (replace(HELD, verdict=Verdict.HUNG, phase=Phase.CLOSED), 1),
        (replace(HELD, lies=(Lie("bmc", 1.0),)), 3),
        (replace(HELD, lies=(Lie("bmc", 1.0),), verdict=Verdict.HUNG), 3),
        (replace(HELD, lies=(Lie("bmc", 1.0),), phase=Phase.WITHDRAWN), 1),
    ],
    ids=["down", "hangs", "hangs and is off", "over", "a liar", "hangs, and a liar", "a liar, and over"],
)
def test_an_older_controller_leaves_an_incident_alone_that_it_would_take_for_another(
    record: Record, version: int
) -> None:
    """To it an `off` that is read between two answers of the kernel is a proof, or what a liar says. What is over keeps no node from its
    next incident.
    """
    assert status_of(record, [], 0.0)["stateVersion"] == version <= STATE_VERSION
