"""Kubernetes' VolumeSnapshots in the lab, as far as KubeVirt needs them to take a VirtualMachineSnapshot.

Only the kinds are there and a class for the lab's SAN: no snapshot-controller, no CSI driver that cuts anything. So a snapshot
stays under way for as long as a test wants, as it does with an array that takes its time, and is done when the test says so.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from lab import san
from lab.definitions import definition

GROUP, VERSION = "snapshot.storage.k8s.io", "v1"
SNAPSHOTS, CLASSES = f"volumesnapshots.{GROUP}", f"volumesnapshotclasses.{GROUP}"
CLASS = "lab-san-snapshots"


def definitions() -> list[dict[str, Any]]:
    """The two CRDs; what stands in the objects is left to those who write them."""
    anything = {"x-kubernetes-preserve-unknown-fields": True}
    return [
        definition(GROUP, VERSION, "VolumeSnapshot", anything, scope="Namespaced"),
        definition(GROUP, VERSION, "VolumeSnapshotClass", anything),
    ]


def snapshot_class() -> dict[str, Any]:
    """By its driver KubeVirt finds that the SAN's volumes can be snapshotted."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "VolumeSnapshotClass",
        "metadata": {"name": CLASS},
        "driver": san.DRIVER,
        "deletionPolicy": "Delete",
    }


def done(at: float) -> dict[str, Any]:
    """The status of a VolumeSnapshot that was cut then (wall clock, seconds)."""
    when = dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"status": {"creationTime": when, "readyToUse": True}}
