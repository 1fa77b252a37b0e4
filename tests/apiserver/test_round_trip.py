"""Nothing that a model says is lost between us and the API server."""

from __future__ import annotations

import pytest

from apiserver.server import Server
from ringfence.api.v1alpha1 import KINDS, FenceDevice, Resource
from unit.api.filled import DRIVERS, filled

pytestmark = pytest.mark.apiserver


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.names.kind)
def test_every_field_comes_back(server: Server, kind: type[Resource]) -> None:
    obj = kind.model_validate(filled(kind)).to_json()
    namespace = "/namespaces/default" if kind.names.namespaced else ""
    path = f"/apis/ringfence.io/v1alpha1{namespace}/{kind.names.plural}"
    made = server.must("POST", f"{path}?fieldValidation=Strict", obj)
    one = f"{path}/{obj['metadata']['name']}"
    try:
        status = {"metadata": made["metadata"], "status": obj["status"]}
        server.must("PATCH", f"{one}/status?fieldValidation=Strict", status)
        read = kind.model_validate(server.must("GET", one))
        assert read.to_json()["status"] == obj["status"]
        assert read.to_json().get("spec") == obj.get("spec")
        # Columns read what is there.
        shown = server.kubectl("get", kind.names.short, "-A", "-o", "wide")
        assert "<none>" not in shown
    finally:
        server.must("DELETE", one)


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_driver_comes_back(server: Server, driver: str) -> None:
    obj = FenceDevice.model_validate(filled(FenceDevice, f"full-{driver}", driver)).to_json()
    path = "/apis/ringfence.io/v1alpha1/fencedevices"
    made = server.must("POST", f"{path}?fieldValidation=Strict", obj)
    server.must("DELETE", f"{path}/{obj['metadata']['name']}")
    assert FenceDevice.model_validate(made).to_json()["spec"] == obj["spec"]
