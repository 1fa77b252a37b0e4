"""A14: the BMC answers 204 to the order and leaves the node on. Read-back refuses; nothing is started twice.

Once somebody has really pulled the plug and says so, recovery goes on.
"""

from __future__ import annotations

import time

import pytest

from e2e.stories import came_back, guarded_vm, launcher_uids, orders, ringfence
from lab.cluster import Lab

pytestmark = pytest.mark.lab


def test_read_back_refuses(lab: Lab) -> None:
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim)
    before = launcher_uids(lab, "db")
    since = time.time()
    lab.bmc(victim).mode("ignore")
    lab.node(victim).cut()
    failover = lab.wait_phase(victim, "AwaitingConfirmation", seconds=90)
    assert "still reads on" in failover["status"]["sentence"]
    assert orders(lab, victim, since)
    assert launcher_uids(lab, "db") == before, "the VM was started twice on a BMC's word"
    assert failover["status"].get("proofs", []) == []

    lab.node(victim).power_off()
    said = ringfence(
        lab,
        "fence",
        "confirm",
        victim,
        "--i-have-checked-that-it-is-off",
        "--statement",
        "I pulled both cords",
    )
    assert said.returncode in {0, 1}, said.stderr  # taken, or refused; no mistake of ours
    came_back(lab, "db", victim, instance)
    failover = lab.wait_phase(victim, "Recovered", "Closed", seconds=60)
    kinds = {proof["kind"] for proof in failover["status"]["proofs"]}
    # The BMC tells the truth when it is read, so the ladder may find the node off before the person has spoken.
    assert "PoweredOff" in kinds or (said.returncode == 0 and "AdminConfirmed" in kinds), said.stderr
