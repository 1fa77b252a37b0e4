"""The lab's SAN: volumes that have to be attached to a node before its pods may use them.

The array's management and Kubernetes' own external-attacher run on the machine, on no node, as such an array's would; each
node runs the driver beside its kubelet. The array keeps its own record of who may use what (``shared/.san``): a
ReadWriteOnce volume is published to one node and refused to any other, whatever Kubernetes believes, and a node mounts
nothing that isn't published to it. hostPath and local volumes, the lab's others, never attach.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lab import processes
from lab.layout import Layout
from lab.pki import Pki

DRIVER = "san.lab.ringfence.io"
CLASS = "lab-san"


def objects() -> list[dict[str, object]]:
    """What an installation of the driver declares. The class is KubeVirt's default, so VMs keep their state on it."""
    return [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSIDriver",
            "metadata": {"name": DRIVER},
            "spec": {"attachRequired": True, "podInfoOnMount": False, "fsGroupPolicy": "File"},
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": CLASS,
                "annotations": {"storageclass.kubevirt.io/is-default-virt-class": "true"},
            },
            "provisioner": DRIVER,
            "reclaimPolicy": "Retain",
            "volumeBindingMode": "Immediate",
        },
    ]


def management(programs: Path, shared: Path, socket: Path) -> list[str]:
    """The command of the array's management."""
    return [str(programs / "csi"), "-mode=controller", f"-shared={shared}", f"-socket={socket}"]


def attacher(programs: Path, kubeconfig: Path, socket: Path) -> list[str]:
    """The command of Kubernetes' external-attacher; a refused attachment is tried again within two seconds."""
    return [
        str(programs / "csi-attacher"), f"--kubeconfig={kubeconfig}", f"--csi-address={socket}", "--timeout=10s",
        "--retry-interval-start=200ms", "--retry-interval-max=2s", "--kube-api-qps=50", "--kube-api-burst=100",
    ]  # fmt: skip


def published(shared: Path, volume: str) -> tuple[str, ...]:
    """The nodes that the array itself lets use the volume."""
    record = shared / ".san" / volume
    return tuple(json.loads(record.read_text())["nodes"]) if record.exists() else ()


class San:
    """The array of one lab."""

    def __init__(self, layout: Layout, pki: Pki, programs: Path) -> None:
        self._layout = layout
        self._pki = pki
        self._bin = programs
        self._records = layout.shared / ".san"
        self.group = f"{layout.prefix}-san"

    def start(self) -> None:
        """Start the array's management and the attacher; both wait for each other and for the API server."""
        layout = self._layout
        socket = layout.root / "san.sock"
        config = self._pki.kubeconfig(
            layout.root / "csi-attacher.kubeconfig",
            layout.api,
            "csi-attacher",
            "csi-attacher",
            "system:masters",
        )
        processes.make(self.group)
        processes.spawn(self.group, management(self._bin, layout.shared, socket), layout.logs / "san.log")
        processes.spawn(self.group, attacher(self._bin, config, socket), layout.logs / "csi-attacher.log")

    def published(self, volume: str) -> tuple[str, ...]:
        """The nodes that the array itself lets use the volume."""
        return published(self._layout.shared, volume)

    def keep(self) -> None:
        """Let the array refuse to take a volume from any node, until :meth:`let_go`."""
        self._records.mkdir(exist_ok=True)
        (self._records / ".keeps").touch()

    def let_go(self) -> None:
        (self._records / ".keeps").unlink(missing_ok=True)


def persistent_volume(name: str, size: str, modes: Iterable[str], *, block: bool = False) -> dict[str, Any]:
    """A PersistentVolume on the array, for any claim of the class that fits."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": {"lab": "san"}},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": list(modes),
            "volumeMode": "Block" if block else "Filesystem",
            "storageClassName": CLASS,
            "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": DRIVER, "volumeHandle": name},
        },
    }
