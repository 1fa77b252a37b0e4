"""Has the interface that holds the node's address a link?

Asked by SIOCGIFFLAGS and not read from /sys/class/net/*/carrier: that file waits for the kernel's network lock, which
pods that come and go hold, and a loop that waits is late; and it shows the namespace of whoever mounted it. An address
may move to another interface (a bridge or a bond made under way), so no link is called lost before the address has been
looked for again. A bridge with guests has a link as long as one of its ports has; what lies behind a link nobody here
can tell.
"""

from __future__ import annotations

import array
import fcntl
import ipaddress
import socket
import struct
import sys
from pathlib import Path

V6_ADDRESSES = Path("/proc/net/if_inet6")
_SIOCGIFCONF, _SIOCGIFFLAGS = 0x8912, 0x8913
IFREQ = 40
_ROOM = 1024 * IFREQ
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
"""Set up by the administrator; operational (RFC 2863: it has a link, or is of a kind that never tells)."""


class Carrier:
    """The link under one address of this host."""

    def __init__(self, address: str) -> None:
        self._address = ipaddress.ip_address(address)
        self._interface: str | None = None

    def up(self) -> bool | None:
        """Whether there is a link; None where nobody can tell. Never raises."""
        if self._address.is_loopback:
            return True
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                if self._interface is not None and _has_link(any_socket, self._interface):
                    return True
                self._interface = self._holder(any_socket)
                return None if self._interface is None else _has_link(any_socket, self._interface)
        except (OSError, ValueError):
            self._interface = None
            return None

    def _holder(self, any_socket: socket.socket) -> str | None:
        if isinstance(self._address, ipaddress.IPv6Address):
            return holder_of_v6(V6_ADDRESSES.read_text(encoding="ascii"), self._address)
        return holder_of_v4(ifreqs(any_socket), self._address)


def holder_of_v6(if_inet6: str, address: ipaddress.IPv6Address) -> str | None:
    """The interface with this address, by the text of /proc/net/if_inet6."""
    wanted = address.packed.hex()
    for line in if_inet6.splitlines():
        fields = line.split()
        if len(fields) == 6 and fields[0] == wanted:
            return fields[5]
    return None


def holder_of_v4(ifreqs: bytes, address: ipaddress.IPv4Address) -> str | None:
    """The interface with this address, by what SIOCGIFCONF writes: name[16], sockaddr_in, 40 bytes together."""
    for start in range(0, len(ifreqs) - IFREQ + 1, IFREQ):
        name, family, held = struct.unpack_from("=16sH2x4s", ifreqs, start)
        if family == socket.AF_INET and held == address.packed:
            label: str = name.partition(b"\0")[0].decode(errors="replace")
            return label.partition(":")[0]  # eth0:1 is a second address of eth0
    return None


def _has_link(any_socket: socket.socket, interface: str) -> bool:
    request = struct.pack("16s24x", interface.encode())
    (flags,) = struct.unpack_from("=H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)
    return bool(flags & _IFF_UP and flags & _IFF_RUNNING)


def ifreqs(any_socket: socket.socket) -> bytes:
    """What SIOCGIFCONF writes: `IFREQ` bytes for each IPv4 address of this host."""
    room = array.array("B", bytes(_ROOM))
    request = bytearray(struct.pack("@iP", _ROOM, room.buffer_info()[0]))
    fcntl.ioctl(any_socket, _SIOCGIFCONF, request)
    return room.tobytes()[: int.from_bytes(request[:4], sys.byteorder)]
