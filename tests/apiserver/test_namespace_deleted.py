"""The namespace is deleted first, with a watchdog armed: its agent signs off, and the node is not reset.

A real agent and a real feeder on a real API server, with Kubernetes' own namespace controller. The kubelet is played: it ends the
agent when the pod is asked to end. The watchdog is a timer that would bite.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from apiserver.agents import AgentPod
from apiserver.chart import NAMESPACE, rendered
from apiserver.installed import ROOT
from apiserver.programs import binaries, program
from apiserver.server import Server, running, running_server, wait_for
from lab.watchdog.build import shim
from ringfence.net.crypto import make_group_keys
from unit.agent.test_feeder import Node as FedNode

pytestmark = pytest.mark.apiserver

OWN = f"/api/v1/namespaces/{NAMESPACE}"
REPORT = "/apis/ringfence.io/v1alpha1/nodereports/n1"
ISOLATION, TIMEOUT = 12, 6
"""Seconds. The leg that feeds is the agent's Lease, which it renews every five."""
BOUND = 60.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    with running_server(binaries(), folder) as server:
        server.kubectl("apply", "-f", str(ROOT / "crds"))
        server.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds"))
        server.must("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        wait_for(
            "the nodes' Leases", lambda: server.call("GET", "/api/v1/namespaces/kube-node-lease").ok, BOUND
        )
        server.kubectl("apply", "--server-side", "-f", "-", stdin=rendered("agent.watchdog.enabled=true"))
        data = {name: base64.b64encode(value).decode() for name, value in make_group_keys().items()}
        server.must("POST", f"{OWN}/secrets", {"metadata": {"name": "ringfence-gossip"}, "data": data})
        server.must("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
        yield server


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FedNode]:
    folder = tmp_path / "node"
    folder.mkdir()
    made = FedNode(folder, shim(tmp_path / "shim"), isolation=ISOLATION, timeout=TIMEOUT)
    yield made
    made.close()


@contextmanager
def namespace_controller(server: Server, log: Path) -> Iterator[None]:
    """Kubernetes' own, which empties a namespace that is to go."""
    command = [
        *program(binaries(), "kube-controller-manager"),
        f"--kubeconfig={server.kubeconfig}",
        "--controllers=namespace-controller",
        "--leader-elect=false",
        "--secure-port=0",
    ]
    with running(command, log):
        yield


def free_port() -> int:
    with socket.create_server(("127.0.78.1", 0)) as listening:
        return int(listening.getsockname()[1])


def test_its_agents_sign_off_before_their_account_goes(
    cluster: Server, node: FedNode, tmp_path: Path
) -> None:
    folder = tmp_path / "node"
    agent = AgentPod(
        *(cluster, tmp_path, "n1", "127.0.78.1", free_port(), "--watchdog"),
        *(f"--isolation-seconds={ISOLATION}", f"--timeout-seconds={TIMEOUT}"),
        *(f"--run-dir={folder / 'run'}", f"--boot-id-path={folder / 'boot_id'}"),
    )

    def armed() -> bool:
        found = cluster.call("GET", REPORT)
        return found.ok and bool(found.body.get("status", {}).get("watchdog", {}).get("armed"))

    agent.start()
    node.feeder()
    try:
        wait_for("the watchdog to be armed, and reported so", armed, BOUND)
        with namespace_controller(cluster, tmp_path / "controller-manager.log"):
            cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")

            def told_to_end() -> bool:
                pod = cluster.call("GET", f"{OWN}/pods/agent-n1")
                return "deletionTimestamp" in pod.body.get("metadata", {})

            wait_for("the pod to be told to end", told_to_end, BOUND)
            for needed in ("serviceaccounts/ringfence-agent", "secrets/ringfence-gossip"):
                assert cluster.call("GET", f"{OWN}/{needed}").ok, f"pods go first, {needed} after them"
            agent.end()
            assert not armed()
            assert len(node.log("stop")) == 1
            gone = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
            cluster.must("DELETE", f"{OWN}/pods/agent-n1", gone)
            wait_for("the namespace to be gone", lambda: cluster.call("GET", OWN).status == 404, BOUND)
        node.quiet_for(TIMEOUT + 1)
    finally:
        agent.end()
        print(agent.log()[-4000:])
