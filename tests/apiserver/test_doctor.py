"""The doctor and the support bundle before a real API server, with the rights that they really have."""

from __future__ import annotations

import json
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from apiserver.chart import NAMESPACE, token
from apiserver.server import Server
from ringfence.cli.bundle import collect, write
from ringfence.cli.doctor import Level, Look, examine
from ringfence.kube.access import Access
from ringfence.kube.kubeconfig import KubeconfigReader

pytestmark = pytest.mark.apiserver

SECRET = "s3cr3t-Passw0rd!"


def reader(server: Server, folder: Path) -> KubeconfigReader:
    """As somebody who has this server's token."""
    named = {"cluster": "test", "user": "me"}
    text = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [
            {
                "name": "test",
                "cluster": {"server": server.url, "certificate-authority": str(server.authority)},
            }
        ],
        "users": [{"name": "me", "user": {"token": server.token}}],
        "contexts": [{"name": "test", "context": named}],
    }
    (folder / "kubeconfig").write_text(json.dumps(text))
    return KubeconfigReader(Access(str(folder / "kubeconfig")))


def test_the_controllers_account_may_see_all_that_helm_test_and_uninstall_ask(
    governed: Server, tmp_path: Path
) -> None:
    account = reader(governed.acting(token(governed, "ringfence-controller")), tmp_path)
    look = Look(account, NAMESPACE, datetime.now(UTC))
    found = examine(look, ("installation", "uninstall"))
    assert not [one for one in found if one.level is Level.UNKNOWN and one.about != "leases"]
    assert [one.sentence for one in found if one.about == "kinds"] == ["all of ringfence's kinds are served"]
    assert any("nobody leads" in one.sentence for one in found)
    (missing,) = (one for one in examine(look, ("kubevirt",)) if one.about == "KubeVirt")
    assert missing.level is Level.BROKEN


def test_a_clock_that_is_wrong_is_seen_beside_the_api_servers(governed: Server, tmp_path: Path) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    for name, skew in (("right", 0), ("ahead", 60), ("behind", -60)):
        # As a kubelet does: made once, renewed after that.
        governed.call("DELETE", f"{path}/{name}")
        governed.must("POST", path, {"metadata": {"name": name}, "spec": {"holderIdentity": name}})
        renewed = datetime.now(UTC) + timedelta(seconds=skew)
        told = renewed.isoformat(timespec="microseconds").replace("+00:00", "Z")
        governed.must("PATCH", f"{path}/{name}", {"spec": {"renewTime": told}})
    found = examine(Look(reader(governed, tmp_path), NAMESPACE, datetime.now(UTC)), ("nodes",))
    clocks = {one.about: one.sentence for one in found if "its clock is" in one.sentence}
    assert clocks.keys() == {"ahead", "behind"}
    assert "s ahead of the API server's" in clocks["ahead"]
    assert "s behind the API server's" in clocks["behind"]


def test_no_secret_of_the_cluster_is_in_the_bundle(governed: Server, tmp_path: Path) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "bmc", "namespace": NAMESPACE},
        "stringData": {"password": SECRET, "username": "ringfence"},
    }
    device = {
        "apiVersion": "ringfence.io/v1alpha1",
        "kind": "FenceDevice",
        "metadata": {"name": "pdu"},
        "spec": {
            "driver": "agent",
            "nodes": ["n1"],
            "agent": {
                "program": "fence_apc",
                "parameters": {"ip": "10.0.0.9", "identity_file": SECRET},
                "secretParameters": {"password": {"name": "bmc", "key": "password"}},
            },
        },
    }
    # Client-side: kubectl then repeats the whole object in an annotation.
    governed.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [secret, device]})
    )
    try:
        packed = collect(reader(governed, tmp_path), NAMESPACE, datetime.now(UTC))
    finally:
        governed.kubectl("delete", f"--namespace={NAMESPACE}", "fencedevice/pdu", "secret/bmc")
    write(packed, tmp_path / "bundle.tar.gz")
    with tarfile.open(tmp_path / "bundle.tar.gz") as archive:
        assert len(archive.getnames()) == len(packed.files) > 15
    assert '"fence_apc"' in packed.files["ringfence/fencedevices.json"]
    for name, text in packed.files.items():
        assert SECRET not in text, name
