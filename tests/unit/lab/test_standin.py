"""What a stand-in node says of a pod is what a kubelet would say, and no pod is taken for another's."""

from __future__ import annotations

from typing import Any

from lab.standin import role, running
from lab.standins import LABEL, machine


def pod(labels: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "default", "labels": labels}, "spec": spec}


def test_pods_are_told_apart_by_their_labels() -> None:
    agent = {"app.kubernetes.io/name": "ringfence", "app.kubernetes.io/component": "agent"}
    assert role(pod({"kubevirt.io": "virt-launcher"})) == "virt-launcher"
    assert role(pod({"kubevirt.io": "virt-handler"})) == "virt-handler"
    assert role(pod(agent)) == "agent"
    assert role(pod({**agent, "app.kubernetes.io/name": "another"})) == ""
    assert role(pod({**agent, "app.kubernetes.io/component": "controller"})) == ""


def test_a_pod_that_runs_is_ready_through_its_gates() -> None:
    launcher = pod(
        {},
        containers=[{"name": "compute", "image": "i"}],
        initContainers=[
            {"name": "console", "image": "i", "restartPolicy": "Always"},
            {"name": "copy", "image": "i"},
        ],
        readinessGates=[{"conditionType": "kubevirt.io/virtual-machine-unpaused"}],
    )
    status = running(launcher, "10.0.0.1")
    holds = {c["type"]: c["status"] for c in status["conditions"]}
    assert holds["Ready"] == holds["kubevirt.io/virtual-machine-unpaused"] == "True"
    assert "running" in status["containerStatuses"][0]["state"]
    console, copy = status["initContainerStatuses"]
    assert "running" in console["state"]
    assert "terminated" in copy["state"]


def test_a_gate_that_somebody_else_has_answered_is_left_to_them() -> None:
    gated = pod({}, containers=[], readinessGates=[{"conditionType": "gate"}])
    gated["status"] = {"conditions": [{"type": "gate", "status": "False"}]}
    assert "gate" not in {c["type"] for c in running(gated, "10.0.0.1")["conditions"]}


def test_a_pod_that_starts_runs_and_is_not_ready() -> None:
    status = running(pod({}, containers=[{"name": "agent", "image": "i"}]), "10.0.0.1", ready=False)
    holds = {c["type"]: c["status"] for c in status["conditions"]}
    assert (status["phase"], holds["Ready"], holds["Initialized"]) == ("Running", "False", "True")
    assert status["containerStatuses"][0]["ready"] is False


def test_its_vms_run_on_stand_ins_alone_and_first_on_that_one() -> None:
    spec = machine("vm", "default", "n4")["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {LABEL: "true"}
    assert "n4" in str(spec["affinity"])
