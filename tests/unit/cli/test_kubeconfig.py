"""The real reader against a server that answers what it is told to and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from ringfence.kube.access import Access
from ringfence.kube.kubeconfig import KubeconfigError, KubeconfigReader
from ringfence.ports import ClusterError, Conflict, Forbidden, NotFound, Refused, Unavailable

BASE = "/apis/ringfence.io/v1alpha1"


@dataclass
class Server:
    answers: dict[str, tuple[int, object]] = field(default_factory=dict)
    asked: list[tuple[str, str, str, object]] = field(default_factory=list)
    """Method, path, content type, body."""


@contextmanager
def serving(server: Server) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body: object = json.loads(self.rfile.read(length)) if length else None
            path = unquote(self.path.partition("?")[0])
            server.asked.append((self.command, path, self.headers.get("Content-Type") or "", body))
            status, content = server.answers.get(path, (404, {"message": f"no {path}"}))
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def kubeconfig(folder: Path, url: str) -> str:
    file = folder / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "lab",
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "alice"}}],
                "clusters": [{"name": "lab", "cluster": {"server": url}}],
                "users": [{"name": "alice", "user": {"token": "t"}}],
            }
        )
    )
    return str(file)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def reader(server: Server, tmp_path: Path) -> Iterator[KubeconfigReader]:
    with serving(server) as url:
        yield KubeconfigReader(Access(kubeconfig(tmp_path, url)))


def test_lists(server: Server, reader: KubeconfigReader) -> None:
    server.answers[f"{BASE}/failovers"] = (200, {"items": [{"metadata": {"name": "f"}}]})
    server.answers[f"{BASE}/namespaces/shop/protectedvms"] = (200, {"items": []})
    server.answers["/api/v1/nodes"] = (200, {"items": [{"metadata": {"name": "n1"}}]})
    assert reader.list_objects("failovers") == ({"metadata": {"name": "f"}},)
    assert reader.list_objects("protectedvms", "shop") == ()
    assert reader.list_nodes() == ({"metadata": {"name": "n1"}},)


def test_events_are_those_of_ringfence(server: Server, reader: KubeconfigReader) -> None:
    server.answers["/api/v1/events"] = (200, {"items": [{"reason": "Down"}]})
    assert reader.list_events() == ({"reason": "Down"},)


def test_the_ring_is_asked_of_the_acting_controller(server: Server, reader: KubeconfigReader) -> None:
    lease = "/apis/coordination.k8s.io/v1/namespaces/rf/leases/ringfence-controller"
    server.answers[lease] = (200, {"spec": {"holderIdentity": "c-1"}})
    server.answers["/api/v1/namespaces/rf/pods/c-1:7949/proxy/members"] = (200, {"members": []})
    assert reader.members("rf") == {"members": []}
    server.answers[lease] = (200, {"spec": {}})
    with pytest.raises(NotFound, match="nobody leads"):
        reader.members("rf")


def test_the_api_server_says_who_asks(server: Server, reader: KubeconfigReader) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    server.answers[path] = (201, {"status": {"userInfo": {"username": "alice"}}})
    assert reader.whoami() == "alice"
    assert server.asked[0][0] == "POST"


def test_a_confirmation_is_one_merge_patch_bound_to_the_uid(server: Server, reader: KubeconfigReader) -> None:
    server.answers[f"{BASE}/failovers/f"] = (200, {})
    reader.confirm_failover("f", "u-1", "plugs pulled", "alice")
    assert server.asked == [
        (
            "PATCH",
            f"{BASE}/failovers/f",
            "application/merge-patch+json",
            {
                "metadata": {"uid": "u-1"},
                "spec": {"confirm": {"statement": "plugs pulled", "confirmedBy": "alice"}},
            },
        )
    ]


def test_a_leave_is_one_too(server: Server, reader: KubeconfigReader) -> None:
    server.answers[f"{BASE}/failovers/f"] = (200, {})
    reader.release_failover("f", "u-1", "the switch is back", "alice")
    (asked,) = server.asked
    assert asked[3] == {
        "metadata": {"uid": "u-1"},
        "spec": {"release": {"reason": "the switch is back", "by": "alice"}},
    }


def test_a_drill_is_asked_for_by_an_annotation(server: Server, reader: KubeconfigReader) -> None:
    server.answers[f"{BASE}/fencedevices/pdu"] = (200, {})
    reader.ask_for_drill("pdu", "u-1", "n1 now")
    (asked,) = server.asked
    assert asked[3] == {"metadata": {"uid": "u-1", "annotations": {"ringfence.io/drill": "n1 now"}}}


def test_leases_and_vms_are_read_by_name(server: Server, reader: KubeconfigReader) -> None:
    lease = {"spec": {"renewTime": "2030-01-01T12:00:00.000000Z"}}
    server.answers["/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"] = (200, lease)
    server.answers["/apis/kubevirt.io/v1/namespaces/shop/virtualmachines/db"] = (200, {"spec": {}})
    assert reader.get_lease("kube-node-lease", "n1") == lease
    assert reader.get_lease("kube-node-lease", "n2") is None
    assert reader.get_vm("shop", "db") == {"spec": {}}
    with pytest.raises(NotFound):
        reader.get_vm("shop", "web")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (422, Refused),
        (500, Unavailable),
    ],
)
def test_refusals_keep_the_servers_sentence(
    server: Server, reader: KubeconfigReader, status: int, error: type[ClusterError]
) -> None:
    server.answers["/api/v1/nodes"] = (status, {"message": "because"})
    with pytest.raises(error, match="because") as raised:
        reader.list_nodes()
    assert raised.value.status == status


def test_nobody_listens(server: Server, tmp_path: Path) -> None:
    with serving(server) as url:
        pass
    with pytest.raises(Unavailable, match="does not answer"):
        KubeconfigReader(Access(kubeconfig(tmp_path, url))).list_nodes()


def test_no_such_context(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="other"):
        KubeconfigReader(Access(kubeconfig(tmp_path, "http://127.0.0.1:1"), "other"))


def test_new_keys_are_asked_for_by_one_merge_patch(server: Server, reader: KubeconfigReader) -> None:
    server.answers[f"{BASE}/haclusters/default"] = (200, {})
    reader.ask_for_keys(3, ("n2",))
    wish = {"spec": {"gossip": {"keyGeneration": 3, "rotateWithout": ["n2"]}}}
    assert server.asked == [("PATCH", f"{BASE}/haclusters/default", "application/merge-patch+json", wish)]


def test_any_path_is_fetched_as_the_user_and_its_errors_are_ours(
    server: Server, reader: KubeconfigReader
) -> None:
    path = "/apis/storage.k8s.io/v1/storageclasses"
    server.answers[path] = (200, {"items": [{"metadata": {"name": "fast"}}]})
    assert reader.fetch(path) == {"items": [{"metadata": {"name": "fast"}}]}
    server.answers["/log"] = (200, "line")
    assert reader.fetch_text("/log?tailLines=5") == '"line"'
    for status, kind in ((403, Forbidden), (404, NotFound), (503, Unavailable), (422, Refused)):
        server.answers["/x"] = (status, {"message": "no, because"})
        with pytest.raises(kind, match="no, because"):
            reader.fetch("/x")
    assert {method for method, *_ in server.asked} == {"GET"}
