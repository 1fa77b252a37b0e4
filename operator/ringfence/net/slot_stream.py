"""The heartbeat processes' stream: what they see on the volume to controllers, words to fenced nodes back.

The agents' stream (`stream.py`) with other frames: reports as JSON instead of views, and the reader may speak too: a word
to a node, as the signed block that it will be, where to write it, and until when that is wanted, by the writer's own clock: a
process that was stopped with the wish in its socket must not take it for a fresh one.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, NoReturn

from ringfence.core.fencing.slotreport import SlotReport
from ringfence.core.fencing.slots import BLOCK
from ringfence.core.gossip.keys import KeySet
from ringfence.net.stream import QUIET, Frames, StreamClient, StreamError, StreamServer, _read, _write
from ringfence.net.view_stream import ViewWriter

if TYPE_CHECKING:
    import msgspec

SLOTS_PORT = 7950
_MAX_ORDER = 2 * BLOCK
_MAX_REPORT = 8 * 2**20
MAX_TTL = 60.0
"""Seconds for which a wish may stand at most."""


@dataclass(frozen=True, slots=True)
class WordWish:
    """Write this block beside that slot, before ``until`` on the clock of the process that is asked."""

    index: int
    block: bytes
    until: float


def encode_report(report: SlotReport) -> bytes:
    """The report's bytes."""
    return json.dumps(asdict(report), separators=(",", ":")).encode()


def decode_report(data: bytes) -> SlotReport:
    """The report; unknown fields are ignored, missing and mistyped ones raise StreamError."""
    import msgspec  # noqa: PLC0415 (readers only, as in views.py)

    try:
        return _decoder().decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise StreamError(f"not a report: {error}") from error


@cache
def _decoder() -> msgspec.json.Decoder[SlotReport]:
    import msgspec  # noqa: PLC0415

    return msgspec.json.Decoder(SlotReport)


def encode_wish(wish: WordWish) -> bytes:
    """The wish's bytes."""
    block = base64.b64encode(wish.block).decode()
    return json.dumps({"index": wish.index, "block": block, "until": wish.until}).encode()


def decode_wish(data: bytes) -> WordWish:
    """The wish; raises StreamError for what is none."""
    try:
        said = json.loads(data)
        index, until = said["index"], said["until"]
        block = base64.b64decode(said["block"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise StreamError(f"not a wish: {error}") from error
    number = isinstance(until, int | float) and not isinstance(until, bool) and math.isfinite(until)
    if type(index) is not int or not number or len(block) != BLOCK:
        raise StreamError("not a wish: index, until or block is out of bounds")
    return WordWish(index, block, float(until))


class SlotServer(StreamServer):
    """The heartbeat process' end."""

    AGAIN = ()
    """Of its reports each is new."""

    def __init__(
        self, keys: KeySet, report: Callable[[], SlotReport], on_wish: Callable[[WordWish], None]
    ) -> None:
        super().__init__(keys, _no_view, lambda: None)
        self._report = report
        self._on_wish = on_wish

    def _frames(self, _views: ViewWriter | None) -> Callable[[], bytes]:
        return lambda: encode_report(self._report())

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Take wishes until the reader has gone; one that breaks the protocol is hung up on."""
        with contextlib.suppress(EOFError, OSError, StreamError):
            while True:
                self._on_wish(decode_wish(await _read(reader, _MAX_ORDER)))


class SlotSession:
    """A controller's end of one open stream."""

    def __init__(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._address = address
        self._frames = Frames(reader, writer, _MAX_REPORT)
        self._writer = writer

    async def report(self) -> SlotReport:
        """The next report. Raises StreamError; TimeoutError and EOFError become one where the session ends."""
        async with asyncio.timeout(QUIET):
            frame = await self._frames.next()
        try:
            return decode_report(frame)
        except StreamError as error:
            raise StreamError(f"{self._address} sent no report: {error}") from error

    def tell(self, wish: WordWish) -> None:
        """Send the wish; whether it was fulfilled is seen in later reports."""
        _write(self._writer, encode_wish(wish))


class SlotClient(StreamClient):
    """Opens sessions with heartbeat processes."""

    @contextlib.asynccontextmanager
    async def session(self, address: str, port: int) -> AsyncIterator[SlotSession]:
        """Connect and prove. Raises StreamError or OSError, here or within."""
        async with self._stream(address, port) as (reader, writer):
            await self._prove(reader, writer)
            yield SlotSession(address, reader, writer)


def _no_view() -> NoReturn:
    raise AssertionError("a heartbeat process shows reports, not views")
