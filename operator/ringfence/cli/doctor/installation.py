"""Does it run: the kinds, who leads, where the controllers are, and does every node's agent report?"""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.cli.doctor.finding import Finding, broken, note, ok, warning
from ringfence.cli.doctor.look import Look, age, named
from ringfence.cli.document import Document
from ringfence.ports import NotFound

PLURALS = (
    "haclusters", "hazones", "fencedevices", "protectedvms", "nodemaintenances", "hapolicies", "failovers", "nodereports",
)  # fmt: skip
LEASE = "ringfence-controller"
FRESH = 15.0
"""Seconds since its last renewal by which somebody still leads; its times are another machine's."""
COMPONENT = "app.kubernetes.io/component"


def _kinds(look: Look) -> Iterator[Finding]:
    missing = []
    for plural in PLURALS:
        try:
            look.own(plural)
        except NotFound:
            missing.append(plural)
    if missing:
        yield broken("kinds", f"{named(missing)} not served: kubectl apply -f crds/")
    else:
        yield ok("kinds", "all of ringfence's kinds are served")


def _mode(look: Look) -> Iterator[Finding]:
    cluster = next((one for one in look.own("haclusters") if one.name == "default"), None)
    if cluster is None:
        yield note("HACluster", "there is none named default: nothing is fenced until you declare it")
    elif (mode := cluster.text("spec", "mode") or "Active") != "Active":
        yield warning(
            "HACluster", f"mode is {mode}: nothing is fenced; set spec.mode to Active when it shall be"
        )
    else:
        yield ok("HACluster", "mode is Active")


def _leader(look: Look) -> Iterator[Finding]:
    lease = next((one for one in look.leases(look.release) if one.name == LEASE), Document({}))
    holder, renewed = lease.text("spec", "holderIdentity"), lease.time("spec", "renewTime")
    if not holder:
        yield broken(
            "leader",
            f"nobody leads in {look.release}: see the controllers' pods, or name --release-namespace",
        )
    elif (seconds := age(renewed, look.now)) > FRESH:
        yield broken(
            "leader", f"{holder} has not renewed its Lease for {seconds:.0f} s: is a controller running?"
        )
    else:
        yield ok("leader", f"{holder} leads")


def _controllers(look: Look) -> Iterator[Finding]:
    pods = [pod for pod in look.pods(look.release) if _labelled(pod, "controller")]
    ready = [pod for pod in pods if pod.condition("Ready").text("status") == "True"]
    places = {pod.text("spec", "nodeName") for pod in ready}
    if not ready:
        yield broken("controllers", f"none of {len(pods)} is ready: kubectl -n {look.release} describe pods")
    elif len(ready) == 1:
        yield warning(
            "controllers",
            f"only {ready[0].name} is ready: if its node dies, nobody acts until Kubernetes has made another",
        )
    elif len(places) == 1:
        yield warning(
            "controllers", f"all {len(ready)} run on {places.pop()}: set controller.antiAffinity to required"
        )
    else:
        yield ok("controllers", f"{len(ready)} ready, on {named(sorted(places))}")


def _agents(look: Look) -> Iterator[Finding]:
    reports = {report.name: report for report in look.own("nodereports")}
    watched = look.watched()
    for node in look.nodes():
        report = reports.get(node.name)
        say = broken if node.name in watched else note
        if report is None:
            yield say(
                node.name, "its agent has never reported: has it a pod there? the ring does not watch it"
            )
        elif report.text("status", "bootID") != node.text("status", "nodeInfo", "bootID"):
            yield say(
                node.name, "its agent has not reported since its last boot: kubectl get nodereports, its log"
            )
        else:
            yield ok(node.name, f"its agent {report.text('status', 'agentVersion')} has reported this boot")


def _releases(look: Look) -> Iterator[Finding]:
    known = {node.name for node in look.nodes()}
    found: dict[str, list[str]] = {}
    for report in look.own("nodereports"):
        if report.name in known:
            found.setdefault(report.text("status", "agentVersion") or "unknown", []).append(report.name)
    if len(found) > 1:
        told = "; ".join(f"{version} on {named(nodes)}" for version, nodes in sorted(found.items()))
        yield warning("releases", f"agents of several: {told}. In a roll-out that passes")


def _roster_key(look: Look) -> Iterator[Finding]:
    for cluster in look.own("haclusters"):
        trust = cluster.condition("RosterTrusted")
        if trust.text("status") == "False":
            yield broken("roster's key", trust.text("message"))


def _labelled(pod: Document, component: str) -> bool:
    return (
        pod.text("metadata", "labels", "app.kubernetes.io/name") == "ringfence"
        and pod.text("metadata", "labels", COMPONENT) == component
    )


CHECKS = (_kinds, _mode, _leader, _controllers, _agents, _releases, _roster_key)
