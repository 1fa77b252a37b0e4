"""csi-addons' part in the lab: serves NetworkFence and does what one says to the lab's fenced storage.

Its controller is played as upstream's source behaves (v0.12): a finalizer first, then the deed, then ``status.result``; on
deletion only the finalizer goes, and nothing is lifted. A control file makes it misbehave: ``ignore`` (nothing happens, no
result), ``fail`` (result ``Failed``), ``lie`` (``Succeeded`` without a deed).
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import sys
import time
from pathlib import Path
from typing import Any

from lab import processes
from lab.controlplane import Kubectl
from lab.definitions import definition
from lab.fenced import FencedDisks
from lab.layout import Layout

GROUP, VERSION, PLURAL = "csiaddons.openshift.io", "v1alpha1", "networkfences"
FINALIZER = "csiaddons.openshift.io/network-fence"
EVERY = 0.3
MODES = ("ok", "ignore", "fail", "lie")


def network_fence() -> dict[str, Any]:
    """The CRD, with the fields and rules of upstream's."""
    text = {"type": "string"}
    spec = {
        "type": "object",
        "required": ["cidrs", "fenceState"],
        "properties": {
            "driver": text,
            "networkFenceClassName": text,
            "fenceState": {"type": "string", "enum": ["Fenced", "Unfenced"], "default": "Fenced"},
            "cidrs": {"type": "array", "items": text},
            "secret": {"type": "object", "properties": {"name": text, "namespace": text}},
            "parameters": {"type": "object", "additionalProperties": text},
        },
        "x-kubernetes-validations": [
            {
                "rule": "has(self.driver) || has(self.networkFenceClassName)",
                "message": "one of driver or networkFenceClassName must be present",
            },
            {
                "rule": "has(self.networkFenceClassName) || has(self.secret)",
                "message": "secret must be present when networkFenceClassName is not specified",
            },
        ],
    }
    status = {
        "type": "object",
        "properties": {
            "result": text,
            "message": text,
            "conditions": {"type": "array", "items": {"type": "object"}},
        },
    }
    schema = {"required": ["spec"], "properties": {"spec": spec, "status": status}}
    return definition(GROUP, VERSION, "NetworkFence", schema)


class CsiAddons:
    """The controller from outside: started, told how to behave, stopped."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._group = f"{layout.prefix}-csiaddons"
        self._control = layout.root / "csiaddons.mode"

    def start(self) -> None:
        processes.make(self._group)
        command = [sys.executable, "-m", "lab.csiaddons", "--lab", self._layout.name]
        tests = str(Path(__file__).resolve().parents[1])
        processes.spawn(self._group, command, self._layout.logs / "csiaddons.log", env={"PYTHONPATH": tests})

    def mode(self, mode: str) -> None:
        """Behave like this from now on. ValueError: no such mode."""
        if mode not in MODES:
            raise ValueError(f"csi-addons has no mode {mode!r}: {', '.join(MODES)}")
        self._control.write_text(mode)

    def stop(self) -> None:
        processes.end(self._group)


def shut_out(cidrs: list[str], addresses: dict[str, str]) -> list[str]:
    """The nodes (name -> address) that these blocks name."""
    blocks = [ipaddress.ip_network(cidr) for cidr in cidrs]
    return sorted(
        name for name, at in addresses.items() if any(ipaddress.ip_address(at) in b for b in blocks)
    )


def reconcile(
    fence: dict[str, Any], kubectl: Kubectl, disks: FencedDisks, addresses: dict[str, str], mode: str
) -> None:
    """Bring one NetworkFence about."""
    meta, spec, status = fence["metadata"], fence["spec"], fence.get("status", {})
    name = meta["name"]

    def patch(change: dict[str, Any], *more: str) -> None:
        kubectl("patch", "networkfence", name, "--type=merge", *more, "-p", json.dumps(change), check=False)

    if meta.get("deletionTimestamp"):
        patch({"metadata": {"finalizers": None}})
        return
    out = spec["fenceState"] == "Fenced"
    said = "fencing operation successful" if out else "unfencing operation successful"
    if mode == "ignore" or status.get("message") == said:
        return
    if FINALIZER not in meta.get("finalizers", []):
        patch({"metadata": {"finalizers": [FINALIZER]}})
    if mode == "fail":
        patch(
            {"status": {"result": "Failed", "message": "rpc error: the storage said no"}},
            "--subresource=status",
        )
        return
    nodes = shut_out(spec["cidrs"], addresses)
    if mode != "lie":
        for node in nodes:
            disks.shut(node, out=out)
    print(json.dumps({"t": time.time(), "fence": name, "nodes": nodes, "out": out, "mode": mode}), flush=True)
    patch({"status": {"result": "Succeeded", "message": said}}, "--subresource=status")


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab.csiaddons")
    parser.add_argument("--lab", required=True)
    chosen = parser.parse_args()
    from lab.cluster import Lab  # noqa: PLC0415 - it knows this module

    lab = Lab.load(chosen.lab)
    disks, control = FencedDisks(lab.layout), lab.layout.root / "csiaddons.mode"
    addresses = {name: node.ip for name, node in lab.nodes.items()}
    while True:
        mode = control.read_text().strip() if control.exists() else "ok"
        try:
            items = json.loads(lab.kubectl("get", PLURAL, "-o", "json"))["items"]
        except (RuntimeError, ValueError) as error:
            print(f"not listed: {error}", flush=True)
            items = []
        for fence in items:
            reconcile(fence, lab.kubectl, disks, addresses, mode)
        time.sleep(EVERY)  # between two looks of a controller, for as long as the lab runs


if __name__ == "__main__":
    main()
