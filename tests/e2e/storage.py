"""Steps of the stories about storage: heartbeats on the shared folder, and a storage that shuts nodes out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lab import fenced, guest, vms, volumesnapshots
from lab.cluster import NAMESPACE, Lab
from lab.csiaddons import PLURAL, CsiAddons, network_fence
from lab.fenced import FencedDisks
from lab.wait import until

FOLDER = "/srv/shared"


@contextmanager
def heartbeat(
    lab: Lab, *, stop_guests: bool = False, beside: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Install the storage heartbeat, and let the zone `lab` know; taken away afterwards. ``beside``: other chart values."""
    values = {
        **(beside or {}),
        "slots.enabled": "true",
        "slots.volume.hostPath": FOLDER,
        "slots.stopGuests": str(stop_guests).lower(),
    }
    lab.install_ringfence(values)
    zone = {"spec": {"storage": {"heartbeat": {"volume": FOLDER, "stopGuests": stop_guests}}}}
    lab.kubectl("patch", "hazone", "lab", "--type=merge", "-p", json.dumps(zone))
    try:
        until("every node's slot to move", lambda: set(slots(lab).values()) == {"moving"}, 120, every=0.5)
        lab.wait_armed()
        yield
    finally:
        lab.kubectl(
            "-n",
            NAMESPACE,
            "delete",
            "daemonset",
            "ringfence-slots",
            "--wait=true",
            "--timeout=60s",
            check=False,
        )
        lab.install_ringfence()
        (lab.layout.shared / "ringfence.slots").unlink(missing_ok=True)


def slots(lab: Lab) -> dict[str, str]:
    """What the zone says of each node's slot."""
    rows = (lab.get("hazone", "lab") or {}).get("status", {}).get("nodeVerdicts", [])
    return {row["name"]: row.get("slot", "") for row in rows}


@contextmanager
def storage_fence(lab: Lab) -> Iterator[CsiAddons]:
    """csi-addons and a FenceDevice `ceph` for all nodes, the only one of the zone."""
    lab.apply(network_fence())
    until(
        "NetworkFence to be served",
        lambda: PLURAL in lab.kubectl("api-resources", check=False),
        30,
        every=0.3,
    )
    addons = CsiAddons(lab.layout)
    addons.mode("ok")
    addons.start()
    names = sorted(lab.nodes)
    device: dict[str, object] = {
        "apiVersion": "ringfence.io/v1alpha1",
        "kind": "FenceDevice",
        "metadata": {"name": "ceph"},
        "spec": {
            "driver": "storage",
            "nodes": names,
            "storage": {
                "csiDriver": "rbd.csi.ceph.com",
                "storageClasses": [fenced.CLASS],
                "staticStorageClasses": [fenced.CLASS],
                "secretRef": {"name": "csi", "namespace": "kube-system"},
            },
        },
    }
    lab.apply(device)
    fencing = {"levels": [{"devices": ["ceph"]}], "allowStorageFence": True}
    lab.kubectl("patch", "hazone", "lab", "--type=merge", "-p", json.dumps({"spec": {"fencing": fencing}}))
    lab.wait_condition("fencedevice", "ceph", "Ready", "True")
    try:
        yield addons
    finally:
        disks = FencedDisks(lab.layout)
        for name in lab.nodes:
            disks.shut(name, out=False)
        for vm in disks.devices():
            lab.delete_vm(vm)
        lab.kubectl(
            "patch", PLURAL, "--all", "--type=merge", "-p", '{"metadata":{"finalizers":null}}', check=False
        )
        lab.kubectl("delete", PLURAL, "--all", "--wait=false", check=False)
        addons.stop()
        disks.remove_all()


@contextmanager
def volume_snapshots(lab: Lab) -> Iterator[None]:
    """VolumeSnapshots of the SAN that are done when a test says so; whatever is left of any snapshot is removed afterwards."""
    lab.apply(*volumesnapshots.definitions())
    kinds = (volumesnapshots.SNAPSHOTS, volumesnapshots.CLASSES)
    until(
        "VolumeSnapshots to be served",
        lambda: all(
            kind in lab.kubectl("api-resources", "-o", "name", check=False).splitlines() for kind in kinds
        ),
        30,
        every=0.3,
    )
    lab.apply(volumesnapshots.snapshot_class())
    try:
        yield
    finally:
        # KubeVirt lets go of the VM when its snapshot is gone, and needs these kinds for that.
        for kind in ("virtualmachinesnapshots", "virtualmachinesnapshotcontents"):
            lab.kubectl("delete", f"{kind}.snapshot.kubevirt.io", "--all", "-A", "--timeout=60s", check=False)
        lab.kubectl("delete", "crd", *kinds, "--timeout=60s", check=False)


def fenced_vm(lab: Lab, name: str, node: str) -> None:
    """A ticking VM on a block volume behind the fence, on that node."""
    disks = FencedDisks(lab.layout)
    (lab.layout.root / "luns").mkdir(exist_ok=True)
    guest.make_disk(lab.prepared.guest, disks.image(name))
    disks.attach(name, lab.nodes)
    lab.apply(*fenced.volume(name, "default"), vms.machine(name, "default", "Always", node))
    lab.protect(name)
    assert lab.wait_vm_running(name) == node, "the lab placed the VM elsewhere"
