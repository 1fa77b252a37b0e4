"""Any two rosters: the delta upon the old one makes the new one, and nothing else does."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.gossip.anti_entropy import DIGESTS_BYTES, EVERY, PATIENCE, Wish, apply, delta, digests
from ringfence.core.gossip.members import Member, Roster, RosterError, Standing, seal_roster
from ringfence.net.crypto import SigningKey, check
from unit.core.gossip.ring_world import member, roster_of

KEY = SigningKey.fresh()


def signed(payload: bytes, signature: bytes) -> bool:
    return check(payload, signature, KEY.public)


def shortly_sign(payload: bytes) -> bytes:
    """A signature that costs nothing, for many examples."""
    return hashlib.sha512(payload).digest()


def shortly_signed(payload: bytes, signature: bytes) -> bool:
    return shortly_sign(payload) == signature


def changed(one: Member, how: int) -> Member:
    match how:
        case 0:
            return replace(one, boot_id="another")
        case 1:
            return replace(one, addresses=(*one.addresses, "fd00::1"), standing=Standing.SUBJECT)
        case 2:
            return replace(one, public_key=b"", zone="elsewhere")
        case 3:
            return replace(one, networks=(("storage", f"10.1.0.{len(one.name)}"),))
        case _:
            return one


ROSTERS = st.builds(
    lambda epoch, salt, members: Roster(
        epoch, "test", salt, tuple(changed(member(number), how) for number, how in members.items())
    ),
    st.integers(0, 2**40),
    st.binary(max_size=8),
    st.dictionaries(st.integers(1, 200), st.integers(0, 4), max_size=120),
)


@given(ROSTERS, ROSTERS)
def test_the_delta_upon_the_old_roster_makes_the_new_one(old: Roster, new: Roster) -> None:
    sealed = seal_roster(new, shortly_sign)
    assert apply(old.members, delta(sealed, digests(old.members)), shortly_signed) == sealed


@given(ROSTERS)
def test_who_has_nothing_gets_the_whole(new: Roster) -> None:
    sealed = seal_roster(new, shortly_sign)
    assert digests(()) == bytes(DIGESTS_BYTES)
    assert apply((), delta(sealed, bytes(DIGESTS_BYTES)), shortly_signed) == sealed


def test_the_first_network_makes_the_whole_travel_once() -> None:
    old = roster_of(40)
    named = replace(old, epoch=2, members=tuple(changed(one, 3) for one in old.members))
    more = replace(named, epoch=3, members=(*named.members[:-1], changed(named.members[-1], 0)))
    first, second = seal_roster(named, KEY.sign), seal_roster(more, KEY.sign)
    assert len(delta(first, digests(old.members))) == len(delta(first, digests(())))
    assert apply(old.members, delta(first, digests(old.members)), signed) == first
    small = delta(second, digests(named.members))
    assert len(small) < len(delta(second, digests(()))) / 10
    assert apply(named.members, small, signed) == second


def test_one_changed_member_of_five_thousand_costs_one_bucket() -> None:
    old = Roster(1, "test", b"salt", tuple(member(number) for number in range(5000)))
    new = replace(old, epoch=2, members=(*old.members[:-1], changed(old.members[-1], 0)))
    sealed = seal_roster(new, KEY.sign)
    small, whole = delta(sealed, digests(old.members)), delta(sealed, digests(()))
    assert len(small) < len(whole) / 40
    assert apply(old.members, small, signed) == apply((), whole, signed) == sealed


def test_what_doesnt_fit_the_members_at_hand_is_refused_and_the_whole_is_not() -> None:
    old, other = roster_of(40), replace(roster_of(30), salt=b"other")
    sealed = seal_roster(replace(roster_of(41), epoch=2), KEY.sign)
    with pytest.raises(RosterError, match="roster key"):
        apply(other.members, delta(sealed, digests(old.members)), signed)
    assert apply((), delta(sealed, digests(())), signed) == sealed


def test_a_forged_roster_is_refused() -> None:
    forged = seal_roster(replace(roster_of(5), epoch=9), SigningKey.fresh().sign)
    for members in (roster_of(5).members, ()):
        with pytest.raises(RosterError, match="roster key"):
            apply(members, delta(forged, digests(members)), signed)


@given(st.binary(max_size=300), ROSTERS, st.integers(0, 2**20), st.integers(0, 255))
def test_a_broken_delta_is_a_roster_error(data: bytes, new: Roster, place: int, value: int) -> None:
    with pytest.raises(RosterError):
        apply(roster_of(3).members, data, signed)
    sealed = seal_roster(new, shortly_sign)
    good = delta(sealed, digests(roster_of(9).members))
    for broken in (
        good[: place % len(good)],
        good + b"\0",
        good[: place % len(good)] + bytes([value]) + good[place % len(good) + 1 :],
    ):
        with suppress(RosterError):
            assert apply(roster_of(9).members, broken, shortly_signed) == sealed


@pytest.mark.parametrize("length", [0, DIGESTS_BYTES - 1, DIGESTS_BYTES + 1])
def test_digests_have_one_length(length: int) -> None:
    with pytest.raises(RosterError, match="digests"):
        delta(seal_roster(roster_of(3), KEY.sign), bytes(length))


def test_a_newer_epoch_is_asked_for_after_two_seconds_and_every_two_seconds() -> None:
    wish, ours = Wish(), roster_of(3, epoch=5)
    assert not wish.heard(4, ours, 0.0), "older"
    assert not wish.heard(5, ours, 0.0), "the same"
    assert not wish.heard(6, None, 0.0), "who has none at all knows no peer"
    assert not wish.heard(6, ours, 10.0), "the watch has its chance"
    assert not wish.heard(7, ours, 10.0 + PATIENCE - 0.01)
    assert wish.heard(6, ours, 10.0 + PATIENCE)
    assert not wish.heard(6, ours, 10.0 + PATIENCE + EVERY - 0.01)
    assert wish.heard(6, ours, 10.0 + PATIENCE + EVERY)


def test_a_roster_that_came_meanwhile_begins_the_wait_anew() -> None:
    wish = Wish()
    assert not wish.heard(7, roster_of(3, epoch=5), 0.0)
    assert not wish.heard(7, roster_of(3, epoch=6), 3.0)
    assert not wish.heard(7, roster_of(3, epoch=7), 6.0)
    assert not wish.heard(8, roster_of(3, epoch=7), 7.0)
    assert wish.heard(8, roster_of(3, epoch=7), 9.0)


def test_epochs_are_compared_by_the_32_bits_that_the_wire_carries() -> None:
    ours = roster_of(3, epoch=2**32 + 0xFFFF_FFFF)
    for epoch, newer in ((0, True), (0xFFFF_FFFF, False), (0xFFFF_FFFE, False), (2**30, True)):
        wish = Wish()
        wish.heard(epoch, ours, 0.0)
        assert wish.heard(epoch, ours, PATIENCE) is newer
