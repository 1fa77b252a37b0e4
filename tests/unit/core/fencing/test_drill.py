"""When a node may be switched off on purpose, and when that has proved whom a device cuts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringfence.core.fencing.drill import DrillFacts, refusal, shortfall
from ringfence.core.model import Mode

GOOD = DrillFacts(
    device="pdu", node="n1", cuts=True, objection=None, mode=Mode.ACTIVE, known=True, ready=True, cordoned=True,
    guests=(), incidents=(), leader_here=False,
)  # fmt: skip


def test_an_empty_cordoned_healthy_node_may_be_switched_off() -> None:
    assert refusal(GOOD) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cuts": False}, "name a node of its spec.nodes"),
        ({"objection": "the same outlet is declared for n2"}, "the same outlet is declared for n2"),
        ({"mode": Mode.DRY_RUN}, "HACluster mode is DryRun"),
        ({"known": False}, "there is no node n1"),
        ({"incidents": ("n3",)}, "n3 is being failed over: wait"),
        ({"ready": False}, "n1 is not Ready"),
        ({"cordoned": False}, "kubectl drain n1"),
        ({"guests": ("default/db", "default/web")}, "default/db, default/web runs on n1: drain it first"),
        ({"leader_here": True}, "delete its pod, so that another one leads"),
    ],
)
def test_else_it_is_told_why_not(change: dict[str, Any], words: str) -> None:
    assert words in (refusal(replace(GOOD, **change)) or "")


BEFORE = {"n1": "a1", "n2": "a2", "n3": "a3"}


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({"n1": "b1"}, None),
        ({"n1": "b1", "n2": "a2", "n4": "new"}, None),
        ({"n1": "a1", "n2": "a2"}, "n1 did not come back"),
        ({"n1": ""}, "n1 did not come back"),
        ({"n2": "a2"}, "n1 did not come back"),
        ({"n1": "a1", "n2": "b2"}, "n1 did not come back"),
        ({"n1": "b1", "n3": "b3", "n2": "b2"}, "n2, n3 rebooted too"),
    ],
)
def test_exactly_this_node_has_another_boot_id(after: dict[str, str], words: str | None) -> None:
    found = shortfall("n1", BEFORE, after)
    assert found is None if words is None else words in str(found)


def test_a_node_that_was_not_there_before_proves_nothing() -> None:
    assert shortfall("n9", BEFORE, {"n9": "b9"}) is not None
