"""A1, the expensive case: the node that dies carries KubeVirt's leading virt-controller, and perhaps a virt-api."""

from __future__ import annotations

import time

import pytest

from e2e.stories import came_back, guarded_vm
from lab.audit import writes
from lab.cluster import Lab
from lab.invariants import CONTROLLER

pytestmark = pytest.mark.lab


def test_their_leadership_is_freed_after_the_proof_and_dry_runs_leave_nothing(lab: Lab) -> None:
    lease = lab.get("lease", "virt-controller", "kubevirt")
    holder = lease["spec"]["holderIdentity"].partition("_")[0]
    victim = lab.pod_node(holder, "kubevirt")
    carries_api = any(
        pod["metadata"].get("labels", {}).get("kubevirt.io") == "virt-api"
        for pod in lab.get("pods")
        if pod["spec"].get("nodeName") == victim
    )
    instance = guarded_vm(lab, "db", victim)
    since = time.time()
    lab.node(victim).cut()
    came_back(lab, "db", victim, instance)
    failover = lab.wait_phase(victim, "Recovered", "Closed")
    assert lab.get("lease", "virt-controller", "kubevirt")["spec"]["holderIdentity"] != holder
    ours = [w for w in writes(lab.layout.logs / "audit.log", since) if w.user == CONTROLLER]
    freed = [w for w in ours if w.resource == "leases" and w.name == "virt-controller" and w.succeeded]
    assert len(freed) == 1
    assert "holderIdentity" not in freed[0].body["spec"]
    instances = [w for w in ours if w.resource == "virtualmachineinstances" and w.verb in ("create", "patch")]
    assert all(w.dry for w in instances)
    assert bool(instances) is carries_api, "they are for a node with a virt-api, and for no other"
    assert [v["metadata"]["name"] for v in lab.get("vmi", namespace="default")] == ["db"]
    assert failover["status"]["vms"][0]["state"] == "Running"
