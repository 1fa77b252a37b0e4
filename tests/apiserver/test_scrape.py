"""What a real Prometheus has of real agents and a real controller, and what board and alerts ask it for.

Two agents and a controller before a real API server; a Prometheus scrapes them as the chart's PodMonitors would, with the chart's
rules. Every series that a panel or a rule names has to be there, with the labels that it uses.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.agents import AgentPod
from apiserver.chart import CHART, NAMESPACE
from apiserver.controllers import NODES, RINGFENCE, Controllers, running_cluster
from apiserver.server import Json, Server, running, wait_for
from lab.promtool import prometheus
from publish.board import ROWS

pytestmark = pytest.mark.apiserver

BOUND = 90.0
SINCE_AN_INCIDENT = frozenset(
    {
        "ringfence_agent_network_state",
        "ringfence_failover_step_seconds_bucket",
    }
)
"""Series that come with a failover or a further network, and aren't played here: that they are *declared* by what is
scraped is held, their labels are held to the code by `tests/unit/publish/test_board.py`."""
OF_THE_SCRAPE = {"instance", "le"}


def asked() -> Iterator[tuple[str, str, str]]:
    """Every query of board and alerts: where it stands, the query, its legend."""
    for title, panels in ROWS:
        for panel in panels:
            for query in panel.queries:
                plain = query.expr.replace("$__rate_interval", "1m").replace("$agent", ".*")
                yield f"{title} {panel.title}", plain, query.legend
    for group in yaml.safe_load((CHART / "files" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"], rule["annotations"]["summary"]


QUERIES = list(asked())


def series_of(expr: str) -> dict[str, set[str]]:
    """The series of a query with the labels by which it selects them."""
    found: dict[str, set[str]] = {}
    for name, matchers in re.findall(r"(ringfence_\w+)(?:\{([^}]*)\})?", expr):
        found.setdefault(name, set()).update(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers))
    return found


@dataclass
class Watched:
    """The Prometheus, and what it watches."""

    url: str
    agents: dict[str, AgentPod]

    def get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(
            f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=20
        ) as answer:
            return json.load(answer)["data"]

    def ask(self, expr: str) -> list[Json]:
        found: list[Json] = self.get("/api/v1/query", query=expr)["result"]
        return found

    def declared(self) -> set[str]:
        return set(self.get("/api/v1/metadata"))


def free_port(address: str) -> int:
    with socket.create_server((address, 0)) as listening:
        return int(listening.getsockname()[1])


def declare(server: Server) -> None:
    """A zone of two nodes, a BMC that nobody answers at, on record with a drill."""
    kind = {"apiVersion": "ringfence.io/v1alpha1"}
    redfish = {"address": "https://127.0.78.9", "secretRef": {"name": "bmc"}}
    spec: Json = {"driver": "redfish", "nodes": ["n1"], "redfish": redfish}
    device = kind | {"kind": "FenceDevice", "metadata": {"name": "bmc-n1"}, "spec": spec}
    server.must("POST", f"{RINGFENCE}/fencedevices", device)
    drilled = {"drills": [{"node": "n1", "outlet": "10.0.0.9", "passedAt": "2026-01-01T00:00:00Z"}]}
    server.must("PATCH", f"{RINGFENCE}/fencedevices/bmc-n1/status", {"status": drilled})
    fencing = {"levels": [{"devices": ["bmc-n1"]}]}
    zone = kind | {"kind": "HAZone", "metadata": {"name": "a"}}
    server.must(
        "POST", f"{RINGFENCE}/hazones", zone | {"spec": {"nodes": {"names": list(NODES)}, "fencing": fencing}}
    )


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("scrape")
    with running_cluster(tmp_path_factory.mktemp("cluster")) as server:
        declare(server)
        controllers = Controllers(server, folder)
        port = free_port("127.0.0.1")
        controllers.start(metrics_port=port)
        agents: dict[str, AgentPod] = {}
        try:
            keys = f"/api/v1/namespaces/{NAMESPACE}/secrets/ringfence-group-keys"
            wait_for("the keys", lambda: server.call("GET", keys).ok, BOUND)
            for number, node in enumerate(NODES, start=1):
                address = f"127.0.78.{number}"
                agents[node] = AgentPod(server, folder, node, address, free_port(address))
                agents[node].start()
            places = {"controller-1": f"127.0.0.1:{port}"} | {
                node: urllib.parse.urlsplit(agent.metrics).netloc for node, agent in agents.items()
            }
            with scraping(folder, places) as url:
                yield provoked(Watched(url, agents))
        finally:
            for agent in agents.values():
                agent.end()
            controllers.kill()
            print(controllers.logs()[-4000:], *(agent.log()[-2000:] for agent in agents.values()))


@contextmanager
def scraping(folder: Path, places: dict[str, str]) -> Iterator[str]:
    """A Prometheus of these places, each under the instance that a PodMonitor of the chart would give it; its address."""
    targets = [{"targets": [place], "labels": {"instance": name}} for name, place in places.items()]
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "2s"},
        "rule_files": [str(CHART / "files" / "alerts.yaml")],
        "scrape_configs": [{"job_name": "ringfence", "static_configs": targets}],
    }
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config))
    port = free_port("127.0.0.1")
    command = [str(prometheus()), f"--config.file={path}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with running([*command, f"--web.listen-address=127.0.0.1:{port}"], folder / "prometheus.log"):
        url = f"http://127.0.0.1:{port}"
        wait_for("Prometheus", lambda: _answers(f"{url}/-/ready"), BOUND)
        yield url


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def provoked(watched: Watched) -> Watched:
    """What is there only after something has happened: a datagram of a stranger, a node that is doubted."""
    wait_for(
        "both agents in the ring",
        lambda: len(watched.ask('ringfence_agent_peer_state{state="alive"}')) == 2,
        BOUND,
    )
    wait_for("the streams", lambda: watched.ask("ringfence_agent_streams > 0"), BOUND)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"garbage" * 20, (watched.agents["n1"].address, 7947))
    wait_for("a refusal", lambda: watched.ask("ringfence_agent_drops_total"), BOUND)
    gone = watched.agents["n2"]
    assert gone.running is not None
    gone.running.send_signal(signal.SIGKILL)
    gone.running.wait()
    gone.running = None
    wait_for("a doubt", lambda: watched.ask('ringfence_node_verdict{node="n2",verdict!="Healthy"}'), BOUND)
    wait_for("a vote", lambda: watched.ask("ringfence_agent_votes_total"), BOUND)
    gone.start()
    wait_for("n2 is back", lambda: watched.ask('ringfence_node_verdict{node="n2",verdict="Healthy"}'), BOUND)
    return watched


@pytest.mark.parametrize(("where", "expr", "legend"), QUERIES, ids=[where for where, *_ in QUERIES])
def test_every_series_of_a_query_is_there_with_the_labels_that_it_uses(
    watched: Watched, where: str, expr: str, legend: str
) -> None:
    used = series_of(expr)
    assert used, where
    by = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expr) for label in group.split(",")}
    shown = set(re.findall(r"\{\{ ?\$?(?:labels\.)?(\w+)", legend)) - {"value"}
    declared = watched.declared()
    for name, matched in used.items():
        family = re.sub(r"_(?:bucket|total)$", "", name)
        assert {name, family} & declared, f"{where}: nothing that is scraped declares {name}"
        if name not in SINCE_AN_INCIDENT:
            labels = [set(one["metric"]) for one in watched.ask(f"last_over_time({name}[10m])")]
            assert labels, f"{where}: no series {name}"
            for each in labels:
                assert matched <= each, f"{where}: {name} has {each}"
    if not used.keys() & SINCE_AN_INCIDENT:
        had = set().union(
            *(one["metric"] for name in used for one in watched.ask(f"last_over_time({name}[10m])"))
        )
        assert by | shown <= had | OF_THE_SCRAPE, f"{where}: {had}"
    watched.ask(expr)


def test_nothing_that_is_left_out_is_there_after_all(watched: Watched) -> None:
    """Else it belongs to what is held above."""
    for name in SINCE_AN_INCIDENT:
        assert not watched.ask(f"last_over_time({name}[10m])"), name


def test_every_rule_is_evaluated_without_an_error(watched: Watched) -> None:
    def rules() -> list[Json]:
        found = [rule for group in watched.get("/api/v1/rules")["groups"] for rule in group["rules"]]
        return found if all(rule["health"] != "unknown" for rule in found) else []

    evaluated = wait_for("all rules to have been evaluated", rules, BOUND)
    assert {rule["health"] for rule in evaluated} == {"ok"}
    assert len(evaluated) == len([one for one in QUERIES if one[0].startswith("Ringfence")])


def test_what_is_scraped_bears_the_names_of_nodes_and_pods(watched: Watched) -> None:
    def instances(series: str) -> set[str]:
        # An agent that has just started again may have missed the last scrape.
        return {one["metric"]["instance"] for one in watched.ask(f"last_over_time({series}[10m])")}

    assert instances("ringfence_agent_info") == set(NODES)
    assert instances("ringfence_leader") == {"controller-1"}
