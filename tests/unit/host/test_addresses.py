"""This node's addresses: the kernel's texts, and a real interface in a namespace of our own."""

from __future__ import annotations

import shutil
import socket
import struct
from ipaddress import IPv4Address

import pytest

from ringfence.host.addresses import MOST, own_addresses, v4_addresses, v6_addresses
from unit.net.own_network import ip, own_network

IF_INET6 = """\
fd000000000000000000000000000002 04 40 00 82     eth0
fd000000000000000000000000000003 04 40 00 81     eth0
fd000000000000000000000000000004 04 40 00 c0     eth0
fe800000000000000000000000000002 04 40 20 80     eth0
fd000000000000000000000000000005 06 80 00 82 kube-ipvs0
00000000000000000000000000000001 01 80 10 80       lo
garbage
"""


def ifreq(label: bytes, address: str) -> bytes:
    return struct.pack("=16sH2x4s16x", label, socket.AF_INET, IPv4Address(address).packed)


def test_v6_addresses_that_others_can_reach_and_that_stay() -> None:
    assert v6_addresses(IF_INET6) == ["fd00::2"]
    assert v6_addresses("") == []


def test_v4_addresses_that_others_can_reach() -> None:
    written = b"".join(
        (
            ifreq(b"lo", "127.0.0.1"),
            ifreq(b"eth0", "192.0.2.1"),
            ifreq(b"eth1:2", "10.20.0.1"),
            ifreq(b"kube-ipvs0", "10.96.0.1"),
            ifreq(b"cali1", "169.254.1.1"),
        )
    )
    assert v4_addresses(written) == ["192.0.2.1", "10.20.0.1"]
    assert v4_addresses(written[:-1]) == ["192.0.2.1", "10.20.0.1"]


def test_the_address_of_the_ring_comes_first_and_once() -> None:
    found = own_addresses("192.0.2.77")
    assert found[0] == "192.0.2.77"
    assert len(found) == len(set(found)) <= MOST
    assert own_addresses("FD00:0::77")[0] == "fd00::77"


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2")
def test_a_second_network_of_this_host_is_found() -> None:
    with own_network():
        ip("link add stor type veth peer name far")
        ip("address add 10.20.0.1/16 dev stor")
        ip("address add 10.20.0.2/16 dev stor")
        ip("address add fd00:20::1/64 dev stor nodad")
        ip("link set stor up")
        assert own_addresses("192.0.2.1") == ("192.0.2.1", "10.20.0.1", "10.20.0.2", "fd00:20::1")
