"""A node without a BMC is shut out of its storage by csi-addons' NetworkFence: its VM moves, its old guest writes no more."""

from __future__ import annotations

import pytest

from e2e.storage import fenced_vm, storage_fence
from e2e.stories import verdict
from lab import processes
from lab.cluster import Lab
from lab.csiaddons import PLURAL
from lab.wait import until

pytestmark = pytest.mark.lab
QEMU = "qemu-system-x86_64"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


@pytest.mark.old_guest_without_disk
def test_the_storage_shuts_the_node_out(lab: Lab) -> None:
    victim = lab.quiet_node()
    with storage_fence(lab):
        fenced_vm(lab, "db", victim)
        lab.wait_condition("protectedvm", "db", "Protected", "True", namespace="default")
        instance = lab.wait_tick("db").instance
        lab.node(victim).cut()
        lab.wait_vm_running("db", 120, elsewhere_than=victim)
        lab.wait_tick("db", other_than=instance)
        failover = lab.wait_phase(victim, "Recovered", seconds=60)
        (proof,) = failover["status"]["proofs"]
        assert proof["kind"] == "StorageCut"
        assert proof["volumes"] == ["default/db"]
        assert OUT_OF_SERVICE not in str(lab.get("node", victim)["spec"].get("taints", []))
        (fence,) = lab.get(PLURAL)
        assert (fence["spec"]["fenceState"], fence["status"]["result"]) == ("Fenced", "Succeeded")

        # B8: it comes back with nobody on it who would end the old guest.
        node = lab.node(victim)
        node.kill_kubelet()
        processes.kill(node.processes_of("virt-handler"))
        node.heal()
        heard = {"Healthy", "ControlPathLost"}
        until("it to be heard again", lambda: verdict(lab, victim) in heard, 60, every=0.3)
        assert node.processes_of(QEMU)
        (fence,) = lab.get(PLURAL)
        assert fence["spec"]["fenceState"] == "Fenced"
        node.start_kubelet()
        until("the old guest to be gone", lambda: not node.processes_of(QEMU), 120)
        # The agent has no hostPID here, so only a later boot says that the old guest is gone.
        assert lab.get(PLURAL), "lifted on nobody's word"
        node.power_off()
        node.power_on()
        lab.wait_phase(victim, "Closed", seconds=180)
        assert lab.get(PLURAL) == []


@pytest.mark.more
def test_a_storage_that_does_nothing_moves_nothing(lab: Lab) -> None:
    victim = lab.quiet_node()
    with storage_fence(lab) as addons:
        addons.mode("ignore")
        fenced_vm(lab, "db", victim)
        instance = lab.wait_tick("db").instance
        lab.node(victim).cut()
        failover = lab.wait_phase(victim, "AwaitingConfirmation", seconds=150)
        assert failover["status"].get("proofs", []) == []
        assert lab.ticks("db")[-1].instance == instance
        lab.node(victim).heal()
        # What was asked of it may yet be done: the incident waits until that is taken back and csi-addons has said so.
        addons.mode("ok")
        lab.wait_phase(victim, "Withdrawn", seconds=120)
        assert lab.get(PLURAL) == []
