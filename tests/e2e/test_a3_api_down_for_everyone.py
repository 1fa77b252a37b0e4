"""A3: nobody reaches the API server for two minutes. Nothing is killed and nobody is fenced; afterwards work goes on."""

from __future__ import annotations

import time

import pytest

from e2e.stories import came_back, guarded_vm, orders, watch_quietly
from lab.cluster import Lab
from lab.wait import until

pytestmark = [pytest.mark.lab, pytest.mark.more]
TWO_MINUTES = 120


def test_nothing_is_killed_and_work_goes_on_after(lab: Lab) -> None:
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim)
    since = time.time()
    lab.api.stop()
    try:
        until(
            "two minutes to pass",
            lambda: time.time() - since > TWO_MINUTES or lab.ticks("db")[-1].instance != instance,
            TWO_MINUTES + 30,
            every=1.0,
        )
        assert lab.ticks("db")[-1].instance == instance, "the guest was restarted"
        assert time.time() - lab.ticks("db")[-1].last.epoch < 15, "the guest has stopped"
        assert [node for node in lab.nodes if orders(lab, node, since)] == []
    finally:
        lab.api.start()
    lab.wait_armed()
    watch_quietly(lab, 30, "db", victim, instance)
    lab.node(victim).cut()
    came_back(lab, "db", victim, instance)
    lab.wait_phase(victim, "Closed", seconds=120)
    assert len(orders(lab, victim, since)) == 1
