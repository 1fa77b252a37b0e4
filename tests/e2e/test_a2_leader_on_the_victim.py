"""A2: the acting controller runs on the node that is cut off. The next leader goes on; nothing is counted again."""

from __future__ import annotations

import time

import pytest

from e2e.stories import came_back, guarded_vm, orders
from lab.cluster import Lab

pytestmark = pytest.mark.lab


def test_the_next_leader_fences(lab: Lab) -> None:
    leader = lab.leader()
    victim = lab.pod_node(leader)
    instance = guarded_vm(lab, "db", victim)
    since = time.time()
    lab.node(victim).cut()
    came_back(lab, "db", victim, instance)
    failover = lab.wait_phase(victim, "Recovered", "Closed", seconds=60)
    assert failover["status"]["leader"] != leader
    assert len(orders(lab, victim, since)) == 1
    lab.wait_phase(victim, "Closed", seconds=120)
