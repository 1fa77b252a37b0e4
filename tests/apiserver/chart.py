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


def render(*settings: str) -> subprocess.CompletedProcess[str]:
    """Run `helm template` with each of ``settings`` as its ``--set`` (or ``--set-json``, where it holds JSON)."""
    words = [
        word
        for each in settings
        for word in ("--set-json" if "=[" in each or "={" in each else "--set", each)
    ]
    command = [str(helm()), "template", "ringfence", str(CHART), "--namespace", NAMESPACE, *words]
    return subprocess.run(command, text=True, capture_output=True, check=False, timeout=60)


def rendered(*settings: str) -> str:
    done = render(*settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(*settings: str) -> list[Json]:
    return [document for document in yaml.safe_load_all(rendered(*settings)) if document]


def the(kind: str, *settings: str) -> Json:
    (found,) = (each for each in documents(*settings) if each["kind"] == kind)
    return found


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
