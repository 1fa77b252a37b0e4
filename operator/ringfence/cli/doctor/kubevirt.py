"""KubeVirt: is it there, which release, what does it do on eviction, and would its own controllers survive a node?"""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.cli.doctor.finding import Finding, broken, note, ok, warning
from ringfence.cli.doctor.look import Look, named
from ringfence.cli.document import Document
from ringfence.ports import NotFound

TRIED = "1.7"
"""The release that ringfence's lab runs."""
MIGRATES = frozenset({"LiveMigrate", "LiveMigrateIfPossible"})
CONTROLLERS = ("virt-api", "virt-controller")


def _served(look: Look) -> Iterator[Finding]:
    try:
        look.items("/apis/kubevirt.io/v1/virtualmachines")
    except NotFound:
        yield broken("KubeVirt", "is not installed: the controllers wait for its kinds, and protect nothing")
    else:
        yield ok("KubeVirt", "its kinds are served")


def _release(look: Look) -> Iterator[Finding]:
    for one in look.there("/apis/kubevirt.io/v1/kubevirts"):
        phase = one.text("status", "phase")
        version = one.text("status", "observedKubeVirtVersion")
        if phase != "Deployed":
            yield broken(
                "KubeVirt", f"is {phase or 'in no phase'}, not Deployed: kubectl get kubevirt -A -o yaml"
            )
        elif not version.removeprefix("v").startswith(f"{TRIED}."):
            yield note(
                "KubeVirt", f"is {version or 'of an unknown release'}; ringfence is tried with {TRIED}"
            )
        else:
            yield ok("KubeVirt", f"{version} is deployed")


def _eviction(look: Look) -> Iterator[Finding]:
    default = next(
        (
            text
            for one in look.there("/apis/kubevirt.io/v1/kubevirts")
            if (text := one.text("spec", "configuration", "evictionStrategy"))
        ),
        "None",
    )
    for (namespace, name), vm in look.protected().items():
        own = vm.text("spec", "template", "spec", "evictionStrategy")
        if (own or default) not in MIGRATES:
            said = f"says {own}" if own else f"has the cluster's own, {default}"
            yield note(
                f"VM {namespace}/{name}",
                f"its evictionStrategy {said}: a drain of its node stops it instead of moving it; LiveMigrate moves it",
            )


def _own_controllers(look: Look) -> Iterator[Finding]:
    namespaces = {
        one.text("metadata", "namespace") for one in look.there("/apis/kubevirt.io/v1/kubevirts")
    } or {"kubevirt"}
    pods = [pod for namespace in sorted(namespaces) for pod in look.pods(namespace)]
    for name in CONTROLLERS:
        places = [
            pod.text("spec", "nodeName")
            for pod in pods
            if pod.text("metadata", "labels", "kubevirt.io") == name and _ready(pod)
        ]
        if not places:
            yield broken(name, "no pod is ready: nothing starts a VM anywhere")
        elif len(set(places)) == 1:
            yield warning(
                name,
                f"runs on {places[0]} only: if that dies, VMs wait until Kubernetes has made another. Give it replicas"
                " on several nodes (spec.infra of KubeVirt)",
            )
        else:
            yield ok(name, f"runs on {named(places)}")


def _ready(pod: Document) -> bool:
    return pod.condition("Ready").text("status") == "True"


CHECKS = (_served, _release, _eviction, _own_controllers)
