"""Frames of a stream as one deflate stream (RFC 1951): a view is much like the one before, and costs what differs.

On a path that loses packets TCP gives what is short at once, and what is long after several time-outs. Both sides have to want it:
it is agreed on by TLS' ALPN (RFC 7301), so that one who doesn't know it gets plain frames, and one of the version before
deflated views that are complete in themselves (`view_stream`).
"""

from __future__ import annotations

import asyncio
import ssl
import zlib

_ONCE = "ringfence-once"
"""Deflated, and what a view repeats is left out."""
_PROTOCOL = "ringfence-deflate"
_LEVEL, _WINDOW, _MEMORY = 3, -15, 7
"""Fast; 32 KiB, so that the view before is in reach; about 200 KiB a stream."""


class DeflateError(Exception):
    """The other side sent no such frame, or one that is too large."""


def offer(context: ssl.SSLContext) -> None:
    """Agree to it with whoever offers it too."""
    context.set_alpn_protocols([_ONCE, _PROTOCOL])


def agreed(writer: asyncio.StreamWriter) -> bool:
    """Whether both sides of this connection want it."""
    return _selected(writer) in {_ONCE, _PROTOCOL}


def once(writer: asyncio.StreamWriter) -> bool:
    """Whether both sides keep what a view has said for the next one."""
    return _selected(writer) == _ONCE


def _selected(writer: asyncio.StreamWriter) -> str | None:
    connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
    return connection.selected_alpn_protocol()


class Deflater:
    """The sender's end of one connection."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW, _MEMORY)

    def frame(self, plain: bytes) -> bytes:
        """The next frame."""
        return self._stream.compress(plain) + self._stream.flush(zlib.Z_SYNC_FLUSH)


class Inflater:
    """The reader's end of one connection."""

    def __init__(self, limit: int) -> None:
        """``limit``: bytes of a plain frame at most, whatever a few bytes claim to become."""
        self._stream = zlib.decompressobj(_WINDOW)
        self._limit = limit

    def frame(self, packed: bytes) -> bytes:
        """The next frame. Raises DeflateError."""
        try:
            plain = self._stream.decompress(packed, self._limit + 1)
        except zlib.error as error:
            raise DeflateError(f"no deflated frame: {error}") from error
        if len(plain) > self._limit or self._stream.eof:
            raise DeflateError(f"a frame of more than {self._limit} bytes, or the stream's end")
        return plain
