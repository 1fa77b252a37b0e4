"""B18: a hundred VMs on one node. The nodes that they are on are stand-ins (:mod:`lab.standins`); all that decides is real.

All come back, each launcher is deleted once, the important ones are let go first, no more than eight at once for each of the two nodes
that are left, and the API server is not flooded.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from e2e.stories import orders
from lab.audit import Write, writes
from lab.cluster import Lab
from lab.console import say
from lab.invariants import CONTROLLER
from lab.standins import machine, standins
from lab.vms import volume
from lab.wait import until
from ringfence.core.timing import STARTS_PER_NODE

pytestmark = [pytest.mark.lab, pytest.mark.more]
NAMES = [f"vm{number:03}" for number in range(100)]
IMPORTANT = set(NAMES[-10:])  # not the first by name
VICTIM, LEFT = "n4", {"n5", "n6"}
NAMESPACE = "default"
WRITES = 10
"""Of our controllers, for each VM: two of the Failover (each of the whole of it), two of the ProtectedVM, two of launchers."""
COLLECTOR = "system:serviceaccount:kube-system:pod-garbage-collector"
NOT_READY = 35.0
"""Seconds after its death at which a node counts as not ready, at the earliest: 50 without a Lease that was up to 10 s old."""
HANDLER = "system:serviceaccount:kubevirt:kubevirt-handler"


@pytest.fixture
def crowd(bare: Lab) -> Iterator[Lab]:
    """The lab with three stand-ins, armed; its other nodes take no VMs."""
    others = tuple(sorted(bare.nodes))
    with standins(bare, 3):
        bare.kubectl("cordon", *others)
        try:
            bare.declare()
            bare.wait_armed()
            yield bare
        finally:
            bare.kubectl("uncordon", *others)
            _remove(bare)


def _remove(lab: Lab) -> None:
    """All VMs at once: one after the other takes minutes."""
    for name in (VICTIM, *LEFT):
        lab.node(name).power_on()
        lab.node(name).heal()
    lab.kubectl("-n", NAMESPACE, "delete", "protectedvm,vm", "--all", "--wait=false")
    until("every VM to be gone", lambda: not lab.get("vmis") and not _launchers(lab), 180, every=1.0)
    lab.kubectl("-n", NAMESPACE, "delete", "pvc", *NAMES, "--ignore-not-found")
    lab.kubectl("delete", "pv", *NAMES, "--ignore-not-found")


def _launchers(lab: Lab) -> list[Any]:
    text = lab.kubectl("get", "pod", "-A", "-l", "kubevirt.io=virt-launcher", "-o", "json")
    found: list[Any] = json.loads(text)["items"]
    return found


def _running(lab: Lab) -> dict[str, tuple[str, str]]:
    """The VMs that run, each with its node and its instance."""
    return {
        vmi["metadata"]["name"]: (vmi["status"]["nodeName"], vmi["metadata"]["uid"])
        for vmi in lab.get("vmis")
        if vmi.get("status", {}).get("phase") == "Running"
    }


def _protected_vm(name: str) -> dict[str, object]:
    return {
        "apiVersion": "ringfence.io/v1alpha1",
        "kind": "ProtectedVM",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"vm": {"name": name}, "priority": 900 if name in IMPORTANT else 500},
    }


def _all_protected(lab: Lab) -> bool:
    holds = [
        c["status"] == "True"
        for pvm in lab.get("protectedvms")
        for c in pvm.get("status", {}).get("conditions", [])
        if c["type"] == "Protected"
    ]
    return len(holds) == len(NAMES) and all(holds)


def _runs(write: Write) -> bool:
    """Whether virt-handler tells with it that a guest runs."""
    ours = write.user == HANDLER and write.resource == "virtualmachineinstances" and write.succeeded
    return ours and write.body.get("status", {}).get("phase") == "Running"


def _seen_to_start(lab: Lab, since: float) -> set[str]:
    """The VMs whose guests the lab's witness has seen to start on the nodes that are left."""
    rows = map(json.loads, (lab.layout.logs / "qemu.jsonl").read_text().splitlines())
    return {
        row["guest"].removeprefix(f"{NAMESPACE}_")
        for row in rows
        if row["t"] > since and row["what"] == "started" and row["node"] in LEFT
    }


@dataclass(frozen=True, slots=True)
class Deletion:
    """The end of a VM's old launcher; *at* is seconds since the cut."""

    vm: str
    at: float
    by: str


def _most_at_once(let_go: list[Deletion], runs: dict[str, float]) -> int:
    """How many VMs were on their way at the same time."""
    return max(sum(runs[earlier.vm] > one.at for earlier in let_go if earlier.at <= one.at) for one in let_go)


def test_all_come_back_in_their_order(crowd: Lab) -> None:
    lab = crowd
    lab.apply(*(one for name in NAMES for one in volume(name, NAMESPACE, "file")))
    lab.apply(*(machine(name, NAMESPACE, VICTIM) for name in NAMES))
    lab.apply(*(_protected_vm(name) for name in NAMES))
    until("all VMs to run", lambda: len(_running(lab)) == len(NAMES), 300, every=2.0)
    until("all VMs to be protected", lambda: _all_protected(lab), 120, every=2.0)
    before = _running(lab)
    assert {node for node, _ in before.values()} == {VICTIM}
    launchers = {
        pod["metadata"]["name"]: pod["metadata"]["labels"]["vm.kubevirt.io/name"] for pod in _launchers(lab)
    }
    assert sorted(launchers.values()) == NAMES

    since = time.time()
    lab.node(VICTIM).cut()

    def back() -> bool:
        now = _running(lab)
        return len(now) == len(NAMES) and all(
            node in LEFT and uid != before[name][1] for name, (node, uid) in now.items()
        )

    until("all VMs to run elsewhere", back, 300, every=3.0)
    failover = lab.wait_phase(VICTIM, "Closed", seconds=240)
    states = {vm["name"]: vm["state"] for vm in failover["status"]["vms"]}
    assert states == dict.fromkeys(NAMES, "Running")
    assert len(orders(lab, VICTIM, since)) == 1
    assert _seen_to_start(lab, since) == set(NAMES), "who looks for two of one guest is blind"

    done = list(writes(lab.layout.logs / "audit.log", since))
    runs = {w.name: w.at - since for w in done if _runs(w)}
    ends = [
        Deletion(launchers[w.name], w.at - since, w.user)
        for w in done
        if (w.resource, w.verb) == ("pods", "delete") and w.succeeded
        if w.name in launchers and w.user in (CONTROLLER, COLLECTOR)
    ]
    assert sorted(end.vm for end in ends) == NAMES, "each old launcher is deleted once"
    ours = [end for end in ends if end.by == CONTROLLER]
    assert {end.vm for end in ours[: len(IMPORTANT)]} == IMPORTANT, f"the order was {ours}"
    last_important = max(runs[name] for name in IMPORTANT)
    assert ours[len(IMPORTANT)].at < last_important, "who has a node keeps nobody waiting until it runs"
    assert _most_at_once(ours, runs) <= STARTS_PER_NODE * len(LEFT)
    # All are ours where the machine is quick. What is left when Kubernetes calls the node not ready is deleted by Kubernetes.
    assert all(end.at > NOT_READY for end in ends if end.by == COLLECTOR)
    wrote = sum(w.user == CONTROLLER for w in done)
    assert wrote < WRITES * len(NAMES), "the API server was flooded"
    say(
        f"{len(NAMES)} VMs: {len(ours)} let go from {ours[0].at:.1f} to {ours[-1].at:.1f} s after the cut; Running from"
        f" {min(runs.values()):.1f} to {max(runs.values()):.1f} s; {wrote} writes of ours; a Failover of {len(json.dumps(failover))} bytes"
    )
