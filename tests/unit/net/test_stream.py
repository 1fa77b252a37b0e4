"""The stream's parts that need no second side; with real agents it runs in tests/unit/agent."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from ringfence.net.stream import (
    AGAIN,
    PUSH_EVERY,
    SMALL,
    THIN,
    Rhythm,
    UnderWay,
    _server_context,
    room,
    under_way,
)

BOUND = 20.0


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
