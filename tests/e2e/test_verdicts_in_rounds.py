"""The detector on the real cluster: each fault gets its name, every time, and the node its good name back.

Nothing is fenced here (mode ``Paused``). ``RINGFENCE_ROUNDS=20`` for the long run.
"""

from __future__ import annotations

import json
import os

import pytest

from e2e.stories import guarded_vm, leader_away_from, ringfence, wait_verdict
from lab.cluster import Lab

pytestmark = pytest.mark.lab

ROUNDS = int(os.environ.get("RINGFENCE_ROUNDS", "1"))


@pytest.mark.parametrize(
    ("fault", "mend", "verdict"),
    [
        ("cut", "heal", "Down"),
        ("freeze", "thaw", "AgentDown"),
        pytest.param("power_off", "power_on", "Down", marks=pytest.mark.more),
    ],
    ids=["cut", "frozen", "powered off"],
)
def test_a_fault_is_called_by_its_name(lab: Lab, fault: str, mend: str, verdict: str) -> None:
    leader_away_from(lab, "n1")
    guarded_vm(lab, "db", "n2")
    lab.declare(mode="Paused")
    for _ in range(ROUNDS):
        getattr(lab.node("n1"), fault)()
        wait_verdict(lab, "n1", verdict, 30)
        getattr(lab.node("n1"), mend)()
        wait_verdict(lab, "n1", "Healthy", 90)
    assert lab.failovers("n1") == []
    told = json.loads(ringfence(lab, "events", "-o", "json").stdout)
    assert verdict in {row["reason"] for row in told if (row["kind"], row["name"]) == ("Node", "n1")}
    shown = json.loads(ringfence(lab, "members", "-o", "json").stdout)
    ring = {row["name"]: row for row in shown["members"]}
    assert {name: row["verdict"] for name, row in ring.items()} == dict.fromkeys(lab.nodes, "Healthy")
    assert ring["n1"]["observers"] == ["n2", "n3"]
    assert float(ring["n1"]["rtt"]) > 0
    assert float(ring["n1"]["loss"]) >= 0
