"""ringfence as a release of helm's, for stories about that; all others have it from the chart's manifests (`install_ringfence`)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lab.cluster import NAMESPACE, Lab
from lab.wait import until

OURS = "app.kubernetes.io/name=ringfence"
EVERYWHERE = (
    "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,"
    "validatingwebhookconfigurations"
)


@contextmanager
def none_installed(lab: Lab) -> Iterator[Lab]:
    """The lab without ringfence, its kinds kept; afterwards ringfence is there again as all stories have it."""
    lab.kubectl("delete", "--ignore-not-found", "--wait=true", "-f", "-", stdin=lab.rendered())
    lab.kubectl("delete", "pods", "-n", NAMESPACE, "--all", "--wait=true", "--timeout=60s")
    try:
        yield lab
    finally:
        if lab.helm("list", "--namespace", NAMESPACE, "--short", check=False).strip():
            lab.helm("uninstall", "ringfence", "--namespace", NAMESPACE, "--no-hooks", "--wait")
        lab.install_ringfence()
        for pods in ("daemonset/ringfence-agent", "deployment/ringfence-controller"):
            lab.kubectl("-n", NAMESPACE, "rollout", "status", pods, "--timeout=180s")


def uninstalled(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    """What `helm uninstall` says."""
    command = [
        *(str(lab.prepared.helm), "uninstall", "ringfence", "--namespace", NAMESPACE),
        *("--wait", "--kubeconfig", str(lab.layout.kubeconfig), *words),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def pods_of(lab: Lab, component: str) -> dict[str, str]:
    """The pods of one component, by their UIDs: the node of each."""
    found = lab.get("pods", namespace=NAMESPACE) or []
    return {
        pod["metadata"]["uid"]: pod["spec"].get("nodeName", "")
        for pod in found
        if pod["metadata"]["labels"].get("app.kubernetes.io/component") == component
    }


def gone(lab: Lab) -> None:
    """Until nothing of the release is left in the cluster but what docs/uninstall.md names."""

    def left() -> list[str]:
        there = lab.kubectl("get", EVERYWHERE, "-l", OURS, "-o", "name").split()
        here = lab.kubectl(
            "get", "all,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets",
            "-n", NAMESPACE, "-l", OURS, "-o", "name",
        ).split()  # fmt: skip
        return there + here

    until("the release to be gone", lambda: not left() or None, 90, every=0.5)
