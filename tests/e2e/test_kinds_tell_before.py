"""ProtectedVM says before anything happens whether the VM would survive its node, and if not, why not."""

from __future__ import annotations

import pytest

from lab.cluster import Lab

pytestmark = pytest.mark.lab


def test_reasons(lab: Lab) -> None:
    def reason(name: str, wanted: str) -> None:
        status = "True" if wanted == "Ready" else "False"
        lab.wait_condition("protectedvm", name, "Protected", status, namespace="default", reason=wanted)

    lab.protect("nobody")
    reason("nobody", "VMNotFound")
    lab.create_vm("halted", run_strategy="Halted")
    lab.protect("halted")
    reason("halted", "RunStrategyNotRestartable")
    lab.create_vm("db", node="n1")
    lab.protect("db")
    lab.wait_vm_running("db")
    reason("db", "Ready")

    two = {"apiVersion": "ringfence.io/v1alpha1", "kind": "HAZone", "metadata": {"name": "other"}}
    # A zone that claims another's node is refused; one that comes to claim it by a label can't be.
    lab.apply({**two, "spec": {"nodes": {"selector": {"matchLabels": {"rack": "other"}}}}})
    lab.kubectl("label", "node", "n1", "rack=other")
    lab.wait_condition("hazone", "lab", "Ready", "False", reason="NodeInTwoZones")
    lab.wait_condition("hazone", "other", "Ready", "False", reason="NodeInTwoZones")
    reason("db", "NodeNotInZone")
    lab.kubectl("delete", "hazone", "other")
    lab.kubectl("label", "node", "n1", "rack-")
    reason("db", "Ready")

    lab.apply(lab.fence_device("n1", secret="missing"))
    lab.wait_condition("fencedevice", "bmc-n1", "Ready", "False", reason="SecretNotFound")
    reason("db", "FenceDeviceUnproved")
    lab.apply(lab.fence_device("n1"))
    reason("db", "Ready")
    lab.declare(mode="Disarmed")
    reason("db", "ClusterDisarmed")
