"""What an agent on real sockets sees of its own host, and what it shows of that."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket

import pytest

from ringfence.agent.agent import Agent, Identity
from ringfence.core.gossip.keys import KeySet
from ringfence.metrics import AgentMetrics, AgentSample
from ringfence.net.crypto import SigningKey, make_group_keys
from unit.net.own_network import ip, own_network

BOUND = 20.0


def agent_at(address: str) -> Agent:
    identity = Identity("n1", address, "00000000-0000-4000-8000-000000000001")
    keys = make_group_keys()
    return Agent(
        identity,
        KeySet.first(keys["group.key"]),
        SigningKey.fresh(),
        roster_key=keys["roster.pub"],
        port=0,
        dice=random.Random(1),
    )


def link_seen(agent: Agent) -> bool | None:
    return agent.sample.carrier


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2")
async def test_an_agent_without_a_link_abstains_and_says_so_until_it_has_one() -> None:
    with own_network():
        ip("link add here type veth peer name there")
        ip("address add 192.0.2.1/24 dev here")
        ip("link set here up")
        agent = agent_at("192.0.2.1")
        told: asyncio.Queue[bool] = asyncio.Queue()
        agent.on_loneliness = told.put_nowait
        await agent.start()
        assert told.get_nowait()
        assert link_seen(agent) is False
        assert not agent.sample.healthy
        ip("link set there up")
        async with asyncio.timeout(BOUND):
            assert not await told.get()
        assert link_seen(agent) is True
        await agent.close()


async def test_an_agent_whose_kernel_drops_datagrams_waits_longer() -> None:
    agent = agent_at("127.0.77.1")
    await agent.start()
    assert agent.sample.carrier is True
    assert agent.sample.dropped == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooder:
        for _ in range(4000):  # no await: the agent can't read meanwhile
            flooder.sendto(bytes(1200), ("127.0.77.1", agent.port))
        while not agent._drain():
            pass
        flooder.sendto(b"the kernel tells with this one", ("127.0.77.1", agent.port))
        agent._drain()
    agent._look_at_host()
    assert agent.swim.awareness.stretch == 2.0
    assert agent.swim.awareness.carrier is True
    await agent.close()


def lines(sample: AgentSample) -> set[str]:
    return set(AgentMetrics(lambda: sample).render().decode().splitlines())


def test_what_it_knows_of_itself_is_in_its_metrics() -> None:
    shown = lines(AgentSample(stretch=1.5, dropped=7, carrier=False))
    assert {"ringfence_agent_stretch 1.5", "ringfence_agent_overflows_total 7.0"} <= shown
    assert "ringfence_agent_carrier 0.0" in shown
    assert "ringfence_agent_carrier 1.0" in lines(AgentSample(carrier=True))
    assert not any(line.startswith("ringfence_agent_carrier") for line in lines(AgentSample()))
