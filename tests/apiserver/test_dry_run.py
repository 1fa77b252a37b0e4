"""`ringfence dry-run` and `explain` before a real API server and a real controller, which is asked by the API server's own proxy.

Nobody plays the agents, so no node can be found Down here: that is an answer, too. What a cluster with agents says is tested in the loop's rig.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from apiserver.chart import NAMESPACE
from apiserver.controllers import RINGFENCE, Controllers, ringfence, running_cluster
from apiserver.server import Json, Server, own_address, wait_for
from ringfence.kube.kubeconfig import CONTROLLER_PORT

pytestmark = pytest.mark.apiserver

KUBEVIRT = "/apis/kubevirt.io/v1/namespaces/shop"
BOUND = 120.0


def make(server: Server, path: str, kind: str, name: str, **parts: Any) -> None:
    group = "kubevirt.io/v1" if "kubevirt" in path else "ringfence.io/v1alpha1"
    server.must("POST", path, {"apiVersion": group, "kind": kind, "metadata": {"name": name}, **parts})


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a zone, a protected VM that runs on n1, and one beside it that nobody protects."""
    with running_cluster(tmp_path_factory.mktemp("dry-run")) as server:
        server.must("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
        levels = [{"devices": ["bmc-n1"]}]
        make(
            *(server, f"{RINGFENCE}/hazones", "HAZone", "a"),
            spec={"nodes": {"names": ["n1", "n2"]}, "fencing": {"levels": levels}},
        )
        for vm in ("db", "loose"):
            make(server, f"{KUBEVIRT}/virtualmachines", "VirtualMachine", vm, spec={"runStrategy": "Always"})
            status = {"phase": "Running", "nodeName": "n1"}
            make(server, f"{KUBEVIRT}/virtualmachineinstances", "VirtualMachineInstance", vm, status=status)
        pvms = f"{RINGFENCE}/namespaces/shop/protectedvms"
        make(server, pvms, "ProtectedVM", "db", spec={"vm": {"name": "db"}})
        yield server


@pytest.fixture(scope="module")
def led(cluster: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Led by a controller whose pod the API server believes to be at this machine's address."""
    controllers = Controllers(cluster, tmp_path_factory.mktemp("controller"))
    controllers.start(CONTROLLER_PORT)
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    spec = {
        "serviceAccountName": "ringfence-controller",
        "nodeName": "n2",
        "containers": [{"name": "main", "image": "none"}],
    }
    cluster.must("POST", pods, {"metadata": {"name": "controller-1"}, "spec": spec})
    address = own_address()
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    cluster.must("PATCH", f"{pods}/controller-1/status", {"status": status})

    def protected() -> bool:
        body = cluster.must("GET", f"{RINGFENCE}/namespaces/shop/protectedvms/db")
        return bool(body.get("status", {}).get("conditions"))

    try:
        wait_for("the leader's first look at the VM", protected, BOUND)
        yield cluster
    finally:
        controllers.kill()
        print(controllers.logs()[-6000:])


def written(server: Server) -> list[Json]:
    """All that a failover writes."""
    failovers = server.must("GET", f"{RINGFENCE}/failovers")["items"]
    nodes = server.must("GET", "/api/v1/nodes")["items"]
    return [*failovers, *({"taints": node["spec"].get("taints")} for node in nodes)]


def test_the_acting_controller_says_what_it_would_decide(led: Server) -> None:
    before = written(led)
    said = ringfence(led, "dry-run", "--kill", "n1", "-o", "json")
    assert said.returncode == 7, said.stderr
    assert written(led) == before
    told = json.loads(said.stdout)
    assert (told["supposedDown"], told["controller"], told["mode"]) == (["n1"], "controller-1", "Active")
    (node,) = told["nodes"]
    assert node["outcome"].startswith("n1 would not be held for dead: ")
    assert "no vote stands behind it" in node["outcome"]
    assert "not_settled" in {one["limit"] for one in node["refusals"]}
    assert [(vm["namespace"], vm["name"], vm["protected"]) for vm in node["vms"]] == [("shop", "db", "False")]
    assert node["left"] == [{"namespace": "shop", "name": "loose", "reason": "no ProtectedVM names it"}]
    as_text = ringfence(led, "dry-run", "--kill", "n1")
    assert as_text.returncode == 7
    assert as_text.stdout.splitlines()[-1] == node["outcome"]


def test_both_at_once_and_one_that_is_not_there(led: Server) -> None:
    both = json.loads(ringfence(led, "dry-run", "--kill", "n1", "--kill", "n2", "-o", "json").stdout)
    assert [node["node"] for node in both["nodes"]] == ["n1", "n2"]
    missing = ringfence(led, "dry-run", "--kill", "n9")
    assert (missing.returncode, missing.stderr) == (4, "ringfence: no node n9: Kubernetes doesn't know it\n")


def test_who_may_not_ask_is_told_so(led: Server) -> None:
    refused = ringfence(led, "dry-run", "--kill", "n1", "--as", "somebody")
    assert refused.returncode == 5
    assert 'User "somebody" cannot get resource "leases"' in refused.stderr


def test_explain_tells_of_a_real_vm(led: Server) -> None:
    told = json.loads(ringfence(led, "explain", "vm/db", "-n", "shop", "-o", "json").stdout)
    assert (told["runStrategy"], told["protectedBy"], told["protected"]) == ("Always", "db", "False")
    assert told["node"]["name"] == "n1"
    assert told["waitsFor"].startswith("Protected=True, and it is ")
    loose = ringfence(led, "explain", "shop/loose")
    assert loose.returncode == 0
    assert "by nobody: there is no ProtectedVM that names it" in loose.stdout
    assert ringfence(led, "explain", "node/n1").returncode == 0
    nowhere = ringfence(led, "explain", "vm/db")
    assert nowhere.returncode == 4
    assert "there is one in shop" in nowhere.stderr


def test_nobody_leads(cluster: Server) -> None:
    said = ringfence(cluster, "dry-run", "--kill", "n1", "--release-namespace", "default")
    assert said.returncode == 4
    assert 'leases.coordination.k8s.io "ringfence-controller" not found' in said.stderr
