"""Steps that several stories share."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.cluster import NAMESPACE, Lab
from lab.wait import until

WEBHOOK = "ringfence"
"""The chart's ValidatingWebhookConfiguration."""


def guarded_vm(lab: Lab, name: str, node: str, *, storage: str = "file", run_strategy: str = "Always") -> str:
    """A protected VM that runs on the node and ticks; its instance."""
    lab.create_vm(name, storage=storage, run_strategy=run_strategy, node=node)
    lab.protect(name)
    assert lab.wait_vm_running(name) == node, "the lab placed the VM elsewhere"
    lab.wait_condition("protectedvm", name, "Protected", "True", namespace="default")
    return lab.wait_tick(name).instance


def came_back(lab: Lab, name: str, dead: str, instance: str, seconds: float = 150) -> str:
    """Until the VM runs on another node and a new instance of its guest ticks on the same disk; the node."""
    node = lab.wait_vm_running(name, seconds, elsewhere_than=dead)
    new = lab.wait_tick(name, other_than=instance)
    old = next((run for run in lab.ticks(name) if run.instance == instance), None)
    assert old is None or new.first.sequence > old.last.sequence, (
        "the new guest did not go on from the old one's disk"
    )
    return node


def orders(lab: Lab, node: str, since: float, state: str = "ForceOff") -> list[dict[str, Any]]:
    """Power requests that reached the node's BMC."""
    return [
        e for e in lab.bmc(node).log() if e["what"] == "request" and e["state"] == state and e["t"] >= since
    ]


def launcher_uids(lab: Lab, name: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in lab.launchers(name)}


def watch_quietly(lab: Lab, seconds: float, name: str, node: str, instance: str) -> None:
    """For so long nothing must happen to the VM: same node, same instance of the guest, no failover, no order."""
    since = time.time()
    uid = lab.get("vmi", name, "default")["metadata"]["uid"]

    def disturbed() -> str:
        vmi = lab.get("vmi", name, "default") if lab.plane.running("kube-apiserver") else None
        if vmi is not None and (vmi["metadata"]["uid"] != uid or vmi["status"].get("nodeName") != node):
            return "the VM was restarted or moved"
        if lab.ticks(name)[-1].instance != instance:
            return "another instance of the guest ticks"
        if lab.failovers(node):
            return f"a failover was opened: {lab.failovers(node)[-1].get('status', {}).get('sentence')}"
        return "an order reached the BMC" if orders(lab, node, since) else ""

    end = time.monotonic() + seconds
    until(
        "the time of watching to be over",
        lambda: time.monotonic() >= end or disturbed(),
        seconds + 30,
        every=1.0,
    )
    assert disturbed() == ""
    last = lab.ticks(name)[-1].last.epoch
    assert time.time() - last < 15, f"the guest has not ticked for {time.time() - last:.0f} s"


def verdict(lab: Lab, node: str) -> str:
    """What the leader says of the node now."""
    rows = (lab.get("hazone", "lab") or {}).get("status", {}).get("nodeVerdicts", [])
    return next((str(row["verdict"]) for row in rows if row["name"] == node), "")


def wait_verdict(lab: Lab, node: str, wanted: str, seconds: float = 60) -> None:
    until(f"{node} to be {wanted}", lambda: verdict(lab, node) == wanted, seconds, every=0.3)


def leader_away_from(lab: Lab, node: str) -> str:
    """Until the leader runs on another node than that one; its pod. Restarts it as often as needed."""

    def away() -> str:
        pod = lab.leader()
        if pod and lab.pod_node(pod) not in ("", node):
            return pod
        if pod:
            lab.kubectl("-n", NAMESPACE, "delete", "pod", pod, "--wait=true", "--timeout=30s", check=False)
        return ""

    pod = until(f"the leader to be away from {node}", away, 90, every=2.0)
    lab.wait_armed()
    return pod


@contextmanager
def unasked(lab: Lab) -> Iterator[None]:
    """While it lasts the API server asks nobody about our objects: mistakes are stored, and told of by conditions."""
    found = lab.get("validatingwebhookconfiguration", WEBHOOK)
    lab.kubectl("delete", "validatingwebhookconfiguration", WEBHOOK)
    try:
        yield
    finally:
        meta = {key: found["metadata"][key] for key in ("name", "labels")}
        lab.apply({**found, "metadata": meta})


def ringfence(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    """Our command line, as a person would call it."""
    command = [
        str(Path(sys.executable).with_name("ringfence")),
        *words,
        "--kubeconfig",
        str(lab.layout.kubeconfig),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
