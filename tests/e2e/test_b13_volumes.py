"""B13: the node dies with an attached volume, with the state of EFI and TPM, with a hotplugged volume. All come back.

A ReadWriteOnce volume is attached to one node at a time, by a storage array that means it. Without the out-of-service taint
Kubernetes leaves it on the dead node for six minutes (``bench/volumes.py`` shows that); with it the VM is back in seconds.
"""

from __future__ import annotations

import time

import pytest

from e2e.stories import came_back, guarded_vm
from lab.cluster import Lab
from lab.console import say
from lab.wait import until

pytestmark = pytest.mark.lab

TICKS_WITHIN = 90.0
"""Seconds from the fault to the new guest's first tick, on a machine with other work: a quarter of what Kubernetes waits."""
DETACHED_WITHIN = 30.0


def moved(lab: Lab, volume: str, dead: str, node: str) -> None:
    """Until the volume is attached to the node alone, and the array agrees."""
    until(
        f"the volume {volume} to be on {node} only",
        lambda: lab.attachments(volume) == {node: True},
        DETACHED_WITHIN,
        every=0.2,
    )
    assert lab.san.published(volume) == (node,)
    assert dead != node


def says(lab: Lab, *words: str) -> None:
    """Until the guest that runs now has said all of that on its console."""
    until(f"the guest to say {words}", lambda: all(w in lab.console("db") for w in words), 30, every=0.5)


@pytest.mark.parametrize(
    ("storage", "fault"),
    [
        ("csi-rwo", "cut"),
        pytest.param("csi-rwo", "power_off", marks=pytest.mark.more),
        pytest.param("csi-rwo-block", "cut", marks=pytest.mark.more),
        pytest.param("csi-rwx", "power_off", marks=pytest.mark.more),
    ],
)
def test_an_attached_volume_follows_its_vm(lab: Lab, storage: str, fault: str) -> None:
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim, storage=storage)
    assert lab.attachments("db") == {victim: True}
    assert lab.san.published("db") == (victim,)
    began = time.monotonic()
    getattr(lab.node(victim), fault)()
    node = came_back(lab, "db", victim, instance)
    took = time.monotonic() - began
    say(f"b13: {storage}, {fault}: the guest ticks elsewhere after {took:.1f} s")
    assert took < TICKS_WITHIN
    moved(lab, "db", victim, node)
    lab.wait_phase(victim, "Closed", seconds=120)


def test_the_taints_stay_until_the_volume_is_let_go(lab: Lab) -> None:
    """The array doesn't answer; a ReadWriteMany volume doesn't hold the VM up, but the node must not come back so."""
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim, storage="csi-rwx")
    lab.san.keep()
    lab.node(victim).power_off()
    node = came_back(lab, "db", victim, instance)
    failover = until(
        "the failover to wait for the volume",
        lambda: (
            f
            if "has detached db" in (f := lab.wait_phase(victim, "Recovered"))["status"]["sentence"]
            else None
        ),
        120,
        every=0.5,
    )
    assert failover["status"]["newBootID"] == lab.node(victim).boot_id
    taints = {t["key"] for t in lab.get("node", victim)["spec"].get("taints", [])}
    assert {"ringfence.io/suspect", "node.kubernetes.io/out-of-service"} <= taints
    assert victim in lab.san.published("db")
    lab.san.let_go()
    moved(lab, "db", victim, node)
    lab.wait_phase(victim, "Closed", seconds=60)


@pytest.mark.more
def test_our_taint_is_put_again_when_somebody_takes_it_away(lab: Lab) -> None:
    """While the VM waits for its volume; without that taint Kubernetes would leave it attached for six minutes."""
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim, storage="csi-rwo")
    lab.san.keep()
    lab.node(victim).cut()
    until(
        "the taint to be on record",
        lambda: lab.wait_phase(victim, "Recovering")["status"].get("outOfServiceSeen"),
        60,
        every=0.2,
    )
    lab.kubectl("taint", "node", victim, "node.kubernetes.io/out-of-service-")

    def put_again() -> bool:
        told = [moment["sentence"] for moment in lab.wait_phase(victim, "Recovering")["status"]["history"]]
        taints = {t["key"]: t.get("value") for t in lab.get("node", victim)["spec"].get("taints", [])}
        again = any("somebody has taken that away" in sentence for sentence in told)
        return again and taints.get("node.kubernetes.io/out-of-service") == "ringfence"

    until("our taint to be put again", put_again, 30, every=0.2)
    lab.san.let_go()
    node = came_back(lab, "db", victim, instance)
    moved(lab, "db", victim, node)
    lab.wait_phase(victim, "Closed", seconds=120)


@pytest.mark.more
def test_the_state_of_efi_and_tpm_comes_along(lab: Lab) -> None:
    """KubeVirt keeps both on a ReadWriteOnce volume of its own; the guest counts its boots in an EFI variable."""
    victim = lab.quiet_node()
    lab.create_vm("db", storage="csi-rwo", node=victim, state=True)
    lab.protect("db")
    assert lab.wait_vm_running("db") == victim, "the lab placed the VM elsewhere"
    instance = lab.wait_tick("db", 180).instance
    says(lab, "EFI-BOOT 1", "TPM 2")
    assert lab.attachments("db-state") == {victim: True}
    tpm = lab.layout.shared / "db-state" / "swtpm"
    (state,) = tpm.glob("*/tpm2/tpm2-00.permall")
    lab.wait_condition("protectedvm", "db", "Protected", "True", namespace="default")
    lab.node(victim).cut()
    node = lab.wait_vm_running("db", 150, elsewhere_than=victim)
    lab.wait_tick("db", 180, other_than=instance)
    says(lab, "EFI-BOOT 2", "TPM 2")
    assert list(tpm.glob("*/tpm2/tpm2-00.permall")) == [state]
    for volume in ("db", "db-state"):
        moved(lab, volume, victim, node)
    lab.wait_phase(victim, "Closed", seconds=120)


@pytest.mark.more
def test_a_hotplugged_volume_comes_along(lab: Lab) -> None:
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim, storage="csi-rwo")
    lab.hotplug("db", "more")
    until("the volume to be plugged in", lambda: lab.hotplugged("db", "more"), 90, every=0.5)
    assert lab.attachments("more") == {victim: True}
    lab.node(victim).cut()
    node = came_back(lab, "db", victim, instance)
    until("the volume to be plugged in again", lambda: lab.hotplugged("db", "more"), 90, every=0.5)
    for volume in ("db", "more"):
        moved(lab, volume, victim, node)
    failover = lab.wait_phase(victim, "Closed", seconds=120)
    (proof,) = failover["status"]["proofs"]
    assert [p["name"].rpartition("-")[0] for p in proof["pods"] if p["name"].startswith("hp-")] == [
        "hp-volume"
    ]
