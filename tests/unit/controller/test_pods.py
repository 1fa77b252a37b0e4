"""Whose a pod of the dead node is, and what of it may go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringfence.controller.world import looks
from ringfence.core.failover.recovery import PodRole
from ringfence.kube.objects import PodObject


def pod(name: str, kind: str, owner: tuple[str, str], *claims: str, namespace: str = "vms") -> PodObject:
    volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
    owner_kind, owner_uid = owner
    meta: dict[str, Any] = {
        "namespace": namespace,
        "name": name,
        "uid": f"uid-{name}",
        "labels": {"kubevirt.io": kind},
        "ownerReferences": [
            {"apiVersion": "v1", "kind": owner_kind, "name": "o", "uid": owner_uid, "controller": True}
        ],
    }
    return PodObject.from_raw({"metadata": meta, "spec": {"nodeName": "n1", "volumes": volumes}})


LAUNCHER = pod("launcher", "virt-launcher", ("VirtualMachineInstance", "vmi-1"), "disk")
PLUGGED = pod("hp-volume-a", "hotplug-disk", ("Pod", "uid-launcher"), "more")


def protected(
    *here: PodObject,
    vmis: tuple[str, ...] = ("vmi-1",),
    claims: tuple[str, ...] = (),
    on_one_node: tuple[str, ...] = (),
) -> set[str]:
    held, alone = (frozenset(("vms", c) for c in names) for names in (claims, on_one_node))
    found = looks(list(here), frozenset(vmis), held, alone)
    return {p.ref.name for p in found if p.protected}


def test_a_hotplug_pod_goes_with_its_launchers_vm() -> None:
    assert protected(LAUNCHER, PLUGGED) == {"launcher", "hp-volume-a"}
    assert protected(LAUNCHER, PLUGGED, vmis=()) == set()
    assert [p.role for p in looks([LAUNCHER, PLUGGED], frozenset())] == [PodRole.LAUNCHER, PodRole.HOTPLUG]


def test_one_whose_launcher_is_gone_is_known_by_the_claims_it_holds() -> None:
    assert protected(PLUGGED, claims=("disk", "more")) == {"hp-volume-a"}
    assert protected(PLUGGED, claims=("disk",)) == set()
    elsewhere = pod("hp-volume-b", "hotplug-disk", ("Pod", "uid-other"), "more", namespace="shop")
    assert protected(elsewhere, claims=("more",)) == set(), "a claim of that name in another namespace"


def test_a_claim_alone_makes_no_other_pod_the_vms() -> None:
    backup = pod("backup", "", ("Job", "uid-job"), "more")
    other = pod("launcher-2", "virt-launcher", ("VirtualMachineInstance", "vmi-2"), "more")
    assert protected(backup, other, PLUGGED, claims=("more",)) == {"hp-volume-a"}


def test_whoever_keeps_a_vms_volume_on_the_dead_node_goes_with_it() -> None:
    """Until an import or a backup is gone, Kubernetes leaves a volume of one node where it is, and the VM waits."""
    importer = pod("importer-db", "", ("PersistentVolumeClaim", "uid-pvc"), "more")
    stranger = pod("importer-web", "", ("PersistentVolumeClaim", "uid-pvc-2"), "other")
    elsewhere = pod("importer-shop", "", ("PersistentVolumeClaim", "uid-pvc-3"), "more", namespace="shop")
    api = pod("virt-api-1", "virt-api", ("ReplicaSet", "uid-rs"), "more")
    here = (importer, stranger, elsewhere, api, LAUNCHER)
    assert protected(*here, vmis=(), claims=("more",), on_one_node=("more",)) == {"importer-db"}
    roles = [p.role for p in looks(list(here), frozenset(), frozenset(), frozenset({("vms", "more")}))]
    assert roles == [
        PodRole.HOLDER,
        PodRole.OTHER,
        PodRole.OTHER,
        PodRole.VIRT_API,
        PodRole.LAUNCHER,
    ]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_strangers_pod_that_has_ended_is_left_to_its_owner(phase: str) -> None:
    """It keeps no volume on the node, and people read its log."""
    backup = replace(pod("backup", "", ("Job", "uid-job"), "more"), phase=phase)
    assert protected(backup, claims=("more",), on_one_node=("more",)) == set()
    assert protected(replace(backup, phase="Running"), on_one_node=("more",)) == {"backup"}
