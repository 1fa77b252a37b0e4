"""A15: the acting controller's own node loses sight of its peers. It fences nobody, and another takes over."""

from __future__ import annotations

import time

import pytest

from e2e.stories import guarded_vm, orders, wait_verdict
from lab.cluster import Lab
from lab.wait import until

pytestmark = pytest.mark.lab


def test_another_leads(lab: Lab) -> None:
    leader = lab.leader()
    sick = lab.pod_node(leader)
    bystander = next(name for name in sorted(lab.nodes) if name != sick)
    instance = guarded_vm(lab, "db", bystander)
    since = time.time()
    lab.node(sick).cut_peers()
    until("another to lead", lambda: lab.leader() not in ("", leader), 60, every=0.5)
    assert lab.pod_node(lab.leader()) != sick
    for name in lab.nodes:
        assert orders(lab, name, since) == [], f"{name} was ordered off"
    lab.node(sick).heal_api()
    wait_verdict(lab, sick, "Healthy", 60)
    assert lab.ticks("db")[-1].instance == instance
