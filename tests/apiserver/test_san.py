"""The lab's SAN behind Kubernetes' own external-attacher, on a real API server: what VolumeAttachments do to the array."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiserver.programs import binaries
from apiserver.server import Json, Server, wait_for
from lab import san, vms

pytestmark = pytest.mark.apiserver

ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"


@pytest.fixture(scope="module")
def shared(bare: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an array whose management and attacher run."""
    folder = tmp_path_factory.mktemp("san")
    (folder / "shared").mkdir()
    for item in san.objects():
        group = "storage.k8s.io/v1/" + ("csidrivers" if item["kind"] == "CSIDriver" else "storageclasses")
        bare.must("POST", f"/apis/{group}", item)
    for node in ("s1", "s2"):
        drivers = [{"name": san.DRIVER, "nodeID": node}]
        known = {"metadata": {"name": node}, "spec": {"drivers": drivers}}
        bare.must("POST", "/apis/storage.k8s.io/v1/csinodes", known)
    commands = (
        san.management(binaries(), folder / "shared", folder / "san.sock"),
        san.attacher(binaries(), bare.kubeconfig, folder / "san.sock"),
    )
    started = []
    for command in commands:
        with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
    yield folder / "shared"
    for process in reversed(started):
        process.terminate()
        process.wait(20)


def declare(server: Server, shared: Path, name: str, storage: str) -> None:
    """A volume of the array and its PersistentVolume."""
    mode, block = vms.ATTACHED[storage]
    (shared / name).mkdir()
    server.must("POST", "/api/v1/persistentvolumes", san.persistent_volume(name, "1Mi", [mode], block=block))


def attach(server: Server, volume: str, node: str) -> str:
    name = f"{volume}-{node}"
    spec = {"attacher": san.DRIVER, "nodeName": node, "source": {"persistentVolumeName": volume}}
    server.must("POST", ATTACHMENTS, {"metadata": {"name": name}, "spec": spec})
    return name


def look(server: Server, name: str) -> Json:
    found: Json = server.call("GET", f"{ATTACHMENTS}/{name}").body.get("status", {})
    return found


def attached(server: Server, name: str) -> bool:
    return bool(look(server, name).get("attached"))


def gone(server: Server, name: str) -> bool:
    return server.call("GET", f"{ATTACHMENTS}/{name}").status == 404


def test_a_readwriteonce_volume_is_on_one_node_at_a_time(bare: Server, shared: Path) -> None:
    declare(bare, shared, "once", "csi-rwo")
    first = attach(bare, "once", "s1")
    wait_for("the volume to be attached", lambda: attached(bare, first))
    assert san.published(shared, "once") == ("s1",)
    second = attach(bare, "once", "s2")
    error = wait_for("the array to refuse", lambda: look(bare, second).get("attachError"))
    assert "published to another node: s1" in error["message"]
    bare.must("DELETE", f"{ATTACHMENTS}/{first}")
    wait_for("the volume to change nodes", lambda: gone(bare, first) and attached(bare, second))
    assert san.published(shared, "once") == ("s2",)


def test_a_readwritemany_volume_is_on_both(bare: Server, shared: Path) -> None:
    declare(bare, shared, "many", "csi-rwx")
    names = [attach(bare, "many", node) for node in ("s1", "s2")]
    wait_for("the volume to be attached twice", lambda: all(attached(bare, name) for name in names))
    assert sorted(san.published(shared, "many")) == ["s1", "s2"]


def test_an_array_that_keeps_a_volume_keeps_its_attachment(bare: Server, shared: Path) -> None:
    declare(bare, shared, "kept", "csi-rwo")
    name = attach(bare, "kept", "s1")
    wait_for("the volume to be attached", lambda: attached(bare, name))
    (shared / ".san" / ".keeps").touch()
    bare.must("DELETE", f"{ATTACHMENTS}/{name}")
    error = wait_for("the detach to fail", lambda: look(bare, name).get("detachError"))
    assert "the array does not answer" in error["message"]
    (shared / ".san" / ".keeps").unlink()
    wait_for("the attachment to go", lambda: gone(bare, name))
    assert san.published(shared, "kept") == ()
