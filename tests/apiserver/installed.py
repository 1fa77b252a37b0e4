"""A controller's process on a real API server: the chart's rights, its own account's token, the webhook's door open."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from apiserver.chart import NAMESPACE, rendered, run_helm, token
from apiserver.server import Json, Server, wait_for
from contract.tls import make_certificate

ROOT = Path(__file__).parents[2]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WEBHOOK = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/ringfence"
STOP_SECONDS = 30.0


def kind_of_kubevirt(plural: str, name: str, *short: str) -> Json:
    """A CRD that takes any object of KubeVirt's."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.kubevirt.io"},
        "spec": {
            "group": "kubevirt.io",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": name, "shortNames": list(short)},
            "versions": [version],
        },
    }


def install_kubevirts_kinds(server: Server) -> None:
    for plural, name, short in (
        ("virtualmachines", "VirtualMachine", "vm"),
        ("virtualmachineinstances", "VirtualMachineInstance", "vmi"),
        ("virtualmachineinstancemigrations", "VirtualMachineInstanceMigration", "vmim"),
        ("kubevirts", "KubeVirt", "kv"),
    ):
        server.must("POST", CRDS, kind_of_kubevirt(plural, name, short))
        wait_for(f"KubeVirt's {plural}", lambda p=plural: server.call("GET", f"/apis/kubevirt.io/v1/{p}").ok)


def install(server: Server, *settings: str) -> None:
    """CRDs and chart, as the README says; no Pod ever runs."""
    _make_room(server, ROOT)
    server.kubectl("apply", "--server-side", "-f", "-", stdin=rendered(*settings))


def install_by_helm(server: Server, tree: Path = ROOT) -> None:
    """The same as a release of helm's, which looks at what the cluster has; from the files of another ``tree``, if one is given."""
    _make_room(server, tree)
    run_helm(server, "install", "ringfence", str(tree / "charts/ringfence"))


def apply_kinds(server: Server, tree: Path = ROOT) -> None:
    """Our CRDs, those of that tree."""
    server.kubectl("apply", "-f", str(tree / "crds"))
    server.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(tree / "crds"))


def _make_room(server: Server, tree: Path) -> None:
    apply_kinds(server, tree)
    server.must("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    wait_for(
        "the namespace of the nodes' Leases",
        lambda: server.call("GET", "/api/v1/namespaces/kube-node-lease").ok,
    )


def add_node(server: Server, name: str, number: int, **labels: str) -> None:
    """A node as its kubelet would register it."""
    server.must("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
    told = dict.fromkeys(
        ("machineID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion"), "x"
    ) | {"kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64"}
    told |= {"bootID": f"boot-{name}", "systemUUID": f"00000000-0000-0000-0000-{number:012}"}
    # On this machine: controllers dial it, and the API server asks its kubelet for logs.
    address = {"type": "InternalIP", "address": f"127.0.78.{number}"}
    server.must(
        "PATCH", f"/api/v1/nodes/{name}/status", {"status": {"nodeInfo": told, "addresses": [address]}}
    )


def kubeconfig(server: Server, folder: Path, name: str) -> Path:
    """As somebody who has this server's token."""
    cluster = {"server": server.url, "certificate-authority": str(server.authority)}
    text = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "me", "user": {"token": server.token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "me"}}],
    }
    file = folder / f"{name}.kubeconfig"
    file.write_text(json.dumps(text))
    return file


@dataclass(frozen=True, slots=True)
class Controller:
    server: Server
    """As the administrator."""
    log: Path
    process: subprocess.Popen[bytes]
    health: str

    def said(self, words: str) -> bool:
        return words in self.log.read_text(encoding="utf-8")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running_controller(
    server: Server, folder: Path, *, fence_agents: Path | None = None
) -> Iterator[Controller]:
    """Start it with its own account's token, and send the API server's questions to it; stopped, by its id, at the end."""
    webhook, metrics = free_port(), free_port()
    crt, _ = make_certificate(folder, "tls")
    log = folder / "controller.log"
    config = kubeconfig(server.acting(token(server, "ringfence-controller")), folder, "controller")
    path = server.must("GET", WEBHOOK)["webhooks"][0]["clientConfig"]["service"]["path"]
    client = {
        "url": f"https://127.0.0.1:{webhook}{path}",
        "caBundle": base64.b64encode(crt.read_bytes()).decode(),
    }
    changes = [
        {"op": "remove", "path": "/webhooks/0/clientConfig"},
        {"op": "add", "path": "/webhooks/0/clientConfig", "value": client},
    ]
    answer = server._pool.request(
        "PATCH",
        server.url + WEBHOOK,
        body=json.dumps(changes),
        headers={
            "Authorization": f"Bearer {server.token}",
            "Content-Type": "application/json-patch+json",
        },
    )
    assert answer.status == 200, answer.data
    words = [
        *(
            sys.executable,
            "-m",
            "ringfence.controller",
            "--identity=ringfence-controller-0",
            "--node-name=n1",
        ),
        *(f"--namespace={NAMESPACE}", f"--kubeconfig={config}", f"--metrics-port={metrics}"),
        *(f"--webhook-port={webhook}", f"--webhook-certificates={folder}"),
        f"--fence-agents={fence_agents or folder}",
    ]
    env = os.environ | {"PYTHONPATH": str(ROOT / "operator"), "KUBECONFIG": str(config)}
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, env=env, cwd=folder)
    try:
        controller = Controller(server, log, process, f"http://127.0.0.1:{metrics}")
        wait_for("the webhook to be open", lambda: controller.said("webhook: open"), 60)
        yield controller
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
