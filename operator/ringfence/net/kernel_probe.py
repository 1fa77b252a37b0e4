"""Does the node's kernel live? TCP to an open and to a closed port of it.

An accepted connection (the kernel completes it even for a stopped process) and a refused one both come from a kernel.
A time-out or an unreachable host is silence. A refusal could also be a firewall's; that only delays a verdict.
The third question, an ICMP echo, needs a socket of its own and a right: `echo.py`.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable

CLOSED_PORT = 7952
"""Nobody's. The queue of a port that somebody listens on fills while his process stands still, and a full one answers nobody."""
TIMEOUT = 0.3
"""Seconds: one SYN; the examination asks twice and a SYN is repeated by the kernel after 1 s only."""
_ANSWERS = frozenset({0, errno.ECONNREFUSED, errno.ECONNRESET})
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def probe_kernel(
    address: str, ports: tuple[int, ...], answered: Callable[[], None], *, source: str | None = None
) -> None:
    """Knock at these ports; ``answered`` is called in the running loop for each that answers in time.

    ``source`` is the address of ours to knock from, where it matters.
    """
    for port in ports:
        _knock(address, port, answered, source)


def _knock(address: str, port: int, answered: Callable[[], None], source: str | None) -> None:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    knocker = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    knocker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)  # leave nothing half open behind
    try:
        if source is not None:
            knocker.bind((source, 0))
    except OSError:
        knocker.close()
        return  # not ours any more: silence
    result = knocker.connect_ex((address, port))
    if result != errno.EINPROGRESS:
        knocker.close()
        if result in _ANSWERS:
            answered()
        return

    def finish() -> None:
        if knocker.fileno() == -1:
            return
        loop.remove_writer(knocker)
        timer.cancel()
        error = knocker.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        knocker.close()
        if error in _ANSWERS:
            answered()

    def give_up() -> None:
        if knocker.fileno() != -1:
            loop.remove_writer(knocker)
            knocker.close()

    timer = loop.call_later(TIMEOUT, give_up)
    loop.add_writer(knocker, finish)
