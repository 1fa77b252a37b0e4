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

from apiserver.chart import NAMESPACE, token
from apiserver.installed import ROOT, install, install_kubevirts_kinds
from apiserver.programs import binaries
from apiserver.server import Server, running_server

RINGFENCE = "/apis/ringfence.io/v1alpha1"
NODES = ("n1", "n2")
PROGRAM = (sys.executable, "-c", "from ringfence.cli.main import main; main()")


def boot(node: str) -> str:
    return f"00000000-0000-4000-8000-00000000000{node[1:]}"


@contextmanager
def running_cluster(folder: Path) -> Iterator[Server]:
    """A cluster's API with the chart, KubeVirt's kinds, two nodes that have booted, and an HACluster."""
    with running_server(binaries(), folder) as server:
        install_kubevirts_kinds(server)
        install(server)
        populate(server)
        yield server


def populate(server: Server) -> None:
    """Two nodes that have booted, and an HACluster."""
    for number, node in enumerate(NODES, start=1):
        server.must("POST", "/api/v1/nodes", {"metadata": {"name": node}})
        addresses = [{"type": "InternalIP", "address": f"127.0.78.{number}"}]
        status = {"addresses": addresses, "nodeInfo": {"bootID": boot(node)}}
        server.must("PATCH", f"/api/v1/nodes/{node}/status", {"status": status})
    wish = {"apiVersion": "ringfence.io/v1alpha1", "kind": "HACluster", "metadata": {"name": "default"}}
    server.must("POST", f"{RINGFENCE}/haclusters", {**wish, "spec": {}})


class Controllers:
    """Controller processes by the account and the rights of the chart."""

    def __init__(
        self, server: Server, folder: Path, *, name: str = "controller", source: Path = ROOT
    ) -> None:
        """``source``: the tree whose code runs."""
        self.server, self.folder = server, folder
        self._name, self._source = name, source
        self.running: list[subprocess.Popen[bytes]] = []
        self._started = 0
        config = json.loads(server.kubeconfig.read_text())
        config["users"][0]["user"]["token"] = token(server, "ringfence-controller")
        self.kubeconfig = folder / f"{name}.kubeconfig"
        self.kubeconfig.write_text(json.dumps(config))

    def start(self, metrics_port: int = 0, *more: str) -> Path:
        """One more, with further words of its command line; where it logs to."""
        self._started += 1
        identity = f"{self._name}-{self._started}"
        command = [sys.executable, "-m", "ringfence.controller", f"--identity={identity}"]
        command += [
            f"--kubeconfig={self.kubeconfig}",
            f"--metrics-port={metrics_port}",
            f"--namespace={NAMESPACE}",
            *more,
        ]
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("KUBERNETES_")},
            "PYTHONPATH": str(self._source / "operator"),
            "KUBECONFIG": str(self.kubeconfig),
        }
        path = self.folder / f"{identity}.log"
        with path.open("wb") as log:
            self.running.append(
                subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
            )
        return path

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Those that run now stand still meanwhile."""
        processes = tuple(self.running)
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)

    def kill(self, *, keep: int = 0) -> None:
        """All that run but the youngest ``keep`` of them."""
        while len(self.running) > keep:
            process = self.running.pop(0)
            process.send_signal(signal.SIGKILL)
            process.wait()

    def replace(self) -> None:
        self.kill()
        self.start()

    def logs(self) -> str:
        return "".join(log.read_text() for log in self.folder.glob(f"{self._name}-*.log"))


def ringfence(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words, f"--kubeconfig={server.kubeconfig}"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )
