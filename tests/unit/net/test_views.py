"""What travels between an agent and a controller of two releases."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ringfence.core.gossip.report import AgentView, NetworkView, SelfView, SubjectView
from ringfence.core.model import Answer, Boot, Column, NetworkState, RingState, SignedVote, Vote
from ringfence.net.views import ViewError, decode_view, encode_view

ME, OTHER = Boot("n1", "uid-1", "boot-1"), Boot("n2", "uid-2", "boot-2")
VOTE = SignedVote("n1", OTHER, Vote.NONE, 3, b"\0\xff", b"\1" * 64)
BARE = SubjectView(OTHER, RingState.DOUBTED, 1.0, 2.0, 2.0, None, 0.2, (VOTE,))
COLUMNS = (Column("management", Answer.AGENT), Column("storage", Answer.NONE))
FULL = replace(
    BARE,
    rtt=0.0,
    loss=0.25,
    vote_ages=(0.1,),
    networks=(NetworkView("storage", NetworkState.DEAD, 9.0, 0.001),),
    look_age=0.5,
    look_votes=(replace(VOTE, vote=Vote.ALIVE, columns=COLUMNS),),
)
VIEW = AgentView(ME, 3, True, frozenset({"n1"}), (FULL, BARE), SelfView(False, None, 0.02, 1.5))

BEFORE = b"""{"reporter":{"node":"n1","node_uid":"uid-1","boot_id":"boot-1"},"roster_epoch":3,"healthy":true,
"alive":["n1"],"subjects":[{"subject":{"node":"n2","node_uid":"uid-2","boot_id":"boot-2"},"state":"doubted",
"state_age":1.0,"heard_age":2.0,"two_way_age":2.0,"kernel_age":null,"round_age":0.2,"votes":[{"voter":"n1",
"subject":{"node":"n2","node_uid":"uid-2","boot_id":"boot-2"},"vote":"none","roster_epoch":3,"round_id":"AP8=",
"signature":"AQ=="}],"rtt":0.5}]}"""
"""As an agent of before loss, vote ages and self-knowledge sends it."""


def test_everything_comes_over() -> None:
    assert decode_view(encode_view(VIEW)) == VIEW


def test_the_view_of_an_older_agent_is_read_with_defaults() -> None:
    view = decode_view(BEFORE)
    (subject,) = view.subjects
    assert view.itself is None
    assert (subject.rtt, subject.loss, subject.vote_ages) == (0.5, None, ())
    assert subject.votes[0].round_id == VOTE.round_id


def test_the_view_of_a_newer_agent_is_read_without_what_is_new() -> None:
    later = json.loads(encode_view(VIEW))
    for place in (later, later["itself"], later["subjects"][0], later["subjects"][0]["votes"][0]):
        place["of_the_next_release"] = {"nested": [1]}
    assert decode_view(json.dumps(later).encode()) == VIEW


def test_an_older_reader_finds_all_that_it_needs() -> None:
    """What a view needed before the first of the later fields is still there, by its name."""
    sent = json.loads(encode_view(VIEW))
    asked = json.loads(BEFORE)
    assert asked.keys() <= sent.keys()
    needed = asked["subjects"][0].keys() - {"rtt"}  # this one it could miss as well
    assert all(needed <= subject.keys() for subject in sent["subjects"])


def test_what_is_no_view_is_refused() -> None:
    lacking = json.loads(BEFORE)
    del lacking["healthy"]
    for data in (b"", b"[]", json.dumps(lacking).encode(), BEFORE.replace(b"doubted", b"dubious")):
        with pytest.raises(ViewError):
            decode_view(data)


def test_members_of_whom_there_is_nothing_to_say_are_left_out_and_signs_of_life_are_not() -> None:
    silent = SubjectView(OTHER, RingState.UNKNOWN, 5.0, None, None, None, None, ())
    told = {
        "never heard": (silent, False),
        "heard long ago": (replace(silent, heard_age=60.0, two_way_age=60.0, kernel_age=60.0), False),
        "heard of late": (replace(silent, heard_age=0.5), True),
        "its kernel answered": (replace(silent, kernel_age=0.5), True),
        "voted about": (replace(silent, votes=(VOTE,)), True),
        "alive": (replace(silent, state=RingState.ALIVE), True),
    }
    for why, (subject, wanted) in told.items():
        read = decode_view(encode_view(replace(VIEW, subjects=(subject,))))
        assert read.subjects == ((subject,) if wanted else ()), why


def test_a_look_at_a_member_that_nobody_followed_observes_is_told() -> None:
    unknown = SubjectView(OTHER, RingState.UNKNOWN, 1.0, None, None, None, None, ())
    looked = replace(unknown, look_age=0.5, look_votes=FULL.look_votes)
    assert decode_view(encode_view(replace(VIEW, subjects=(unknown, looked)))).subjects == (looked,)
