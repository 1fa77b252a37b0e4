"""Stand-in nodes: for stories with more VMs than the machine carries guests.

To ringfence, to Kubernetes and to KubeVirt's controllers they are nodes like the others: each has a network namespace of its
own with our real agent in it, a BMC that really cuts it, and all faults of :class:`lab.node.Node`. Only its kubelet,
its virt-handler and its guests are played (:mod:`lab.standin`).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import vms
from lab.layout import Layout
from lab.node import Node
from lab.pki import Pki

if TYPE_CHECKING:
    from lab.cluster import Lab

INIT = Path(__file__).with_name("standin-init.sh")
LABEL = "lab.ringfence.io/standin"
"""Of the nodes; VMs that are to run on nothing else select it."""
TESTS = Path(__file__).resolve().parents[1]
CAPACITY = {
    "cpu": "64",
    "memory": "256Gi",
    "pods": "250",
    "ephemeral-storage": "256Gi",
    "devices.kubevirt.io/kvm": "1k",
    "devices.kubevirt.io/tun": "1k",
    "devices.kubevirt.io/vhost-net": "1k",
}
_ABOUT = "standin.json"


class StandIn(Node):
    """A node of which only the network, the power and our agent are real."""

    init = INIT

    def furnish(self, pki: Pki, labels: Mapping[str, str], info: Mapping[str, object]) -> None:
        """Everything that survives power cuts. *labels* and *info* are those of a node of the lab that it is like."""
        (self.folder / "disk").mkdir(parents=True)
        self._make_identity()
        crt, key = pki.certificate(f"node-{self.name}", f"system:node:{self.name}", "system:nodes")
        own = {"kubernetes.io/hostname": self.name, "topology.kubernetes.io/zone": self.zone, LABEL: "true"}
        about = {
            "name": self.name,
            "address": self.ip,
            "server": self._layout.api,
            "authority": pki.path("ca.crt"),
            "certificate": str(crt),
            "key": str(key),
            "capacity": CAPACITY,
            "labels": {**labels, **own},
            "nodeInfo": {**info, "systemUUID": self.systemuuid, "machineID": uuid.UUID(self.systemuuid).hex},
        }
        (self.folder / _ABOUT).write_text(json.dumps(about))

    def environment(self) -> dict[str, str]:
        ours = f"{TESTS.parent / 'operator'}:{TESTS}"
        return {"NODE": self.name, "DIR": str(self.folder), "PYTHON": sys.executable, "PYTHONPATH": ours}


def node(layout: Layout, number: int, programs: Path) -> Node:
    """The node of that number, of whichever kind it is."""
    plain = Node(layout, number, programs)
    return StandIn(layout, number, programs) if (plain.folder / _ABOUT).exists() else plain


def machine(name: str, namespace: str, node: str) -> dict[str, Any]:
    """A VM that runs on stand-ins alone, first on that one. Its disk is declared, and never made: nobody reads it."""
    declared: dict[str, Any] = vms.machine(name, namespace, "Always", node)
    declared["spec"]["template"]["spec"]["nodeSelector"] = {LABEL: "true"}
    return declared


@contextlib.contextmanager
def standins(lab: Lab, count: int) -> Iterator[tuple[str, ...]]:
    """So many further nodes while it lasts, each with its BMC; their names. All that is in the lab counts them with its nodes."""
    like = lab.get("node", min(lab.nodes))
    labels = {
        key: value
        for key, value in like["metadata"]["labels"].items()
        if key.startswith("kubernetes.io/") or ".node.kubevirt.io/" in key
    }
    first = len(lab.nodes) + 1
    made = {
        f"n{number}": StandIn(lab.layout, number, lab.prepared.bin) for number in range(first, first + count)
    }
    try:
        for name, one in made.items():
            one.furnish(lab.pki, labels, like["status"]["nodeInfo"])
            lab.nodes[name] = one
            one.power_on()
            lab.start_bmc(one)
        lab.wait_well()
        yield tuple(made)
    finally:
        for name, one in made.items():
            lab.stop_bmc(name)
            for log in one.folder.glob("*.log"):
                shutil.copy(log, lab.layout.logs / f"{name}-{log.name}")
            one.destroy()
            lab.nodes.pop(name, None)
        _forget(lab, *made)


def _forget(lab: Lab, *names: str) -> None:
    """Take the nodes out of the cluster, with the pods that nobody there ends any more."""
    lab.kubectl("delete", "node", *names, "--ignore-not-found")
    left: dict[str, list[str]] = {}
    for pod in lab.get("pods"):
        if pod["spec"].get("nodeName") in names:
            left.setdefault(pod["metadata"]["namespace"], []).append(pod["metadata"]["name"])
    for namespace, pods in left.items():
        at_once = ("--force", "--grace-period=0", "--ignore-not-found")
        lab.kubectl("-n", namespace, "delete", "pod", *pods, *at_once)
    lab.kubectl("delete", "nodereport", *names, "--ignore-not-found")
