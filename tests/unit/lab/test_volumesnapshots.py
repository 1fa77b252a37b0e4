"""The lab's stand-in for VolumeSnapshots is what KubeVirt looks for."""

from __future__ import annotations

from lab import san, volumesnapshots


def test_the_kinds_are_named_as_kubevirt_looks_for_them() -> None:
    """By the names of the CRDs and a version `v1` that is served; and the API server lets no other in of this group."""
    found = {one["metadata"]["name"]: one for one in volumesnapshots.definitions()}
    assert set(found) == {volumesnapshots.SNAPSHOTS, volumesnapshots.CLASSES}
    for name, one in found.items():
        assert one["spec"]["names"]["plural"] == name.partition(".")[0]
        assert [(v["name"], v["served"]) for v in one["spec"]["versions"]] == [("v1", True)]
        assert one["metadata"]["annotations"]["api-approved.kubernetes.io"].startswith("unapproved")


def test_the_class_is_the_sans() -> None:
    (storage_class,) = (one for one in san.objects() if one["kind"] == "StorageClass")
    assert volumesnapshots.snapshot_class()["driver"] == storage_class["provisioner"]


def test_a_snapshot_is_done_at_a_time_that_kubernetes_can_read() -> None:
    assert volumesnapshots.done(86_400.5) == {
        "status": {"creationTime": "1970-01-02T00:00:00Z", "readyToUse": True}
    }
