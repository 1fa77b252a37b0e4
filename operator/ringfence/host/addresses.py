"""Which addresses this node has: from them the controller takes those on the networks that a zone names.

The kernel is asked by SIOCGIFCONF and /proc/net/if_inet6, as in `carrier`. Left out is what no other node reaches: loopback,
link-local addresses, temporary and not yet usable ones, and those of interfaces that only hold the cluster's own
service addresses.
"""

from __future__ import annotations

import ipaddress
import socket
import struct

from ringfence.host.carrier import IFREQ, V6_ADDRESSES, ifreqs

MOST = 16
"""As many as a NodeReport may have."""
_FOR_SERVICES = frozenset({"kube-ipvs0", "nodelocaldns"})
_GLOBAL = "00"
"""The scope of addresses that are good beyond this host and link."""
_NOT_FOR_US = 0x01 | 0x08 | 0x20 | 0x40
"""IFA_F_TEMPORARY, _DADFAILED, _DEPRECATED, _TENTATIVE."""


def own_addresses(first: str) -> tuple[str, ...]:
    """This node's addresses, ``first`` before all others, 16 at most. Only ``first`` where the kernel tells nothing."""
    found: list[str] = []
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            found += v4_addresses(ifreqs(any_socket))
        found += v6_addresses(V6_ADDRESSES.read_text(encoding="ascii"))
    except (OSError, ValueError):
        pass  # no IPv6 on this host, or no right to ask: what has been found is true all the same
    return tuple(dict.fromkeys((str(ipaddress.ip_address(first)), *found)))[:MOST]


def v4_addresses(written: bytes) -> list[str]:
    """IPv4 addresses by what SIOCGIFCONF writes."""
    found = []
    for start in range(0, len(written) - IFREQ + 1, IFREQ):
        name, family, held = struct.unpack_from("=16sH2x4s", written, start)
        address = ipaddress.IPv4Address(held)
        label = name.partition(b"\0")[0].partition(b":")[0].decode(errors="replace")
        if family != socket.AF_INET or label in _FOR_SERVICES:
            continue
        if not (address.is_loopback or address.is_link_local or address.is_unspecified):
            found.append(str(address))
    return found


def v6_addresses(if_inet6: str) -> list[str]:
    """IPv6 addresses by the text of /proc/net/if_inet6."""
    found = []
    for line in if_inet6.splitlines():
        fields = line.split()
        if len(fields) != 6 or fields[3] != _GLOBAL or fields[5] in _FOR_SERVICES:
            continue
        if not int(fields[4], 16) & _NOT_FOR_US:
            found.append(str(ipaddress.IPv6Address(bytes.fromhex(fields[0]))))
    return found
