"""A stream's views, of which each leaves out what the one before has said."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.gossip.report import AgentView, SubjectView
from ringfence.core.model import Boot, RingState, SignedVote, Vote
from ringfence.net.view_stream import ViewReader, ViewWriter
from ringfence.net.views import ViewError, decode_view, encode_view

ME = Boot("n1", "uid-1", "boot-1")


def member(number: int) -> Boot:
    return Boot(f"n{number}", f"uid-{number}", f"boot-{number}")


def vote(about: Boot, round_id: int, voter: str = "n1") -> SignedVote:
    return SignedVote(voter, about, Vote.NONE, 3, bytes([round_id]), bytes([round_id]) * 64)


def view(sent_at: float | None, *subjects: SubjectView) -> AgentView:
    return AgentView(ME, 3, healthy=True, alive=frozenset({"n1"}), subjects=subjects, sent_at=sent_at)


def subject(number: int, *rounds: int, age: float = 0.5, looks: int = 0) -> SubjectView:
    about = member(number)
    return SubjectView(
        about,
        RingState.DOUBTED,
        1.0,
        2.0,
        2.0,
        None,
        0.2,
        tuple(vote(about, one) for one in rounds),
        vote_ages=tuple(age for _ in rounds),
        look_votes=tuple(vote(about, 100 + one) for one in range(looks)),
    )


def test_votes_are_said_once_and_their_ages_go_on() -> None:
    writer, reader = ViewWriter(), ViewReader()
    first = writer.frame(view(10.0, subject(2, 1, 2, looks=1), subject(3, 5)))
    second = writer.frame(
        view(10.5, subject(2, 1, 2, age=1.0, looks=1), subject(3, 6, age=0.1), subject(4, 7))
    )
    said = [[len(one["votes"]) for one in json.loads(frame)["subjects"]] for frame in (first, second)]
    assert said == [[2, 1], [0, 1, 1]]
    assert reader.view(first) == view(10.0, subject(2, 1, 2, looks=1), subject(3, 5))
    assert reader.view(second) == view(
        10.5, subject(2, 1, 2, age=1.0, looks=1), subject(3, 6, age=0.1), subject(4, 7)
    )


def test_votes_that_have_come_anew_are_said_anew() -> None:
    writer = ViewWriter()
    writer.frame(view(10.0, subject(2, 1)))
    assert "same" not in json.loads(writer.frame(view(10.5, subject(2, 1, age=0.2))))
    rebooted = replace(subject(2, 1, age=0.7), subject=replace(member(2), boot_id="another"))
    assert "same" not in json.loads(writer.frame(view(11.0, rebooted)))
    assert "same" not in json.loads(writer.frame(view(None, replace(rebooted, vote_ages=(1.2,)))))


def test_a_view_that_leaves_out_what_was_not_said_is_refused() -> None:
    missing = encode_view(view(10.0, subject(2)), {"uid-2"})
    with pytest.raises(ViewError, match="doesn't say when"):
        ViewReader().view(missing)
    reader = ViewReader()
    reader.view(encode_view(view(9.0, subject(3, 1))))
    with pytest.raises(ViewError, match="uid-2 as in the view before, which has none"):
        reader.view(missing)
    with pytest.raises(ViewError, match="there is none"):
        decode_view(missing)


SUBJECTS = st.lists(
    st.tuples(st.integers(2, 5), st.integers(1, 2), st.integers(0, 2)), unique_by=lambda s: s[0]
)


@given(st.lists(st.tuples(st.floats(0.0, 1.0), SUBJECTS), max_size=6))
def test_whatever_is_said_arrives_whole(steps: list[tuple[float, list[tuple[int, int, int]]]]) -> None:
    """The members shown come and go, rounds end and begin, as they like."""
    writer, reader, now = ViewWriter(), ViewReader(), 0.0
    began: dict[tuple[int, int], float] = {}
    for passed, shown in steps:
        now += passed
        subjects = []
        for number, round_id, looks in shown:
            at = began.setdefault((number, round_id), now)
            subjects.append(subject(number, round_id, age=now - at, looks=looks))
        sent = view(now, *subjects)
        got = reader.view(writer.frame(sent))
        assert [one.vote_ages for one in got.subjects] == [
            pytest.approx(one.vote_ages, abs=0.02) for one in sent.subjects
        ]
        ageless = tuple(replace(one, vote_ages=()) for one in got.subjects)
        assert ageless == tuple(replace(one, vote_ages=()) for one in sent.subjects)
