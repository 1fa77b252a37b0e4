"""Real controller processes on a real API server, with the rights that the chart gives them.

Kubelets and agents are played: two nodes that have booted, whose agents nobody hears.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apiserver.chart import NAMESPACE, rendered, token
from apiserver.conftest import INSTANCES, ROOT
from apiserver.programs import binaries
from apiserver.server import Server, running_server, wait_for

RINGFENCE = "/apis/ringfence.io/v1alpha1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NODES = ("n1", "n2")
PROGRAM = (sys.executable, "-c", "from ringfence.cli.main import main; main()")


def boot(node: str) -> str:
    return f"00000000-0000-4000-8000-00000000000{node[1:]}"


@contextmanager
def running_cluster(folder: Path) -> Iterator[Server]:
    """A cluster's API with the chart, KubeVirt's kinds, two nodes that have booted, and an HACluster."""
    with running_server(binaries(), folder) as server:
        server.kubectl("apply", "-f", str(ROOT / "crds"))
        server.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds"))
        server.must("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        lease_namespace = "/api/v1/namespaces/kube-node-lease"
        wait_for("the namespace of the nodes' Leases", lambda: server.call("GET", lease_namespace).ok)
        for kind in ("VirtualMachineInstance", "VirtualMachine"):
            plural = f"{kind.lower()}s"
            names = {"plural": plural, "kind": kind}
            spec = {**INSTANCES["spec"], "names": names}
            server.must(
                "POST", CRDS, {**INSTANCES, "metadata": {"name": f"{plural}.kubevirt.io"}, "spec": spec}
            )
            wait_for(plural, lambda plural=plural: server.call("GET", f"/apis/kubevirt.io/v1/{plural}").ok)
        server.kubectl("apply", "--server-side", "-f", "-", stdin=rendered())
        for number, node in enumerate(NODES, start=1):
            server.must("POST", "/api/v1/nodes", {"metadata": {"name": node}})
            addresses = [{"type": "InternalIP", "address": f"127.0.78.{number}"}]
            status = {"addresses": addresses, "nodeInfo": {"bootID": boot(node)}}
            server.must("PATCH", f"/api/v1/nodes/{node}/status", {"status": status})
        wish = {"apiVersion": "ringfence.io/v1alpha1", "kind": "HACluster", "metadata": {"name": "default"}}
        server.must("POST", f"{RINGFENCE}/haclusters", {**wish, "spec": {}})
        yield server


class Controllers:
    """Controller processes by the account and the rights of the chart, one after the other."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.running: subprocess.Popen[bytes] | None = None
        self.number = 0
        config = json.loads(server.kubeconfig.read_text())
        config["users"][0]["user"]["token"] = token(server, "ringfence-controller")
        self.kubeconfig = folder / "controller.kubeconfig"
        self.kubeconfig.write_text(json.dumps(config))

    def start(self, metrics_port: int = 0) -> None:
        self.number += 1
        command = [sys.executable, "-m", "ringfence.controller", f"--identity=controller-{self.number}"]
        command += [
            f"--kubeconfig={self.kubeconfig}",
            f"--metrics-port={metrics_port}",
            f"--namespace={NAMESPACE}",
        ]
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("KUBERNETES_")},
            "PYTHONPATH": str(ROOT / "operator"),
            "KUBECONFIG": str(self.kubeconfig),
        }
        with (self.folder / f"controller-{self.number}.log").open("wb") as log:
            self.running = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)

    def kill(self) -> None:
        if self.running is not None:
            self.running.send_signal(signal.SIGKILL)
            self.running.wait()

    def replace(self) -> None:
        self.kill()
        self.start()

    def logs(self) -> str:
        return "".join(log.read_text() for log in self.folder.glob("controller-*.log"))


def ringfence(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words, f"--kubeconfig={server.kubeconfig}"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )
