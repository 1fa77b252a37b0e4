"""Two faults of a node of kind's, each until its VM runs elsewhere: the plug is pulled, the network is cut."""

from __future__ import annotations

import json
import time

from kind.cluster import kubectl
from kind.engine import Machine, run
from lab.console import say
from lab.wait import until

VM = "demo"


def place(elsewhere_than: str = "") -> str:
    """The node where the VM runs, unless that is the one named."""
    found = json.loads(kubectl("get", "vmi", VM, "-o", "json", "--ignore-not-found") or "{}")
    status = found.get("status", {})
    node = str(status.get("nodeName", "")) if status.get("phase") == "Running" else ""
    return "" if node == elsewhere_than else node


def demo() -> None:
    for what in ("docker kill", "docker network disconnect"):
        node = until("the VM to run", place, 300, every=1.0)
        machine = Machine(node)
        say(f"{what} {node}: the VM {VM} runs there")
        began = time.monotonic()
        run(*machine.off()) if what == "docker kill" else machine.cut()
        new = until("the VM to run elsewhere", lambda old=node: place(old), 300, every=0.5)  # type: ignore[misc] # mypy knows no defaults in lambdas
        say(f"it runs on {new} after {time.monotonic() - began:.1f} s")
        print(kubectl("get", "failovers"), flush=True)
        machine_back(machine, cut=what != "docker kill")


def machine_back(machine: Machine, *, cut: bool) -> None:
    """The machine with power and network, and its failover closed."""
    if cut:
        machine.heal()
    if not machine.running():
        run(*machine.on())
    kubectl("wait", "--for=condition=Ready", f"node/{machine.name}", "--timeout=300s")
    until("the failover to be closed", lambda: closed(machine.name) or None, 300, every=2.0)


def closed(node: str) -> bool:
    items = json.loads(kubectl("get", "failovers", "-o", "json"))["items"]
    return all(one.get("status", {}).get("phase") == "Closed" for one in items if one["spec"]["node"] == node)
