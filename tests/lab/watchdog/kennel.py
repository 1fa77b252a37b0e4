"""The watchdogs of a lab's nodes: a timer each, outside of the node, and the shim in their feeders' containers."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab import processes
from lab.layout import Layout
from lab.node import Node
from lab.wait import until
from lab.watchdog.build import shim

DEVICE = "/dev/watchdog"
INSIDE = "/lab/watchdog"
"""Where a feeder's container finds the shim and its node's socket."""
TESTS = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Dog:
    """One node's watchdog, as a test sees it."""

    folder: Path
    node: str

    def log(self, what: str) -> list[float]:
        """When (wall clock) it did that: ``open``, ``timeout``, ``stop``, ``close``, ``bite``."""
        file = self.folder / f"{self.node}.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line["t"] for line in map(json.loads, lines) if line["what"] == what]

    def mode(self, bite: str) -> None:
        """What its bite does: ``reset``, or ``off`` for a machine that hangs in its firmware after the reset."""
        assert bite in ("reset", "off")
        (self.folder / f"{self.node}.mode").write_text(bite)

    def bite(self, node: Node) -> None:
        """Reset the node, as its mode says; a cable that is out stays out."""
        mode = self.folder / f"{self.node}.mode"
        cut = node.is_cut()
        node.log.note(node.name, "bite")
        node.power_off()
        if not mode.exists() or mode.read_text() == "reset":
            node.power_on(linked=not cut)


class Kennel:
    """All of a lab."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.folder = layout.root / "watchdogs"
        self._group = f"{layout.prefix}-dogs"

    def dog(self, node: str) -> Dog:
        return Dog(self.folder, node)

    def start(self, nodes: list[str]) -> None:
        """A timer for each node that has none yet; before a feeder opens it, it stands still."""
        self.folder.mkdir(exist_ok=True)
        library = shim(self.folder)
        (self.folder / "shim.so").unlink(missing_ok=True)
        (self.folder / "shim.so").hardlink_to(library)
        if processes.members(self._group):
            return
        processes.make(self._group)
        for node in nodes:
            socket = self.folder / f"{node}.sock"
            bite = [sys.executable, "-m", "lab", "--name", self._layout.name, "bite", node]
            processes.spawn(
                self._group,
                [
                    sys.executable,
                    "-m",
                    "lab.watchdog.timer",
                    str(socket),
                    str(self.folder / f"{node}.jsonl"),
                    *bite,
                ],
                self._layout.logs / f"watchdog-{node}.log",
                env={"PYTHONPATH": str(TESTS)},
            )
            until(f"the watchdog of {node}", socket.exists, 10, every=0.02)

    def stop(self) -> None:
        """End the timers: what they guarded is unguarded."""
        processes.end(self._group)
        for socket in self.folder.glob("*.sock"):
            socket.unlink()

    def dress(self, manifests: str) -> str:
        """Put the shim into the feeders of these manifests: the product itself knows nothing of it."""
        documents = [document for document in yaml.safe_load_all(manifests) if document]
        for document in documents:
            if (document["kind"], document["metadata"]["name"]) == ("DaemonSet", "ringfence-agent"):
                self._dress(document["spec"]["template"]["spec"])
        return yaml.safe_dump_all(documents)

    def _dress(self, pod: dict[str, Any]) -> None:
        (feeder,) = (container for container in pod["containers"] if container["name"] == "feeder")
        feeder["env"] = [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            *feeder.get("env", []),
            {"name": "LD_PRELOAD", "value": f"{INSIDE}/shim.so"},
            {"name": "WATCHDOG_PATH", "value": DEVICE},
            {"name": "WATCHDOG_SOCKET", "value": f"{INSIDE}/$(NODE_NAME).sock"},
        ]
        feeder["volumeMounts"].append({"name": "lab-watchdog", "mountPath": INSIDE})
        pod["volumes"].append(
            {"name": "lab-watchdog", "hostPath": {"path": str(self.folder), "type": "Directory"}}
        )
