"""Guests of the lab: VMs that tick once a second on a shared disk, and their volumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lab import processes, san
from lab.layout import Layout

SIZE = "64Mi"
STATE_SIZE = "16Mi"
"""KubeVirt asks for 10Mi."""
ATTACHED = {
    "csi-rwo": ("ReadWriteOnce", False),
    "csi-rwo-block": ("ReadWriteOnce", True),
    "csi-rwx": ("ReadWriteMany", False),
}
"""Kinds of storage that are attached by the lab's SAN: access mode, and whether it is a block volume."""
STORAGES = ("file", "block", *ATTACHED)


def is_block(storage: str) -> bool:
    """Whether the guest's disk is a device; of a kind of :data:`STORAGES`."""
    return storage == "block" or ATTACHED.get(storage, ("", False))[1]


def attached_volume(name: str, namespace: str, storage: str) -> list[dict[str, object]]:
    """A PersistentVolume of the SAN and its claim."""
    mode, block = ATTACHED[storage]
    volume = san.persistent_volume(name, SIZE, [mode], block=block)
    volume["spec"]["claimRef"] = {"namespace": namespace, "name": name}
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": [mode],
            "volumeMode": "Block" if block else "Filesystem",
            "storageClassName": san.CLASS,
            "volumeName": name,
            "resources": {"requests": {"storage": SIZE}},
        },
    }
    return [volume, claim]


def state_volume(name: str) -> dict[str, object]:
    """Where KubeVirt may keep the state of a VM's firmware and TPM: it makes the claim itself."""
    return san.persistent_volume(name, STATE_SIZE, ["ReadWriteOnce"])


def volume(name: str, namespace: str, storage: str) -> list[dict[str, object]]:
    """A PersistentVolume that every node sees, and its claim."""
    if storage in ATTACHED:
        return attached_volume(name, namespace, storage)
    block = storage == "block"
    shared: dict[str, object] = {
        "capacity": {"storage": SIZE},
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "",
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": namespace, "name": name},
    }
    where: dict[str, object] = {"hostPath": {"path": f"/srv/shared/{name}"}}
    if block:
        anywhere = {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}
        where = {
            "volumeMode": "Block",
            "local": {"path": f"/dev/san/{name}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [anywhere]}]}},
        }
    claim: dict[str, object] = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "",
        "volumeName": name,
        "resources": {"requests": {"storage": SIZE}},
    }
    if block:
        claim["volumeMode"] = "Block"
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {**shared, **where},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": claim,
        },
    ]


def machine(
    name: str, namespace: str, run_strategy: str, node: str | None, *, state: bool = False
) -> dict[str, object]:
    """The VirtualMachine. ``node`` is where it prefers to start; it may run anywhere.

    ``state``: it boots by EFI and has a TPM, and both keep what they know on a volume of their own.
    """
    devices: dict[str, object] = {
        "autoattachPodInterface": False,
        "autoattachGraphicsDevice": False,
        "disks": [{"name": "disk", "disk": {"bus": "virtio"}}],
    }
    domain: dict[str, object] = {
        "cpu": {"model": "Nehalem"},
        "memory": {"guest": "128Mi"},
        "resources": {"requests": {"cpu": "50m"}},
        "devices": devices,
    }
    if state:
        devices["tpm"] = {"persistent": True}
        domain["firmware"] = {"bootloader": {"efi": {"secureBoot": False, "persistent": True}}}
        domain["memory"] = {"guest": "192Mi"}
    spec: dict[str, object] = {
        "terminationGracePeriodSeconds": 5,
        "domain": domain,
        "volumes": [{"name": "disk", "persistentVolumeClaim": {"claimName": name}}],
    }
    if node is not None:
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        wish = {"weight": 100, "preference": {"matchExpressions": [here]}}
        spec["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "runStrategy": run_strategy,
            "template": {"metadata": {"labels": {"vm": name}}, "spec": spec},
        },
    }


class Disks:
    """The shared storage of a lab: one folder for file disks, loop devices for block volumes."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._luns = layout.root / "luns.json"

    def path(self, name: str) -> Path:
        """The image behind the VM's volume."""
        block = self._layout.root / "luns" / f"{name}.img"
        return block if block.exists() else self._layout.shared / name / "disk.img"

    def file(self, name: str) -> Path:
        folder = self._layout.shared / name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.chown(folder, 107, 107)
        return folder / "disk.img"

    def block(self, name: str) -> Path:
        folder = self._layout.root / "luns"
        folder.mkdir(exist_ok=True)
        return folder / f"{name}.img"

    def attach(self, name: str) -> int:
        """A loop device over the block image; its minor number."""
        device = processes.run("losetup", "-f", "--show", str(self.block(name))).strip()
        minor = int(device.removeprefix("/dev/loop"))
        self._save({**self.luns(), name: minor})
        return minor

    def luns(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(self._luns.read_text()) if self._luns.exists() else {}
        return found

    def _save(self, luns: dict[str, int]) -> None:
        self._luns.write_text(json.dumps(luns))
        (self._layout.shared / ".luns").write_text("".join(f"{n} {m}\n" for n, m in luns.items()))

    def remove(self, name: str) -> None:
        luns = self.luns()
        if name in luns:
            processes.run("losetup", "-d", f"/dev/loop{luns.pop(name)}", check=False)
            self._save(luns)
            self.block(name).unlink(missing_ok=True)
        shutil.rmtree(self._layout.shared / name, ignore_errors=True)

    def remove_all(self) -> None:
        for name in self.luns():
            self.remove(name)
