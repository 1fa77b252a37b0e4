"""What the docs show can be applied as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from apiserver.server import Server
from ringfence.api.v1alpha1 import KINDS

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"
PAGES = sorted(DOCS.glob("*.md"))
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


def _of_pages() -> dict[str, str]:
    """The YAML that stands in the pages, by page."""
    found = {
        page.name: re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        for page in PAGES
    }
    return {name: "---\n".join(blocks) for name, blocks in found.items() if blocks}


@pytest.mark.parametrize("page", _of_pages())
def test_what_stands_in_a_page_applies(server: Server, page: str) -> None:
    text = _of_pages()[page]
    server.call("POST", "/api/v1/namespaces", {"metadata": {"name": "ringfence-system"}})
    said = server.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    assert said.count("(server dry run)") == sum(bool(d) for d in yaml.safe_load_all(text))


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
