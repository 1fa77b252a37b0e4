"""ICMP echo: the surest way to ask a kernel, where the host lets us send one.

Only an echo reply that repeats our nonce counts. An ICMP error, which any router on the way may send, counts for
nothing. A reply comes from the kernel itself, with no process and no open port needed.
"""

from __future__ import annotations

import asyncio
import enum
import os
import socket
import struct
from collections.abc import Callable

TIMEOUT = 0.3
"""Seconds: as long as a knock by TCP waits."""
NONCE = 16
"""Bytes: nobody who has not seen the request can guess it."""
MAX_OUTSTANDING = 1024
"""Echoes that wait for their reply; beyond that the oldest is given up."""
_READS = 64
"""Packets taken in one turn of the loop: a raw socket is shown the replies to everybody's pings."""
_HEADER = struct.Struct("!BBHHH")
_SOL_RAW, _ICMP_FILTER, _ICMPV6_FILTER = 255, 1, 1
_V4_REPLIES_ONLY = struct.pack("=I", 0xFFFF_FFFF & ~1)
"""One bit a type that is kept out; 0 is the echo reply."""
_V6_REPLIES_ONLY = struct.pack("=8I", *(0xFFFF_FFFF & ~(2 if word == 4 else 0) for word in range(8)))
"""129 is the echo reply: bit 1 of word 4."""


class EchoBy(enum.StrEnum):
    """The socket by which echoes leave."""

    DATAGRAM = "datagram"
    """A ping socket: needs no capability, but a group of ours in `net.ipv4.ping_group_range`."""
    RAW = "raw"
    """Needs CAP_NET_RAW."""
    NONE = "none"


class Echo:
    """Echo requests to nodes of one address family, by one socket; without effect where the host permits none."""

    def __init__(self, family: socket.AddressFamily, source: str | None = None) -> None:
        """``source`` is the address of ours that they leave by, where it matters."""
        self._loop = asyncio.get_running_loop()
        self._v4 = family == socket.AF_INET
        self._request, self._reply = (8, 0) if self._v4 else (128, 129)
        self._outstanding: dict[bytes, tuple[float, Callable[[], None]]] = {}
        """By nonce: until when, and who wants to know. The oldest stands first."""
        self._socket, self.by = _open(family, source)
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._readable)

    def ask(self, address: str, answered: Callable[[], None]) -> None:
        """Send one request; ``answered`` is called in the running loop if its reply comes in time."""
        if self._socket is None:
            return
        now = self._loop.time()
        self._give_up(now)
        nonce = os.urandom(NONCE)
        try:
            self._socket.sendto(self._packet(nonce), (address, 0))
        except OSError:
            return  # no way there: silence, like a request that was lost
        self._outstanding[nonce] = (now + TIMEOUT, answered)

    def close(self) -> None:
        """Ask no more, and hear no more replies."""
        self._outstanding.clear()
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _give_up(self, now: float) -> None:
        while self._outstanding:
            oldest = next(iter(self._outstanding))
            if len(self._outstanding) < MAX_OUTSTANDING and self._outstanding[oldest][0] > now:
                return
            del self._outstanding[oldest]

    def _packet(self, nonce: bytes) -> bytes:
        # A ping socket puts in its own identifier and checksum, ICMPv6 its checksum: only raw IPv4 needs ours.
        identifier = os.getpid() & 0xFFFF
        checksum = _checksum(_HEADER.pack(self._request, 0, 0, identifier, 0) + nonce)
        return _HEADER.pack(self._request, 0, checksum, identifier, 0) + nonce

    def _readable(self) -> None:
        for _ in range(_READS):
            if self._socket is None:
                return  # closed by what an answer has led to
            try:
                packet = self._socket.recv(2048)
            except BlockingIOError:
                return
            except OSError:
                continue  # what became of a request of ours, not of this read
            if self._v4 and self.by is EchoBy.RAW:
                packet = packet[(packet[0] & 0x0F) * 4 :]  # only this kind is shown the IP header
            nonce = nonce_in(packet, self._reply)
            waiting = self._outstanding.pop(nonce, None) if nonce is not None else None
            if waiting is not None and self._loop.time() <= waiting[0]:
                waiting[1]()


def nonce_in(packet: bytes, reply: int) -> bytes | None:
    """The nonce of an ICMP packet of this type, which is its family's echo reply; None for any other packet."""
    if len(packet) != _HEADER.size + NONCE or packet[0] != reply or packet[1] != 0:
        return None
    return packet[_HEADER.size :]


def _open(family: socket.AddressFamily, source: str | None) -> tuple[socket.socket | None, EchoBy]:
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    for kind, by in ((socket.SOCK_DGRAM, EchoBy.DATAGRAM), (socket.SOCK_RAW, EchoBy.RAW)):
        try:
            opened = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        except OSError:
            continue
        if source is not None:
            try:
                opened.bind((source, 0))
            except OSError:
                opened.close()
                continue
        if by is EchoBy.RAW and family == socket.AF_INET:
            opened.setsockopt(_SOL_RAW, _ICMP_FILTER, _V4_REPLIES_ONLY)
        elif by is EchoBy.RAW:
            opened.setsockopt(protocol, _ICMPV6_FILTER, _V6_REPLIES_ONLY)
        return opened, by
    return None, EchoBy.NONE


def _checksum(packet: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
