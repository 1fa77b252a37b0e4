"""Typed objects: what is kept, and that no object of anybody's can bring us down."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.kube import objects as o
from ringfence.ports import LeaseRecord, Taint

PARSERS = [
    o.NodeObject,
    o.PodObject,
    o.VmObject,
    o.VmiObject,
    o.PvcObject,
    o.PvObject,
    o.VolumeAttachmentObject,
    o.LeaseObject,
]

# Field names that the parsers look for, so that the odd values land where they can hurt.
WORDS = [
    "metadata", "spec", "status", "labels", "annotations", "ownerReferences", "conditions", "type", "Ready",
    "InternalIP", "addresses", "taints", "tolerations", "tolerationSeconds", "containerStatuses", "state",
    "terminated", "controller", "kubevirt.io", "virt-launcher", "template", "volumes", "domain", "devices",
    "hostDevices", "runStrategy", "running", "stateChangeRequests", "migrationState", "volumeStatus",
    "persistentVolumeClaim", "claimName", "nodeAffinity", "required", "nodeSelectorTerms", "matchExpressions",
    "kubernetes.io/hostname", "key", "operator", "In", "values", "accessModes", "leaseTransitions", "activePods",
]  # fmt: skip
words = st.sampled_from(WORDS)
odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=6),
    max_leaves=40,
)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda p: p.__name__)
@given(raw=odd)
def test_no_object_is_too_odd(parser: Any, raw: object) -> None:
    parsed = parser.from_raw(raw)
    assert parsed == parser.from_raw(raw)
    assert isinstance(hash(parsed), int)


def test_a_node() -> None:
    raw = {
        "metadata": {
            "name": "n1",
            "uid": "u1",
            "resourceVersion": "7",
            "labels": {"zone": "a"},
            "annotations": {"kubevirt.io/heartbeat": "2026-01-01T00:00:00Z"},
        },
        "spec": {"taints": [{"key": "k", "effect": "NoSchedule", "timeAdded": "x"}], "unschedulable": True},
        "status": {
            "nodeInfo": {"bootID": "b1", "systemUUID": "S1"},
            "addresses": [
                {"type": "Hostname", "address": "n1"},
                {"type": "InternalIP", "address": "10.0.0.1"},
                {"type": "InternalIP", "address": "fd00::1"},
                {"type": "InternalIP", "address": "no-address"},
                {"type": "InternalIP", "address": "fe80::1%eth0"},
            ],
            "conditions": [
                {"type": "DiskPressure", "status": "False"},
                {
                    "type": "Ready",
                    "status": "Unknown",
                    "reason": "NodeStatusUnknown",
                    "lastHeartbeatTime": "h",
                    "lastTransitionTime": "t",
                },
            ],
        },
    }
    node = o.NodeObject.from_raw(raw)
    assert node.internal_ips == ("10.0.0.1", "fd00::1")
    assert node.taints == (Taint("k", "NoSchedule"),)
    assert node.ready == o.NodeReady(o.ReadyStatus.UNKNOWN, "NodeStatusUnknown", "h", "t")
    assert (node.boot_id, node.system_uuid, node.unschedulable) == ("b1", "S1", True)
    assert node.virt_heartbeat.startswith("2026")


def test_a_node_without_conditions_is_missing_not_false() -> None:
    assert o.NodeObject.from_raw({}).ready.status is o.ReadyStatus.MISSING


def launcher(**status: object) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "virt-launcher-a-x",
            "namespace": "vms",
            "uid": "p1",
            "deletionTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": "vmi-1"},
            "ownerReferences": [
                {"kind": "VirtualMachineInstance", "name": "a", "uid": "vmi-1", "controller": True}
            ],
        },
        "spec": {
            "nodeName": "n1",
            "tolerations": [
                {
                    "key": "node.kubernetes.io/unreachable",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 300,
                },
                {"operator": "Exists"},
            ],
        },
        "status": status,
    }


def test_a_launcher_that_terminates_still_counts_as_alive() -> None:
    pod = o.PodObject.from_raw(launcher(phase="Running", containerStatuses=[{"ready": True, "state": {}}]))
    assert (pod.role, pod.vmi_uid, pod.deleting) == (o.PodRole.LAUNCHER, "vmi-1", True)
    assert pod.containers_ready
    assert not pod.all_containers_terminated
    assert pod.tolerations[0].seconds == 300
    assert pod.tolerations[1] == o.Toleration("", "Exists", "", "", None)


@pytest.mark.parametrize(
    ("status", "over"),
    [
        ({"phase": "Failed"}, True),
        ({"phase": "Running"}, False),
        ({"phase": "Running", "containerStatuses": [{"state": {"terminated": {}}}]}, True),
        ({"phase": "Running", "containerStatuses": [{"state": {"terminated": {}}}, {"state": {}}]}, False),
    ],
)
def test_when_a_pod_is_over(status: dict[str, object], over: bool) -> None:
    assert o.PodObject.from_raw(launcher(**status)).all_containers_terminated is over


def test_hotplug_pods_belong_to_no_vmi_of_their_own() -> None:
    raw = launcher()
    raw["metadata"]["labels"] = {"kubevirt.io": "hotplug-disk", "kubevirt.io/created-by": "vmi-1"}
    pod = o.PodObject.from_raw(raw)
    assert (pod.role, pod.vmi_uid) == (o.PodRole.HOTPLUG, "")


@pytest.mark.parametrize(
    ("spec", "strategy"),
    [
        ({"runStrategy": "Once"}, "Once"),
        ({"running": True}, "Always"),
        ({"running": False}, "Halted"),
        ({}, ""),
        ({"running": "yes"}, ""),
    ],
)
def test_run_strategies(spec: dict[str, object], strategy: str) -> None:
    assert o.VmObject.from_raw({"spec": spec}).run_strategy == strategy


def test_a_vm() -> None:
    vm = o.VmObject.from_raw(
        {
            "metadata": {"name": "a", "namespace": "vms", "uid": "vm-1"},
            "spec": {
                "running": True,
                "template": {
                    "spec": {
                        "nodeSelector": {"kubernetes.io/hostname": "n1"},
                        "domain": {"devices": {"gpus": [{"name": "g"}]}},
                        "volumes": [
                            {"name": "root", "persistentVolumeClaim": {"claimName": "root"}},
                            {"name": "data", "dataVolume": {"name": "dv"}},
                            {"name": "local", "hostDisk": {"path": "/x"}},
                            {"name": "init", "cloudInitNoCloud": {}},
                        ],
                    }
                },
            },
            "status": {
                "stateChangeRequests": [{"action": "Stop", "uid": "vmi-1"}, {"action": "Start"}],
                "startFailure": {"consecutiveFailCount": 2, "retryAfterTimestamp": "t"},
                "conditions": [{"type": "ManualRecoveryRequired", "status": "True"}],
                "snapshotInProgress": "nightly",
                "restoreInProgress": "to-monday",
            },
        }
    )
    assert (vm.snapshot_in_progress, vm.restore_in_progress) == ("nightly", "to-monday")
    assert vm.claims == ("root", "dv")
    assert vm.host_disks == ("local",)
    assert vm.has_host_devices
    assert vm.start_failure == o.StartFailure(2, "t")
    assert vm.state_change_requests == (
        o.StateChangeRequest("Stop", "vmi-1"),
        o.StateChangeRequest("Start", ""),
    )
    assert o.condition(vm.conditions, "ManualRecoveryRequired") is not None
    assert o.condition(vm.conditions, "Ready") is None


def test_a_vmi_with_a_hotplugged_disk_and_a_migration_in_flight() -> None:
    vmi = o.VmiObject.from_raw(
        {
            "metadata": {
                "name": "a",
                "namespace": "vms",
                "uid": "vmi-1",
                "ownerReferences": [{"kind": "VirtualMachine", "uid": "vm-1", "controller": True}],
            },
            "spec": {"volumes": [{"name": "root", "persistentVolumeClaim": {"claimName": "root"}}]},
            "status": {
                "phase": "Scheduled",
                "nodeName": "n1",
                "volumeStatus": [
                    {"persistentVolumeClaimInfo": {"claimName": "root"}},
                    {"persistentVolumeClaimInfo": {"claimName": "hot"}},
                ],
                "migrationState": {"sourceNode": "n1", "targetNode": "n2", "migrationUid": "m"},
                "activePods": {"p1": "n1"},
                "conditions": [
                    {
                        "type": "Synchronized",
                        "status": "False",
                        "reason": "Synchronizing with the Domain failed.",
                        "message": 'Failed to get "write" lock',
                    }
                ],
            },
        }
    )
    assert (vmi.owner_vm_uid, vmi.claims, vmi.active_pods) == ("vm-1", ("root", "hot"), (("p1", "n1"),))
    assert vmi.migration is not None
    assert vmi.migration.in_flight
    assert '"write" lock' in vmi.sync_failure


def test_where_a_volume_is_pinned() -> None:
    def pv(key: str, *values: str) -> o.PvObject:
        terms = [{"matchExpressions": [{"key": key, "operator": "In", "values": list(values)}]}]
        return o.PvObject.from_raw({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}})

    assert pv("kubernetes.io/hostname", "n1", "n2").pinned_hostnames == ("n1", "n2")
    zoned = pv("topology.kubernetes.io/zone", "a")
    assert zoned.has_node_affinity
    assert zoned.pinned_hostnames == ()
    assert not o.PvObject.from_raw({}).has_node_affinity


def test_a_lease_is_the_record_of_the_port() -> None:
    lease = o.LeaseObject.from_raw(
        {
            "metadata": {"name": "l", "namespace": "ns", "resourceVersion": "3", "uid": "u"},
            "spec": {
                "holderIdentity": "me",
                "leaseTransitions": 2,
                "leaseDurationSeconds": 15,
                "renewTime": "t",
            },
        }
    )
    assert isinstance(lease, LeaseRecord)
    assert (lease.holder, lease.transitions, lease.duration_seconds, lease.resource_version) == (
        "me",
        2,
        15,
        "3",
    )


@pytest.mark.parametrize(
    ("modes", "alone"),
    [
        (["ReadWriteOnce"], True),
        (["ReadWriteOncePod"], True),
        (["ReadWriteOnce", "ReadWriteMany"], False),
        (["ReadWriteOnce", "ReadOnlyMany"], False),
        ([], False),
    ],
)
def test_a_claim_is_for_one_node_if_none_of_its_modes_allows_more(modes: list[str], *, alone: bool) -> None:
    """As Kubernetes reckons before it attaches a volume to a second node; of one whose modes are unknown nothing is said."""
    assert o.PvcObject.from_raw({"status": {"accessModes": modes}}).on_one_node is alone
