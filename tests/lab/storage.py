"""Shared disks behind real volumes: a directory that all nodes see, or a block device that all nodes see.

On a file QEMU's image lock holds across nodes (one kernel carries them all), so a second writer is refused. A block
volume has no lock in common, like a LUN of a SAN: nothing but the fence keeps a second writer away.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from lab.guest import Guest
from lab.node import Node
from lab.plan import Plan
from lab.process import run
from lab.roots import QEMU_USER

Kind = Literal["file", "block"]
SIZE = "64Mi"
_LOOP_MAJOR = 7


class Storage:
    """The shared storage of one lab."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.luns = plan.folder / "luns"
        self.table = plan.shared / ".san"

    def disk(self, name: str) -> Path:
        """The disk of the VM *name* as a file of the host."""
        lun = self.luns / f"{name}.raw"
        return lun if lun.exists() else self.plan.shared / name / "disk.img"

    def provide(self, name: str, kind: Kind, guest: Guest, nodes: tuple[Node, ...]) -> None:
        """Make a fresh disk for the VM *name* and show it to every node."""
        if kind == "file":
            folder = self.plan.shared / name
            guest.install(folder / "disk.img")
            run("chown", "--recursive", f"{QEMU_USER}:{QEMU_USER}", folder)
            return
        lun = self.luns / f"{name}.raw"
        guest.install(lun)
        device = run("losetup", "--find", "--show", lun).strip()
        minor = device.removeprefix("/dev/loop")
        with self.table.open("a") as table:
            table.write(f"{name} {minor}\n")
        for node in nodes:
            if node.running():
                node.execute("mknod", "-m", "660", f"/dev/san/{name}", "b", str(_LOOP_MAJOR), minor)

    def withdraw(self, name: str, nodes: tuple[Node, ...]) -> None:
        """Remove the disk of the VM *name* and every trace of it."""
        lun = self.luns / f"{name}.raw"
        if lun.exists():
            for node in nodes:
                if node.running():
                    node.execute("rm", "-f", f"/dev/san/{name}")
            rows = [row for row in self.table.read_text().splitlines() if row.split()[0] != name]
            self.table.write_text("".join(f"{row}\n" for row in rows))
            self._detach(name)
            lun.unlink()
        shutil.rmtree(self.plan.shared / name, ignore_errors=True)

    def down(self) -> None:
        """Give back every loop device of the lab."""
        for lun in self.luns.glob("*.raw"):
            self._detach(lun.stem)

    def _detach(self, name: str) -> None:
        # kubelet holds a block volume by a loop device on top of ours; a power cut leaves that one behind.
        mine = (str(self.luns / f"{name}.raw"), f"/{volume_name(self.plan, name)}/")
        listing = json.loads(run("losetup", "--list", "--json", "--output", "NAME,BACK-FILE") or '{"loopdevices": []}')
        for row in listing["loopdevices"]:
            back = row["back-file"] or ""
            if back.startswith(mine[0]) or mine[1] in back:
                run("losetup", "--detach", row["name"], check=False)


def volume_name(plan: Plan, vm: str) -> str:
    """The name of the VM's PersistentVolume: the lab's name in it keeps two labs' loop devices apart."""
    return f"{plan.name}-{vm}"


def volumes(plan: Plan, name: str, kind: Kind, namespace: str) -> list[dict[str, Any]]:
    """The PersistentVolume and the claim, bound to each other, of the VM *name*."""
    shape: dict[str, Any] = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "",
        "volumeMode": "Block" if kind == "block" else "Filesystem",
    }
    place: dict[str, Any] = {"hostPath": {"path": f"/srv/shared/{name}"}}
    if kind == "block":
        everywhere = [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]
        terms = {"required": {"nodeSelectorTerms": [{"matchExpressions": everywhere}]}}
        place = {"local": {"path": f"/dev/san/{name}"}, "nodeAffinity": terms}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name(plan, name)},
        "spec": {
            **shape,
            **place,
            "capacity": {"storage": SIZE},
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": name},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            **shape,
            "volumeName": volume_name(plan, name),
            "resources": {"requests": {"storage": SIZE}},
        },
    }
    return [volume, claim]


def machine(name: str, namespace: str, run_strategy: str, node: str | None) -> dict[str, Any]:
    """The VirtualMachine that boots from the claim of its own name; *node* is a wish, not a condition."""
    spec: dict[str, Any] = {
        "terminationGracePeriodSeconds": 5,
        "domain": {
            # What TCG can do; a guest without network card and screen boots in seconds.
            "cpu": {"model": "Nehalem"},
            "memory": {"guest": "128Mi"},
            "resources": {"requests": {"cpu": "50m"}},
            "devices": {
                "autoattachPodInterface": False,
                "autoattachGraphicsDevice": False,
                "disks": [{"name": "disk", "disk": {"bus": "virtio"}}],
            },
        },
        "volumes": [{"name": "disk", "persistentVolumeClaim": {"claimName": name}}],
    }
    if node:
        there = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]
        wish = {"weight": 100, "preference": {"matchExpressions": there}}
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
