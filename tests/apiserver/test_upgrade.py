"""From one release to the next and back, on a real API server: helm's own upgrade, and processes of both releases beside each other.

Real controllers and agents of an earlier commit (`lab/earlier.py`) and of this one. Kubelets are played; what a node's death makes of
it is the lab's to show (`e2e/test_helm_upgrade.py`). Needs a clone that reaches back to that commit.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiserver.agents import AgentPod
from apiserver.chart import CHART, NAMESPACE, run_helm
from apiserver.controllers import NODES, RINGFENCE, Controllers, populate
from apiserver.installed import ROOT, apply_kinds, free_port, install_by_helm, install_kubevirts_kinds
from apiserver.programs import binaries
from apiserver.server import Json, Server, listed, running_server, wait_for
from lab import earlier
from lab.build import cache_root
from ringfence.api.v1alpha1 import KINDS

pytestmark = [pytest.mark.apiserver, pytest.mark.more]

OWN = f"/api/v1/namespaces/{NAMESPACE}"
BOUND = 90.0


@pytest.fixture(scope="module")
def before() -> Path:
    return earlier.tree(cache_root())


@pytest.fixture(scope="module")
def released(before: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A cluster with the earlier release and its examples, installed as its users did."""
    with running_server(binaries(), tmp_path_factory.mktemp("released")) as server:
        install_kubevirts_kinds(server)
        install_by_helm(server, before)
        populate(server)
        server.kubectl("apply", "-f", str(before / "docs/examples"))
        yield server


def objects(server: Server) -> dict[str, Json]:
    """Every object of ours, by its path."""
    found = {}
    for kind in KINDS:
        for one in listed(server, f"{RINGFENCE}/{kind.names.plural}"):
            meta = one["metadata"]
            place = f"namespaces/{meta['namespace']}/" if "namespace" in meta else ""
            found[f"{RINGFENCE}/{place}{kind.names.plural}/{meta['name']}"] = one
    return found


def leads(server: Server) -> str:
    lease = server.call(
        "GET", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/ringfence-controller"
    )
    return str(lease.body["spec"].get("holderIdentity", "")) if lease.ok else ""


def takes_rosters(server: Server, pod: AgentPod, zone: str) -> None:
    """What the agent keeps on its node's disk it has taken for true."""
    labels = {"topology.kubernetes.io/zone": zone}
    server.must("PATCH", "/api/v1/nodes/n1", {"metadata": {"labels": labels}})
    wait_for(f"{pod.node} takes the roster of zone {zone}", lambda: zone in pod.zones(), BOUND)


def hear_each_other(port: int) -> None:
    """As the agents themselves tell the controller at this port; a verdict of it stands behind each node."""

    def heard() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/members", timeout=10) as answer:
            rows = {row["name"]: row for row in json.load(answer)["members"]}
        peers = dict(zip(NODES, reversed(NODES), strict=True))
        return rows.keys() == peers.keys() and all(
            rows[node]["states"].get(peer) == "alive" and rows[node]["healthy"]
            for node, peer in peers.items()
        )

    wait_for("both agents to hear each other", heard, BOUND)


def test_releases_work_beside_each_other_and_back(released: Server, before: Path, tmp_path: Path) -> None:
    server = released
    former = Controllers(server, tmp_path, name="former", source=before)
    latter = Controllers(server, tmp_path, name="latter")
    agents = {
        node: AgentPod(server, tmp_path, node, f"127.0.78.{number}", free_port(), source=before)
        for number, node in enumerate(NODES, start=1)
    }
    former.start()
    try:
        wait_for("the keys", lambda: server.call("GET", f"{OWN}/secrets/ringfence-group-keys").ok, BOUND)
        for pod in agents.values():
            pod.start()
        for node, zone in zip(NODES, "ab", strict=True):
            takes_rosters(server, agents[node], zone)
        keys = server.must("GET", f"{OWN}/secrets/ringfence-gossip")["data"]

        apply_kinds(server)
        for path, one in objects(server).items():
            again = server.call("PUT", f"{path}?dryRun=All&fieldValidation=Strict", one)
            assert again.ok, f"{path}: {again.message}"
        run_helm(server, "upgrade", "ringfence", str(CHART), "--reset-then-reuse-values")

        # One controller at a time: the new one stands by, reads what agents of the former release say, and leads when that ends.
        latter.start(port := free_port())
        wait_for("it to be ready", lambda: ready(port), BOUND)
        hear_each_other(port)
        assert leads(server) == "former-1"
        former.kill()
        wait_for("it to lead", lambda: leads(server) == "latter-1", BOUND)
        for node, zone in zip(NODES, "cd", strict=True):
            takes_rosters(server, agents[node], zone)
        # One agent at a time.
        for node, zone in zip(NODES, "ef", strict=True):
            agents[node].end()
            agents[node].source = ROOT
            agents[node].start()
            takes_rosters(server, agents[node], zone)
            hear_each_other(port)

        run_helm(server, "rollback", "ringfence", "1")
        latter.kill()
        former.start(back := free_port())
        wait_for("the former release to lead again", lambda: leads(server) == "former-2", BOUND)
        for node, zone in zip(NODES, "gh", strict=True):
            takes_rosters(server, agents[node], zone)
        hear_each_other(back)
        agents["n1"].end()
        agents["n1"].source = before
        agents["n1"].start()
        takes_rosters(server, agents["n1"], "i")
        hear_each_other(back)

        assert server.must("GET", f"{OWN}/secrets/ringfence-gossip")["data"] == keys
        assert server.must("GET", f"{RINGFENCE}/failovers")["items"] == []
    finally:
        for pod in agents.values():
            pod.end()
            print(pod.log()[-3000:])
        for controllers in (former, latter):
            controllers.kill()
            print(controllers.logs()[-6000:])


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
