"""The chart as helm renders it, and tokens as the kubelet mounts them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from apiserver.server import Json, Server
from lab.helm import helm

CHART = Path(__file__).parents[2] / "charts" / "ringfence"
NAMESPACE = "ringfence-system"
OPERATOR = tuple(
    f"--api-versions=monitoring.coreos.com/v1/{kind}" for kind in ("PodMonitor", "PrometheusRule")
)
"""Words of `helm template` for a cluster that has the Prometheus operator."""


def render(
    *settings: str, more: tuple[str, ...] = ("--no-hooks",), version: str = "4.3.1", chart: Path = CHART
) -> subprocess.CompletedProcess[str]:
    """Run `helm template` with each of ``settings`` as its ``--set`` (or ``--set-json``, where it holds JSON).

    ``more`` are further words of the command; without them hooks are left out, as they are no part of what is installed.
    """
    words = [
        word
        for each in settings
        for word in ("--set-json" if "=[" in each or "={" in each else "--set", each)
    ]
    named = ["template", "ringfence", str(chart), "--namespace", NAMESPACE]
    command = [str(helm(version)), *named, *more, *words]
    return subprocess.run(command, text=True, capture_output=True, check=False, timeout=60)


def rendered(
    *settings: str, more: tuple[str, ...] = ("--no-hooks",), version: str = "4.3.1", chart: Path = CHART
) -> str:
    done = render(*settings, more=more, version=version, chart=chart)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(
    *settings: str, more: tuple[str, ...] = ("--no-hooks",), version: str = "4.3.1", chart: Path = CHART
) -> list[Json]:
    text = rendered(*settings, more=more, version=version, chart=chart)
    return [document for document in yaml.safe_load_all(text) if document]


def the(kind: str, *settings: str) -> Json:
    (found,) = (each for each in documents(*settings) if each["kind"] == kind)
    return found


def run_helm(server: Server, *words: str) -> str:
    """Run helm as the administrator, in the release's namespace; what it printed."""
    done = subprocess.run(
        [str(helm()), *words, "--namespace", NAMESPACE, "--kubeconfig", str(server.kubeconfig)],
        text=True, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def token(server: Server, account: str, pod: str | None = None, node: str = "n1") -> str:
    """Ask for a token as the kubelet of ``node`` does: bound to the pod, which is bound to the node."""
    wanted: dict[str, Any] = {"expirationSeconds": 3600}
    if pod is not None:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods"
        bare = {"name": "main", "image": "none"}
        spec = {"serviceAccountName": account, "nodeName": node, "containers": [bare]}
        if not server.call("GET", f"{path}/{pod}").ok:
            server.must("POST", path, {"metadata": {"name": pod}, "spec": spec})
        uid = server.must("GET", f"{path}/{pod}")["metadata"]["uid"]
        wanted["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": wanted}
    return str(server.must("POST", path, request)["status"]["token"])
