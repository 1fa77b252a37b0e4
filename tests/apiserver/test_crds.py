"""`kubectl apply -f crds/` works both ways, and the API server has nothing to say against the schemas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apiserver.server import Server
from ringfence.api.v1alpha1 import KINDS, Resource

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.apiserver


@pytest.mark.parametrize("how", ["--server-side=false", "--server-side", "--dry-run=server"])
def test_crds_apply(server: Server, how: str) -> None:
    force = ["--force-conflicts"] if how == "--server-side" else []
    said = server.kubectl("apply", how, *force, "-f", str(ROOT / "crds"))
    assert said.count("customresourcedefinition.apiextensions.k8s.io/") == len(KINDS)
    assert "arning" not in said


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.names.kind)
def test_schema_is_structural_and_names_are_accepted(server: Server, kind: type[Resource]) -> None:
    crd = json.loads(server.kubectl("get", "crd", kind.names.crd, "-o", "json"))
    conditions = {each["type"]: each["status"] for each in crd["status"]["conditions"]}
    assert conditions["NamesAccepted"] == conditions["Established"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"
    assert crd["status"]["storedVersions"] == ["v1alpha1"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.names.kind)
def test_short_name_category_and_columns(server: Server, kind: type[Resource]) -> None:
    assert "No resources found" in server.kubectl("get", kind.names.short, "-A")
    listed = server.call("GET", "/apis/ringfence.io/v1alpha1").body["resources"]
    (found,) = (each for each in listed if each["name"] == kind.names.plural)
    assert found["categories"] == ["ringfence"]
    assert found["shortNames"] == [kind.names.short]
    assert any(each["name"] == f"{kind.names.plural}/status" for each in listed)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("hacluster.spec.holdSeconds", "Seconds between the verdict that a node is down and the first order"),
        ("hazone.spec.fencing.watchdog.assumeSeconds", "Seconds after which others may assume"),
        ("pvm.spec.onNodeFailure", "What to do when the VM's node is lost"),
        ("fd.spec.redfish.secretRef", "The Secret with the BMC's"),
        ("fo.status.proofs.variant", "read after our order, or found off"),
        ("nr.status.publicKey", "Ed25519 key for its votes"),
    ],
)
def test_kubectl_explains(server: Server, path: str, sentence: str) -> None:
    said = " ".join(server.kubectl("explain", path).split())
    assert sentence in said
