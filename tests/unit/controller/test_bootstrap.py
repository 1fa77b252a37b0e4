"""The keys that a controller begins with, read through the product's own client from the virtual API server."""

from __future__ import annotations

import base64
import logging
import random
from typing import Any

import pytest

from ringfence.controller import bootstrap
from ringfence.controller.bootstrap import Keys
from ringfence.core.rosterkey import SECRET
from ringfence.kube.cluster import KubeCluster
from ringfence.net.crypto import make_group_keys
from ringfence.ports import Json
from simulator.system.apiserver import ApiServer
from simulator.system.connection import Connection, Weather
from simulator.system.processes import Agenda, VirtualClock

MADE = make_group_keys()


def store(server: ApiServer, data: dict[str, bytes]) -> None:
    """As somebody with kubectl leaves it."""
    plain = {name: base64.b64encode(value).decode() for name, value in data.items()}
    server.put("secrets", SECRET, {"data": plain}, "ns")


class AtAnyTime(Connection):
    """Who makes the keys need not lead: that only one can create the Secret is the lock."""

    async def request(self, method: str, path: str, **more: Any) -> Json:
        if (method, path) == ("POST", "/api/v1/namespaces/ns/secrets"):
            assert more["deadline"] is None
            more["deadline"] = float("inf")
        return await super().request(method, path, **more)


def beginning(agenda: Agenda, server: ApiServer) -> list[Keys]:
    """A controller that starts now; what it has got is put into the list."""
    connection = AtAnyTime(agenda, server, Weather(random.Random(1)), VirtualClock(agenda), lambda: True)
    cluster = KubeCluster(connection, namespace="ns", component="c", instance="c-1")
    found: list[Keys] = []

    async def begin() -> None:
        found.append(await bootstrap.keys(cluster, "ns"))

    process = agenda.process("c-1")
    process.call_soon(lambda: process.create_task(begin()))
    return found


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
    store(server, {name: value for name, value in {**MADE, **change}.items() if value is not None})
    found = beginning(agenda, server)
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


def test_a_lost_secret_is_left_to_whoever_still_knows_it_for_half_a_minute_and_then_made_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    agenda, server = Agenda(), ApiServer()
    server.put("configmaps", bootstrap.ROSTER, {"data": {}}, "ns")
    found = beginning(agenda, server)
    with caplog.at_level(logging.WARNING):
        agenda.run(bootstrap.WRITTEN_AGAIN_WITHIN - 1.0)
        assert server.find("secrets", SECRET, "ns") is None
        assert not found
        [record] = caplog.records
        assert (
            f"Secret {SECRET} is gone: a controller that still knows it has 30 s to write it again"
            in record.getMessage()
        )
        agenda.run(bootstrap.WRITTEN_AGAIN_WITHIN + 5.0)
    made = server.find("secrets", SECRET, "ns")
    assert made is not None
    [keys] = found
    assert {name: base64.b64decode(value) for name, value in made["data"].items()} == keys.files()
    assert keys.files() != MADE
    assert "this controller makes other keys" in caplog.text


def test_a_lost_secret_that_is_written_again_meanwhile_is_taken() -> None:
    agenda, server = Agenda(), ApiServer()
    server.put("configmaps", bootstrap.ROSTER, {"data": {}}, "ns")
    found = beginning(agenda, server)
    agenda.run(bootstrap.WRITTEN_AGAIN_WITHIN - 5.0)
    assert not found
    store(server, MADE)
    agenda.run(bootstrap.WRITTEN_AGAIN_WITHIN + 5.0)
    assert [keys.files() for keys in found] == [MADE]


def test_where_nothing_was_published_yet_the_first_controller_makes_the_keys_at_once() -> None:
    agenda, server = Agenda(), ApiServer()
    found = beginning(agenda, server)
    agenda.run(5.0)
    assert len(found) == 1
    assert server.find("secrets", SECRET, "ns") is not None
