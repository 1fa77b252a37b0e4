"""The link under an address: the kernel's texts, and a real interface in a namespace of our own."""

from __future__ import annotations

import shutil
import socket
import struct
import time
from ipaddress import IPv4Address, IPv6Address

import pytest

from ringfence.host.carrier import Carrier, holder_of_v4, holder_of_v6
from unit.net.own_network import ip, own_network

IF_INET6 = """\
fd000000000000000000000000000002 04 40 00 82     eth0
00000000000000000000000000000001 01 80 10 80       lo
garbage
"""


def test_who_holds_a_v6_address() -> None:
    assert holder_of_v6(IF_INET6, IPv6Address("fd00::2")) == "eth0"
    assert holder_of_v6(IF_INET6, IPv6Address("fd00::3")) is None
    assert holder_of_v6("", IPv6Address("fd00::2")) is None


def ifreq(label: bytes, address: str) -> bytes:
    return struct.pack("=16sH2x4s16x", label, socket.AF_INET, IPv4Address(address).packed)


def test_who_holds_a_v4_address() -> None:
    written = ifreq(b"lo", "127.0.0.1") + ifreq(b"eth0", "192.0.2.1") + ifreq(b"eth0:1", "192.0.2.2")
    assert holder_of_v4(written, IPv4Address("192.0.2.1")) == "eth0"
    assert holder_of_v4(written, IPv4Address("192.0.2.2")) == "eth0"
    assert holder_of_v4(written, IPv4Address("192.0.2.3")) is None
    assert holder_of_v4(written[:-1], IPv4Address("192.0.2.2")) is None
    assert holder_of_v4(b"", IPv4Address("192.0.2.1")) is None


@pytest.mark.parametrize("address", ["127.0.77.1", "::1"])
def test_loopback_is_always_up(address: str) -> None:
    assert Carrier(address).up() is True


@pytest.mark.parametrize("address", ["192.0.2.77", "2001:db8::77"])
def test_an_address_that_nobody_holds_tells_nothing(address: str) -> None:
    assert Carrier(address).up() is None


def seen(carrier: Carrier, up: bool | None) -> bool:
    """The kernel tells of a link a moment after it has changed."""
    deadline = time.monotonic() + 10
    while carrier.up() is not up and time.monotonic() < deadline:
        time.sleep(0.01)
    return carrier.up() is up


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2")
@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_a_link_is_lost_found_and_followed_to_another_interface(address: str) -> None:
    with own_network():
        nodad = " nodad" if ":" in address else ""
        ip("link add here type veth peer name there")
        ip(f"address add {address}/24 dev here{nodad}")
        ip("link set here up")
        carrier = Carrier(address)
        assert seen(carrier, False)
        ip("link set there up")
        assert seen(carrier, True)
        ip("link set there down")
        assert seen(carrier, False)
        ip("link add other type veth peer name far")
        ip("link set far up")
        ip("link set other up")
        ip(f"address delete {address}/24 dev here")
        assert seen(carrier, None)
        ip(f"address add {address}/24 dev other{nodad}")
        assert seen(carrier, True)
        ip("link delete other")
        assert seen(carrier, None)
