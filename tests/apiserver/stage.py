"""The cluster in which the pages' commands are typed: it has what the pages name, by the names that they use.

Real are the API server, etcd, Kubernetes' controllers of workloads and namespaces, and, for the chapters that need one, a controller of
ringfence's. Played are kubelets, agents, a drill that passes, and incidents: a controller's words are written as its account.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from apiserver.chart import NAMESPACE, token
from apiserver.controllers import RINGFENCE, Controllers
from apiserver.installed import CRDS, add_node, install_kubevirts_kinds
from apiserver.kubelets import Kubelets, Played
from apiserver.programs import binaries, program
from apiserver.reader import Reader
from apiserver.server import Json, Server, own_address, running, wait_for
from lab.build import CERT_MANAGER, cache_root, programs
from lab.cert_manager import KINDS as CERTIFICATES
from lab.cert_manager import crds as certificates_kinds
from lab.csiaddons import network_fence
from ringfence import __version__
from ringfence.core.gossip.keys import open_keys
from ringfence.kube.kubeconfig import CONTROLLER_PORT

NODES = ("node-1", "node-2", "node-3", "n1", "n2")
OWN = f"/api/v1/namespaces/{NAMESPACE}"
KUBEVIRT = "/apis/kubevirt.io/v1"
LEASES = "/apis/coordination.k8s.io/v1/namespaces"
FIRST, SECOND = "node-1-0a1b2c3d-x1", "n2-0a1b2c3d-x1"
"""The Failovers of node-1 and n2."""
CONTROLLERS = ("deployment", "replicaset", "daemonset", "job", "namespace", "serviceaccount", "disruption")
"""Those of Kubernetes' that the pages' commands count on."""


def stamp(ago: float = 0.0) -> str:
    """So many seconds ago, as a Lease has it."""
    then = datetime.now(UTC) - timedelta(seconds=ago)
    return then.isoformat(timespec="microseconds").replace("+00:00", "Z")


def condition(kind: str, status: str, reason: str, message: str = "", generation: int = 1) -> Json:
    since = stamp()[:19] + "Z"
    told = {"type": kind, "status": status, "reason": reason, "message": message}
    return told | {"lastTransitionTime": since, "observedGeneration": generation}


class Agents(Played):
    """Each node's: reports its boot, and follows the group keys as soon as its kubelet could have brought them."""

    def __init__(self, server: Server) -> None:
        super().__init__("agents")
        self._server = server
        self._nodes = {name: server.must("GET", f"/api/v1/nodes/{name}") for name in NODES}
        self._reported: dict[str, Json] = {}

    def turn(self) -> None:
        found = self._server.call("GET", f"{OWN}/secrets/ringfence-group-keys")
        if not found.ok:
            return
        keys = open_keys(base64.b64decode(found.body["data"]["group-keys.json"]).decode())
        for name, node in self._nodes.items():
            status = {
                "nodeUID": node["metadata"]["uid"],
                "bootID": node["status"]["nodeInfo"]["bootID"],
                "agentVersion": __version__,
                "keys": {"held": list(keys.ids), "used": keys.used},
                "watchdog": {"armed": False, "reason": "No such file or directory: the node has no watchdog"},
            }
            if self._reported.get(name) != status:
                kind = {"apiVersion": "ringfence.io/v1alpha1", "kind": "NodeReport"}
                self._server.call("POST", f"{RINGFENCE}/nodereports", {**kind, "metadata": {"name": name}})
                self._server.must("PATCH", f"{RINGFENCE}/nodereports/{name}/status", {"status": status})
                self._reported[name] = status


class Living(Played):
    """A node's agent that goes on renewing its Lease."""

    def __init__(self, stage: Stage, node: str) -> None:
        super().__init__(f"agent of {node}")
        self._stage, self._node = stage, node

    def turn(self) -> None:
        self._stage.silent(self._node, 3.0)


class Drills(Played):
    """A leader that passes every drill at once."""

    def __init__(self, stage: Stage) -> None:
        super().__init__("drills")
        self._stage = stage

    def turn(self) -> None:
        for device in self._stage.items(f"{RINGFENCE}/fencedevices"):
            wish = device["metadata"].get("annotations", {}).get("ringfence.io/drill")
            if wish and device.get("status", {}).get("drill", {}).get("request") != wish:
                drill = {"request": wish, "phase": "Passed", "sentence": "off and on", "changedAt": stamp()}
                self._stage.tell("fencedevices", device["metadata"]["name"], {"drill": drill})


class Stage:
    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.reader = Reader(server.kubeconfig, folder / "reader")
        self._edit_examples()
        install_kubevirts_kinds(server)
        for namespace in ("shop", "kubevirt", "medik8s-leases"):
            self.make("/api/v1/namespaces", "v1", "Namespace", namespace)
        wait_for("the nodes' Leases", lambda: server.call("GET", "/api/v1/namespaces/kube-node-lease").ok)
        for number, node in enumerate(NODES, start=1):
            add_node(server, node, number)
            server.must("PATCH", f"/api/v1/nodes/{node}", {"spec": {"taints": None}})
            # Where nobody answers, and says so at once: neither an agent nor a kubelet that has logs.
            address = {"type": "InternalIP", "address": f"127.0.78.{number}"}
            server.must("PATCH", f"/api/v1/nodes/{node}/status", {"status": {"addresses": [address]}})
        self._make_kubevirt()

    def _edit_examples(self) -> None:
        """As the pages say: BMCs of one's own (at which nobody answers), and `DryRun` to begin with."""
        examples = self.reader.home / "docs/examples"
        devices = examples / "fencedevice.yaml"
        devices.write_text(re.sub(r"https://10\.0\.8\.(\d)", r"https://127.0.78.\1:9", devices.read_text()))
        cluster = examples / "cluster.yaml"
        cluster.write_text(cluster.read_text().replace("mode: Active", "mode: DryRun"))

    def _make_kubevirt(self) -> None:
        """KubeVirt deployed, with a VM each in the namespaces of the pages, and a launcher that somebody owns."""
        status = {"phase": "Deployed", "observedKubeVirtVersion": "v1.7.0"}
        self.make(
            f"{KUBEVIRT}/namespaces/kubevirt/kubevirts",
            "kubevirt.io/v1",
            "KubeVirt",
            "kubevirt",
            status=status,
        )
        for namespace, name in (("shop", "db"), ("default", "database")):
            path = f"{KUBEVIRT}/namespaces/{namespace}"
            self.make(
                f"{path}/virtualmachines",
                "kubevirt.io/v1",
                "VirtualMachine",
                name,
                spec={"runStrategy": "Always"},
            )
            self.make(
                *(f"{path}/virtualmachineinstances", "kubevirt.io/v1", "VirtualMachineInstance", name),
                status={"phase": "Running", "nodeName": "node-2"},
            )

    def make_pods(self) -> None:
        """What is not made by a workload: KubeVirt's own controllers, a launcher, and the pod by whose name a controller leads."""
        bare = {"name": "main", "image": "none"}
        for namespace, name, labels, account, node in (
            ("kubevirt", "virt-api", {"kubevirt.io": "virt-api"}, "default", "n1"),
            ("kubevirt", "virt-controller", {"kubevirt.io": "virt-controller"}, "default", "n2"),
            ("shop", "virt-launcher-db", {"kubevirt.io": "virt-launcher"}, "default", "node-2"),
            (NAMESPACE, "controller-1", {}, "ringfence-controller", "n1"),
        ):
            path = f"/api/v1/namespaces/{namespace}"
            wait_for(
                f"the account of {name}",
                lambda p=path, a=account: self.server.call("GET", f"{p}/serviceaccounts/{a}").ok,
            )
            spec = {"serviceAccountName": account, "nodeName": node, "containers": [bare]}
            self.server.must(
                "POST", f"{path}/pods", {"metadata": {"name": name, "labels": labels}, "spec": spec}
            )

    def make_pod(self, name: str) -> None:
        """One of an agent that has no kubelet any more."""
        spec = {
            "serviceAccountName": "ringfence-agent",
            "nodeName": "n2",
            "containers": [{"name": "main", "image": "none"}],
        }
        self.server.must("POST", f"{OWN}/pods", {"metadata": {"name": name}, "spec": spec})

    def make(self, path: str, version: str, kind: str, name: str, **parts: Any) -> None:
        self.server.must(
            "POST", path, {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **parts}
        )

    def declare(self, plural: str, kind: str, name: str, spec: Json, namespace: str = "") -> None:
        """One of our own kinds, as an admin does."""
        within = f"namespaces/{namespace}/" if namespace else ""
        self.make(f"{RINGFENCE}/{within}{plural}", "ringfence.io/v1alpha1", kind, name, spec=spec)

    def get(self, path: str) -> Json:
        return self.server.must("GET", path)

    def there(self, path: str) -> bool:
        return self.server.call("GET", path).ok

    def items(self, path: str) -> list[Json]:
        found: list[Json] = self.server.call("GET", path).body.get("items", [])
        return found

    def ours(self, group: str, *plurals: str) -> list[Json]:
        """The objects of these kinds that bear our label."""
        label = "labelSelector=app.kubernetes.io/name%3Dringfence"
        return [one for plural in plurals for one in self.get(f"{group}/{plural}?{label}")["items"]]

    @property
    def controller(self) -> Server:
        """As the controllers' account."""
        return self.server.acting(token(self.server, "ringfence-controller"))

    def tell(self, plural: str, name: str, status: Json, namespace: str = "") -> None:
        """Part of a status, as a controller writes it."""
        within = f"namespaces/{namespace}/" if namespace else ""
        self.controller.must("PATCH", f"{RINGFENCE}/{within}{plural}/{name}/status", {"status": status})

    def incident(self, name: str, phase: str, *, held: str = "", true: tuple[str, ...] = ()) -> Json:
        """The Failover of that name anew, in that phase, with these of its conditions."""
        node = name.rsplit("-", 2)[0]
        controller, path = self.controller, f"{RINGFENCE}/failovers"
        self.server.call("DELETE", f"{path}/{name}")
        found = self.get(f"/api/v1/nodes/{node}")
        spec = {
            "node": node,
            "nodeUID": found["metadata"]["uid"],
            "bootID": found["status"]["nodeInfo"]["bootID"],
        }
        kind = {"apiVersion": "ringfence.io/v1alpha1", "kind": "Failover", "metadata": {"name": name}}
        controller.must("POST", path, {**kind, "spec": spec})
        status: Json = {
            "phase": phase,
            "sentence": f"{node} is down (3 of 3 peers)",
            "startedAt": stamp(60.0),
            "doubtedAt": stamp(61.0),
            "votes": [{"voter": "node-3", "vote": "none"}],
            "vms": [{"namespace": "shop", "name": "db", "state": "Pending"}],
            "conditions": [
                condition(one, "True" if one in true else "False", phase)
                for one in ("Proved", "Recovered", "Blocked")
            ],
        }
        if held:
            status["heldReason"] = held
        return controller.must("PATCH", f"{path}/{name}/status", {"status": status})

    def silent(self, node: str, ago: float = 60.0) -> None:
        """Its agent's Lease was last renewed so many seconds ago."""
        name = f"ringfence-agent-{node}"
        if not self.there(f"{LEASES}/{NAMESPACE}/leases/{name}"):
            self.make(f"{LEASES}/{NAMESPACE}/leases", "coordination.k8s.io/v1", "Lease", name)
        spec = {"holderIdentity": node, "renewTime": stamp(ago)}
        self.server.must("PATCH", f"{LEASES}/{NAMESPACE}/leases/{name}", {"spec": spec})

    def event(self, sentence: str) -> None:
        """One that a controller recorded."""
        event = {
            "metadata": {"generateName": "told-", "namespace": "default"},
            "involvedObject": {"kind": "Node", "name": "node-1"},
            "reason": "Down",
            "message": sentence,
            "type": "Warning",
            "action": "Judge",
            "reportingComponent": "ringfence.io/ringfence-controller",
            "reportingInstance": "controller-1",
            "eventTime": stamp(),
        }
        self.server.must("POST", "/api/v1/namespaces/default/events", event)

    @contextmanager
    def kubernetes(self) -> Iterator[None]:
        """Kubernetes' own controllers, and the nodes that run what they make."""
        command = [
            *program(binaries(), "kube-controller-manager"),
            f"--kubeconfig={self.server.kubeconfig}",
            f"--controllers={','.join(f'{name}-controller' for name in CONTROLLERS)}",
            "--leader-elect=false",
            "--secure-port=0",
        ]
        kubelets = Kubelets(self.server, self.folder, NODES, own_address())
        with running(command, self.folder / "controller-manager.log"):
            kubelets.start()
            try:
                yield
            finally:
                kubelets.end()

    @contextmanager
    def led(self) -> Iterator[None]:
        """By a real controller, which the API server finds behind the pod `controller-1`; agents report."""
        controllers, agents = Controllers(self.server, self.folder), Agents(self.server)
        controllers.start(CONTROLLER_PORT)
        agents.start()
        try:
            yield
        finally:
            agents.end()
            controllers.kill()
            print(controllers.logs()[-6000:])

    @contextmanager
    def played(self, played: Played) -> Iterator[None]:
        played.start()
        try:
            yield
        finally:
            played.end()

    @contextmanager
    def cert_manager(self) -> Iterator[None]:
        """The real one."""
        self.server.kubectl("apply", "--server-side", "-f", "-", stdin=certificates_kinds())
        for kind in CERTIFICATES:
            self.server.kubectl(
                "wait", "--for=condition=Established", "--timeout=60s", f"crd/{kind}.cert-manager.io"
            )
        found = programs(cache_root(), (CERT_MANAGER,))["certmanager"]
        with running(
            [str(found), f"--kubeconfig={self.server.kubeconfig}"], self.folder / "cert-manager.log"
        ):
            yield

    def serve_network_fences(self) -> None:
        self.server.must("POST", CRDS, network_fence())
        wait_for("NetworkFences", lambda: self.there("/apis/csiaddons.openshift.io/v1alpha1/networkfences"))
