"""The gossip socket: raw and non-blocking, so that it can be drained before any time-out is judged.

asyncio's datagram transport reads one datagram a turn of the loop, while due timers run in the same turn: after a pause
the answers lie in the socket and the timers fire first (GOSSIP §4).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

MAX_DATAGRAM = 2048
"""More than a valid one has, so that an oversized one is seen as such."""
_MOST_AT_ONCE = 1024
_BUFFER = 1 << 20


class Datagrams:
    """One UDP socket bound to the node's address."""

    def __init__(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self.socket.bind((address, port))
        self.port: int = self.socket.getsockname()[1]
        self.failed_sends = 0

    def drain(self, take: Callable[[bytes, str], None]) -> bool:
        """Hand every waiting datagram with its sender's IP address to ``take``. False: there is still more."""
        for _ in range(_MOST_AT_ONCE):
            try:
                datagram, sender = self.socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno in {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH}:
                    continue  # what became of a datagram of ours, not of this read
                raise
            take(datagram, sender[0])
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
