"""Three agents on real sockets (127.0.0.x), a stream client as the controller's eye."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest

from ringfence.agent.agent import Agent, Identity
from ringfence.core.gossip.corroboration import tally
from ringfence.core.gossip.members import Member, Roster
from ringfence.core.gossip.report import AgentView, SubjectView
from ringfence.core.model import RingState
from ringfence.net.crypto import SigningKey, make_group_keys, verify
from ringfence.net.stream import StreamClient, StreamError

KEYS = make_group_keys()
BOUND = 20.0


def address(number: int) -> str:
    return f"127.0.77.{number}"


def boot(number: int) -> str:
    return f"00000000-0000-4000-8000-00000000000{number}"


class Three:
    """Agents n1, n2, n3; a node's kernel is this machine's own, so it answers even without its agent.

    Where it shall be silent, agents are told of no kernel's answer.
    """

    def __init__(self, *, kernels: bool = True) -> None:
        self.kernels = kernels
        self.keys = {number: SigningKey.fresh() for number in (1, 2, 3)}
        self.roster = Roster(
            1,
            "test",
            b"salt",
            tuple(
                Member(f"n{n}", f"uid-{n}", boot(n), (address(n),), "", key.public)
                for n, key in self.keys.items()
            ),
        )
        self.agents: dict[int, Agent] = {}

    async def start(self) -> None:
        port = 0
        for number, key in self.keys.items():
            identity = Identity(f"n{number}", address(number), boot(number))
            agent = Agent(identity, KEYS["group.key"], key, port=port, ask_kernels=self.kernels)
            port = agent.port
            await agent.start()
            self.agents[number] = agent
        for agent in self.agents.values():
            agent.install(self.roster)

    async def close(self) -> None:
        for agent in self.agents.values():
            await agent.close()


@pytest.fixture
async def three() -> AsyncIterator[Three]:
    agents = Three()
    await agents.start()
    yield agents
    await agents.close()


def subject(view: AgentView, name: str) -> SubjectView:
    return next(one for one in view.subjects if one.subject.node == name)


async def first_view(three: Three, wanted: Callable[[AgentView], bool], number: int = 1) -> AgentView:
    stream = StreamClient(KEYS["group.key"]).views(address(number), three.agents[number].port)
    async with asyncio.timeout(BOUND), aclosing(stream) as views:
        async for view in views:
            if wanted(view):
                return view
    raise AssertionError("the stream ended")


async def test_the_stream_shows_all_alive_then_agent_down_then_alive_again(three: Three) -> None:
    view = await first_view(three, lambda view: view.alive == {"n1", "n2", "n3"})
    assert view.healthy
    assert view.roster_epoch == 1
    assert view.reporter.boot_id == boot(1)
    port = three.agents[3].port
    await three.agents.pop(3).close()
    await first_view(three, lambda view: subject(view, "n3").state is RingState.AGENT_DOWN)
    again = Agent(Identity("n3", address(3), boot(3)), KEYS["group.key"], three.keys[3], port=port)
    three.agents[3] = again
    await again.start()
    again.install(three.roster)
    await first_view(three, lambda view: subject(view, "n3").state is RingState.ALIVE)


@pytest.fixture
async def three_without_kernels() -> AsyncIterator[Three]:
    agents = Three(kernels=False)
    await agents.start()
    yield agents
    await agents.close()


async def test_a_silent_node_is_unreachable_by_votes_that_a_controller_can_check(
    three_without_kernels: Three,
) -> None:
    three = three_without_kernels
    await first_view(three, lambda view: view.alive == {"n1", "n2", "n3"})
    await three.agents.pop(3).close()
    view = await first_view(three, lambda view: subject(view, "n3").state is RingState.UNREACHABLE)
    found = subject(view, "n3")
    count = tally(found.votes, three.roster, found.subject, verify)
    assert count.unreachable
    assert count.sentence == "2 of 2 peers: n1, n2"


async def test_who_has_not_the_group_key_sees_nothing(three: Three) -> None:
    stranger = StreamClient(make_group_keys()["group.key"])
    with pytest.raises(StreamError, match="group key"):
        async with asyncio.timeout(BOUND):
            async for _ in stranger.views(address(1), three.agents[1].port):
                raise AssertionError("a stranger was shown a view")


async def test_garbage_on_the_stream_port_disturbs_nobody(three: Three) -> None:
    reader, writer = await asyncio.open_connection(address(1), three.agents[1].port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    async with asyncio.timeout(BOUND):
        await reader.read()
    writer.close()
    await first_view(three, lambda view: view.alive == {"n1", "n2", "n3"})


async def test_who_hears_nobody_says_so_until_somebody_is_heard(three_without_kernels: Three) -> None:
    three = three_without_kernels
    told: asyncio.Queue[bool] = asyncio.Queue()
    three.agents[1].on_loneliness = told.put_nowait

    async def until_told(wanted: bool) -> None:
        async with asyncio.timeout(BOUND):
            said = not wanted
            while said is not wanted:
                said = await told.get()
                while not told.empty():
                    said = told.get_nowait()

    await first_view(three, lambda view: view.alive == {"n1", "n2", "n3"})
    port = three.agents[2].port
    for number in (2, 3):
        await three.agents.pop(number).close()
    await first_view(three, lambda view: not view.healthy)
    await until_told(True)
    again = Agent(Identity("n2", address(2), boot(2)), KEYS["group.key"], three.keys[2], port=port)
    three.agents[2] = again
    await again.start()
    again.install(three.roster)
    await until_told(False)
