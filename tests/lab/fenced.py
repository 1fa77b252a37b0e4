"""A storage that can shut one node out: block volumes of which every node has a loop device of its own.

All devices of a volume stand on the same image, so the nodes share the disk as on a SAN. To shut a node out, its devices
shrink to one sector: from then on the kernel refuses every further read and write with an error, also to those that have
the device open, and what was on its way has come back before. Letting it in gives the size back.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
from pathlib import Path

from lab import processes, vms
from lab.layout import Layout
from lab.node import Node

CLASS = "fenced"
"""The storage class of these volumes."""
_SET_STATUS64, _GET_STATUS64 = 0x4C04, 0x4C05
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_SIZE_LIMIT = 4
"""Its place in the fields of struct loop_info64 (linux/loop.h)."""
SECTOR = 512


def limit(device: str, size: int) -> None:
    """Let the loop device have so many bytes; 0: all of its image."""
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        room = bytearray(_INFO.size)
        fcntl.ioctl(descriptor, _GET_STATUS64, room)
        fields = list(_INFO.unpack(room))
        fields[_SIZE_LIMIT] = size
        fcntl.ioctl(descriptor, _SET_STATUS64, _INFO.pack(*fields))
    finally:
        os.close(descriptor)


class FencedDisks:
    """The volumes of a lab that are behind the fence."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._file = layout.root / "fenced.json"
        self._disks = vms.Disks(layout)

    def devices(self) -> dict[str, dict[str, int]]:
        """Volume -> node -> minor number of its loop device."""
        found: dict[str, dict[str, int]] = json.loads(self._file.read_text()) if self._file.exists() else {}
        return found

    def image(self, name: str) -> Path:
        return self._disks.block(name)

    def attach(self, name: str, nodes: dict[str, Node]) -> None:
        """Give every node a device of its own over the volume's image."""
        minors: dict[str, int] = {}
        self._save({**self.devices(), name: minors})
        for node_name, node in nodes.items():
            made = processes.run("losetup", "-f", "--show", "--direct-io=on", str(self.image(name))).strip()
            minors[node_name] = int(made.removeprefix("/dev/loop"))
            self._save(
                {**self.devices(), name: minors}
            )  # at once: what is made is taken away, whatever fails next
            node.add_lun(name, minors[node_name])

    def shut(self, node: str, *, out: bool) -> None:
        """Shut the node out of every volume, or let it in again."""
        for minors in self.devices().values():
            if node in minors:
                limit(f"/dev/loop{minors[node]}", SECTOR if out else 0)

    def remove(self, name: str) -> None:
        devices = self.devices()
        for minor in devices.pop(name, {}).values():
            processes.run("losetup", "-d", f"/dev/loop{minor}", check=False)
        self._save(devices)
        self.image(name).unlink(missing_ok=True)

    def remove_all(self) -> None:
        for name in self.devices():
            self.remove(name)

    def _save(self, devices: dict[str, dict[str, int]]) -> None:
        self._file.write_text(json.dumps(devices))
        nodes = {node for minors in devices.values() for node in minors}
        for old in self._layout.shared.glob(".luns-*"):
            old.unlink()
        for node in nodes:  # a node that boots makes its devices anew
            lines = [f"{name} {minors[node]}\n" for name, minors in devices.items() if node in minors]
            (self._layout.shared / f".luns-{node}").write_text("".join(lines))


def volume(name: str, namespace: str) -> list[dict[str, object]]:
    """A PersistentVolume behind the fence and its claim: as a block volume that all nodes see, of our class."""
    objects = vms.volume(name, namespace, "block")
    for one in objects:
        spec = one["spec"]
        assert isinstance(spec, dict)
        spec["storageClassName"] = CLASS
    return objects
