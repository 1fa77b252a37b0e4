"""What the docs show can be applied as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from apiserver.server import Server
from ringfence.api.v1alpha1 import KINDS

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
pytestmark = pytest.mark.apiserver


@pytest.mark.parametrize("how", ["--server-side=false", "--server-side"])
def test_examples_apply(server: Server, how: str) -> None:
    server.call("POST", "/api/v1/namespaces", {"metadata": {"name": "ringfence-system"}})
    try:
        said = server.kubectl("apply", how, "--validate=strict", "-f", str(EXAMPLES))
        assert "arning" not in said
        assert server.kubectl("get", "ringfence").count("ringfence.io/") >= 6
        assert "rack-a" in server.kubectl("get", "haz")
    finally:
        server.kubectl("delete", "--ignore-not-found", "-f", str(EXAMPLES))


def test_examples_are_read_by_the_models() -> None:
    models = {kind.names.kind: kind for kind in KINDS}
    seen = set()
    for path in EXAMPLES.glob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            if document["apiVersion"].startswith("ringfence.io/"):
                read = models[document["kind"]].model_validate(document)
                assert read.metadata.name == document["metadata"]["name"]
                seen.add(document["kind"])
    assert seen == {"HACluster", "HAZone", "FenceDevice", "ProtectedVM"}
