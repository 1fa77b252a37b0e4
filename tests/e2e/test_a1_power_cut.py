"""A1: the power of one node is cut. It is *found* off: no hold, no order."""

from __future__ import annotations

import time

import pytest

from e2e.stories import came_back, guarded_vm, orders
from lab.cluster import Lab

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("storage", ["file", "block"])
def test_the_vm_comes_back_without_an_order(lab: Lab, storage: str) -> None:
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim, storage=storage)
    since = time.time()
    lab.node(victim).power_off()
    came_back(lab, "db", victim, instance)
    failover = lab.wait_phase(victim, "Closed", seconds=120)
    assert orders(lab, victim, since) == []
    assert failover["status"]["proofs"][0]["variant"] == "found"
    assert failover["status"]["newBootID"] == lab.node(victim).boot_id
