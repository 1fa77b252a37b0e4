"""The gossip socket on loopback."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator

import pytest

from ringfence.net.udp import Datagrams, Footholds, arrival

BOUND = 10.0


@pytest.fixture(params=["127.0.0.1", "::1"])
def datagrams(request: pytest.FixtureRequest) -> Iterator[Datagrams]:
    opened = Datagrams(request.param, 0)
    yield opened
    opened.close()


def drained(datagrams: Datagrams) -> list[tuple[bytes, str, float]]:
    taken: list[tuple[bytes, str, float]] = []
    while not datagrams.drain(lambda *one: taken.append(one)):
        pass
    return taken


def own_address(datagrams: Datagrams) -> str:
    return str(datagrams.socket.getsockname()[0])


def test_all_that_waits_is_taken_in_order(datagrams: Datagrams) -> None:
    own = own_address(datagrams)
    sent = [b"%d" % number for number in range(100)]
    for datagram in sent:
        datagrams.send(datagram, own)
    assert [(datagram, sender) for datagram, sender, _ in drained(datagrams)] == [(one, own) for one in sent]
    assert drained(datagrams) == []


def test_a_datagram_is_stamped_when_it_came_not_when_it_was_read(datagrams: Datagrams) -> None:
    deadline = time.monotonic() + BOUND
    while time.monotonic() < deadline:  # the kernel begins to stamp a moment after it was asked to
        before = time.monotonic()
        datagrams.send(b"x", own_address(datagrams))
        sent = time.monotonic()
        select.select([], [], [], 0.02)  # the reader is late
        [(_, _, received_at)] = drained(datagrams)
        if before - 0.001 <= received_at <= sent + 0.01:
            return
    pytest.fail("never stamped")


def test_what_the_kernel_had_no_room_for_is_counted(datagrams: Datagrams) -> None:
    own = own_address(datagrams)
    sent = 4000
    for _ in range(sent):
        datagrams.send(bytes(1200), own)
    taken = len(drained(datagrams))
    assert taken < sent
    assert datagrams.dropped == 0  # it is told with the next one
    datagrams.send(b"x", own)
    assert len(drained(datagrams)) == 1
    assert datagrams.dropped == sent - taken


def test_a_stamp_is_believed_as_far_as_it_can_be_true() -> None:
    """However long the reader has slept; a wall clock that was set meanwhile moves it by no more than that."""
    empty_at, now = 1000.0, 1060.0
    assert arrival(now - 0.2, empty_at, now) == now - 0.2
    assert arrival(empty_at + 0.001, empty_at, now) == empty_at + 0.001
    assert arrival(now, empty_at, now) == now
    assert arrival(now + 3600.0, empty_at, now) == now
    assert arrival(now - 3600.0, empty_at, now) == empty_at


@pytest.fixture
def footholds() -> Iterator[tuple[Footholds, list[str]]]:
    told: list[str] = []
    with_port = Datagrams("127.0.0.1", 0)
    standing = Footholds(
        with_port.port,
        lambda network, address, _socket: told.append(f"+{network} {address}"),
        lambda network, _socket: told.append(f"-{network}"),
    )
    yield standing, told
    standing.close()
    with_port.close()


def test_a_foothold_sends_from_its_own_address(footholds: tuple[Footholds, list[str]]) -> None:
    standing, _ = footholds
    assert standing.stand({"storage": "127.0.78.1", "migration": "127.0.79.1"}) == frozenset()
    standing.sockets["storage"].send(b"from storage", "127.0.79.1")
    select.select([standing.sockets["migration"].socket], [], [], BOUND)
    (taken,) = drained(standing.sockets["migration"])
    assert taken[:2] == (b"from storage", "127.0.78.1")


def test_footholds_follow_the_addresses_and_say_which_are_missing(
    footholds: tuple[Footholds, list[str]],
) -> None:
    standing, told = footholds
    assert standing.stand({"storage": "127.0.78.1", "lost": "192.0.2.77"}) == {"lost"}
    assert standing.stand({"storage": "127.0.78.1", "lost": "192.0.2.77"}) == {"lost"}
    assert told == ["+storage 127.0.78.1"]
    assert standing.stand({"storage": "127.0.78.2", "lost": "127.0.79.1"}) == frozenset()
    assert told[1:] == ["-storage", "+storage 127.0.78.2", "+lost 127.0.79.1"]
    assert standing.stand({}) == frozenset()
    assert sorted(told[4:]) == ["-lost", "-storage"]
    assert standing.sockets == {}
