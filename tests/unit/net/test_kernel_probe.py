"""Knocks at real sockets of this machine, whose processes don't take anybody in."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
import yaml

from ringfence.net import stream
from ringfence.net.kernel_probe import CLOSED_PORT, probe_kernel
from ringfence.net.slot_stream import SLOTS_PORT

CHART = Path("charts/ringfence")
LOOPBACK = "127.0.0.1"
BOUND = 5.0
KNOCKS = 3000
"""Eight minutes of a ring of three. A queue of the usual 100 was full after 17 s."""


async def answers(*ports: int) -> int:
    """How many of these knocks were answered in time, a hundred at once."""
    heard, all_heard = 0, asyncio.Event()

    def answered() -> None:
        nonlocal heard
        heard += 1
        if heard == knocked:
            all_heard.set()

    for knocked in range(100, len(ports) + 1, 100):
        all_heard.clear()
        probe_kernel(LOOPBACK, ports[knocked - 100 : knocked], answered)
        try:
            async with asyncio.timeout(BOUND):
                await all_heard.wait()
        except TimeoutError:
            break
    return heard


async def test_a_process_that_stands_still_has_a_kernel_that_answers_for_minutes() -> None:
    with socket.create_server((LOOPBACK, 0), backlog=stream._BACKLOG) as nobody_accepts:
        port = nobody_accepts.getsockname()[1]
        assert await answers(*[port] * KNOCKS) == KNOCKS


async def test_a_port_that_nobody_listens_on_answers_for_ever() -> None:
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        assert await answers(*[bound.getsockname()[1]] * 100) == 100


def ports_of(values: object, name: str = "") -> dict[str, int]:
    if not isinstance(values, dict):
        return {}
    found = {}
    for key, value in values.items():
        path = f"{name}.{key}".lstrip(".")
        if key in ("port", "metricsPort") and isinstance(value, int):
            found[path] = value
        found |= ports_of(value, path)
    return found


def test_the_closed_port_is_none_of_ours() -> None:
    """It was the heartbeats': of a node that hung, both ports that are knocked at were full after 17 s, and it was called dead."""
    ours = ports_of(yaml.safe_load((CHART / "values.yaml").read_text()))
    assert ours["slots.port"] == SLOTS_PORT
    assert {"agent.port", "agent.metricsPort", "controller.metricsPort", "webhook.port"} <= ours.keys()
    assert CLOSED_PORT not in ours.values()


@pytest.mark.parametrize("part", ["agent", "slots"])
def test_the_chart_refuses_it_for_what_listens_on_the_nodes(part: str) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"][part]["properties"]
    ports = {name: rules for name, rules in schema.items() if name in ("port", "metricsPort")}
    assert ports
    assert all(rules["not"] == {"const": CLOSED_PORT} for rules in ports.values())
