"""A1: a node is cut off while its guest lives on. The dangerous case: proved off first, then started elsewhere."""

from __future__ import annotations

import time

import pytest

from e2e.stories import came_back, guarded_vm, orders
from lab.cluster import Lab

pytestmark = pytest.mark.lab


def test_the_vm_comes_back_after_the_fence(lab: Lab) -> None:
    instance = guarded_vm(lab, "db", "n1")
    since = time.time()
    lab.node("n1").cut()
    came_back(lab, "db", "n1", instance)
    failover = lab.wait_phase("n1", "Closed", seconds=120)
    assert len(orders(lab, "n1", since)) == 1
    (proof,) = failover["status"]["proofs"]
    assert (proof["kind"], proof["variant"]) == ("PoweredOff", "ordered")
    assert set(failover["status"]["verdict"]["voters"]) == {"n2", "n3"}
    taints = lab.get("node", "n1")["spec"].get("taints", [])
    assert not [
        t for t in taints if t["key"].startswith(("ringfence.io/", "node.kubernetes.io/out-of-service"))
    ]
