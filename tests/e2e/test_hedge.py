"""Hedging: the first level's BMC hangs as soon as its node is cut off. The second begins beside it, a second later, and its proof wins."""

from __future__ import annotations

import json
import time

import pytest

from e2e.stories import came_back, guarded_vm, orders
from lab.cluster import Lab

pytestmark = [pytest.mark.lab, pytest.mark.more]


def test_the_second_level_begins_beside_a_bmc_that_hangs(lab: Lab) -> None:
    victim = lab.quiet_node()
    second = lab.fence_device(victim, driver="ipmi")
    lab.apply({**second, "metadata": {"name": f"ipmi-{victim}"}})
    levels = [
        {"devices": [f"bmc-{name}" for name in sorted(lab.nodes)], "hedgeAfterSeconds": 1},
        {"devices": [f"ipmi-{victim}"]},
    ]
    lab.kubectl(
        "patch", "hazone", "lab", "--type=merge", "-p", json.dumps({"spec": {"fencing": {"levels": levels}}})
    )
    lab.wait_armed()
    instance = guarded_vm(lab, "db", victim)

    since = time.time()
    lab.bmc(victim).mode("hang", delay=20.0)
    lab.node(victim).cut()
    came_back(lab, "db", victim, instance)
    failover = lab.wait_phase(victim, "Recovered", "Closed", seconds=60)
    (proof,) = failover["status"]["proofs"]
    assert (proof["kind"], proof["variant"], proof["device"]) == ("PoweredOff", "ordered", f"ipmi-{victim}")
    assert [(b["level"], b["slowLevel"]) for b in failover["status"]["begunLevels"]] == [(1, 0), (2, 1)]
    assert orders(lab, victim, since) == [], "a BMC that gives no reading is not ordered"

    lab.bmc(victim).mode("ok")
    lab.wait_phase(victim, "Closed", seconds=240)
