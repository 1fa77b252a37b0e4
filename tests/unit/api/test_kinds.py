from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ringfence.api.v1alpha1 import KINDS, Failover, FenceDevice, HACluster, HAZone, Resource
from ringfence.api.v1alpha1.failover import FailoverStatus
from ringfence.core.model import Mode
from ringfence.core.timing import self_fence_seconds
from unit.api.filled import DRIVERS, filled


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.names.kind)
def test_what_is_read_is_what_was_written(kind: type[Resource]) -> None:
    written = kind.model_validate(filled(kind)).to_json()
    assert kind.model_validate(written).to_json() == written
    assert written["status"] == filled(kind)["status"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_each_driver_is_read_as_written(driver: str) -> None:
    written = FenceDevice.model_validate(filled(FenceDevice, driver=driver)).to_json()
    assert FenceDevice.model_validate(written).to_json() == written
    assert written["spec"]["driver"] == driver
    assert set(written["spec"][driver]) >= set(filled(FenceDevice, driver=driver)["spec"][driver])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.names.kind)
def test_fields_of_a_newer_release_are_ignored(kind: type[Resource]) -> None:
    obj = filled(kind)
    newer = obj | {"status": obj["status"] | {"fromTheFuture": 1}, "fromTheFuture": {}}
    assert kind.model_validate(newer) == kind.model_validate(obj)


def test_an_empty_cluster_has_the_defaults() -> None:
    spec = HACluster.model_validate({"metadata": {"name": "default"}}).spec
    assert (spec.mode, spec.hold_seconds, spec.storm_fraction) == (Mode.ACTIVE, 2.0, 0.4)


def test_a_sentence_too_long_is_cut_and_not_refused() -> None:
    status = FailoverStatus.model_validate({"sentence": "x" * 5000})
    assert status.sentence is not None
    assert len(status.sentence) == 1024
    assert status.sentence.endswith("…")


def _zone(**watchdog: float) -> dict[str, Any]:
    return {"spec": {"nodes": {"names": ["n1"]}, "fencing": {"watchdog": watchdog}}}


def test_self_fence_must_end_before_it_is_assumed() -> None:
    least = self_fence_seconds(10, 60)
    assert least == pytest.approx(75.07)
    for refused in (60.0, least):
        with pytest.raises(ValidationError, match="raise it above that"):
            HAZone.model_validate(_zone(assumeSeconds=refused))
    HAZone.model_validate(_zone(assumeSeconds=least + 0.01))


def _fed_by_slot(legs: list[str], isolation: float = 10.0, **storage: Any) -> dict[str, Any]:
    watchdog = {"assumeSeconds": 80, "isolationSeconds": isolation, "legs": legs}
    return {"spec": {"nodes": {"names": ["n1"]}, "fencing": {"watchdog": watchdog}, "storage": storage}}


def test_a_slot_that_feeds_needs_a_volume_and_time() -> None:
    legs = ["Gossip", "Api", "Storage"]
    heartbeat = {"volume": "hearts", "intervalSeconds": 2}
    watchdog = HAZone.model_validate(_fed_by_slot(legs, heartbeat=heartbeat)).spec.fencing.watchdog
    assert watchdog is not None
    assert watchdog.legs == legs
    default = HAZone.model_validate(_zone(assumeSeconds=80)).spec.fencing.watchdog
    assert default is not None
    assert default.legs == ["Gossip", "Api"]
    with pytest.raises(ValidationError, match=r"no spec\.storage\.heartbeat: name the volume there"):
        HAZone.model_validate(_fed_by_slot(legs))
    with pytest.raises(ValidationError, match=r"less than three times .*intervalSeconds \(2\): raise it"):
        HAZone.model_validate(_fed_by_slot(legs, 5.9, heartbeat=heartbeat))
    with pytest.raises(ValidationError, match="doesn't name Gossip: add it"):
        HAZone.model_validate(_fed_by_slot(["Api"]))


def test_who_has_hanging_nodes_fenced_needs_slots() -> None:
    spec = {"nodes": {"names": ["n1"]}, "onHung": "Fence"}
    with pytest.raises(ValidationError, match=r"onHung is Fence, but there is no spec\.storage\.heartbeat"):
        HAZone.model_validate({"spec": spec})
    storage = {"heartbeat": {"volume": "hearts"}}
    assert HAZone.model_validate({"spec": spec | {"storage": storage}}).spec.on_hung == "Fence"
    assert HAZone.model_validate({"spec": {"nodes": {"names": ["n1"]}}}).spec.on_hung == "Alert"


def test_a_networks_range_is_checked_here_too() -> None:
    def zone(*cidrs: str) -> dict[str, Any]:
        return {"spec": {"nodes": {"names": ["n1"]}, "networks": [{"name": "storage", "cidrs": list(cidrs)}]}}

    network = HAZone.model_validate(zone("10.20.0.0/16", "fd00:20::/64")).spec.networks[0]
    assert (network.name, network.role) == ("storage", "Other")
    with pytest.raises(ValidationError, match=r"network storage: 10.20.0.0/33 is no address range"):
        HAZone.model_validate(zone("10.20.0.0/33"))


@pytest.mark.parametrize(
    ("node", "cidr", "says"),
    [
        ("n1", "10.1.0.300/32", "is no address range"),
        ("n9", "10.1.0.7/32", "names n9, which spec.nodes has not"),
    ],
)
def test_a_storages_addresses_are_checked_here_too(node: str, cidr: str, says: str) -> None:
    """A wrong name would shut the node meant out by its InternalIPs only, and the storage would say Succeeded."""
    storage = {
        "csiDriver": "rbd.csi.ceph.com",
        "storageClasses": ["rbd"],
        "networkFenceClassName": "rook",
        "addresses": [{"node": node, "cidrs": [cidr]}],
    }
    with pytest.raises(ValidationError, match=says):
        FenceDevice.model_validate({"spec": {"driver": "storage", "nodes": ["n1"], "storage": storage}})


@pytest.mark.parametrize(
    "spec",
    [
        {"driver": "redfish", "nodes": ["n1"]},
        {"driver": "manual", "nodes": []},
        {
            "driver": "redfish",
            "nodes": ["n1"],
            "redfish": {"address": "http://bmc", "secretRef": {"name": "s"}},
        },
        {
            "driver": "manual",
            "nodes": ["n1"],
            "redfish": {"address": "https://bmc", "secretRef": {"name": "s"}},
        },
        {"driver": "ipmi", "nodes": ["n1"]},
        {"driver": "ipmi", "nodes": ["n1"], "ipmi": {"address": "-oops", "secretRef": {"name": "s"}}},
        {"driver": "agent", "nodes": ["n1"], "agent": {"program": "/sbin/fence_apc"}},
        {"driver": "agent", "nodes": ["n1"], "agent": {"program": "fence_apc", "parameters": {"ip": "1\n2"}}},
        {"driver": "agent", "nodes": ["n1"], "agent": {"program": "fence_apc", "parameters": {"a\nb": "1"}}},
    ],
)
def test_bad_devices_are_refused_here_too(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FenceDevice.model_validate({"spec": spec})


def test_names_in_the_api() -> None:
    spec = Failover.model_validate(filled(Failover)).to_json()["spec"]
    assert {"nodeUID", "bootID"} <= set(spec)
    redfish = FenceDevice.model_validate(filled(FenceDevice)).to_json()["spec"]["redfish"]
    assert {"systemId", "secretRef", "caBundle", "insecureSkipVerify"} <= set(redfish)
