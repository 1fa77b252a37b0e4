"""Attachments of a node: wanted by a pod that is there, or left over."""

from __future__ import annotations

import pytest

from ringfence.controller.attachments import attached_to
from ringfence.core.failover.recovery import AttachmentLook
from ringfence.kube.objects import PodObject, PvcObject, VolumeAttachmentObject


def attachment(name: str, node: str, volume: str) -> VolumeAttachmentObject:
    source: dict[str, object] = {"persistentVolumeName": volume} if volume else {"inlineVolumeSpec": {}}
    spec = {"attacher": "san.example", "nodeName": node, "source": source}
    return VolumeAttachmentObject.from_raw({"metadata": {"name": name}, "spec": spec})


def claim(name: str, volume: str, namespace: str = "vms") -> PvcObject:
    return PvcObject.from_raw(
        {"metadata": {"namespace": namespace, "name": name}, "spec": {"volumeName": volume}}
    )


def pod(node: str, *claims: str, phase: str = "Running", namespace: str = "vms") -> PodObject:
    volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
    return PodObject.from_raw(
        {
            "metadata": {"namespace": namespace, "name": "p", "uid": f"{node}-{phase}"},
            "spec": {"nodeName": node, "volumes": volumes},
            "status": {"phase": phase},
        }
    )


HERE = attachment("a", "n1", "pv-db")
ELSEWHERE = attachment("b", "n2", "pv-db")
CLAIMS = {("vms", "db"): claim("db", "pv-db"), ("shop", "db"): claim("db", "pv-other", namespace="shop")}


@pytest.mark.parametrize(
    ("pods", "wanted"),
    [
        ((pod("n1", "db"),), True),
        ((pod("n1", "db", phase="Pending"),), True),
        ((pod("n1", "db", phase="Failed"),), False),
        ((pod("n2", "db"),), False),
        ((pod("n1", "db", namespace="shop"),), False),
        ((), False),
    ],
    ids=["used", "starting", "ended", "used elsewhere", "another namespace's claim of that name", "nobody"],
)
def test_a_volume_is_wanted_by_a_pod_of_the_node_that_has_not_ended(
    pods: tuple[PodObject, ...], wanted: bool
) -> None:
    assert attached_to("n1", (HERE, ELSEWHERE), pods, CLAIMS) == (AttachmentLook("a", "pv-db", wanted),)


def test_a_generic_ephemeral_volume_is_its_pods() -> None:
    raw = {
        "metadata": {"namespace": "vms", "name": "cache-0"},
        "spec": {
            "nodeName": "n1",
            "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}],
        },
        "status": {"phase": "Running"},
    }
    claims = {("vms", "cache-0-scratch"): claim("cache-0-scratch", "pv-db")}
    found = attached_to("n1", (HERE,), (PodObject.from_raw(raw),), claims)
    assert [a.wanted for a in found] == [True]


def test_what_has_no_persistent_volume_is_left_out() -> None:
    assert attached_to("n1", (attachment("a", "n1", ""),), (), CLAIMS) == ()
