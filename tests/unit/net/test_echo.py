"""Echoes on real sockets. Nothing leaves the machine: addresses are loopback's, or the namespace is our own."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from ringfence.net.echo import MAX_OUTSTANDING, NONCE, Echo, EchoBy, nonce_in
from ringfence.net.kernel_probe import probe_kernel
from unit.net.own_network import own_network, sysctl

FAMILY = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}
BOUND = 10.0


@pytest.fixture
def alone() -> Iterator[None]:
    with own_network():
        yield


async def answer_of(echo: Echo, address: str) -> None:
    came = asyncio.Event()
    echo.ask(address, came.set)
    async with asyncio.timeout(BOUND):
        await came.wait()


@pytest.mark.parametrize("address", FAMILY)
async def test_a_live_kernel_answers(address: str) -> None:
    echo = Echo(FAMILY[address])
    if echo.by is EchoBy.NONE:
        pytest.skip("this host permits no echo")
    await answer_of(echo, address)
    echo.close()


@pytest.mark.parametrize("address", FAMILY)
@pytest.mark.parametrize(("groups", "by"), [("0 2147483647", EchoBy.DATAGRAM), ("1 0", EchoBy.RAW)])
@pytest.mark.usefixtures("alone")
async def test_a_ping_socket_is_used_where_it_is_permitted_else_a_raw_one(
    address: str, groups: str, by: EchoBy
) -> None:
    sysctl("net.ipv4.ping_group_range", groups)
    echo = Echo(FAMILY[address])
    assert echo.by is by
    await answer_of(echo, address)
    echo.close()


def internet_checksum(packet: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    return struct.pack("!H", ~(total % 0xFFFF) & 0xFFFF)


def icmp(kind: int, nonce: bytes) -> bytes:
    rest = struct.pack("!HH", 7, 0) + nonce
    return bytes((kind, 0)) + internet_checksum(bytes((kind, 0, 0, 0)) + rest) + rest


@pytest.mark.usefixtures("alone")
async def test_only_a_reply_with_the_nonce_counts() -> None:
    sysctl("net.ipv4.icmp_echo_ignore_all", "1")  # the kernel is silent: all that comes is the test's own
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as forger:
        forger.settimeout(BOUND)
        echo = Echo(socket.AF_INET)
        answers: list[str] = []
        last = asyncio.Event()
        echo.ask("127.0.0.1", lambda: answers.append("first"))
        nonce = forger.recv(2048)[-NONCE:]
        for packet in (icmp(0, bytes(NONCE)), icmp(8, nonce), icmp(3, nonce), icmp(0, nonce + b"more")):
            forger.sendto(packet, ("127.0.0.1", 0))
        echo.ask("127.0.0.1", last.set)
        sent = nonce
        while sent == nonce or sent == bytes(NONCE) or sent.endswith(b"more"):
            sent = forger.recv(2048)[-NONCE:]
        forger.sendto(icmp(0, sent), ("127.0.0.1", 0))  # read last: what came before it has been judged
        async with asyncio.timeout(BOUND):
            await last.wait()
        assert answers == []
        echo.close()


@pytest.mark.usefixtures("alone")
async def test_a_node_that_no_way_leads_to_is_silent_and_raises_nothing() -> None:
    answers: list[str] = []
    for address, family in (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6)):
        echo = Echo(family)
        echo.ask(address, lambda: answers.append("echo"))
        probe_kernel(address, (7947,), lambda: answers.append("knock"))
        own = "127.0.0.1" if family is socket.AF_INET else "::1"
        await answer_of(echo, own)
        echo.close()
    assert answers == []


@pytest.mark.usefixtures("alone")
async def test_where_neither_socket_is_permitted_echoes_are_left_out() -> None:
    os.seteuid(65534)
    try:
        echo = Echo(socket.AF_INET)
    finally:
        os.seteuid(0)
    assert echo.by is EchoBy.NONE
    echo.ask("127.0.0.1", lambda: pytest.fail("nobody can have answered"))
    echo.close()


@pytest.mark.usefixtures("alone")
async def test_the_oldest_echo_is_given_up_when_too_many_wait() -> None:
    sysctl("net.ipv4.icmp_echo_ignore_all", "1")
    echo = Echo(socket.AF_INET)
    for _ in range(2 * MAX_OUTSTANDING):
        echo.ask("127.0.0.1", lambda: pytest.fail("the kernel is silent"))
    assert len(echo._outstanding) <= MAX_OUTSTANDING
    echo.close()


def test_a_nonce_is_found_in_a_whole_echo_reply_only() -> None:
    nonce = bytes(range(NONCE))
    reply = icmp(0, nonce)
    assert nonce_in(reply, 0) == nonce
    assert nonce_in(icmp(129, nonce), 129) == nonce
    for other in (b"", reply[:-1], reply + b"x", icmp(3, nonce), b"\x00\x01" + reply[2:]):
        assert nonce_in(other, 0) is None
