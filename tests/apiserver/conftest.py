from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from apiserver.chart import NAMESPACE, rendered
from apiserver.programs import binaries
from apiserver.server import Json, Server, running_server, wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A cluster's API without anything of ours."""
    with running_server(binaries(), tmp_path_factory.mktemp("apiserver")) as server:
        yield server


@pytest.fixture(scope="session")
def server(bare: Server) -> Server:
    """The API with our CRDs, put there as the README says."""
    bare.kubectl("apply", "-f", str(ROOT / "crds"))
    bare.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds"))
    return bare


INSTANCES: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "virtualmachineinstances.kubevirt.io"},
    "spec": {
        "group": "kubevirt.io",
        "scope": "Namespaced",
        "names": {"plural": "virtualmachineinstances", "kind": "VirtualMachineInstance"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}


@pytest.fixture(scope="session")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Another cluster's API, with the chart installed: our accounts, their rights and the admission policies."""
    with running_server(binaries(), tmp_path_factory.mktemp("governed")) as server:
        server.kubectl("apply", "-f", str(ROOT / "crds"))
        server.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds"))
        server.must("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        wait_for(
            "the namespace of the nodes' Leases",
            lambda: server.call("GET", "/api/v1/namespaces/kube-node-lease").ok,
        )
        server.must("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", INSTANCES)
        wait_for(
            "KubeVirt's instances",
            lambda: server.call("GET", "/apis/kubevirt.io/v1/virtualmachineinstances").ok,
        )
        server.kubectl("apply", "--server-side", "-f", "-", stdin=rendered())
        for node in ("n1", "n2"):
            server.must("POST", "/api/v1/nodes", {"metadata": {"name": node}})
        yield server
