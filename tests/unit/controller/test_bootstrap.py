"""The keys that a controller begins with, read through the product's own client from the virtual API server."""

from __future__ import annotations

import base64
import logging
import random

import pytest

from ringfence.controller import bootstrap
from ringfence.controller.bootstrap import Keys
from ringfence.core.rosterkey import SECRET
from ringfence.kube.cluster import KubeCluster
from ringfence.net.crypto import make_group_keys
from simulator.system.apiserver import ApiServer
from simulator.system.connection import Connection, Weather
from simulator.system.processes import Agenda, VirtualClock

MADE = make_group_keys()


def store(server: ApiServer, data: dict[str, bytes]) -> None:
    """As somebody with kubectl leaves it."""
    plain = {name: base64.b64encode(value).decode() for name, value in data.items()}
    server.put("secrets", SECRET, {"data": plain}, "ns")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"group.key": None}, "data.group.key is not there"),
        ({"roster.key": None}, "data.roster.key is not there"),
        ({"roster.pub": None}, "data.roster.pub is not there"),
        ({"group.key": b"short"}, "data.group.key has 5 bytes, not 32"),
        ({"roster.pub": bytes(32)}, "data.roster.pub is not that of data.roster.key"),
    ],
)
def test_a_secret_that_lacks_something_is_told_once_and_read_until_it_is_mended(
    caplog: pytest.LogCaptureFixture, change: dict[str, bytes | None], sentence: str
) -> None:
    agenda, server = Agenda(), ApiServer()
    connection = Connection(agenda, server, Weather(random.Random(1)), VirtualClock(agenda), lambda: True)
    cluster = KubeCluster(connection, namespace="ns", component="c", instance="c-1")
    store(server, {name: value for name, value in {**MADE, **change}.items() if value is not None})
    found: list[Keys] = []

    async def begin() -> None:
        found.append(await bootstrap.keys(cluster, "ns"))

    process = agenda.process("c-1")
    process.call_soon(lambda: process.create_task(begin()))
    with caplog.at_level(logging.WARNING):
        agenda.run(5.0)
    assert not found
    [record] = caplog.records
    assert (
        f"Secret {SECRET} can't be used: {sentence}; put back what stood there, or delete"
        in record.getMessage()
    )
    store(server, MADE)
    agenda.run(8.0)
    assert [keys.files() for keys in found] == [MADE]
