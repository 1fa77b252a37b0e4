"""Loop devices that a node's kubelet made: a power cut takes them away, here as on a real machine.

kubelet holds each block volume by a loop device on top of it. Those belong to the host's kernel and would outlive the
node. Whose they are is told by the file system that backs them: the node's own /dev, whose device number nobody else
gets while a loop device still holds on to it.
"""

from __future__ import annotations

import json
import os

from lab import processes


def of_node(init: int) -> list[str]:
    """The loop devices that stand on files in /dev of the node with that process 1."""
    number = os.stat(f"/proc/{init}/root/dev").st_dev  # noqa: PTH116 - a number is all that is asked
    wanted = f"{os.major(number)}:{os.minor(number)}"
    text = processes.run("losetup", "--list", "--json", "--output", "NAME,BACK-MAJ:MIN")
    rows = json.loads(text)["loopdevices"] if text.strip() else []
    return [row["name"] for row in rows if (row["back-maj:min"] or "").strip() == wanted]


def detach(devices: list[str]) -> None:
    """Give them back to the host."""
    for device in devices:
        processes.run("losetup", "--detach", device, check=False)
