"""B20: the power is back after two seconds. Whoever is booting again is never shot; the VM runs again, once."""

from __future__ import annotations

import time

import pytest

from e2e.stories import guarded_vm, orders, wait_verdict
from lab.cluster import Lab
from lab.wait import until

pytestmark = pytest.mark.lab
DARK = 2.0


def test_a_booting_node_is_not_shot(lab: Lab) -> None:
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim)
    since = time.time()
    lab.node(victim).power_off()
    back_at = time.monotonic() + DARK
    until("the time of darkness to be over", lambda: time.monotonic() >= back_at, DARK + 5, every=0.05)
    lab.node(victim).power_on()
    boot = until("a new boot", lambda: lab.node(victim).boot_id, 30, every=0.1)

    lab.wait_tick("db", 180, other_than=instance)
    wait_verdict(lab, victim, "Healthy", 120)
    until("the incident, if there was one, to be over", lambda: _over(lab, victim), 120, every=0.5)
    assert orders(lab, victim, since) == [], "a node that was booting was ordered off"
    assert lab.node(victim).boot_id == boot
    for failover in lab.failovers(victim):
        for proof in failover["status"].get("proofs", []):
            assert (proof["kind"], proof["variant"]) in {("PoweredOff", "found"), ("Rebooted", "")}


def _over(lab: Lab, victim: str) -> bool:
    return all(f.get("status", {}).get("phase") in ("Closed", "Withdrawn") for f in lab.failovers(victim))
