from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.gossip.members import RosterError, decode_roster, encode_roster, open_roster, seal_roster
from ringfence.core.gossip.probe import RoundTrip, next_slot, period, phase
from ringfence.core.gossip.rings import Rings
from ringfence.net.crypto import SigningKey, verify
from unit.core.gossip.ring_world import roster_of


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
    text = seal_roster(roster_of(3), key.sign)
    assert open_roster(text, lambda data, signature: verify(data, signature, key.public)).epoch == 1
    with pytest.raises(RosterError, match="signature"):
        open_roster(text, lambda data, signature: verify(data, signature, other.public))
    for bad in ("", "{}", "[]", '{"roster": 1, "signature": 2}', '{"roster": "é", "signature": ""}'):
        with pytest.raises(RosterError, match="not a signed roster"):
            open_roster(bad, lambda _data, _signature: True)


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
    assert [period(n) for n in (1, 3, 5, 9, 5000)] == [0.25, 0.25, 0.5, 1.0, 1.0]
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
