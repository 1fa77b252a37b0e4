"""B5: no fence device at all. Said before; in the incident nothing is restarted until a person confirms by name."""

from __future__ import annotations

import pytest

from e2e.stories import came_back, launcher_uids, ringfence, wait_verdict
from lab.cluster import Lab
from lab.wait import until

pytestmark = pytest.mark.lab


def test_a_person_releases_it(bare: Lab) -> None:
    lab = bare
    victim = lab.quiet_node()
    lab.declare(devices=False)
    lab.create_vm("db", node=victim)
    lab.protect("db")
    assert lab.wait_vm_running("db") == victim
    lab.wait_condition("protectedvm", "db", "Protected", "False", namespace="default", reason="NoFenceDevice")
    wait_verdict(lab, victim, "Healthy")
    alive = ringfence(lab, "fence", "confirm", victim, "--i-have-checked-that-it-is-off")
    assert (alive.returncode, "has no open Failover" in alive.stderr) == (4, True), alive.stderr
    instance = lab.wait_tick("db").instance
    before = launcher_uids(lab, "db")

    lab.node(victim).cut()
    failover = lab.wait_phase(victim, "AwaitingConfirmation", seconds=60)
    command = f"ringfence fence confirm {victim} --i-have-checked-that-it-is-off"
    assert failover["status"]["sentence"].endswith(command)
    assert launcher_uids(lab, "db") == before

    def told_what_to_check() -> str:
        """Refused at first: a node that was heard seconds ago, or whose Leases are young, may not be called off."""
        said = ringfence(lab, "fence", "confirm", victim)
        assert said.returncode == 1
        if "shows signs of life" in said.stderr:
            return ""
        assert f"see for yourself that {victim} is off" in said.stdout, said.stderr
        return said.stdout

    told = until(f"{victim} to have been silent for long enough", told_what_to_check, 60, every=2.0)
    assert "default/db, disks: " in told
    assert launcher_uids(lab, "db") == before

    lab.node(victim).power_off()
    said = ringfence(lab, *command.split()[1:], "--statement", "the rack is dark")
    assert said.returncode == 0, said.stderr
    came_back(lab, "db", victim, instance)
    failover = lab.wait_phase(victim, "Recovered", "Closed", seconds=60)
    (proof,) = failover["status"]["proofs"]
    assert (proof["kind"], proof["statement"]) == ("AdminConfirmed", "the rack is dark")
    assert proof["seenBy"] == failover["spec"]["confirm"]["confirmedBy"] != ""
