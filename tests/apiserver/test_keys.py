"""Real controllers change the group keys on a real API server, with the rights that the chart gives them, and are killed on the way.

Kubelets and agents are played: what a NodeReport says is what an agent would have found in its mounted Secret.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiserver.chart import NAMESPACE, rendered, token
from apiserver.conftest import INSTANCES, ROOT
from apiserver.programs import binaries
from apiserver.server import Json, Server, running_server, wait_for
from ringfence.core.gossip.keys import KeySet, open_keys

pytestmark = pytest.mark.apiserver

RINGFENCE = "/apis/ringfence.io/v1alpha1"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NODES = ("n1", "n2")
BOUND = 60.0
PROGRAM = (sys.executable, "-c", "from ringfence.cli.main import main; main()")


def boot(node: str) -> str:
    return f"00000000-0000-4000-8000-00000000000{node[1:]}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A cluster's API with the chart, KubeVirt's kinds, two nodes that have booted, and an HACluster."""
    with running_server(binaries(), tmp_path_factory.mktemp("keys")) as server:
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

    def start(self) -> None:
        self.number += 1
        command = [sys.executable, "-m", "ringfence.controller", f"--identity=controller-{self.number}"]
        command += [f"--kubeconfig={self.kubeconfig}", "--metrics-port=0", f"--namespace={NAMESPACE}"]
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


@pytest.fixture
def controllers(cluster: Server, tmp_path: Path) -> Iterator[Controllers]:
    made = Controllers(cluster, tmp_path)
    made.start()
    yield made
    made.kill()
    print(made.logs()[-6000:])


def told(server: Server) -> Json:
    found: Json = server.must("GET", f"{RINGFENCE}/haclusters/default").get("status", {})
    return found


def stored(server: Server) -> KeySet:
    data = server.must("GET", f"{SECRETS}/ringfence-group-keys")["data"]
    return open_keys(base64.b64decode(data["group-keys.json"]).decode())


def report(server: Server, node: str, keys: KeySet) -> None:
    """As the node's agent, once its kubelet has brought it these keys."""
    if not server.call("GET", f"{RINGFENCE}/nodereports/{node}").ok:
        kind = {"apiVersion": "ringfence.io/v1alpha1", "kind": "NodeReport"}
        server.must("POST", f"{RINGFENCE}/nodereports", {**kind, "metadata": {"name": node}})
    uid = server.must("GET", f"/api/v1/nodes/{node}")["metadata"]["uid"]
    status = {"nodeUID": uid, "bootID": boot(node), "keys": {"held": list(keys.ids), "used": keys.used}}
    server.must("PATCH", f"{RINGFENCE}/nodereports/{node}/status", {"status": status})


def ringfence(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words, f"--kubeconfig={server.kubeconfig}"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_killed_after_every_step_the_next_one_goes_on(cluster: Server, controllers: Controllers) -> None:
    def wait(step: str, *waiting: str) -> None:
        def there() -> bool:
            keys = told(cluster).get("keys", {})
            return (keys.get("step"), keys.get("waitingFor")) == (step, list(waiting))

        wait_for(f"{step}, waiting for {' and '.join(waiting) or 'nobody'}", there, BOUND)

    wait("Settled")
    first = stored(cluster)
    once = cluster.must("GET", f"{SECRETS}/ringfence-gossip")
    assert first.keys[0].secret == base64.b64decode(once["data"]["group.key"]), (
        "the key of the version before"
    )
    for node in NODES:
        report(cluster, node, first)
    seen = [first]
    said = ringfence(cluster, "keys", "rotate", "--no-wait")
    assert said.returncode == 0, said.stderr

    for step in ("Installing", "Using", "Removing"):
        wait(step, "n1", "n2")
        controllers.replace()
        keys = stored(cluster)
        assert keys not in seen, "each step has been stored once"
        seen.append(keys)
        report(cluster, "n1", keys)
        wait(step, "n2")
        assert stored(cluster) == keys
        report(cluster, "n2", keys)
    wait("Settled")

    last = stored(cluster)
    assert [(keys.ids, keys.used) for keys in seen] == [((0,), 0), ((0, 1), 0), ((0, 1), 1), ((1,), 1)]
    assert last == seen[-1]
    assert last.keys[0] in seen[1].keys
    assert cluster.must("GET", f"{SECRETS}/ringfence-gossip")["data"] == once["data"]
    (condition,) = [c for c in told(cluster)["conditions"] if c["type"] == "KeysSettled"]
    assert (condition["status"], condition["reason"]) == ("True", "Settled")
    shown = ringfence(cluster, "keys", "rotate", "--without", "n2", "--no-wait")
    assert shown.returncode == 0, shown.stderr
    wait("Installing", "n1")
    for key in (*last.keys, *stored(cluster).keys):
        assert base64.b64encode(key.secret).decode() not in controllers.logs()
        assert key.secret.hex() not in controllers.logs()
