"""B22: two nodes' BMCs are swapped in the settings. Said before; in the incident the healthy node is never shot."""

from __future__ import annotations

import time

import pytest

from e2e.stories import came_back, launcher_uids, orders
from lab.cluster import Lab

pytestmark = pytest.mark.lab


def test_the_healthy_node_is_never_shot(lab: Lab) -> None:
    victim = lab.quiet_node()
    other = next(name for name in sorted(lab.nodes) if name != victim)
    for name, wrong in ((victim, other), (other, victim)):
        device = lab.fence_device(name)
        spec = lab.fence_device(wrong)["spec"]
        assert isinstance(spec, dict)
        lab.apply({**device, "spec": {**spec, "nodes": [name]}})
    for name in (victim, other):
        said = lab.wait_condition(
            "fencedevice", f"bmc-{name}", "Ready", "False", reason="IdentityMismatch", seconds=120
        )
        assert name in said["message"]
    lab.create_vm("db", node=victim)
    lab.protect("db")
    assert lab.wait_vm_running("db") == victim
    lab.wait_condition(
        "protectedvm", "db", "Protected", "False", namespace="default", reason="FenceDeviceUnproved"
    )
    instance = lab.wait_tick("db").instance
    before, since = launcher_uids(lab, "db"), time.time()

    lab.node(victim).cut()
    lab.wait_phase(victim, "AwaitingConfirmation", seconds=60)
    assert launcher_uids(lab, "db") == before
    assert orders(lab, victim, since) == orders(lab, other, since) == []

    for name in (victim, other):
        lab.apply(lab.fence_device(name))
    came_back(lab, "db", victim, instance)
    lab.wait_phase(victim, "Closed", seconds=120)
    assert len(orders(lab, victim, since)) == 1
    assert orders(lab, other, since) == []
