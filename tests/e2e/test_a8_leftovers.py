"""A8: a node dies while a snapshot of its VM is being taken, or while an import there has the VM's volume.

(Migrations that end with a node: A16; hotplugged and attached volumes: B13.)
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from e2e.storage import volume_snapshots
from e2e.stories import came_back, guarded_vm
from lab import volumesnapshots
from lab.audit import writes
from lab.cluster import Lab
from lab.invariants import CONTROLLER
from lab.roots import KUBEVIRT_IMAGE
from lab.wait import until

pytestmark = [pytest.mark.lab, pytest.mark.more]

DETACHED_WITHIN = 30.0
"""Seconds after the VM ticks again, until nothing is said of the dead node any more."""


def vm_status(lab: Lab) -> dict[str, Any]:
    status: dict[str, Any] = lab.get("vm", "db", "default")["status"]
    return status


def begin_snapshot(lab: Lab, name: str) -> str:
    """Take a snapshot of db until the array is asked to cut its volume; the VolumeSnapshot that the array has in work."""
    until(
        "KubeVirt to know that the volume can be snapshotted",
        lambda: any(row.get("enabled") for row in vm_status(lab).get("volumeSnapshotStatuses", [])),
        90,
        every=0.5,
    )
    lab.apply(
        {
            "apiVersion": "snapshot.kubevirt.io/v1beta1",
            "kind": "VirtualMachineSnapshot",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "db"},
                "failureDeadline": "20m0s",
            },
        }
    )
    until(
        "the snapshot to be under way",
        lambda: vm_status(lab).get("snapshotInProgress") == name,
        60,
        every=0.3,
    )
    asked = until(
        "the array to be asked for a snapshot",
        lambda: [one["metadata"]["name"] for one in lab.get(volumesnapshots.SNAPSHOTS)],
        60,
        every=0.3,
    )
    assert len(asked) == 1, "db has one volume"
    return str(asked[0])


def test_a_snapshot_under_way_holds_nothing_up_and_is_told(lab: Lab) -> None:
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim, storage="csi-rwo")
    with volume_snapshots(lab):
        volume = begin_snapshot(lab, "nightly")
        lab.node(victim).power_off()
        came_back(lab, "db", victim, instance)
        failover = lab.wait_phase(victim, "Recovered", "Closed")
        (row,) = failover["status"]["vms"]
        assert row["leftover"].startswith("snapshot nightly was under way meanwhile: ")
        assert row["leftover"] in failover["status"]["sentence"]
        assert vm_status(lab)["snapshotInProgress"] == "nightly", "it is its owner's, and goes on"

        done = json.dumps(volumesnapshots.done(time.time()))
        lab.kubectl(
            *("-n", "default", "patch", volumesnapshots.SNAPSHOTS, volume),
            *("--subresource=status", "--type=merge", "-p", done),
        )
        until(
            "the snapshot to have succeeded",
            lambda: (
                lab.get("virtualmachinesnapshots.snapshot.kubevirt.io", "nightly", "default")["status"].get(
                    "phase"
                )
                == "Succeeded"
            ),
            60,
            every=0.5,
        )
        until("the VM to be let go", lambda: "snapshotInProgress" not in vm_status(lab), 30, every=0.5)
        lab.wait_phase(victim, "Closed", seconds=120)


@contextmanager
def importers(lab: Lab, node: str, **claims: str) -> Iterator[None]:
    """Pods as CDI's importers are, on that node, each with this claim of the VM's namespace (empty: with none)."""
    lab.apply(*(importer(name, node, claim) for name, claim in claims.items()))
    try:
        until(
            "the imports to run",
            lambda: all(
                lab.get("pod", f"importer-{name}", "default")["status"].get("phase") == "Running"
                for name in claims
            ),
            90,
            every=0.5,
        )
        yield
    finally:
        for name in claims:
            pod = f"importer-{name}"
            force = ("--force", "--grace-period=0", "--ignore-not-found", "--wait=false")
            lab.kubectl("-n", "default", "delete", "pod", pod, *force, check=False)


def importer(name: str, node: str, claim: str) -> dict[str, Any]:
    """The scheduler binds it, as it does CDI's: the audit trail then tells where it ran."""
    container: dict[str, Any] = {
        "name": "importer",
        "image": KUBEVIRT_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sleep", "infinity"],
    }
    spec: dict[str, Any] = {
        "nodeSelector": {"kubernetes.io/hostname": node},
        "restartPolicy": "OnFailure",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "containers": [container],
    }
    if claim:
        container["volumeMounts"] = [{"name": "disk", "mountPath": "/data"}]
        spec["volumes"] = [{"name": "disk", "persistentVolumeClaim": {"claimName": claim}}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"importer-{name}",
            "namespace": "default",
            "labels": {"app": "containerized-data-importer", "cdi.kubevirt.io": "importer"},
        },
        "spec": spec,
    }


def deleted_by_us(lab: Lab, since: float) -> set[str]:
    """The pods of the VM's namespace that ringfence has deleted since."""
    return {
        write.name
        for write in writes(lab.layout.logs / "audit.log", since)
        if write.user == CONTROLLER
        and (write.verb, write.resource, write.namespace) == ("delete", "pods", "default")
        and write.succeeded
        and not write.dry
    }


def test_an_import_goes_with_its_node_where_it_has_the_vms_volume(lab: Lab) -> None:
    victim, since = lab.quiet_node(), time.time()
    instance = guarded_vm(lab, "db", victim, storage="csi-rwo")
    with importers(lab, victim, db="db", other=""):
        lab.node(victim).power_off()
        node = came_back(lab, "db", victim, instance)
        until(
            "the volume to be on the VM's new node only",
            lambda: lab.attachments("db") == {node: True},
            DETACHED_WITHIN,
            every=0.2,
        )
        assert lab.san.published("db") == (node,)
        failover = lab.wait_phase(victim, "Closed", seconds=120)
        (proof,) = failover["status"]["proofs"]
        covered = {pod["name"] for pod in proof["pods"] if pod["name"].startswith("importer-")}
        assert covered == {"importer-db"}
        gone = {name for name in deleted_by_us(lab, since) if name.startswith("importer-")}
        assert gone == {"importer-db"}, "what has nothing of ours is left to Kubernetes"
