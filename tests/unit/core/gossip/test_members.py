from __future__ import annotations

import base64
import json
import random
import tracemalloc
import uuid
import zlib
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.gossip.members import (
    MAX_ROSTER,
    Member,
    Roster,
    RosterError,
    SealedRoster,
    Standing,
    decode_roster,
    encode_roster,
    open_roster,
    seal_roster,
)
from ringfence.core.gossip.probe import PERIOD, RoundTrip, next_slot, period, phase
from ringfence.core.gossip.rings import Rings
from ringfence.net.crypto import SigningKey, verify
from unit.core.gossip.ring_world import roster_of


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _packed(packed: bytes) -> str:
    return json.dumps({"zlib": _base64(packed), "signature": ""})


def test_a_roster_comes_back_in_canonical_order() -> None:
    roster = roster_of(12, zones=2)
    shuffled = replace(roster, members=roster.members[::-1])
    assert encode_roster(shuffled) == encode_roster(roster)
    assert decode_roster(encode_roster(shuffled)) == shuffled == roster, "another order is no other roster"


@given(st.binary(max_size=100), st.integers(0, 300), st.integers(0, 255))
def test_anything_else_is_a_roster_error(data: bytes, place: int, value: int) -> None:
    with pytest.raises(RosterError):
        decode_roster(data)
    good = bytearray(encode_roster(roster_of(3)))
    good[place % len(good)] = value
    try:
        changed = decode_roster(bytes(good))
    except RosterError:
        return
    assert encode_roster(changed) == bytes(good)


def test_only_the_roster_key_makes_a_roster() -> None:
    key, other = SigningKey.fresh(), SigningKey.fresh()
    sealed = seal_roster(roster_of(3), key.sign)
    assert open_roster(sealed.text(), lambda data, signature: verify(data, signature, key.public)) == sealed
    with pytest.raises(RosterError, match="signature"):
        open_roster(sealed.text(), lambda data, signature: verify(data, signature, other.public))
    for bad in ("", "{}", "[]", '{"roster": 1, "signature": 2}', '{"roster": "é", "signature": ""}'):
        with pytest.raises(RosterError, match="not a signed roster"):
            open_roster(bad, lambda _data, _signature: True)


def test_the_form_of_the_last_version_is_read() -> None:
    key = SigningKey.fresh()
    data = encode_roster(roster_of(3))
    text = json.dumps({"roster": _base64(data), "signature": _base64(key.sign(data))})
    opened = open_roster(text, lambda data, signature: verify(data, signature, key.public))
    assert opened == seal_roster(roster_of(3), key.sign)


def networked(count: int) -> Roster:
    """Every third member is on the storage network, the first on a second one too."""
    return replace(
        roster_of(count),
        members=tuple(
            replace(
                one,
                networks=((("migration", "fd00::1"),) if not place else ())
                + (("storage", f"10.1.0.{place}"),),
            )
            if place % 3 == 0
            else one
            for place, one in enumerate(roster_of(count).members)
        ),
    )


def test_a_roster_without_networks_has_the_bytes_that_the_version_before_reads() -> None:
    members = (
        Member("n1", "u1", "b1", ("10.0.0.1", "fd00::1"), "z", b"k" * 32),
        Member("n2", "u2", "", (), standing=Standing.SUBJECT),
    )
    before = (
        b"RFR1\x00\x00\x00\x00\x00\x00\x00\x03\x01c\x04salt\x00\x00\x00\x02\x02n1\x02u1\x02b1\x01z\x02\x0810.0.0.1"
        b"\x07fd00::1 kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\x01\x02n2\x02u2\x00\x00\x00\x00\x00"
    )
    assert encode_roster(Roster(3, "c", b"salt", members)) == before
    assert decode_roster(before) == Roster(3, "c", b"salt", members)


def test_networks_come_back_and_take_another_form() -> None:
    roster = networked(7)
    data = encode_roster(roster)
    assert data.startswith(b"RFR2")
    assert decode_roster(data) == roster
    assert roster.by_name["n1"].on("storage") == "10.1.0.0"
    assert roster.by_name["n2"].on("storage") is None
    assert roster.network_of["fd00::1"] == "migration"
    with pytest.raises(RosterError, match="canonical"):
        decode_roster(b"RFR2" + encode_roster(Roster(1, "c", b""))[4:])


@pytest.mark.parametrize(
    ("networks", "said"),
    [
        ((("a", "1"), ("a", "2")), "twice"),
        (tuple((f"net{n}", "1") for n in range(5)), "5 networks, at most 4"),
        ((("management", "1"),), "name of its own"),
        ((("", "1"),), "name of its own"),
        ((("n" * 21, "1"),), "at most 20"),
    ],
)
def test_a_member_is_on_four_named_networks_at_most(networks: tuple[tuple[str, str], ...], said: str) -> None:
    with pytest.raises(RosterError, match=said):
        encode_roster(Roster(1, "c", b"", (Member("n1", "u1", "", (), networks=networks),)))


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_of_the_networked_form_is_an_error_or_another_roster(place: int, value: int) -> None:
    good = bytearray(encode_roster(networked(4)))
    good[place % len(good)] = value
    with suppress(RosterError):
        assert encode_roster(decode_roster(bytes(good))) == bytes(good)


def test_five_thousand_members_fit_into_a_configmap() -> None:
    dice = random.Random(4)
    members = tuple(
        Member(
            f"worker-{number:09d}",
            str(uuid.UUID(int=dice.getrandbits(128), version=4)),
            str(uuid.UUID(int=dice.getrandbits(128), version=4)),
            (f"10.7.{number >> 8}.{number & 255}", f"fd00:7::{number:x}"),
            f"zone-{number % 3}",
            dice.randbytes(32),
        )
        for number in range(5000)
    )
    sealed = SealedRoster(Roster(1, "ringfence-system", b"12345678", members), b"s" * 64)
    assert len(encode_roster(sealed.roster)) > 700_000, "would not fit as base64"
    assert len(sealed.text()) < 700_000
    assert open_roster(sealed.text(), lambda _data, _signature: True) == sealed


def test_what_unpacks_to_more_than_a_roster_may_have_is_not_unpacked() -> None:
    bomb = json.dumps({"zlib": _base64(zlib.compress(bytes(200 * 2**20))), "signature": ""})
    tracemalloc.start()
    with pytest.raises(RosterError, match="too long"):
        open_roster(bomb, lambda _data, _signature: True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * MAX_ROSTER


def test_a_roster_of_more_bytes_than_can_be_unpacked_is_not_sealed() -> None:
    addresses = tuple(f"{number}" * 250 for number in range(8))
    members = tuple(Member(f"n{n}", f"uid-{n}", "", addresses) for n in range(2_100))
    with pytest.raises(RosterError, match="at most"):
        seal_roster(Roster(1, "", b"", members), lambda _payload: b"")


@given(
    st.one_of(
        st.text(max_size=200),
        st.binary(max_size=200).map(_packed),
        st.binary(max_size=200).map(lambda data: _packed(zlib.compress(data))),
        st.integers(0, 200).map(lambda end: _packed(zlib.compress(encode_roster(roster_of(2)))[:end])),
        st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
            lambda value: json.dumps({"zlib": value, "signature": value})
        ),
    )
)
def test_any_other_text_is_a_roster_error(text: str) -> None:
    with pytest.raises(RosterError):
        open_roster(text, lambda _data, _signature: True)


def test_no_name_stands_twice() -> None:
    roster = roster_of(2)
    twice = replace(roster, members=(*roster.members, replace(roster.members[0], uid="other")))
    with pytest.raises(RosterError, match="twice"):
        encode_roster(twice)


@pytest.mark.parametrize("count", [9, 10, 40, 200])
def test_everybody_has_k_observers_that_span_zones(count: int) -> None:
    roster = roster_of(count, zones=2)
    rings = Rings(roster)
    load = dict.fromkeys((member.uid for member in roster.members), 0)
    for member in roster.members:
        observers = rings.observers(member.uid)
        assert len({observer.uid for observer in observers}) == 8
        assert member not in observers
        assert len({observer.zone for observer in observers}) == 2
        for observer in observers:
            load[observer.uid] += 1
    assert max(load.values()) < 24


def test_a_zone_that_chance_left_out_gets_enough_observers() -> None:
    roster = roster_of(60)
    lonely = replace(
        roster,
        members=tuple(
            replace(m, zone="b" if m.name in {"n1", "n2", "n3", "n4", "n5"} else "a") for m in roster.members
        ),
    )
    rings = Rings(lonely)
    for member in lonely.members:
        assert len({observer.zone for observer in rings.observers(member.uid)}) == 2


def test_periods_phases_and_time_outs() -> None:
    assert [period(n) for n in (1, 2, 3, 5, 9, 5000)] == pytest.approx(
        [0.25, 0.25, PERIOD / 4, PERIOD / 2, PERIOD, PERIOD]
    )
    spread = sorted(phase("x", rank, 4, 1.0) for rank in range(4))
    assert all(later - earlier == pytest.approx(0.25) for earlier, later in pairwise(spread))
    assert next_slot(10.0, 0.0, 0.3, 1.0) == pytest.approx(10.3)
    trip = RoundTrip()
    assert trip.timeout(1.0) == 0.05
    for _ in range(50):
        trip.observe(0.08)
    assert trip.timeout(1.0) == pytest.approx(0.08, abs=0.01)
    trip.observe(2.0)
    assert trip.timeout(1.0) == 0.5


@pytest.mark.parametrize("every", [0.275, 1.0, 1.1])
def test_slots_are_a_period_apart_however_times_are_rounded(every: float) -> None:
    offset, at = 1.7e9 - 1000.0, 0.1 * every
    slots = [next_slot(1000.0, offset, at, every)]
    for _ in range(10_000):
        slots.append(next_slot(slots[-1], offset, at, every))
    assert all(later - earlier == pytest.approx(every, abs=2e-6) for earlier, later in pairwise(slots))


def test_loss_is_the_plain_share_at_first_and_forgets_within_a_minute_or_two() -> None:
    path = RoundTrip()
    assert path.loss is None
    for lost in (True, False, False, False):
        path.probed(1.0)
        if lost:
            path.missed()
    assert path.loss == pytest.approx(0.25)
    for number in range(600):
        path.probed(1.0)
        if number % 5 == 0:
            path.missed()
    assert path.loss == pytest.approx(0.2, abs=0.03)
    for _ in range(60):
        path.probed(1.0)
    assert 0 < (path.loss or 0) < 0.2 / 7
    for _ in range(240):  # four times as many in the same minute
        path.probed(0.25)
        path.missed()
    assert path.loss == pytest.approx(1 - 1 / 7, abs=0.05)
