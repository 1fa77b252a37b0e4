"""The agent's API client against a small HTTP server that answers as an API server does."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ringfence.kube.node_api import Access, AgentLease, ApiError, LeaseState, NodeApi

ROSTER = {"metadata": {"name": "ringfence-roster", "resourceVersion": "5"}, "data": {"roster.json": "one"}}


class FakeApi(BaseHTTPRequestHandler):
    """Objects by path; a PUT needs the present resourceVersion."""

    objects: dict[str, dict[str, Any]]
    seen: list[str]

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        self.seen.append(f"GET {path}")
        if "watch=true" in query:
            event = {"type": "MODIFIED", "object": {**ROSTER, "data": {"roster.json": "two"}}}
            self._answer(200, json.dumps(event).encode() + b"\n")
        elif path.endswith("/configmaps"):
            self._answer(200, json.dumps({"metadata": {"resourceVersion": "5"}, "items": [ROSTER]}).encode())
        elif path in self.objects:
            self._answer(200, json.dumps(self.objects[path]).encode())
        else:
            self._answer(404, b'{"message": "not found"}')

    def do_POST(self) -> None:
        body = self._body()
        path = f"{self.path}/{body['metadata']['name']}"
        body["metadata"]["resourceVersion"] = "1"
        self.objects[path] = body
        self._answer(201, json.dumps(body).encode())

    def do_PUT(self) -> None:
        body, known = self._body(), self.objects.get(self.path)
        if known is None:
            self._answer(404, b"{}")
        elif known["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            self._answer(409, b'{"message": "conflict"}')
        else:
            body["metadata"]["resourceVersion"] = str(int(known["metadata"]["resourceVersion"]) + 1)
            self.objects[self.path] = body
            self._answer(200, json.dumps(body).encode())

    def do_PATCH(self) -> None:
        body, path = self._body(), self.path.removesuffix("/status")
        if path not in self.objects:
            self._answer(404, b'{"message": "not found"}')
            return
        stored = self.objects[path]
        version = stored["metadata"]["resourceVersion"]
        if body.pop("metadata", {}).get("resourceVersion", version) != version:
            self._answer(409, b'{"message": "conflict"}')
            return
        stored.update(body)
        stored["metadata"]["resourceVersion"] = str(int(version) + 1)
        self._answer(200, json.dumps(self.objects[path]).encode())

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return body

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (http.server's name)
        pass


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.handler = type("Handler", (FakeApi,), {"objects": {}, "seen": []})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        claims = base64.urlsafe_b64encode(
            json.dumps({"kubernetes.io": {"node": {"uid": "u-1"}}}).encode()
        ).decode()
        (folder / "token").write_text(f"head.{claims.rstrip('=')}.signature")
        self.access = Access(
            f"http://127.0.0.1:{self.server.server_port}", folder / "token", folder / "ca.crt"
        )
        self.api = NodeApi(self.access, "ns")

    @property
    def objects(self) -> dict[str, dict[str, Any]]:
        objects: dict[str, dict[str, Any]] = vars(self.handler)["objects"]
        return objects

    def close(self) -> None:
        self.api.close()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


LEASE = "/apis/coordination.k8s.io/v1/namespaces/ns/leases/ringfence-agent-n1"


def test_the_roster_comes_at_once_and_with_each_change(cluster: Cluster) -> None:
    assert list(cluster.api.watch_roster()) == ["one", "two"]


def test_a_report_makes_its_object_when_there_is_none(cluster: Cluster) -> None:
    cluster.api.report("n1", {"bootID": "b"})
    stored = cluster.objects["/apis/ringfence.io/v1alpha1/nodereports/n1"]
    assert stored["status"]["bootID"] == "b"
    assert stored["status"]["updatedAt"].endswith("Z")


def test_a_lease_is_taken_renewed_and_lost_for_good_when_revoked(cluster: Cluster) -> None:
    lease = AgentLease(cluster.api, "n1", "u-1/b")
    assert lease.renew() is LeaseState.HELD
    assert lease.renew() is LeaseState.HELD
    stored = cluster.objects[LEASE]
    assert stored["spec"]["holderIdentity"] == "u-1/b"
    stored["spec"]["holderIdentity"] = ""
    stored["metadata"]["resourceVersion"] = "77"
    assert lease.renew() is LeaseState.LOST
    stored["spec"]["holderIdentity"] = "u-1/b"
    assert lease.renew() is LeaseState.LOST


def test_a_later_process_of_the_boot_does_not_take_a_revoked_lease_back(cluster: Cluster) -> None:
    AgentLease(cluster.api, "n1", "u-1/b").renew()
    cluster.objects[LEASE]["spec"]["holderIdentity"] = "revoked/u-1/b"
    later = AgentLease(cluster.api, "n1", "u-1/b")
    assert later.renew() is LeaseState.LOST
    assert later.renew() is LeaseState.LOST
    assert cluster.objects[LEASE]["spec"]["holderIdentity"] == "revoked/u-1/b"
    assert AgentLease(cluster.api, "n1", "u-1/c").renew() is LeaseState.HELD, "the next boot takes it afresh"


def test_a_report_is_written_over_what_was_known_only(cluster: Cluster) -> None:
    version = cluster.api.report("n1", {"watchdog": {"armed": True}})
    stored = cluster.objects["/apis/ringfence.io/v1alpha1/nodereports/n1"]
    later = cluster.api.report("n1", {"watchdog": {"armed": False}}, version)
    with pytest.raises(ApiError) as refused:
        cluster.api.report("n1", {"watchdog": {"armed": True}}, version)
    assert refused.value.status == 409
    assert stored["status"]["watchdog"] == {"armed": False}
    assert later != version


def test_a_write_by_others_that_leaves_the_holder_costs_nothing(cluster: Cluster) -> None:
    lease = AgentLease(cluster.api, "n1", "u-1/b")
    lease.renew()
    assert not lease.contested
    cluster.objects[LEASE]["metadata"]["resourceVersion"] = "77"
    assert lease.renew() is LeaseState.HELD
    assert lease.contested, "a store that was set back looks like that too"


def test_a_dead_server_is_an_api_error(tmp_path: Path, cluster: Cluster) -> None:
    gone = NodeApi(Access("http://127.0.0.1:1", cluster.access.token_path, tmp_path / "ca.crt"), "ns")
    with pytest.raises(ApiError):
        list(gone.watch_roster())
    gone.close()


def test_the_token_names_its_node(cluster: Cluster, tmp_path: Path) -> None:
    assert cluster.access.node_uid() == "u-1"
    assert Access("http://x", tmp_path / "none", tmp_path / "ca.crt").node_uid() is None
    assert Access.in_cluster({}) is None
    found = Access.in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"})
    assert found is not None
    assert found.server == "https://[fd00::1]:6443"
