from __future__ import annotations

from collections.abc import Iterator

import pytest

from apiserver.chart import NAMESPACE, rendered
from apiserver.controllers import Controllers, running_cluster
from apiserver.installed import CRDS, ROOT, kind_of_kubevirt
from apiserver.programs import binaries
from apiserver.server import Server, running_server, wait_for


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
        server.must("POST", CRDS, kind_of_kubevirt("virtualmachineinstances", "VirtualMachineInstance"))
        wait_for(
            "KubeVirt's instances",
            lambda: server.call("GET", "/apis/kubevirt.io/v1/virtualmachineinstances").ok,
        )
        server.kubectl("apply", "--server-side", "-f", "-", stdin=rendered())
        for node in ("n1", "n2"):
            server.must("POST", "/api/v1/nodes", {"metadata": {"name": node}})
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A cluster for the stories of one file: with the chart, KubeVirt's kinds and two nodes that have booted."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as server:
        yield server


@pytest.fixture(scope="module")
def controllers(cluster: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controllers]:
    """Its controllers; one has been started."""
    made = Controllers(cluster, tmp_path_factory.mktemp("controllers"))
    made.start()
    yield made
    made.kill()
    print(made.logs()[-6000:])
