"""The gossip socket: raw and non-blocking, so that it can be drained before any time-out is judged.

asyncio's datagram transport reads one datagram a turn of the loop, while due timers run in the same turn: after a pause
the answers lie in the socket and the timers fire first (GOSSIP §4).

With each datagram the kernel says when it came, so that a round trip is the path's and not our own delay's, and how
many it has dropped because we did not empty the socket in time.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping

MAX_DATAGRAM = 2048
"""More than a valid one has, so that an oversized one is seen as such."""
_MOST_AT_ONCE = 1024
_BUFFER = 1 << 20
_SO_RXQ_OVFL, _SO_TIMESTAMPNS = 40, 35
"""Linux's numbers, which the socket module doesn't know."""
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY = socket.CMSG_SPACE(_TIMESPEC.size) + socket.CMSG_SPACE(4)


class Datagrams:
    """One UDP socket bound to an address of this node. Raises OSError where that can't be had."""

    def __init__(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self.socket.bind((address, port))
        except OSError:
            self.socket.close()
            raise
        self.port: int = self.socket.getsockname()[1]
        self.failed_sends = 0
        self.dropped = 0
        """Datagrams that the kernel had no room for, as told with the last one that it had."""
        self._empty_at = time.monotonic()
        """When nothing was in it last: whatever is now has come since."""

    def drain(self, take: Callable[[bytes, str, float], None]) -> bool:
        """Hand every waiting datagram to ``take``, with its sender's IP address and the (monotonic) time it came at.

        False: there is still more.
        """
        now = time.monotonic()
        wall_offset = time.time() - now
        for _ in range(_MOST_AT_ONCE):
            try:
                datagram, told, _, sender = self.socket.recvmsg(MAX_DATAGRAM, _ANCILLARY)
            except BlockingIOError:
                self._empty_at = now
                return True
            except OSError as error:
                if error.errno in {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH}:
                    continue  # what became of a datagram of ours, not of this read
                raise
            received_at = now
            for _, kind, data in told:
                if kind == _SO_TIMESTAMPNS:
                    seconds, nanoseconds = _TIMESPEC.unpack(data)
                    received_at = arrival(seconds + nanoseconds / 1e9 - wall_offset, self._empty_at, now)
                elif kind == _SO_RXQ_OVFL:
                    self.dropped = int.from_bytes(data, sys.byteorder)
            take(datagram, sender[0], received_at)
        return False

    def send(self, datagram: bytes, address: str) -> None:
        """Send; a datagram that can't leave is lost like one on the way."""
        try:
            self.socket.sendto(datagram, (address, self.port))
        except OSError:
            self.failed_sends += 1

    def close(self) -> None:
        """Give the port back."""
        self.socket.close()


class Footholds:
    """One socket on each further network, bound to this node's address there.

    So what goes to a network leaves by its own address, and an answer by the one that was asked; where this node has no
    socket nothing is sent, least of all by another network.
    """

    def __init__(
        self,
        port: int,
        opened: Callable[[str, str, Datagrams], None],
        closing: Callable[[str, Datagrams], None],
    ) -> None:
        """``opened`` is told of each new socket, with its network and address, ``closing`` of each before it goes."""
        self._port = port
        self._opened = opened
        self._closing = closing
        self._addresses: dict[str, str] = {}
        self.sockets: dict[str, Datagrams] = {}
        """By network."""
        self.dropped = 0
        """By the kernel, on sockets that are closed again."""

    def stand(self, addresses: Mapping[str, str]) -> frozenset[str]:
        """Stand on these addresses (by network) and no others. Returns the networks whose address isn't to be had."""
        for network in [name for name, at in self._addresses.items() if addresses.get(name) != at]:
            self._close(network)
        for network, address in addresses.items():
            if network not in self.sockets:
                try:
                    self.sockets[network] = Datagrams(address, self._port)
                except OSError:
                    continue
                self._addresses[network] = address
                self._opened(network, address, self.sockets[network])
        return frozenset(addresses.keys() - self.sockets.keys())

    def close(self) -> None:
        """Give all of them back."""
        for network in list(self.sockets):
            self._close(network)

    def _close(self, network: str) -> None:
        datagrams = self.sockets.pop(network)
        del self._addresses[network]
        self.dropped += datagrams.dropped
        self._closing(network, datagrams)
        datagrams.close()


def arrival(stamp: float, empty_at: float, now: float) -> float:
    """The time a datagram came at, by its kernel's stamp, in a socket that was empty at ``empty_at``.

    Stamps go by the wall clock: one that says otherwise was taken before that was set. However long we have slept, one that
    came in the meantime is as old as its stamp.
    """
    return min(max(stamp, empty_at), now)
