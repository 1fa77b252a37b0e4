"""A node is cut from its peers only; it still reaches the API server. Its agent says so in time: no fence."""

from __future__ import annotations

import time

import pytest

from e2e.stories import guarded_vm, leader_away_from, orders, wait_verdict
from lab.cluster import Lab
from lab.wait import until

pytestmark = pytest.mark.lab


def test_the_agents_lease_vetoes(lab: Lab) -> None:
    leader_away_from(lab, "n1")
    instance = guarded_vm(lab, "db", "n1")
    since = time.time()
    lab.node("n1").cut_peers()
    wait_verdict(lab, "n1", "Suspect", 30)
    ended = {"Withdrawn"}
    until(
        "any failover of n1 to be withdrawn",
        lambda: all(f.get("status", {}).get("phase") in ended for f in lab.failovers("n1")),
        30,
        every=0.5,
    )
    assert orders(lab, "n1", since) == [], "a node that reaches the API server was ordered off"
    assert lab.ticks("db")[-1].instance == instance
    lab.node("n1").heal_api()
    wait_verdict(lab, "n1", "Healthy", 60)
    assert lab.ticks("db")[-1].instance == instance
