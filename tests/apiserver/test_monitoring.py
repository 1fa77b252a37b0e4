"""What the chart makes for the Prometheus operator, before that operator's own kinds."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from apiserver.chart import CHART, NAMESPACE, OPERATOR, documents
from apiserver.programs import binaries
from apiserver.server import Json, Server, running_server, wait_for
from lab.helm import helm
from lab.prometheus_operator import crds

pytestmark = pytest.mark.apiserver

KINDS = ("PodMonitor", "PrometheusRule")
OBJECTS = f"/apis/monitoring.coreos.com/v1/namespaces/{NAMESPACE}"
VALUES: dict[str, tuple[str, ...]] = {
    "as it stands": (),
    "found by their labels": ("monitoring.labels.release=prometheus", "alerts.labels.release=prometheus"),
    "scraped each second": ("monitoring.intervalSeconds=1",),
    "scraped each five minutes": ("monitoring.intervalSeconds=300",),
    "with runbooks of one's own": (
        "alerts.runbooks=https://wiki.example/ha",
        "alerts.proofMaxAgeSeconds=3600",
    ),
    "with the board of somebody's own label": ('monitoring.boardLabels={"grafana":"yes"}',),
}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A cluster's API with the Prometheus operator's kinds and ours."""
    with running_server(binaries(), tmp_path_factory.mktemp("watched")) as server:
        for path in crds():
            server.kubectl("apply", "--server-side", "-f", str(path))
            server.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(path))
        server.must("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        wait_for("the nodes' Leases", lambda: server.call("GET", "/api/v1/namespaces/kube-node-lease").ok)
        yield server


def for_the_operator(*settings: str) -> list[Json]:
    return [each for each in documents(*settings, more=OPERATOR) if each["kind"] in KINDS]


def dry_run(server: Server, objects: list[Json]) -> str:
    return server.kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-",
        stdin=yaml.safe_dump_all(objects), ok=False,
    )  # fmt: skip


@pytest.mark.parametrize("values", VALUES)
def test_the_operators_kinds_take_what_helm_renders(watched: Server, values: str) -> None:
    said = dry_run(watched, for_the_operator(*VALUES[values]))
    assert "rror" not in said, said
    assert "arning" not in said, said
    assert said.count("serverside-applied") == 3, said


@pytest.mark.parametrize(
    ("path", "wrong", "words"),
    [
        (("podMetricsEndpoints", 0, "interval"), "15 seconds", "interval"),
        (("podMetricsEndpoints", 0, "relabelings", 0, "sourceLabel"), "x", "field not declared in schema"),
        (("groups", 0, "rules", 0, "for"), "soon", "for"),
        (("groups", 0, "rules", 0, "severity"), "critical", "field not declared in schema"),
    ],
)
def test_they_are_the_real_kinds_and_refuse_what_is_wrong(
    watched: Server, path: tuple[str | int, ...], wrong: str, words: str
) -> None:
    """Else the test above would say nothing."""
    kind = "PodMonitor" if path[0] == "podMetricsEndpoints" else "PrometheusRule"
    found = next(each for each in for_the_operator() if each["kind"] == kind)
    at = found["spec"]
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = wrong
    said = dry_run(watched, [found])
    assert words in said, said
    assert "serverside-applied" not in said


def test_a_cluster_that_has_them_gets_them_unasked(watched: Server) -> None:
    """`auto`: helm asks the API server what it serves."""
    words = [
        "install",
        "ringfence",
        str(CHART),
        "--namespace",
        NAMESPACE,
        "--kubeconfig",
        str(watched.kubeconfig),
    ]
    done = subprocess.run([str(helm()), *words], text=True, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr

    def names(kind: str) -> list[str]:
        # A kind's first list may be refused: "storage is (re)initializing".
        said = wait_for(kind, lambda: (said := watched.call("GET", f"{OBJECTS}/{kind}")).ok and said)
        return sorted(each["metadata"]["name"] for each in said.body["items"])

    assert {kind: names(kind) for kind in ("podmonitors", "prometheusrules", "servicemonitors")} == {
        "podmonitors": ["ringfence-agent", "ringfence-controller"],
        "prometheusrules": ["ringfence"],
        "servicemonitors": [],
    }
    rules = watched.must("GET", f"{OBJECTS}/prometheusrules/ringfence")["spec"]
    plain = Path(CHART / "files" / "alerts.yaml").read_text(encoding="utf-8")
    assert rules == yaml.safe_load(plain), "nothing of it was dropped or filled in"
