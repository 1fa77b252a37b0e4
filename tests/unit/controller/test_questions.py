"""The controller's own question to an accused agent, on real sockets: only who holds the group key can answer it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from ringfence.agent.agent import Agent, Identity
from ringfence.controller.evidence import Witness
from ringfence.controller.questions import Questions
from ringfence.core import timing
from ringfence.core.detection.evidence import NEVER
from ringfence.core.gossip.keys import KeySet
from ringfence.core.gossip.members import Member, Roster, seal_roster
from ringfence.net.crypto import SigningKey, make_group_keys, verify
from ringfence.net.stream import StreamClient

ADDRESS = "127.0.78.1"
BOOT = "00000000-0000-4000-8000-000000000001"
BOUND = 20.0
KEYS = make_group_keys()
ROSTER_KEY = SigningKey(KEYS["roster.key"])


@dataclass
class HandClock:
    """Goes when it is moved."""

    now: float = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


@dataclass
class Asked:
    """A witness that knows one node, and the questions that it is told to ask."""

    port: int
    clock: HandClock = field(default_factory=HandClock)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.witness = Witness(verify)
        self.witness.roster = Roster(1, "test", b"salt", (Member("n1", "uid-n1", BOOT, (ADDRESS,)),))
        self.witness.boot_seen("n1", "uid-n1", BOOT)
        client = StreamClient(KeySet.first(KEYS["group.key"]))
        self.questions = Questions(client, self.witness, self.clock, self.port, self.heard.set)


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    key = SigningKey.fresh()
    group = KeySet.first(KEYS["group.key"])
    agent = Agent(Identity("n1", ADDRESS, BOOT), group, key, roster_key=ROSTER_KEY.public, port=0)
    await agent.start()
    members = (Member("n1", "uid-n1", BOOT, (ADDRESS,), "", key.public),)
    agent.install(seal_roster(Roster(1, "test", b"salt", members), ROSTER_KEY.sign))
    yield agent
    await agent.close()


async def test_an_agent_that_answers_lives_and_is_not_asked_again_at_once(agent: Agent) -> None:
    asked = Asked(agent.port)
    asked.questions.ask("n1")
    async with asyncio.timeout(BOUND):
        await asked.heard.wait()
    assert asked.witness.life("n1").packet == asked.clock.now
    await asked.questions.close()
    asked.clock.now += timing.LOOK_EVERY - 0.1
    asked.questions.ask("n1")
    await asked.questions.close()
    assert asked.witness.life("n1").packet == 100.0
    asked.clock.now += 0.2
    asked.heard.clear()
    asked.questions.ask("n1")
    async with asyncio.timeout(BOUND):
        await asked.heard.wait()
    assert asked.witness.life("n1").packet == asked.clock.now
    await asked.questions.close()


async def test_a_proxy_that_takes_every_connection_is_no_sign_of_life() -> None:
    met = asyncio.Event()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()
        met.set()

    server = await asyncio.start_server(hang_up, ADDRESS, 0)
    asked = Asked(server.sockets[0].getsockname()[1])
    asked.questions.ask("n1")
    async with asyncio.timeout(BOUND):
        await met.wait()
        while asked.questions._asking:
            await asyncio.gather(*asked.questions._asking.values())
    assert asked.witness.life("n1").packet == NEVER
    assert not asked.heard.is_set()
    server.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(BOUND):
            await server.wait_closed()


async def test_who_is_no_member_is_not_asked() -> None:
    asked = Asked(1)
    asked.questions.ask("stranger")
    assert not asked.questions._asking
