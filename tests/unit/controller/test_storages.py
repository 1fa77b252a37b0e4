"""Which volumes a storage's fence cuts, by what claims and volumes say."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.api.v1alpha1.nodereport import NodeReport
from ringfence.controller.devices import mismatch
from ringfence.controller.storages import behind, guests_since, not_behind, only_a_reboot_lifts, written_by
from ringfence.controller.targets import DeviceTarget, targets
from ringfence.controller.world import World
from ringfence.core.failover.record import PodRef, VmRecord
from ringfence.core.failover.recovery import PodLook, PodRole
from ringfence.core.model import Boot
from ringfence.kube.objects import PodObject, PvcObject, PvObject, VmiObject

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
ADDRESSES = {"n1": ["10.0.0.1", "fd00::1"], "n2": ["10.0.0.2"]}


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


STATIC = replace(VOLUME, csi_driver="", local_path="/dev/san/db")


def test_a_volume_without_a_driver_is_cut_only_where_somebody_states_that_its_class_is_there() -> None:
    assert found(volume=STATIC) == frozenset(), "its class is a mere word"
    storage = DEVICE.spec.storage
    assert storage is not None
    stated = DEVICE.model_copy(
        update={
            "spec": DEVICE.spec.model_copy(
                update={"storage": storage.model_copy(update={"static_storage_classes": ["rbd"]})}
            )
        }
    )
    claims, pvs = {("shop", "db"): CLAIM}, {("", "pv-db"): STATIC}
    assert behind(stated, ("shop/db",), claims, pvs) == {"shop/db"}
    assert (
        behind(stated, ("shop/db",), {("shop", "db"): replace(CLAIM, storage_class="nfs")}, pvs)
        == frozenset()
    )


@pytest.mark.parametrize(
    ("claim", "volume", "words"),
    [
        (
            CLAIM,
            STATIC,
            "no CSI driver made it, .* name its class 'rbd' in spec.storage.staticStorageClasses",
        ),
        (
            replace(CLAIM, storage_class="fast"),
            VOLUME,
            "name its class 'fast' in spec.storage.storageClasses",
        ),
        (
            CLAIM,
            replace(VOLUME, csi_driver="nfs.csi.k8s.io"),
            "it is nfs.csi.k8s.io's, not rbd.csi.ceph.com's",
        ),
        (CLAIM, replace(STATIC, host_path="/srv/db"), "it is a path of its host"),
        (replace(CLAIM, volume_name=""), VOLUME, "no claim that is bound"),
    ],
)
def test_why_a_volume_does_not_count_is_said_with_the_mend(
    claim: PvcObject, volume: PvObject, words: str
) -> None:
    why = not_behind(DEVICE, "shop/db", {("shop", "db"): claim}, {("", "pv-db"): volume})
    assert why is not None
    assert re.search(words, why)


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


def test_whose_agent_sees_no_guests_is_told_before_a_cut() -> None:
    def report(*guests: str) -> NodeReport:
        return NodeReport.model_validate({"metadata": {"name": "n"}, "status": {"guests": list(guests)}})

    blind = NodeReport.model_validate({"metadata": {"name": "n"}, "status": {}})
    assert only_a_reboot_lifts(["n1", "n2"], {("", "n1"): report(), ("", "n2"): report("shop_db")}) == ""
    told = only_a_reboot_lifts(["n1", "n2", "n3"], {("", "n1"): report(), ("", "n2"): blind})
    assert "only a reboot lets n2, n3 at the storage again" in told
    assert "agent.watchdog.enabled" in told


def declared(
    uuids: dict[str, str] | None = None, addresses: dict[str, list[str]] | None = None
) -> dict[tuple[str, str], DeviceTarget]:
    known = ADDRESSES if addresses is None else addresses
    return targets([DEVICE], dict.fromkeys(known, "") if uuids is None else uuids, {}, known)


def test_a_node_is_shut_out_by_all_its_addresses_or_by_those_that_are_named() -> None:
    found = declared()
    assert found["ceph", "n1"].spec.cidrs == ("10.0.0.1/32", "fd00::1/128")
    assert found["ceph", "n2"].spec.cidrs == ("10.9.0.2/32",)
    spec = found["ceph", "n1"].spec
    assert (spec.csi_driver, spec.fence_secret) == ("rbd.csi.ceph.com", ("rook", "csi"))
    assert spec.parameters == (("clusterID", "rook"),)
    assert found["ceph", "n1"].secret == (), "ringfence never reads the CSI driver's Secret"


def test_who_is_no_node_is_not_shut_out() -> None:
    assert set(declared(addresses={"n1": ["10.0.0.1"]})) == {("ceph", "n1")}


def test_two_nodes_with_one_address_are_not_told_apart() -> None:
    found = declared(addresses={"n1": ["10.9.0.2"], "n2": ["10.0.0.2"]})
    assert {t.objection.reason for t in found.values() if t.objection} == {"OutletShared"}


@pytest.mark.parametrize(
    ("cidr", "used"),
    [
        ("10.9.0.2/32", {"n1", "n2"}),
        ("10.0.0.0/30", set()),
        ("10.9.0.0/16", {"n1", "n2"}),
        ("0.0.0.0/0", set()),
    ],
)
def test_a_range_that_holds_another_nodes_address_is_not_used(cidr: str, used: set[str]) -> None:
    """The fence of a dead node would shut out a healthy one. Which of the two was meant nobody can say."""
    raw = DEVICE.model_dump(mode="json", by_alias=True)
    raw["spec"]["storage"]["addresses"] = [{"node": "n2", "cidrs": [cidr]}]
    found = targets([FenceDevice.model_validate(raw)], {}, {}, {**ADDRESSES, "n3": ["10.0.0.3"]})
    assert {node for (_, node), t in found.items() if t.objection is None} == used


@pytest.mark.parametrize("uuid", ["", "03000200-0400-0500-0006-000700080009"])
def test_its_addresses_name_the_node_whatever_its_uuid(uuid: str) -> None:
    """Boards without a UUID of their own have no BMC that could be proved: a storage is what is left to them."""
    for target in declared(uuids={"n1": uuid, "n2": uuid}).values():
        assert target.objection is None
        assert mismatch(uuid, target) is None


def launcher(*claims: str) -> PodObject:
    return PodObject.from_raw(
        {
            "metadata": {
                "namespace": "shop",
                "name": "virt-launcher-db",
                "uid": "pod-db",
                "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": "vmi-db"},
            },
            "spec": {
                "nodeName": "n1",
                "volumes": [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims],
            },
        }
    )


def test_what_its_pod_mounts_is_written_to_whatever_its_spec_says() -> None:
    """The state of EFI and TPM has a claim that no spec names; a volume that is migrated has two."""
    pod = launcher("db", "persistent-state-for-db")
    key = ("shop", pod.name)
    instance = VmiObject.from_raw(
        {
            "metadata": {"namespace": "shop", "name": "db", "uid": "vmi-db"},
            "spec": {"volumes": [{"name": "root", "persistentVolumeClaim": {"claimName": "db-new"}}]},
        }
    )
    world = SimpleNamespace(
        vms=SimpleNamespace(store={}),
        vmis=SimpleNamespace(store={("shop", "db"): instance}),
        pods=SimpleNamespace(store={key: pod}),
    )
    record = VmRecord("shop", "db", "vm-db", "vmi-db")
    look = PodLook(PodRef("shop", pod.name, pod.uid), PodRole.LAUNCHER, "vmi-db", protected=True)
    backup = PodLook(PodRef("shop", "backup", "pod-backup"), PodRole.HOLDER, protected=True)
    (written,) = written_by(cast("World", world), (record,), (look, backup))
    assert written.pods == ("pod-db",), "a pod that only uses the same volume is not the guest's"
    assert set(written.volumes) == {"shop/db-new", "shop/db", "shop/persistent-state-for-db"}


BOOT = Boot("n1", "uid-1", "boot-1")


def report(version: int, guests: tuple[str, ...] | None = (), boot_id: str = "boot-1") -> NodeReport:
    return NodeReport.model_validate(
        {
            "kind": "NodeReport",
            "metadata": {"name": "n1", "resourceVersion": str(version)},
            "status": {
                "nodeUID": "uid-1",
                "bootID": boot_id,
                "guests": guests if guests is None else list(guests),
            },
        }
    )


def test_only_what_was_written_after_the_proof_says_that_no_guest_is_left() -> None:
    """When it is *seen* says nothing: a watch may lag, and who leads again looks at what came meanwhile."""
    assert guests_since(report(101), BOOT, 100) == frozenset()
    assert guests_since(report(101, ("shop_db",)), BOOT, 100) == frozenset({"shop_db"})
    assert guests_since(report(100), BOOT, 100) is None
    assert guests_since(report(99), BOOT, 100) is None
    assert guests_since(report(101), BOOT, 0) is None, "no proof is known"
    assert guests_since(report(101, None), BOOT, 100) is None
    assert guests_since(report(101, boot_id="boot-2"), BOOT, 100) is None
    assert guests_since(None, BOOT, 100) is None
