"""A14b: the BMC says Off while the node runs, and the node's storage slot moves: nothing is believed, nothing is done.

And the other way round: a slot costs a real failover little, and a node that thaws after its fence was ignored reads that it is
fenced and kills its guest itself.
"""

from __future__ import annotations

import time

import pytest

from e2e.storage import heartbeat, slots
from e2e.stories import came_back, guarded_vm, launcher_uids, orders, watch_quietly
from lab.cluster import Lab
from lab.wait import until

pytestmark = pytest.mark.lab


def test_a_moving_slot_refuses_a_lying_bmc(lab: Lab) -> None:
    victim = lab.quiet_node()
    with heartbeat(lab):
        instance = guarded_vm(lab, "db", victim)
        before, since = launcher_uids(lab, "db"), time.time()
        lab.bmc(victim).mode("lie")
        lab.node(victim).cut()
        end = time.monotonic() + 60
        until("a minute to be over", lambda: time.monotonic() > end, 90, every=1.0)
        assert orders(lab, victim, since) == []
        assert launcher_uids(lab, "db") == before
        assert slots(lab)[victim] == "moving"
        assert all(not f["status"].get("proofs") for f in lab.failovers(victim))
        lab.node(victim).heal()
        watch_quietly_after_heal(lab, victim, instance)


def watch_quietly_after_heal(lab: Lab, victim: str, instance: str) -> None:
    until(
        "the incident to be withdrawn, if one was opened",
        lambda: all(
            f.get("status", {}).get("phase") in ("Withdrawn", "Closed") for f in lab.failovers(victim)
        ),
        60,
        every=0.5,
    )
    lab.kubectl("delete", "failovers", "--all", "--wait=false", check=False)
    watch_quietly(lab, 10, "db", victim, instance)


@pytest.mark.more
def test_a_power_cut_is_found_with_a_slot_too(lab: Lab) -> None:
    victim = lab.quiet_node()
    with heartbeat(lab):
        instance = guarded_vm(lab, "db", victim)
        lab.node(victim).power_off()
        came_back(lab, "db", victim, instance)
        failover = lab.wait_phase(victim, "Recovered", "Closed", seconds=60)
        assert {proof["kind"] for proof in failover["status"]["proofs"]} == {"PoweredOff"}
        lab.node(victim).power_on()
        until("its slot to move again", lambda: slots(lab)[victim] == "moving", 120, every=0.5)


@pytest.mark.more
def test_a_thawed_node_reads_that_it_is_fenced(lab: Lab) -> None:
    victim = lab.quiet_node()
    with heartbeat(lab, stop_guests=True):
        guarded_vm(lab, "db", victim)
        lab.bmc(victim).mode("ignore")
        lab.node(victim).cut()
        lab.node(victim).freeze()
        lab.wait_phase(victim, "AwaitingConfirmation", seconds=120)
        assert lab.node(victim).processes_of("qemu-system-x86_64")
        lab.node(victim).thaw()
        until(
            "the guest to be killed",
            lambda: not lab.node(victim).processes_of("qemu-system-x86_64"),
            20,
            every=0.2,
        )
