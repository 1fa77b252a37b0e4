"""B7: the BMC refuses the password. Said days before; in the incident bounded, told, and taken up when it is mended."""

from __future__ import annotations

import json

import pytest

from e2e.stories import came_back, launcher_uids, ringfence
from lab.cluster import NAMESPACE, PASSWORD, Lab

pytestmark = pytest.mark.lab


def set_password(lab: Lab, password: str) -> None:
    patch = json.dumps({"stringData": {"password": password}})
    lab.kubectl("-n", NAMESPACE, "patch", "secret", "bmc-credentials", "--type=merge", "-p", patch)


def test_it_is_known_before_and_mended_after(lab: Lab) -> None:
    victim = lab.quiet_node()
    set_password(lab, "wrong")
    lab.wait_condition("fencedevice", f"bmc-{victim}", "Ready", "False", reason="Unauthorized", seconds=120)
    lab.create_vm("db", node=victim)
    lab.protect("db")
    assert lab.wait_vm_running("db") == victim
    lab.wait_condition(
        "protectedvm", "db", "Protected", "False", namespace="default", reason="FenceDeviceUnproved"
    )
    told = ringfence(lab, "fence", "status")
    (row,) = (line.split() for line in told.stdout.splitlines() if line.startswith(f"bmc-{victim} "))
    assert row[2:4] == [victim, "Unauthorized"], told.stdout
    assert row[4] != "never", "the last proof is forgotten"
    instance = lab.wait_tick("db").instance
    before = launcher_uids(lab, "db")

    lab.node(victim).cut()
    lab.wait_phase(victim, "AwaitingConfirmation", seconds=60)
    assert launcher_uids(lab, "db") == before
    set_password(lab, PASSWORD)
    came_back(lab, "db", victim, instance)
    lab.wait_phase(victim, "Closed", seconds=120)
