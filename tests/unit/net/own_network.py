"""A network namespace of the test's own: its sysctls are ours to set, and nothing leaves the machine."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x4000_0000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


@contextmanager
def own_network() -> Iterator[None]:
    """The calling thread inside a fresh namespace with only a loopback; sockets made there stay there."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNET) != 0:
            pytest.skip("no right to make a network namespace")
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
            yield
        finally:
            assert libc.setns(home, _CLONE_NEWNET) == 0
    finally:
        os.close(home)


def sysctl(name: str, value: str) -> None:
    """Set one of the namespace that the calling thread is in."""
    Path("/proc/sys", *name.split(".")).write_text(value, encoding="ascii")


def ip(command: str) -> None:
    """Run iproute2 in the namespace that the calling thread is in."""
    subprocess.run(["ip", *command.split()], check=True)
