"""A node is cut off and fenced by IPMI, and by a fence agent: the same story as by Redfish, and what each must prove before."""

from __future__ import annotations

import time
from typing import Any

import pytest

from e2e.stories import came_back, guarded_vm, launcher_uids, unasked, wait_verdict
from lab.cluster import Lab
from lab.wait import until

pytestmark = pytest.mark.lab


def proved_off_by_one_order(lab: Lab, node: str, device: str, since: float) -> None:
    """Orders are counted where they are stored: ipmi_sim takes a datagram that ipmitool repeats, because carrying the first one
    out took a second, for another order.
    """
    failover = lab.wait_phase(node, "Closed", seconds=180)
    (proof,) = failover["status"]["proofs"]
    assert (proof["kind"], proof["variant"], proof["device"]) == ("PoweredOff", "ordered", device)
    assert [(o["device"], o["action"]) for o in failover["status"]["orders"] if o["action"] != "on"] == [
        (device, "off")
    ]
    assert [
        r
        for r in lab.ipmi(node).log()
        if r["what"] == "request" and r["state"] == "ForceOff" and r["t"] >= since
    ]


def test_ipmi(bare: Lab) -> None:
    lab = bare
    lab.declare(driver="ipmi")
    lab.wait_armed()
    victim = lab.quiet_node()
    (row,) = lab.get("fencedevice", f"bmc-{victim}")["status"]["powerState"]
    assert (row["power"], row["uuid"]) == ("on", lab.node(victim).systemuuid)
    instance = guarded_vm(lab, "db", victim)
    since = time.time()
    lab.node(victim).cut()
    came_back(lab, "db", victim, instance)
    proved_off_by_one_order(lab, victim, f"bmc-{victim}", since)
    assert not [r for r in lab.bmc(victim).log() if r["what"] == "request" and r["t"] >= since]


@pytest.mark.more
def test_ipmi_that_answers_and_does_nothing(bare: Lab) -> None:
    lab = bare
    lab.declare(driver="ipmi")
    lab.wait_armed()
    victim = lab.quiet_node()
    guarded_vm(lab, "db", victim)
    before = launcher_uids(lab, "db")
    lab.ipmi(victim).mode("ignore")
    lab.node(victim).cut()
    failover = lab.wait_phase(victim, "AwaitingConfirmation", seconds=120)
    assert "still reads on" in failover["status"]["sentence"]
    assert launcher_uids(lab, "db") == before, "the VM was started twice on a BMC's word"
    lab.ipmi(victim).mode("ok")
    lab.wait_phase(victim, "Closed", seconds=240)


def test_fence_agent(bare: Lab) -> None:
    """fence_ipmilan can't say whose power it cuts: unproved and unused, until a drill has shown it."""
    lab = bare
    lab.declare(driver="agent")
    wait_verdict(lab, "n1", "Healthy", 120)
    victim = next(name for name in sorted(lab.nodes) if name != lab.pod_node(lab.leader()))
    device = f"bmc-{victim}"
    lab.wait_condition("fencedevice", device, "Ready", "False", reason="IdentityUnproved", seconds=60)

    def drill(words: str, phase: str, seconds: float) -> dict[str, Any]:
        request = f"{victim} {words}"
        lab.kubectl("annotate", "--overwrite", "fencedevice", device, f"ringfence.io/drill={request}")

        def told() -> dict[str, Any] | None:
            found = lab.get("fencedevice", device)["status"].get("drill", {})
            ends = {phase, "Refused", "Failed", "Passed"}
            return found if found.get("request") == request and found["phase"] in ends else None

        found = until(f"the drill of {victim} to be {phase}", told, seconds, every=0.5)
        assert found["phase"] == phase, found["sentence"]
        return found

    assert "drain it first" in drill("too early", "Refused", 30)["sentence"]
    old = lab.node(victim).boot_id
    lab.kubectl("cordon", victim)
    drill("for good", "Passed", 240)
    assert lab.node(victim).boot_id not in {"", old}
    lab.kubectl("uncordon", victim)
    lab.wait_condition("fencedevice", device, "Ready", "True", seconds=90)
    wait_verdict(lab, victim, "Healthy", 120)
    until("every node to take VMs", lambda: lab.kubevirt.schedulable() == len(lab.nodes), 180, every=0.5)

    instance = guarded_vm(lab, "db", victim)
    since = time.time()
    lab.node(victim).cut()
    came_back(lab, "db", victim, instance)
    proved_off_by_one_order(lab, victim, device, since)


ODD: dict[str, tuple[dict[str, Any], str, str]] = {
    "nobody": ({"program": "fence_nobody"}, "AgentNotFound", "there is no fence_nobody"),
    "misspelt": (
        {"program": "fence_apc", "parameters": {"ip": "10.0.0.9", "pulg": "3"}},
        "UnknownParameter",
        "did you mean plug?",
    ),
    "powerless": (
        {"program": "fence_scsi", "parameters": {"plug": "3"}},
        "NoPowerAgent",
        "proves no power off",
    ),
}


def test_an_agent_is_asked_what_it_knows(lab: Lab) -> None:
    with unasked(lab):
        for name, (block, _, _) in ODD.items():
            lab.apply(
                {
                    "apiVersion": "ringfence.io/v1alpha1",
                    "kind": "FenceDevice",
                    "metadata": {"name": name},
                    "spec": {"driver": "agent", "nodes": ["n1"], "agent": block},
                }
            )
    for name, (_, reason, words) in ODD.items():
        condition = lab.wait_condition("fencedevice", name, "Ready", "False", reason=reason, seconds=60)
        assert words in condition["message"], name


def test_two_nodes_on_one_outlet(lab: Lab) -> None:
    """Both are told, and neither is asked; with the mistake mended both are proved again."""
    twin = lab.fence_device("n1")
    spec = twin["spec"]
    assert isinstance(spec, dict)
    redfish = {**spec["redfish"], "systemId": lab.node("n1").systemuuid}
    for name in ("n1", "n2"):
        lab.apply({**lab.fence_device(name), "spec": {**spec, "nodes": [name], "redfish": redfish}})
    for name in ("n1", "n2"):
        lab.wait_condition("fencedevice", f"bmc-{name}", "Ready", "False", reason="OutletShared", seconds=60)
    for name in ("n1", "n2"):
        lab.apply(lab.fence_device(name))
    lab.wait_armed()
