"""The rule by which a node is called unreachable, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.core.gossip.corroboration import Tally, decisive, tally, vote_payload
from ringfence.core.gossip.members import Roster, Standing
from ringfence.core.gossip.rings import Rings
from ringfence.core.model import Boot, SignedVote, Vote
from unit.core.gossip.ring_world import FakeCrypto, boot_id, roster_of

ROUND = b"round--1"


def signed(roster: Roster, voter: str, vote: Vote, **changes: object) -> SignedVote:
    subject = roster.by_name["n1"].boot
    unsigned = replace(SignedVote(voter, subject, vote, roster.epoch, ROUND, b""), **changes)  # type: ignore[arg-type]
    crypto = FakeCrypto(b"")
    crypto.public = roster.by_name[voter].public_key if voter in roster.by_name else b"x" * 32
    return replace(unsigned, signature=crypto.sign(vote_payload(roster.cluster, unsigned)))


def count(roster: Roster, *votes: SignedVote) -> Tally:
    return tally(votes, roster, roster.by_name["n1"].boot, FakeCrypto(b"").verify)


def told(roster: Roster, **votes: Vote) -> Tally:
    return count(roster, *(signed(roster, voter, vote) for voter, vote in votes.items()))


@pytest.mark.parametrize(
    ("votes", "outcome", "sentence"),
    [
        ({"n2": "none", "n3": "none"}, "unreachable", "2 of 2 peers: n2, n3"),
        ({"n2": "none", "n3": "none", "n4": "abstain"}, "unreachable", "2 of 2 peers: n2, n3"),
        ({"n2": "none", "n3": "none", "n4": "alive"}, "alive", "n4 reached it"),
        ({"n2": "none", "n3": "agent-down"}, "agent_down", "its kernel answered n3, its agent nobody"),
        ({"n2": "none"}, "single", "1 of 1 peer: n2"),
        ({"n2": "none", "n3": "abstain"}, "single", "1 of 1 peer: n2"),
        ({"n2": "abstain"}, None, "no observer has said anything"),
        ({}, None, "no observer has said anything"),
    ],
)
def test_the_small_rule(votes: dict[str, str], outcome: str | None, sentence: str) -> None:
    result = told(roster_of(5), **{name: Vote(vote) for name, vote in votes.items()})
    said = {name for name in ("unreachable", "agent_down", "alive", "single") if getattr(result, name)}
    assert said == ({outcome} if outcome else set())
    assert result.sentence == sentence
    assert result.refused == ()


def test_the_h_rule_wants_five_of_eight_and_two_zones() -> None:
    roster = roster_of(20, zones=3)
    observers = Rings(roster).observers("uid-n1")
    none = [signed(roster, member.name, Vote.NONE) for member in observers]
    assert len(observers) == 8
    assert not count(roster, *none[:4]).unreachable
    assert "5 are needed" in count(roster, *none[:4]).sentence
    assert count(roster, *none[:5]).unreachable
    assert not count(roster, *none[:7], signed(roster, observers[7].name, Vote.AGENT_DOWN)).unreachable


def test_the_second_set_speaks_where_too_few_observers_are_left_and_only_by_its_own_five() -> None:
    roster = roster_of(40, zones=3)
    rings = Rings(roster)
    first, second = rings.observers("uid-n1"), rings.second("uid-n1")
    assert len(second) == 8
    assert not set(first) & set(second)
    left = [signed(roster, member.name, Vote.NONE) for member in first[:4]]
    others = [signed(roster, member.name, Vote.NONE) for member in second]
    assert not count(roster, *left, *others[:4]).unreachable  # eight in all, of no set enough
    verdict = count(roster, *left, *others[:5])
    assert verdict.unreachable
    assert verdict.by_second
    assert "of the second set" in verdict.sentence
    sent = decisive([*left, *others[:5]], roster, "uid-n1")
    assert count(roster, *sent).by_second
    assert not count(roster, *left, *others[:5], signed(roster, second[7].name, Vote.ALIVE)).unreachable
    assert not count(roster, *left, *others[:5], signed(roster, first[7].name, Vote.AGENT_DOWN)).unreachable
    enough = [signed(roster, member.name, Vote.NONE) for member in first[:5]]
    assert not count(roster, *enough, *others).by_second
    assert count(roster, *enough, *others).unreachable


@pytest.mark.parametrize("voters", [9, 10, 12, 17, 18])
def test_a_second_set_has_eight_and_takes_those_first_who_are_no_observers(voters: int) -> None:
    rings = Rings(roster_of(voters, zones=2))
    first, second = set(rings.observers("uid-n1")), rings.second("uid-n1")
    assert len(set(second)) == len(second) == 8
    assert "n1" not in {member.name for member in second}
    assert len(set(second) - first) == min(8, voters - 9)
    assert len({member.zone for member in second}) == 2


def test_a_small_roster_has_no_second_set() -> None:
    assert Rings(roster_of(8)).second("uid-n1") == ()


def test_votes_of_one_zone_alone_are_not_enough_where_two_have_voters() -> None:
    roster = roster_of(40, zones=2)
    observers = Rings(roster).observers("uid-n1")
    zone = max((member.zone for member in observers), key=lambda z: sum(m.zone == z for m in observers))
    alone = [signed(roster, member.name, Vote.NONE) for member in observers if member.zone == zone]
    result = count(roster, *alone)
    assert not result.unreachable
    flat = replace(roster, members=tuple(replace(member, zone="") for member in roster.members))
    assert count(
        flat, *(signed(flat, m.name, Vote.NONE) for m in Rings(flat).observers("uid-n1"))
    ).unreachable


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"subject": Boot("n1", "uid-n1", boot_id("n1", 9))}, "about another boot"),
        ({"roster_epoch": 7}, "of another roster epoch"),
        ({"round_id": b"another!"}, "of another round"),
    ],
)
def test_a_vote_about_something_else_does_not_count(changes: dict[str, object], reason: str) -> None:
    roster = roster_of(5)
    result = count(
        roster,
        signed(roster, "n2", Vote.NONE),
        signed(roster, "n4", Vote.NONE),
        signed(roster, "n3", Vote.NONE, **changes),
    )
    assert result.voters == ("n2", "n4")
    assert len(result.refused) == 1
    assert reason in result.refused[0]


def test_forged_unknown_own_and_unpinned_votes_do_not_count() -> None:
    roster = roster_of(5)
    forged = replace(signed(roster, "n2", Vote.NONE), voter="n3")
    result = count(
        roster,
        signed(roster, "n2", Vote.NONE),
        forged,
        signed(roster, "n1", Vote.NONE),
        signed(roster, "stranger", Vote.NONE),
    )
    assert not result.unreachable
    assert result.single
    assert len(result.refused) == 3
    keyless = replace(roster, members=tuple(replace(member, public_key=b"") for member in roster.members))
    assert "no key" in count(keyless, signed(roster, "n2", Vote.NONE)).refused[0]


def test_members_without_a_vote_are_neither_voters_nor_in_the_denominator() -> None:
    roster = roster_of(4)
    members = tuple(
        replace(member, standing=Standing.SUBJECT) if member.name == "n4" else member
        for member in roster.members
    )
    roster = replace(roster, members=members)
    result = told(roster, n2=Vote.NONE, n3=Vote.NONE, n4=Vote.ALIVE)
    assert result.unreachable
    assert "it has no vote now" in result.refused[0]


def test_a_voter_who_changed_its_mind_within_the_round_counts_by_its_later_word() -> None:
    roster = roster_of(3)
    result = count(
        roster,
        signed(roster, "n2", Vote.NONE),
        signed(roster, "n3", Vote.NONE),
        signed(roster, "n3", Vote.ALIVE),
    )
    assert result.alive
    assert not result.unreachable
