"""What an incident or a VM waits for, and what a person could do about it. Said from the phase on record; nothing is judged here.

Commands that are named are this command line's own, or kubectl's on ringfence's objects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ringfence.cli.document import Document
from ringfence.cli.picture import NodeRow
from ringfence.core.failover import refusals
from ringfence.core.failover.phase import Phase
from ringfence.core.model import Verdict


@dataclass(frozen=True, slots=True)
class Advice:
    waits_for: str = ""
    """Empty: for nothing."""
    could_do: tuple[str, ...] = ()
    """A sentence each; empty: nothing is needed, or nothing helps."""


def of_failover(failover: Document, mode: str) -> Advice:
    """``mode`` is the HACluster's, empty where it isn't known."""
    status, node = failover.part("status"), failover.text("spec", "node")
    match status.text("phase"):
        case "":
            return Advice("the acting controller's first step", ("ringfence status: does one lead?",))
        case Phase.HOLDING:
            return Advice("the end of the hold; a sign of life ends the incident before")
        case Phase.HELD:
            return _held(failover, status.text("heldReason"), mode)
        case Phase.FENCING:
            return Advice(
                f"a proof that {node} is off",
                ("ringfence fence status: what the devices say", f"switch {node} off: that is seen, too"),
            )
        case Phase.AWAITING_CONFIRMATION:
            return Advice(
                f"a device that proves {node} off, which is tried again by itself, or a person's word",
                (
                    f"switch {node} off, see that it is off, then: ringfence fence confirm {node}",
                    "mend the fence device: ringfence fence status",
                ),
            )
        case Phase.RECOVERING:
            return Advice(_unsettled(status), _for_the_unsettled(status))
        case Phase.RECOVERED:
            return Advice(
                f"{node} with a new boot; until then it takes no pods",
                (
                    f"find out why {node} died, then switch it on",
                    f"kubectl delete node {node}, if it won't come back",
                ),
            )
        case _:
            return Advice()


def _held(failover: Document, reason: str, mode: str) -> Advice:
    waits = f"the end of this: {reason}" if reason else "the end of what holds it"
    if mode not in ("", "Active"):
        return Advice(waits, (ARM,))
    refusal = refusals.of(reason)
    if refusal is None:
        return Advice(waits, ("mend that; it then goes on by itself",))
    return Advice(waits, (_plain(refusal.mend).replace("release NAME", f"release {failover.name}"),))


def _plain(markdown: str) -> str:
    """A sentence of the docs for a terminal."""
    return re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", markdown).replace("`", "")


ARM = """kubectl patch hacluster default --type merge -p '{"spec":{"mode":"Active"}}'"""
"""Arms ringfence again."""


def _unsettled(status: Document) -> str:
    names = [
        f"{vm.text('namespace')}/{vm.text('name')} ({vm.text('message') or vm.text('state')})"
        for vm in status.parts("vms")
        if vm.text("state") not in ("Running", "Left")
    ]
    return "KubeVirt to start: " + ", ".join(names) if names else "the last pods to go"


def _for_the_unsettled(status: Document) -> tuple[str, ...]:
    return tuple(
        f"kubectl -n {vm.text('namespace')} describe vmi {vm.text('name')}: what keeps it"
        for vm in status.parts("vms")
        if vm.text("state") not in ("Running", "Left")
    )


def of_node(node: NodeRow, release: str) -> Advice:
    """Of a node without an open failover; ``release`` is ringfence's namespace."""
    name = node.name
    if not node.zone:
        return Advice(could_do=("watch it: name it in spec.nodes of a HAZone",))
    match node.verdict:
        case Verdict.SUSPECT:
            return Advice(
                "votes of its peers, or a sign of life", ("ringfence members -o wide: who says what",)
            )
        case Verdict.AGENT_DOWN | Verdict.LEFT:
            pods = f"kubectl -n {release} get pods -l app.kubernetes.io/component=agent -o wide"
            return Advice(could_do=(f"{pods}: what keeps its agent",))
        case Verdict.CONTROL_PATH_LOST:
            return Advice(could_do=(f"look at the kubelet of {name}, and at its way to the API server",))
        case Verdict.GUEST_NET_LOST | Verdict.STORAGE_LOST:
            away = f"or move its VMs away: kubectl drain {name} --ignore-daemonsets --delete-emptydir-data"
            return Advice(could_do=("mend what its verdict names; nothing is done to the node for it", away))
        case Verdict.HUNG:
            policy = f"nobody is fenced for it but where its zone says so (spec.onHung of HAZone {node.zone})"
            return Advice(could_do=(f"look at the console of {name}; {policy}",))
        case "":
            return Advice(could_do=("ringfence status: does a controller lead?",))
        case _:
            return Advice(could_do=(f"ringfence dry-run --kill {name}: what would follow",))


def of_vm(
    name: str, namespace: str, protected: Document | None, node: str, incident: Advice | None
) -> Advice:
    """Of a VM: what its open incident waits for, else what its protection lacks.

    Args:
        protected: the condition of its ProtectedVM; None where there is no such object.
        node: where it runs; empty: nowhere that is known.
        incident: the advice on the open Failover that it belongs to.
    """
    if incident is not None:
        return incident
    if protected is None:
        return Advice(
            could_do=(f"protect it: a ProtectedVM in namespace {namespace} with spec.vm.name: {name}",)
        )
    match protected.text("status"), protected.text("reason"):
        case "True", _:
            return Advice(could_do=(f"ringfence dry-run --kill {node}: what would follow",) if node else ())
        case _, "":
            return Advice("the acting controller's first look at it", ("ringfence status: does one lead?",))
        case _, "ClusterPaused" | "ClusterDisarmed" | "ClusterDryRun":
            return Advice("the HACluster's mode to be Active", (ARM,))
        case _, reason:
            return Advice(
                f"Protected=True, and it is {reason}",
                (f"mend what its message says: {protected.text('message')}",),
            )
