"""B21: a node on a block volume, which no lock protects, hangs with its link down. The fence comes before the new guest."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from e2e.stories import came_back, guarded_vm, orders
from lab.cluster import Lab
from lab.wait import until

pytestmark = [pytest.mark.lab, pytest.mark.more]


def test_the_old_guest_never_writes_again(lab: Lab) -> None:
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim, storage="block")
    since = time.time()
    lab.node(victim).freeze()
    lab.node(victim).cut()
    came_back(lab, "db", victim, instance)
    failover = lab.wait_phase(victim, "Recovered", "Closed", seconds=60)
    (proof,) = failover["status"]["proofs"]
    assert (proof["kind"], proof["variant"]) == ("PoweredOff", "ordered")
    assert len(orders(lab, victim, since)) == 1

    until("a minute since the hang to be over", lambda: time.time() - since > 60, 90, every=1.0)
    lab.node(victim).thaw()
    lab.node(victim).heal()
    lab.wait_phase(victim, "Closed", seconds=180)
    old = next(run for run in lab.ticks("db") if run.instance == instance)
    proved = next(line["at"] for line in failover["status"]["history"] if line["phase"] == "Recovering")
    assert old.last.epoch < datetime.fromisoformat(proved).timestamp()
    assert lab.ticks("db")[-1].instance != instance
