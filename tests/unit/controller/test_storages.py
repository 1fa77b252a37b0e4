"""Which volumes a storage's fence cuts, by what claims and volumes say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.controller.storages import behind, storage_target
from ringfence.kube.objects import NodeObject, PvcObject, PvObject

DEVICE = FenceDevice.model_validate(
    {
        "kind": "FenceDevice",
        "metadata": {"name": "ceph"},
        "spec": {
            "driver": "storage",
            "nodes": ["n1", "n2"],
            "storage": {
                "csiDriver": "rbd.csi.ceph.com",
                "storageClasses": ["rbd"],
                "secretRef": {"name": "csi", "namespace": "rook"},
                "parameters": {"clusterID": "rook"},
                "addresses": [{"node": "n2", "cidrs": ["10.9.0.2/32"]}],
            },
        },
    }
)
CLAIM = PvcObject.from_raw(
    {
        "metadata": {"namespace": "shop", "name": "db", "uid": "1"},
        "spec": {"volumeName": "pv-db", "storageClassName": "rbd"},
    }
)
VOLUME = PvObject.from_raw(
    {
        "metadata": {"name": "pv-db"},
        "spec": {
            "csi": {"driver": "rbd.csi.ceph.com"},
            "storageClassName": "rbd",
            "claimRef": {"namespace": "shop", "name": "db"},
        },
    }
)
NODE = NodeObject.from_raw(
    {
        "metadata": {"name": "n1", "uid": "u"},
        "status": {
            "nodeInfo": {"systemUUID": "S"},
            "addresses": [
                {"type": "InternalIP", "address": "10.0.0.1"},
                {"type": "InternalIP", "address": "fd00::1"},
                {"type": "Hostname", "address": "n1"},
            ],
        },
    }
)


def found(
    claim: PvcObject | None = CLAIM, volume: PvObject | None = VOLUME, name: str = "shop/db"
) -> frozenset[str]:
    return behind(
        DEVICE,
        (name,),
        {("shop", "db"): claim} if claim else {},
        {("", "pv-db"): volume} if volume else {},
    )


def test_a_volume_of_the_class_and_the_driver_is_cut() -> None:
    assert found() == {"shop/db"}


def test_a_static_volume_of_the_class_is_cut() -> None:
    assert found(volume=replace(VOLUME, csi_driver="", local_path="/dev/san/db")) == {"shop/db"}


@pytest.mark.parametrize(
    "case",
    [
        {"claim": None},
        {"volume": None},
        {"claim": replace(CLAIM, storage_class="local")},
        {"claim": replace(CLAIM, storage_class="")},
        {"claim": replace(CLAIM, volume_name="")},
        {"volume": replace(VOLUME, csi_driver="nfs.csi.k8s.io")},
        {"volume": replace(VOLUME, csi_driver="", host_path="/srv/db")},
        {"volume": replace(VOLUME, claim_name="other")},
        {"name": "other/db"},
        {"name": "hostDisk/scratch"},
        {"name": "hostDevice/"},
        {"name": ""},
    ],
)
def test_everything_else_is_not(case: dict[str, Any]) -> None:
    assert found(**case) == frozenset()


def test_a_node_is_shut_out_by_all_its_addresses_or_by_those_that_are_named() -> None:
    assert storage_target(DEVICE, NODE).spec.cidrs == ("10.0.0.1/32", "fd00::1/128")
    assert storage_target(DEVICE, replace(NODE, name="n2")).spec.cidrs == ("10.9.0.2/32",)
    spec = storage_target(DEVICE, NODE).spec
    assert (spec.csi_driver, spec.fence_secret) == ("rbd.csi.ceph.com", ("rook", "csi"))
    assert storage_target(DEVICE, NODE).secret == "", "ringfence never reads the CSI driver's Secret"
