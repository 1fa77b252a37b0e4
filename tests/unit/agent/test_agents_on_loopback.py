"""Three agents on real sockets (127.0.0.x), a stream client as the controller's eye."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.agent.agent import Agent, Identity
from ringfence.core.gossip.anti_entropy import apply, digests
from ringfence.core.gossip.corroboration import tally
from ringfence.core.gossip.keys import KeySet
from ringfence.core.gossip.members import Member, Roster, SealedRoster, open_roster, seal_roster
from ringfence.core.gossip.networks import tally_networks
from ringfence.core.gossip.report import AgentView, SubjectView
from ringfence.core.model import NetworkState, RingState
from ringfence.net import deflate
from ringfence.net.crypto import SigningKey, check, make_group_keys, make_key, verify
from ringfence.net.kernel_probe import probe_kernel
from ringfence.net.stream import StreamClient, StreamError

KEYS = make_group_keys()
GROUP = KeySet.first(KEYS["group.key"])
ROSTER_KEY = SigningKey(KEYS["roster.key"])
BOUND = 20.0


def stranger_keys() -> KeySet:
    return KeySet.first(make_key())


def address(number: int) -> str:
    return f"127.0.77.{number}"


def storage_address(number: int) -> str:
    return f"127.0.78.{number}"


def boot(number: int) -> str:
    return f"00000000-0000-4000-8000-00000000000{number}"


class Three:
    """Agents n1, n2, n3; a node's kernel is this machine's own, so it answers even without its agent.

    Where it shall be silent, agents are told of no kernel's answer.
    """

    def __init__(self, *, kernels: bool = True, storage: bool = False) -> None:
        self.kernels = kernels
        self.keys = {number: SigningKey.fresh() for number in (1, 2, 3)}
        self.roster = Roster(
            1,
            "test",
            b"salt",
            tuple(
                Member(
                    *(f"n{n}", f"uid-{n}", boot(n), (address(n),), "", key.public),
                    networks=(("storage", storage_address(n)),) if storage else (),
                )
                for n, key in self.keys.items()
            ),
        )
        self.agents: dict[int, Agent] = {}

    async def start(self) -> None:
        for number in self.keys:
            await self.start_agent(number)
        for agent in self.agents.values():
            agent.install(self.sealed())

    async def start_agent(self, number: int) -> Agent:
        """Without a roster; on the port that the others have."""
        port = next((agent.port for agent in self.agents.values()), 0)
        agent = Agent(
            Identity(f"n{number}", address(number), boot(number)),
            GROUP,
            self.keys[number],
            roster_key=ROSTER_KEY.public,
            port=port,
            ask_kernels=self.kernels,
        )
        await agent.start()
        self.agents[number] = agent
        return agent

    def sealed(self, epoch: int = 1, key: SigningKey = ROSTER_KEY) -> SealedRoster:
        """From the second epoch on n3 is in a zone."""
        members = self.roster.members
        if epoch > 1:
            members = (*members[:2], replace(members[2], zone="z"))
        return seal_roster(replace(self.roster, epoch=epoch, members=members), key.sign)

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
    stream = StreamClient(GROUP).views(address(number), three.agents[number].port)
    async with asyncio.timeout(BOUND), aclosing(stream) as views:
        async for view in views:
            if wanted(view):
                return view
    raise AssertionError("the stream ended")


async def test_the_stream_shows_all_alive_then_one_left_then_alive_again(three: Three) -> None:
    view = await first_view(three, lambda view: view.alive == {"n1", "n2", "n3"})
    assert view.healthy
    assert view.roster_epoch == 1
    assert view.reporter.boot_id == boot(1)
    await three.agents.pop(3).close()
    await first_view(three, lambda view: subject(view, "n3").state is RingState.LEFT)
    (await three.start_agent(3)).install(three.sealed())
    await first_view(three, lambda view: subject(view, "n3").state is RingState.ALIVE)


async def test_a_reader_that_knows_no_deflate_gets_plain_views(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the version before: it offers no protocol, and its views come as they are."""
    agreed, ends = deflate.agreed, []

    def watched(writer: asyncio.StreamWriter) -> bool:
        ends.append(agreed(writer))
        return ends[-1]

    monkeypatch.setattr(deflate, "agreed", watched)
    await first_view(three, lambda view: view.alive == {"n1", "n2", "n3"})
    assert ends == [True, True]
    monkeypatch.setattr(deflate, "offer", lambda _context: None)
    view = await first_view(three, lambda view: view.alive == {"n1", "n2", "n3"})
    assert ends == [True, True, False, False]
    assert view.reporter.boot_id == boot(1)


async def test_a_reader_of_the_version_before_gets_deflated_views_that_are_complete(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deflate, "offer", lambda context: context.set_alpn_protocols(["ringfence-deflate"]))
    once, ends = deflate.once, []

    def watched(writer: asyncio.StreamWriter) -> bool:
        ends.append((deflate.agreed(writer), once(writer)))
        return ends[-1][1]

    monkeypatch.setattr(deflate, "once", watched)
    view = await first_view(three, lambda view: view.alive == {"n1", "n2", "n3"})
    assert ends == [(True, False)] * 2
    assert view.reporter.boot_id == boot(1)


async def test_an_agent_says_when_it_last_heard_a_member(three: Three) -> None:
    client = StreamClient(GROUP)
    await first_view(three, lambda view: view.alive == {"n1", "n2", "n3"})
    port = three.agents[1].port
    heard = await client.hearing(address(1), port, "uid-3")
    assert (heard.reporter, heard.subject.node, heard.subject.boot_id) == ("n1", "n3", boot(3))
    assert heard.heard_age is not None
    assert heard.latest_age == heard.heard_age < 2.0

    await three.agents.pop(3).close()
    await three.agents.pop(1).close()
    (await three.start_agent(1)).install(three.sealed())
    anew = await client.hearing(address(1), port, "uid-3")
    assert anew.heard_age is None
    assert anew.latest_age == anew.listens_age < 2.0, "of the time before it can't tell"
    with pytest.raises(StreamError):
        await client.hearing(address(1), port, "uid-9")


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
    stranger = StreamClient(stranger_keys())
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
    for number in (2, 3):
        await three.agents.pop(number).close()
    await first_view(three, lambda view: not view.healthy)
    await until_told(True)
    (await three.start_agent(2)).install(three.sealed())
    await until_told(False)


def count(agent: Agent, what: str) -> int:
    return agent.sample.counts.get(what, 0)


def epoch(agent: Agent) -> int:
    return agent.swim.roster.epoch if agent.swim.roster else 0


def signed(payload: bytes, signature: bytes) -> bool:
    return check(payload, signature, ROSTER_KEY.public)


async def test_an_agent_without_the_api_takes_the_newer_roster_of_its_peers(three: Three) -> None:
    kept: asyncio.Queue[str] = asyncio.Queue()
    behind = three.agents[1]
    behind.on_roster = kept.put_nowait
    for number in (2, 3):
        assert three.agents[number].install(three.sealed(2))
    async with asyncio.timeout(BOUND):
        text = await kept.get()
    assert epoch(behind) == 2
    assert open_roster(text, signed) == three.sealed(2), "what is kept on disk holds at the next start"
    await first_view(three, lambda view: view.roster_epoch == 2)
    await first_view(three, lambda _: count(behind, "rosters pulled") == 1)
    assert count(behind, "rosters refused") == 0


async def test_the_process_starts_by_the_roster_on_its_disk_and_keeps_what_its_peers_give_it(
    three: Three, tmp_path: Path
) -> None:
    port = three.agents[1].port
    await three.agents.pop(1).close()
    for number in (2, 3):
        three.agents[number].install(three.sealed(2))
    for name, content in KEYS.items():
        (tmp_path / name).write_bytes(content)
    disk = tmp_path / "roster.json"
    disk.write_text(three.sealed(1).text(), encoding="ascii")
    (tmp_path / "boot_id").write_text(boot(1), encoding="ascii")
    arguments = ["-m", "ringfence.agent", "--node-name", "n1", "--node-ip", address(1), "--port", str(port)]
    arguments += ["--keys-dir", str(tmp_path), "--state-dir", str(tmp_path), "--metrics-port", "0"]
    arguments += ["--boot-id-path", str(tmp_path / "boot_id")]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}  # no API server is named in it
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
    try:
        await first_view(
            three,
            lambda _: open_roster(disk.read_text(encoding="ascii"), signed) == three.sealed(2),
            number=2,
        )
        assert process.returncode is None
    finally:
        process.terminate()
        await process.wait()


async def test_a_roster_that_the_roster_key_has_not_signed_is_refused_and_changes_nothing(
    three: Three,
) -> None:
    kept: asyncio.Queue[str] = asyncio.Queue()
    behind = three.agents[1]
    behind.on_roster = kept.put_nowait
    for number in (2, 3):
        three.agents[number].install(three.sealed(2, SigningKey.fresh()))
    await first_view(three, lambda _: count(behind, "rosters refused") > 1)
    assert kept.empty()
    assert behind.swim.roster == three.roster
    assert count(behind, "rosters pulled") == 0
    for number in (2, 3):
        three.agents[number].install(three.sealed(3))
    async with asyncio.timeout(BOUND):
        assert open_roster(await kept.get(), signed) == three.sealed(3), "a genuine one is taken after it"


async def test_a_peer_sends_what_differs_and_nothing_to_who_is_not_behind(three: Three) -> None:
    client, port = StreamClient(GROUP), three.agents[1].port
    three.agents[1].install(three.sealed(2))
    members = three.roster.members
    small = await client.roster(address(1), port, 1, digests(members))
    whole = await client.roster(address(1), port, 1, digests(()))
    assert len(small) < len(whole)
    assert apply(members, small, signed) == apply((), whole, signed) == three.sealed(2)
    assert await client.roster(address(1), port, 2, digests(())) == b""
    with pytest.raises(StreamError, match="hung up"):
        await client.roster(address(1), port, 1, b"too short")
    with pytest.raises(StreamError, match="group key"):
        await StreamClient(stranger_keys()).roster(address(1), port, 1, digests(()))


async def test_many_who_ask_at_once_get_the_roster_or_a_refusal_and_no_place_is_lost(three: Three) -> None:
    client, port = StreamClient(GROUP), three.agents[1].port
    answers = await asyncio.gather(
        *(client.roster(address(1), port, 0, digests(())) for _ in range(20)), return_exceptions=True
    )
    sent = [answer for answer in answers if isinstance(answer, bytes)]
    assert sent
    assert all(apply((), data, signed) == three.sealed(1) for data in sent)
    assert all(isinstance(answer, bytes | StreamError | OSError) for answer in answers)
    assert await client.roster(address(1), port, 0, digests(()))


# -- a second network ------------------------------------------------------------------------------------------------

NOWHERE = "192.0.2.3"
"""An address that no interface here has."""


@pytest.fixture
async def three_on_storage() -> AsyncIterator[Three]:
    agents = Three(kernels=False, storage=True)
    await agents.start()
    yield agents
    await agents.close()


def install_changed(three: Three, epoch: int, **change: object) -> None:
    """All take a roster in which n3 is changed."""
    last = replace(three.roster.members[2], **change)  # type: ignore[arg-type]
    roster = replace(three.roster, epoch=epoch, members=(*three.roster.members[:2], last))
    for agent in three.agents.values():
        assert agent.install(seal_roster(roster, ROSTER_KEY.sign))


def storage_state(view: AgentView, name: str) -> NetworkState | None:
    found = (one for member in view.subjects if member.subject.node == name for one in member.networks)
    return next((one.state for one in found if one.network == "storage"), None)


def dead(three: Three, view: AgentView, name: str) -> set[str]:
    """The networks that the votes in this view call dead."""
    return {
        counted.network
        for about in view.subjects
        if about.subject.node == name
        for counted in tally_networks(about.look_votes, three.roster, about.subject, verify)
        if counted.dead
    }


async def test_a_dead_storage_network_is_voted_dead_and_its_node_stays_alive(
    three_on_storage: Three, caplog: pytest.LogCaptureFixture
) -> None:
    three = three_on_storage
    await first_view(
        three,
        lambda view: {storage_state(view, name) for name in ("n2", "n3")} == {NetworkState.ANSWERS},
    )
    install_changed(three, 2, networks=(("storage", NOWHERE),))
    assert f"{NOWHERE}, this node's address on the storage network, isn't to be had here" in caplog.text
    view = await first_view(three, lambda view: dead(three, view, "n3") == {"storage"})
    assert subject(view, "n3").state is RingState.ALIVE
    assert storage_state(view, "n2") is NetworkState.ANSWERS
    install_changed(three, 3)
    await first_view(
        three,
        lambda view: storage_state(view, "n3") is NetworkState.ANSWERS and not dead(three, view, "n3"),
    )


async def test_while_storage_answers_a_silent_management_network_kills_nobody(
    three_on_storage: Three,
) -> None:
    three = three_on_storage
    await first_view(three, lambda view: storage_state(view, "n3") is NetworkState.ANSWERS)
    install_changed(three, 2, addresses=(NOWHERE,))
    view = await first_view(three, lambda view: dead(three, view, "n3") == {"management"})
    # The look at its networks and the round about the node end each by itself.
    assert subject(view, "n3").state in {RingState.DOUBTED, RingState.PARTIAL}
    await first_view(three, lambda view: subject(view, "n3").state is RingState.PARTIAL)


async def test_a_kernel_is_asked_from_the_networks_own_address() -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.put_nowait(writer.get_extra_info("peername")[0])
        writer.close()

    server = await asyncio.start_server(hear, storage_address(2), 0)
    port = server.sockets[0].getsockname()[1]
    answered = asyncio.Event()
    probe_kernel(storage_address(2), (port,), answered.set, source=storage_address(1))
    async with asyncio.timeout(BOUND):
        await answered.wait()
        assert await heard.get() == storage_address(1)
    probe_kernel(storage_address(2), (port,), lambda: heard.put_nowait("answered"), source=NOWHERE)
    assert heard.empty()
    server.close()
