"""What is left when it is taken away, as far as an API server without nodes can show it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.chart import CHART, NAMESPACE, run_helm, token
from apiserver.programs import binaries
from apiserver.server import Server, listed, running_server, wait_for

pytestmark = pytest.mark.apiserver

ROOT = CHART.parents[1]
OWN = "/apis/ringfence.io/v1alpha1"
NOT_OURS = frozenset({"events", "leases", "apiservices", "componentstatuses", "endpointslices", "bindings"})
"""What an API server writes for itself while we look."""
OF_ITSELF = ("kube-node-lease", "default/services/kubernetes")
"""What it makes once, a moment after it is ready."""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(binaries(), tmp_path_factory.mktemp("uninstall")) as server:
        wait_for(
            "all that an API server makes by itself",
            lambda: all(server.call("GET", f"/api/v1/namespaces/{path}").ok for path in OF_ITSELF),
        )
        server.must("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        yield server


def inventory(server: Server) -> set[str]:
    """The path of every object that the API server has."""
    groups = ["/api/v1"] + [
        f"/apis/{group['preferredVersion']['groupVersion']}"
        for group in server.must("GET", "/apis")["groups"]
    ]
    found = set()
    for base in groups:
        for kind in server.must("GET", base)["resources"]:
            if "list" in kind["verbs"] and kind["name"] not in NOT_OURS:
                names: list[Any] = [each["metadata"] for each in listed(server, f"{base}/{kind['name']}")]
                found |= {
                    f"{base}/{kind['name']}/{name.get('namespace', '')}/{name['name']}" for name in names
                }
    return found


def webhooks_trust(server: Server) -> tuple[str, str]:
    """The certificate that controllers have, and what the API server trusts."""
    secret = server.must("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/ringfence-webhook")
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/ringfence"
    (webhook,) = server.must("GET", path)["webhooks"]
    return str(secret["data"]["tls.crt"]), str(webhook["clientConfig"]["caBundle"])


def apply_kinds(server: Server) -> None:
    server.kubectl("apply", "-f", str(ROOT / "crds"))
    server.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds"))
    # A kind that is deleted before it has been listed once stays Terminating for five minutes: the API server's finalizer
    # gives up at "storage is (re)initializing" until its next resync (operator-framework/operator-controller#1437).
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        for kind in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            listed(server, f"{OWN}/{kind['spec']['names']['plural']}")


def test_installed_and_uninstalled_leaves_the_kinds_and_nothing_else(fresh: Server) -> None:
    before = inventory(fresh)
    run_helm(fresh, "install", "ringfence", str(CHART))
    installed = inventory(fresh)
    assert len(installed - before) > 30
    made = webhooks_trust(fresh)
    run_helm(fresh, "upgrade", "ringfence", str(CHART), "--set", "controller.logLevel=DEBUG")
    assert webhooks_trust(fresh) == made, "the certificate is made once"
    # The Job that asks first needs a node to run on: it has its own tests (doctor).
    run_helm(fresh, "uninstall", "ringfence", "--no-hooks", "--wait")
    left = inventory(fresh) - before
    assert {path.split("/")[4] for path in left} == {"customresourcedefinitions"}
    assert all(path.endswith(".ringfence.io") for path in left)
    fresh.kubectl("delete", "-f", str(ROOT / "crds"), "--timeout=60s")
    assert inventory(fresh) == before


def test_kinds_go_with_an_open_failover_and_nothing_hangs(fresh: Server) -> None:
    apply_kinds(fresh)
    spec = {"node": "n1", "nodeUID": "u1", "bootID": "b1"}
    failover = {"apiVersion": "ringfence.io/v1alpha1", "kind": "Failover", "metadata": {"name": "n1-b1"}}
    fresh.must("POST", f"{OWN}/failovers", failover | {"spec": spec})
    fresh.must("PATCH", f"{OWN}/failovers/n1-b1/status", {"status": {"phase": "Fencing"}})
    fresh.kubectl("delete", "-f", str(ROOT / "crds"), "--timeout=60s")
    assert not fresh.call("GET", f"{OWN}/failovers").ok


def test_an_agent_may_still_sign_off_while_helm_takes_everything_away(fresh: Server) -> None:
    """`helm uninstall --no-hooks` with watchdogs on: its account, its rights and its own report outlast the release."""
    fresh.kubectl("delete", "-f", str(ROOT / "crds"), "--ignore-not-found", "--timeout=60s")
    before = inventory(fresh)
    run_helm(fresh, "install", "ringfence", str(CHART), "--set", "agent.watchdog.enabled=true")
    fresh.must("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    agent = fresh.acting(token(fresh, "ringfence-agent", pod="agent-1", node="n1"))
    report = {"apiVersion": "ringfence.io/v1alpha1", "kind": "NodeReport", "metadata": {"name": "n1"}}
    wait_for("its rights to be in force", lambda: agent.call("POST", f"{OWN}/nodereports", report).ok)
    run_helm(fresh, "uninstall", "ringfence", "--no-hooks", "--wait")
    left = {path.rsplit("/", 3)[1] + " " + path.rpartition("/")[2] for path in inventory(fresh) - before}
    kept = {each for each in left if "ringfence-agent" in each}
    assert len(kept) == 5, kept
    watchdog = {"armed": False, "reason": "the agent has signed off"}
    said = agent.call("PATCH", f"{OWN}/nodereports/n1/status", {"status": {"watchdog": watchdog}})
    assert said.ok, said.message
    for kind in ("clusterrole", "clusterrolebinding"):
        fresh.kubectl("delete", kind, "ringfence-agent")
    for kind in ("role", "rolebinding", "serviceaccount"):
        fresh.kubectl("-n", NAMESPACE, "delete", kind, "ringfence-agent")


def test_nothing_of_ours_has_a_finalizer() -> None:
    """So a CRD, a namespace or a node can always go, whoever is gone before."""
    sources: list[Path] = [*(ROOT / "operator").rglob("*.py"), *(ROOT / "charts").rglob("*.yaml")]
    written = [path.name for path in sources if "finalizers" in path.read_text(encoding="utf-8")]
    assert written == ["meta.py"], "the field is read there, and written nowhere"
