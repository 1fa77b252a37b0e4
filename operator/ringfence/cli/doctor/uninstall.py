"""What would stay behind, or bite, if ringfence were uninstalled now (docs/uninstall.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ringfence.cli.doctor.finding import Finding, broken, note, ok
from ringfence.cli.doctor.look import Look
from ringfence.cli.picture import CLOSED
from ringfence.ports import ClusterError, NotFound

OURS = (
    ("ringfence.io/suspect", None),
    ("node.kubernetes.io/out-of-service", "ringfence"),
)
"""Taints with the value that makes them ours; None: any."""
PODS_FIRST = (1, 33)
"""Kubernetes from which on a namespace's pods are gone before anything else in it (KEP-5080, OrderedNamespaceDeletion)."""


def _failovers(look: Look) -> Iterator[Finding]:
    own = look.there("/apis/ringfence.io/v1alpha1/failovers")
    going_on = [one for one in own if one.text("status", "phase") not in CLOSED]
    for one in going_on:
        yield broken(
            one.name,
            f"is {one.text('status', 'phase') or 'open'}: its node keeps its taints if nobody ends it. Wait for it, or mend"
            f" {one.text('spec', 'node')}",
        )
    if not going_on:
        yield ok("failovers", "none is open")


def _watchdogs(look: Look) -> Iterator[Finding]:
    alive = {node.name: node.text("status", "nodeInfo", "bootID") for node in look.nodes()}
    armed = [
        report.name
        for report in look.there("/apis/ringfence.io/v1alpha1/nodereports")
        if report.at("status", "watchdog", "armed") is True
        and alive.get(report.name) == report.text("status", "bootID")
    ]
    for name in armed:
        yield broken(
            name,
            "its watchdog is armed: without an agent it resets this node. First, from where charts/ringfence is:"
            f" helm upgrade {_release(look)} charts/ringfence -n {look.release} --reset-then-reuse-values"
            " --set agent.watchdog.enabled=false, and wait for the roll-out",
        )
    if not armed:
        yield ok("watchdogs", "none is armed")
    elif (version := _kubernetes(look)) is not None and version < PODS_FIRST:
        yield broken(
            "namespace",
            f"Kubernetes {version[0]}.{version[1]} may take an agent's account before its pod when a namespace is deleted, and then the"
            " agent can't sign off: don't delete the namespace while a watchdog is armed",
        )


def _release(look: Look) -> str:
    """What helm calls this installation, as its pods are labelled; its usual name where they can't be read."""
    try:
        pods = look.pods(look.release)
    except ClusterError:
        pods = ()
    ours = [pod for pod in pods if pod.text("metadata", "labels", "app.kubernetes.io/name") == "ringfence"]
    names = {pod.text("metadata", "labels", "app.kubernetes.io/instance") for pod in ours} - {""}
    return min(names, default="ringfence")


def _kubernetes(look: Look) -> tuple[int, int] | None:
    """The server's version; None where it doesn't tell."""
    try:
        told = look.one("/version")
    except NotFound:
        return None
    found = [re.match(r"\d+", told.text(part)) for part in ("major", "minor")]
    major, minor = (int(each[0]) if each else None for each in found)
    return None if major is None or minor is None else (major, minor)


def _taints(look: Look) -> Iterator[Finding]:
    left = [
        (node.name, key)
        for node in look.nodes()
        for taint in node.parts("spec", "taints")
        for key, value in OURS
        if taint.text("key") == key and value in {None, taint.text("value")}
    ]
    for name, key in left:
        yield broken(name, f"carries our taint {key}: it ends with the node's failover, and else stays")
    if not left:
        yield ok("taints", "no node carries one of ours")


def _storage_fences(look: Look) -> Iterator[Finding]:
    fences = look.there("/apis/csiaddons.openshift.io/v1alpha1/networkfences")
    ours = [
        one for one in fences if one.text("metadata", "labels", "app.kubernetes.io/managed-by") == "ringfence"
    ]
    for one in ours:
        yield broken(
            one.name, "this NetworkFence of ours keeps a node from its storage: nobody would lift it"
        )


def _leases(look: Look) -> Iterator[Finding]:
    for lease in look.there("/apis/coordination.k8s.io/v1/namespaces/medik8s-leases/leases"):
        if lease.text("spec", "holderIdentity") == "ringfence":
            yield note(lease.name, "we hold this Lease in medik8s-leases: others wait until it expires")


CHECKS = (_failovers, _watchdogs, _taints, _storage_fences, _leases)
