"""What comes off the wire is either a message or a counted refusal, never an exception."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.gossip.swim import Swim
from ringfence.core.gossip.wire import (
    MAX_BALLOTS,
    MAX_BODY,
    Ack,
    Ask,
    Ballot,
    Header,
    Leave,
    Message,
    Ping,
    Relay,
    Relayed,
    ReplayWindow,
    Votes,
    WireError,
    boot_bytes,
    boot_text,
    decode,
    encode,
    fitting,
    split,
    tag_of,
)
from ringfence.core.model import Answer, Column, Vote
from unit.core.gossip.ring_world import FakeCrypto, boot_id, roster_of

NUMBERS = st.integers(0, 2**64 - 1)
TAGS = st.binary(min_size=6, max_size=6)
ROUNDS = st.binary(min_size=8, max_size=8)
BOOTS = st.binary(min_size=16, max_size=16)
NEWS = st.none() | st.tuples(TAGS, st.integers(0, 255))
COLUMNS = st.dictionaries(
    st.sampled_from(["management", "storage", "migration", "a" * 20, "é"]), st.sampled_from(Answer)
).map(lambda said: tuple(sorted(Column(*one) for one in said.items())))
BALLOTS = st.builds(Ballot, TAGS, st.sampled_from(Vote), st.binary(min_size=64, max_size=64), COLUMNS)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ping, NUMBERS, NEWS),
    st.builds(Ack, NUMBERS, NEWS),
    st.builds(Relay, NUMBERS, TAGS),
    st.builds(Relayed, NUMBERS),
    st.builds(Leave, st.binary(min_size=64, max_size=64)),
    st.builds(Ask, ROUNDS, TAGS, BOOTS, st.booleans()),
    st.builds(Ask, ROUNDS, TAGS, BOOTS, look=st.just(value=True)),
    st.builds(
        Votes,
        *(ROUNDS, TAGS, BOOTS, NUMBERS),
        st.lists(BALLOTS, max_size=MAX_BALLOTS).map(tuple),
        st.booleans(),
    ),
)


@given(MESSAGES, st.integers(0, 2**32 - 1))
def test_a_message_comes_back_as_it_was_and_fits_into_a_datagram(message: Message, epoch: int) -> None:
    body = encode(message, epoch)
    assert len(body) <= MAX_BODY
    assert decode(body) == (message, epoch)


@given(MESSAGES, st.data())
def test_a_cut_message_is_refused(message: Message, data: st.DataObject) -> None:
    if isinstance(message, Ping | Ack):
        message = replace(message, window=None)  # without its news it is whole
    if isinstance(message, Votes):  # and so are votes without columns
        message = replace(message, ballots=tuple(replace(one, columns=()) for one in message.ballots))
    body = encode(message, 1)
    with pytest.raises(WireError):
        decode(body[: data.draw(st.integers(0, len(body) - 1))])


@given(MESSAGES, st.binary(max_size=40))
def test_what_a_later_version_appends_is_passed_over(message: Message, more: bytes) -> None:
    if isinstance(message, Ping | Ack) and message.window is None:
        message = replace(message, window=(b"123456", 1))
    if isinstance(message, Votes) and not any(one.columns for one in message.ballots):
        told = Ballot(b"123456", Vote.NONE, bytes(64), (Column("storage", Answer.NONE),))
        message = replace(message, ballots=(told, *message.ballots[1:]))
    assert decode(encode(message, 1) + more) == (message, 1)


@given(MESSAGES)
def test_votes_without_columns_are_the_bytes_of_the_version_before(message: Message) -> None:
    if not isinstance(message, Votes) or message.look or any(one.columns for one in message.ballots):
        return
    assert len(encode(message, 1)) == 5 + 8 + 6 + 16 + 8 + 1 + len(message.ballots) * (6 + 1 + 64)


def test_ballots_about_more_networks_than_fit_wait_for_the_next_round() -> None:
    def ballot(number: int, *networks: str) -> Ballot:
        columns = tuple(Column(network, Answer.AGENT) for network in networks)
        return Ballot(bytes([number]) * 6, Vote.ALIVE, bytes(64), columns)

    four = ballot(1, "a", "b", "c", "d")
    said = [four, ballot(2, "e"), ballot(3, "a", "management"), *(ballot(n) for n in range(4, 20))]
    chosen = fitting(said)
    assert [one.tag[0] for one in chosen] == [1, 3, *range(4, 14)]
    message = Votes(b"round--1", b"123456", bytes(16), 1, chosen)
    assert decode(encode(message, 1)) == (message, 1)


@given(st.binary(max_size=1300))
def test_garbage_is_refused_by_a_wire_error_alone(data: bytes) -> None:
    for take in (split, decode):
        with suppress(WireError):
            take(data)


def seal(sender: str, counter: int, header: bytes, body: bytes) -> bytes:
    """As the sender would for n1."""
    boot = boot_bytes(boot_id(sender))
    return FakeCrypto(b"").seal(f"uid-{sender}", boot, counter, header + tag_of("uid-n1"), body)


def machine(crypto: FakeCrypto | None = None) -> Swim:
    swim = Swim(node="n1", boot_id=boot_id("n1"), crypto=crypto or FakeCrypto(b""), dice=random.Random(1))
    swim.install(roster_of(3), 0.0)
    return swim


@given(st.lists(st.tuples(st.binary(max_size=200), st.booleans()), max_size=20))
def test_no_input_raises_out_of_the_machine(bodies: list[tuple[bytes, bool]]) -> None:
    swim = machine()
    for number, (body, sealed) in enumerate(bodies):
        boot = boot_bytes(boot_id("n2"))
        header = Header(tag_of("uid-n2"), boot, number).encode()
        datagram = header + seal("n2", number, header, body) if sealed else body
        swim.receive(datagram, "10.0.0.2", 0.01 * number)
    swim.handle_timer(1.0)
    assert all(len(datagram) <= 1200 for datagram, _ in swim.datagrams_to_send(1.0))


@given(st.lists(st.tuples(MESSAGES, st.sampled_from(["n2", "n3"])), max_size=20))
def test_no_sealed_message_raises_out_of_the_machine(messages: list[tuple[Message, str]]) -> None:
    swim = machine()
    for number, (message, sender) in enumerate(messages):
        boot = boot_bytes(boot_id(sender))
        header = Header(tag_of(f"uid-{sender}"), boot, number).encode()
        swim.receive(
            header + seal(sender, number, header, encode(message, 1)),
            "10.0.0.2",
            0.01 * number,
        )
    swim.handle_timer(1.0)


def test_a_replayed_datagram_is_dropped_and_counted() -> None:
    swim = machine()
    boot = boot_bytes(boot_id("n2"))
    header = Header(tag_of("uid-n2"), boot, 7).encode()
    datagram = header + seal("n2", 7, header, encode(Ping(1), 1))
    swim.receive(datagram, "10.0.0.2", 0.1)
    swim.receive(datagram, "10.0.0.2", 0.2)
    assert swim.stats["drop replayed"] == 1
    assert swim.view(0.2).subjects[0].heard_age == pytest.approx(0.1)


@given(st.lists(st.integers(0, 200)))
def test_the_window_takes_each_counter_at_most_once(counters: list[int]) -> None:
    window, taken, highest = ReplayWindow(), set[int](), -1
    for counter in counters:
        fresh = window.fresh(counter)
        assert fresh == (counter not in taken and counter > highest - ReplayWindow.SIZE)
        if fresh:
            window.take(counter)
            taken.add(counter)
            highest = max(highest, counter)


def test_a_boot_id_keeps_its_text() -> None:
    assert boot_text(boot_bytes(boot_id("x"))) == boot_id("x")
    with pytest.raises(ValueError, match="not a UUID"):
        boot_bytes("abcd")


def test_the_first_key_is_written_as_the_version_before_wrote_the_only_one() -> None:
    header = Header(b"t" * 6, b"b" * 16, 7).encode()
    assert header == b"\x01\x00" + b"t" * 6 + b"b" * 16 + b"\x00" * 7 + b"\x07"
    assert split(header + b"sealed")[0] == Header(b"t" * 6, b"b" * 16, 7, key=0)


@given(st.integers(0, 255))
def test_the_header_names_the_key_that_seals(key: int) -> None:
    header = Header(b"t" * 6, b"b" * 16, 7, key)
    assert split(header.encode() + b"sealed") == (header, header.encode(), b"sealed")


def test_a_key_that_is_not_held_is_dropped_and_counted_and_each_that_is_held_opens() -> None:
    crypto = FakeCrypto(b"")
    swim = machine(crypto)
    sender = FakeCrypto(b"")

    def taken(counter: int) -> bool:
        boot = boot_bytes(boot_id("n2"))
        header = Header(tag_of("uid-n2"), boot, counter, sender.used).encode()
        sealed = sender.seal("uid-n2", boot, counter, header + tag_of("uid-n1"), encode(Ping(counter), 1))
        before = swim.stats["received"]
        swim.receive(header + sealed, "10.0.0.2", 0.1)
        return swim.stats["received"] > before

    assert taken(1)
    sender.used = 1
    assert not taken(2)
    assert swim.stats["drop unknown key"] == 1
    crypto.held = frozenset({0, 1})
    assert taken(3)
    sender.used = 0
    assert taken(4)
    crypto.held = frozenset({1})
    assert not taken(5)
    assert swim.stats["drop unknown key"] == 2


def test_what_is_sent_names_the_key_in_use_from_the_next_datagram_on() -> None:
    crypto = FakeCrypto(b"")
    swim = machine(crypto)
    for number, used in enumerate((0, 5)):
        crypto.used = used
        swim.handle_timer(2.0 + number)
        sent = swim.datagrams_to_send(2.0 + number)
        assert sent
        assert {split(datagram)[0].key for datagram, _ in sent} == {used}
