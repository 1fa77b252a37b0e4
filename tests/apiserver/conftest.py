from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from apiserver.programs import binaries
from apiserver.server import Server, running_server

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
