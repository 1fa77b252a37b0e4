"""The stream's parts that need no second side; with real agents it runs in tests/unit/agent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.core.gossip.keys import KeySet
from ringfence.core.gossip.report import AgentView, SubjectView
from ringfence.core.model import Boot, RingState
from ringfence.net.crypto import make_key
from ringfence.net.stream import (
    AGAIN,
    HANDSHAKE,
    LONGEST_REST,
    PUSH_EVERY,
    QUIET,
    REST,
    SMALL,
    STRANGERS,
    STRANGERS_OF_ONE,
    THIN,
    Rhythm,
    StreamClient,
    StreamServer,
    UnderWay,
    _server_context,
    room,
    under_way,
)

BOUND = 20.0
VIEW = AgentView(Boot("n1", "uid-1", "boot-1"), 1, True, frozenset(), ())


def rss() -> int:
    """KiB of this process' own memory."""
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))


def test_what_is_new_is_shown_again_soon_and_what_is_large_is_not() -> None:
    rhythm = Rhythm()
    assert [rhythm.pause(100) for _ in range(2)] == [PUSH_EVERY] * 2
    rhythm.changed()
    assert [rhythm.pause(100) for _ in range(4)] == [*AGAIN, PUSH_EVERY, PUSH_EVERY]
    rhythm.changed()
    assert rhythm.pause(SMALL) == AGAIN[0]
    rhythm.changed()
    assert [rhythm.pause(100) for _ in range(3)] == [*AGAIN, PUSH_EVERY]
    rhythm.changed()
    assert rhythm.pause(SMALL + 1) == PUSH_EVERY


def test_only_a_large_view_is_rested_upon_and_never_for_longer_than_a_reader_bears() -> None:
    assert Rhythm.rest(SMALL, 0.08) == 0.0
    assert Rhythm.rest(SMALL + 1, 0.08) == REST * 0.08
    assert Rhythm.rest(SMALL + 1, 5.0) == LONGEST_REST < QUIET / 1.5


async def test_views_of_thousands_leave_the_loop_to_the_probes() -> None:
    """While 2,000 die a newer view is there whenever one is sent: two readers held the agent's loop without a pause."""
    boots = [Boot(f"n{number}", f"uid-{number}", "boot-1") for number in range(200)]
    view = replace(
        VIEW,
        subjects=tuple(
            SubjectView(boot, RingState.UNREACHABLE, 1.0, None, None, None, None, ()) for boot in boots
        ),
    )
    took, views = 0.01, 8

    def make() -> AgentView:
        began = time.thread_time()
        while time.thread_time() - began < took:
            pass
        server.changed()  # there is news already
        return view

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    keys = KeySet.first(make_key())
    server = StreamServer(keys, make, lambda: None)
    await server.start("127.0.0.1", port)
    stamps = []
    async with asyncio.timeout(BOUND):
        async for shown in StreamClient(keys).views("127.0.0.1", port):
            assert len(shown.subjects) == len(boots)
            stamps.append(asyncio.get_running_loop().time())
            if len(stamps) == views:
                break
    assert stamps[-1] - stamps[0] >= (views - 2) * REST * took
    await server.close()


def test_a_stream_stays_thin_however_small_its_views_are() -> None:
    """Linux counts segments, not bytes: of a fourth one on it doubles the time-out with each loss (tcp-thin)."""
    assert [UnderWay(1448, segments, 0).takes(300) for segments in range(5)] == [True] * THIN + [False] * 2
    assert not UnderWay(1448, 2, 0).takes(1449)
    assert UnderWay(1448, 0, 0).takes(100_000), "nothing to wait for"
    assert not UnderWay(1448, 1, 300).takes(1), "what could not be sent yet stands before it"


async def test_nothing_queues_behind_what_has_not_arrived() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
    _, writer = await asyncio.open_connection(sock=accepted)
    with reader:
        reader.setblocking(False)
        async with asyncio.timeout(BOUND):
            await room(writer, 1_000_000)  # nothing is under way: a large view goes too
            sent = 0
            while not writer.transport.get_write_buffer_size():  # until neither kernel takes more
                writer.write(bytes(100_000))
                sent += 100_000
                await asyncio.sleep(0)
            assert under_way(writer).unsent
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await room(writer, 1)
            waiting = asyncio.create_task(room(writer, 1))
            while sent:
                sent -= len(await asyncio.get_running_loop().sock_recv(reader, 2**20))
            await waiting
        writer.close()
        await writer.wait_closed()
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(room(writer, 1), BOUND)


async def test_a_stream_whose_tls_has_ended_is_closed() -> None:
    """asyncio lets go of its socket then: an agent's log had an unhandled AttributeError."""
    context, _ = _server_context()
    served: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(
        lambda _, writer: served.set_result(writer), "127.0.0.1", 0, ssl=context
    )
    address = server.sockets[0].getsockname()
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(BOUND):
        _, writer = await asyncio.open_connection(*address, ssl=trusting)
        theirs = await served
        writer.transport.abort()
        theirs.transport.abort()
        while theirs.get_extra_info("socket") is not None:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0)
        with pytest.raises(ConnectionError):
            await room(theirs, 1)
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("hosts", [1, 60], ids=["one address", "many addresses"])
async def test_who_has_proved_nothing_takes_no_memory_and_keeps_nobody_out(hosts: int) -> None:
    """asyncio makes a buffer of 256 KiB for each TLS connection: 600 that said nothing took 186 MiB, and the agent's limit is 128."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    keys = KeySet.first(make_key())
    server = StreamServer(keys, lambda: VIEW, lambda: None)
    await server.start("127.0.0.1", port)
    loop, before = asyncio.get_running_loop(), rss()
    strangers = []
    async with asyncio.timeout(BOUND):
        for number in range(300):
            stranger = socket.socket()
            stranger.bind((f"127.0.1.{1 + number % hosts}", 0))
            stranger.setblocking(False)
            await loop.sock_connect(stranger, ("127.0.0.1", port))
            strangers.append(stranger)
        waiting = {asyncio.ensure_future(_ended(loop, one)) for one in strangers}
        most = STRANGERS_OF_ONE if hosts == 1 else STRANGERS
        while len(waiting) > most:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert len(waiting) == most
        assert rss() - before < 40 * 1024
        if hosts == 1:  # else those that are in must be given up first
            views = StreamClient(keys).views("127.0.0.1", port)
            assert await anext(views) == VIEW
            await views.aclose()
        began = loop.time()
        await asyncio.gather(*waiting)  # they are given up
        assert loop.time() - began < HANDSHAKE + 5.0
        views = StreamClient(keys).views("127.0.0.1", port)
        assert await anext(views) == VIEW
        await views.aclose()
    for stranger in strangers:
        stranger.close()
    await server.close()


async def _ended(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Until the other side has hung up."""
    with contextlib.suppress(ConnectionResetError):
        assert await loop.sock_recv(connection, 1) == b""
