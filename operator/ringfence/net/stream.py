"""The agents' stream: how controllers learn what the ring sees, and agents their peers' roster.

TCP on the gossip port, inside TLS 1.3. The agent's certificate is its own and vouches for nothing; instead both sides
prove that they hold a group key, by a MAC over both sides' nonces and the fingerprint of the certificate that was
really shown, so nobody in the middle can pass the proofs on. The agent proves by the key that it uses, the reader by the
same one; either takes any that it holds. When a key is removed, what was begun by it ends. Then the agent sends an AgentView on every change and at
least every half second; a reader that hears nothing for longer takes the stream for dead.

A reader that wants the roster says so behind its proof, in the same frame: ``roster``, the epoch that it has, and its
digests. It gets one frame, the delta of `anti_entropy` (empty where the agent has nothing newer), and the stream ends.
An agent of the version before takes such a proof for a wrong one and hangs up.

A reader that wants to know when the agent last heard a member says ``heard`` and the member's UID in the same place, and gets one
frame, a Hearing. It is made after the question has come: that is the point of it.

Frames are a 4-byte length and, after the proofs, JSON or a delta; views are deflated, and say a vote once, where both sides know
how (`deflate`, `view_stream`). Errors: StreamError (the other side is not what it
should be, or has gone quiet) and OSError (the network).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import math
import os
import socket
import ssl
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import NamedTuple

from ringfence.core.gossip.anti_entropy import DIGESTS_BYTES, MAX_DELTA, delta
from ringfence.core.gossip.keys import GroupKey, KeySet
from ringfence.core.gossip.members import SealedRoster
from ringfence.core.gossip.report import AgentView, Hearing
from ringfence.net import deflate
from ringfence.net.certificate import own_certificate
from ringfence.net.crypto import SigningKey, derive
from ringfence.net.view_stream import ViewReader, ViewWriter
from ringfence.net.views import ViewError, decode_hearing, decode_view, encode_hearing, encode_view

logger = logging.getLogger(__name__)

PUSH_EVERY = 0.5
"""Seconds between views while nothing changes."""
AGAIN = (0.05, 0.1)
"""Pauses after a change, in seconds: it is shown three times. What follows a lost segment lets the kernel send that one again
at once (RFC 8985); alone it would wait for a time-out of 0.2 s and more.
"""
SMALL = 16 * 1024
"""Bytes of a view that is worth it."""
REST = 9.0
"""Times the CPU time that a large view took to make, for which its reader gets no other: it takes a tenth of the agent's one loop. A
view of 2,000 verdicts takes 0.08 s, and while so many come there is always a newer one.
"""
LONGEST_REST = 1.0
"""Seconds: half of what a reader bears, `QUIET`."""
QUIET = 2.0
"""Seconds without a view after which a stream is dead: four pushes."""
HANDSHAKE = 3.0
TRANSFER = 10.0
"""Seconds within which a roster must have come over."""
_MAX_READERS = 32
STRANGERS = 16
"""Connections of peers that have proved nothing yet. asyncio takes 256 KiB for each of them as soon as TLS begins."""
STRANGERS_OF_ONE = 8
"""Of these from one address: who opens more than that keeps nobody else out."""
_BACKLOG = 4096
"""As many as Linux lets wait to be accepted (net.core.somaxconn). While the agent stands still each observer adds one with each question
whether its kernel lives, six a second in a ring of three; once the queue is full nobody has an answer at this port.
"""
_ACCEPTED_AGAIN = 1.0
"""Seconds without taking anybody, where the kernel has no descriptor left."""
_MAX_ROSTERS = 4
"""Rosters sent at a time; who comes then asks another peer."""
_MAX_FRAME = 8 * 2**20
_NONCE = 32
_PROOF = 32
_WISH = b"roster"
_HEARD = b"heard"
_EPOCH = 8
_TCP_INFO = struct.Struct("16x I 4x I 116x I")
"""Of tcp_info: bytes that a segment takes, segments that are not acknowledged, bytes that are not sent."""
_TCP_THIN_LINEAR_TIMEOUTS = 16
"""linux/tcp.h; `socket` has no name for it."""
THIN = 3
"""Segments under way up to which Linux calls a stream thin (`tcp_stream_is_thin`). A small view is a segment of its own."""
_ROOM_EVERY = 0.02
"""Seconds between two looks at what is under way: the kernel tells nobody that it has been acknowledged."""
_MAX_PROOF = _PROOF + len(_WISH) + _EPOCH + DIGESTS_BYTES


class StreamError(Exception):
    """The other side broke the protocol, failed to prove itself, or has gone quiet."""


class Rhythm:
    """How long to wait for a change until the view is pushed all the same."""

    def __init__(self, pauses: tuple[float, ...] = AGAIN) -> None:
        self._pauses = pauses
        self._again: list[float] = []

    def changed(self) -> None:
        """What is pushed next is new."""
        self._again = list(self._pauses)

    def pause(self, size: int) -> float:
        """Seconds, after a view of so many bytes was pushed."""
        return self._again.pop(0) if self._again and size <= SMALL else PUSH_EVERY

    @staticmethod
    def rest(size: int, took: float) -> float:
        """Seconds for which even a change waits, after a view of so many bytes that took so many seconds of CPU."""
        return min(REST * took, LONGEST_REST) if size > SMALL else 0.0


class StreamServer:
    """The agent's end: shows its view, or its roster, to everyone who holds a group key of ours."""

    AGAIN: tuple[float, ...] = AGAIN

    def __init__(
        self,
        keys: KeySet,
        view: Callable[[], AgentView],
        roster: Callable[[], SealedRoster | None],
        hearing: Callable[[str], Hearing | None] = lambda _uid: None,
    ) -> None:
        self._keys = keys
        self._view = view
        self._roster = roster
        self._hearing = hearing
        self._rosters = 0
        """How many are being sent."""
        self._context, self._fingerprint = _server_context()
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._wakers: set[asyncio.Event] = set()
        self._tasks: dict[asyncio.Task[None], GroupKey | None] = {}
        """Who is being served, and the key that they have proved to hold."""
        self._strangers: dict[asyncio.Task[None], str] = {}
        """Who has proved nothing yet, and the address that they come from."""
        self.on_readers: Callable[[int], None] = lambda _count: None
        """Called with the number of readers when one has come or gone."""

    async def start(self, address: str, port: int) -> None:
        """Listen. Raises OSError where the port can't be had."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listening = socket.create_server((address, port), family=family, backlog=_BACKLOG)
        self._listening.setblocking(False)
        self._accepting = asyncio.create_task(self._accept_all(self._listening))

    def rekey(self, keys: KeySet) -> None:
        """Go by these keys from now on; who has proved to hold one that is not among them is hung up on."""
        self._keys = keys
        for task, proved in self._tasks.items():
            if proved is not None and proved not in keys.keys:
                task.cancel()

    def changed(self) -> None:
        """The view has changed: push it now."""
        for waker in self._wakers:
            waker.set()

    async def close(self) -> None:
        """Stop listening and drop every reader."""
        tasks = list(self._tasks)
        if self._accepting is not None:
            tasks.append(self._accepting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()

    async def _accept_all(self, listening: socket.socket) -> None:
        """Take who comes, one a turn of the loop, and turn away who is too many *before* TLS costs anything."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(listening)
            except ConnectionAbortedError:
                continue  # it has gone already
            except OSError as error:
                logger.warning("nobody can be taken for %g s: %s", _ACCEPTED_AGAIN, error)
                await asyncio.sleep(_ACCEPTED_AGAIN)
                continue
            if self._full(peer[0]):
                logger.debug("%s is turned away: too many are here that have proved nothing", peer[0])
                connection.close()
            else:
                task = asyncio.create_task(self._greet(connection))
                self._tasks[task], self._strangers[task] = None, peer[0]
                task.add_done_callback(self._gone)
            await asyncio.sleep(0)  # else a flood of them would keep the loop from the probes

    def _full(self, host: str) -> bool:
        strangers = list(self._strangers.values())
        return (
            len(self._tasks) >= _MAX_READERS
            or len(strangers) >= STRANGERS
            or strangers.count(host) >= STRANGERS_OF_ONE
        )

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._strangers.pop(task, None)

    async def _greet(self, connection: socket.socket) -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        writer: asyncio.StreamWriter | None = None
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            await self._serve(reader, writer, task)
        except (OSError, StreamError, EOFError, TimeoutError, asyncio.CancelledError) as error:
            logger.debug("a verdict stream ended: %r", error)
        finally:
            if writer is not None:
                writer.transport.abort()
            else:
                connection.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[None]
    ) -> None:
        async with asyncio.timeout(HANDSHAKE):
            theirs = await _read(reader, _MAX_PROOF)
            if len(theirs) != _NONCE:
                raise StreamError("not a nonce")
            ours = os.urandom(_NONCE)
            _write(writer, ours + _proof(_used(self._keys), b"agent", theirs, ours, self._fingerprint))
            answer = await _read(reader, _MAX_PROOF)
            proof, wish = answer[:_PROOF], answer[_PROOF:]
            self._tasks[task] = _proved(self._keys, proof, b"reader", theirs, ours, self._fingerprint)
            if self._tasks[task] is None:
                raise StreamError("the reader doesn't hold the group key")
            del self._strangers[task]
        if wish.startswith(_HEARD):
            await self._send_hearing(wish[len(_HEARD) :], writer)
        elif wish:
            await self._send_roster(wish, writer)
        else:
            await self._send_views(reader, writer)

    async def _send_hearing(self, uid: bytes, writer: asyncio.StreamWriter) -> None:
        found = self._hearing(uid.decode(errors="replace"))
        if found is None:
            raise StreamError("the reader asks about a stranger")
        async with asyncio.timeout(QUIET):
            _write(writer, encode_hearing(found))
            writer.close()
            await writer.wait_closed()

    async def _send_roster(self, wish: bytes, writer: asyncio.StreamWriter) -> None:
        if len(wish) != _MAX_PROOF - _PROOF or not wish.startswith(_WISH):
            raise StreamError("the reader wants something that is not known here")
        if self._rosters >= _MAX_ROSTERS:
            raise StreamError("enough rosters are being sent")
        epoch = int.from_bytes(wish[len(_WISH) :][:_EPOCH], "big")
        sealed = self._roster()
        self._rosters += 1
        try:
            async with asyncio.timeout(TRANSFER):
                if sealed is None or sealed.roster.epoch <= epoch:
                    _write(writer, b"")
                else:
                    # In a thread: hashing 5,000 members would keep the loop from the probes for too long.
                    _write(writer, await asyncio.to_thread(delta, sealed, wish[len(_WISH) + _EPOCH :]))
                writer.close()
                await writer.wait_closed()
        finally:
            self._rosters -= 1

    async def _send_views(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waker, rhythm = asyncio.Event(), Rhythm(self.AGAIN)
        _never_back_off(writer)
        deflater = deflate.Deflater() if deflate.agreed(writer) else None
        make = self._frames(ViewWriter() if deflate.once(writer) else None)
        self._wakers.add(waker)
        self.on_readers(len(self._wakers))
        gone = asyncio.ensure_future(self._listen(reader))
        gone.add_done_callback(lambda _: waker.set())
        try:
            size = 0
            while not gone.done():
                async with asyncio.timeout(QUIET):
                    await room(writer, size)
                if waker.is_set():
                    waker.clear()
                    rhythm.changed()
                began = time.thread_time()  # not the clock's: that a machine is full is no reason to rest
                frame = make()
                packed = deflater.frame(frame) if deflater is not None else frame
                rest = rhythm.rest(len(frame), time.thread_time() - began)
                size = len(packed)
                _write(writer, packed)
                async with asyncio.timeout(QUIET):
                    await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(rest, rhythm.pause(len(frame)))):
                        await asyncio.sleep(rest)
                        await waker.wait()
        finally:
            self._wakers.discard(waker)
            self.on_readers(len(self._wakers))
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    def _frames(self, views: ViewWriter | None) -> Callable[[], bytes]:
        """What makes the frames that are pushed to a reader."""
        encode = encode_view if views is None else views.frame
        return lambda: encode(self._view())

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Until the reader has gone. It has nothing to say here."""
        await reader.read(1)


class StreamClient:
    """Subscribes to agents' views and asks for their roster. One object serves any number of agents."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE  # the proofs over its fingerprint vouch for it
        deflate.offer(self._context)

    def rekey(self, keys: KeySet) -> None:
        """Go by these keys from the next connection on."""
        self._keys = keys

    async def views(self, address: str, port: int) -> AsyncGenerator[AgentView, None]:
        """Connect, prove, and yield views until the stream is lost; then StreamError or OSError. Redial to go on."""
        async with self._stream(address, port) as (reader, writer):
            await self._prove(reader, writer)
            frames = Frames(reader, writer, _MAX_FRAME)
            decode = ViewReader().view if deflate.once(writer) else decode_view
            while True:
                async with asyncio.timeout(QUIET):
                    frame = await frames.next()
                try:
                    view = decode(frame)
                except ViewError as error:
                    raise StreamError(f"{address} sent no view: {error}") from error
                yield view

    async def roster(self, address: str, port: int, epoch: int, digests: bytes) -> bytes:
        """The peer's delta upon the members with these digests; empty where it has no later epoch than this.

        What it says is for `anti_entropy.apply` to judge. Raises StreamError or OSError.
        """
        async with self._stream(address, port) as (reader, writer):
            await self._prove(reader, writer, _WISH + epoch.to_bytes(_EPOCH, "big") + digests)
            async with asyncio.timeout(TRANSFER):
                return await _read(reader, MAX_DELTA)

    async def hearing(self, address: str, port: int, uid: str) -> Hearing:
        """When the agent there last heard the member of that UID, as it knows it now. Raises StreamError or OSError."""
        async with self._stream(address, port) as (reader, writer):
            await self._prove(reader, writer, _HEARD + uid.encode())
            async with asyncio.timeout(QUIET):
                frame = await _read(reader, _MAX_FRAME)
            try:
                return decode_hearing(frame)
            except ViewError as error:
                raise StreamError(f"{address} sent no hearing: {error}") from error

    @contextlib.asynccontextmanager
    async def _stream(
        self, address: str, port: int
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            async with asyncio.timeout(HANDSHAKE):
                reader, writer = await asyncio.open_connection(address, port, ssl=self._context)
        except TimeoutError as error:
            raise StreamError(f"{address} doesn't answer") from error
        try:
            yield reader, writer
        except TimeoutError as error:
            raise StreamError(f"{address} has gone quiet") from error
        except EOFError as error:
            raise StreamError(f"{address} has hung up") from error
        finally:
            writer.transport.abort()

    async def _prove(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wish: bytes = b""
    ) -> None:
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        fingerprint = hashlib.sha256(certificate).digest()
        ours = os.urandom(_NONCE)
        async with asyncio.timeout(HANDSHAKE):
            _write(writer, ours)
            answer = await _read(reader, _MAX_PROOF)
            theirs, proof = answer[:_NONCE], answer[_NONCE:]
            key = _proved(self._keys, proof, b"agent", ours, theirs, fingerprint)
            if key is None:
                raise StreamError("the agent doesn't hold the group key, or somebody stands between")
            _write(writer, _proof(key, b"reader", ours, theirs, fingerprint) + wish)
            await writer.drain()


def _used(keys: KeySet) -> GroupKey:
    return next(key for key in keys.keys if key.id == keys.used)


def _proof(key: GroupKey, role: bytes, reader_nonce: bytes, agent_nonce: bytes, fingerprint: bytes) -> bytes:
    said = role + b"\x00" + reader_nonce + agent_nonce + fingerprint
    return hmac.digest(derive(key.secret, "stream"), said, hashlib.sha256)


def _proved(
    keys: KeySet, proof: bytes, role: bytes, reader_nonce: bytes, agent_nonce: bytes, fingerprint: bytes
) -> GroupKey | None:
    """Which of the keys was proved to be held."""
    for key in keys.keys:
        if hmac.compare_digest(proof, _proof(key, role, reader_nonce, agent_nonce, fingerprint)):
            return key
    return None


def _never_back_off(writer: asyncio.StreamWriter) -> None:
    """Let the kernel send a lost view again every 0.2 s, and not after 0.2, 0.4, 0.8 s (Linux' tcp-thin): a few packets a second
    jam no path, and a verdict in them can't wait. It does so only while no more than three segments are under way.
    """
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, _TCP_THIN_LINEAR_TIMEOUTS, 1)


async def room(writer: asyncio.StreamWriter, size: int) -> None:
    """Wait until another view of about so many bytes leaves the stream thin, or until nothing is under way.

    What is made later is newer than what would have queued behind a lost segment. Raises OSError where the stream is closed.
    """
    while not under_way(writer).takes(size):  # noqa: ASYNC110 - no event tells it
        await asyncio.sleep(_ROOM_EVERY)


class UnderWay(NamedTuple):
    """What the kernel holds, as the other side hasn't acknowledged it."""

    segment: int
    """Bytes that a segment takes."""
    segments: int
    """Sent and not acknowledged."""
    unsent: int
    """Bytes that could not be sent yet."""

    def takes(self, size: int) -> bool:
        """Whether so many bytes more find the way free, or leave it thin."""
        thin = self.segments + math.ceil(size / self.segment) <= THIN
        return not self.unsent and (thin or not self.segments)


def under_way(writer: asyncio.StreamWriter) -> UnderWay:
    """As the kernel tells it (linux/tcp.h, tcp_info). Raises OSError where the stream is closed."""
    connection = writer.get_extra_info("socket")
    if connection is None or connection.fileno() < 0:  # None: TLS has let go of it
        raise ConnectionError("the stream is closed")
    found = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    return UnderWay(*_TCP_INFO.unpack(found))


def _write(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(len(frame).to_bytes(4, "big") + frame)


async def _read(reader: asyncio.StreamReader, limit: int) -> bytes:
    size = int.from_bytes(await reader.readexactly(4), "big")
    if size > limit:
        raise StreamError(f"a frame of {size} bytes, at most {limit}")
    return await reader.readexactly(size)


class Frames:
    """A reader's end of what is pushed on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> None:
        self._reader = reader
        self._limit = limit
        self._inflater = deflate.Inflater(limit) if deflate.agreed(writer) else None

    async def next(self) -> bytes:
        """The next frame, plain. Raises StreamError."""
        frame = await _read(self._reader, self._limit)
        if self._inflater is None:
            return frame
        try:
            return self._inflater.frame(frame)
        except deflate.DeflateError as error:
            raise StreamError(str(error)) from error


def _server_context() -> tuple[ssl.SSLContext, bytes]:
    """A server context with a certificate made for this process, and its fingerprint."""
    certificate, pem = own_certificate(SigningKey.fresh())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    deflate.offer(context)
    descriptor = os.memfd_create(
        "ringfence-certificate"
    )  # ssl reads keys from files only; this one is on no disk
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context, hashlib.sha256(certificate).digest()
