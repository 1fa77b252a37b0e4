from __future__ import annotations

from dataclasses import replace

from ringfence.core.gossip.report import AgentView, SubjectView
from ringfence.core.model import Boot, RingState, SignedVote, Vote

ME, OTHER = Boot("n1", "uid-1", "boot-1"), Boot("n2", "uid-2", "boot-2")
SUBJECT = SubjectView(OTHER, RingState.ALIVE, 10.0, 0.2, 0.2, None, None, ())
VIEW = AgentView(ME, 3, True, frozenset({"n1", "n2"}), (SUBJECT,))


def test_ages_are_no_news_and_everything_else_is() -> None:
    older = replace(SUBJECT, state_age=11.0, heard_age=1.2, two_way_age=1.2)
    assert replace(VIEW, subjects=(older,)).content == VIEW.content
    vote = SignedVote("n1", OTHER, Vote.NONE, 3, b"round", b"")
    for news in (
        replace(VIEW, healthy=False),
        replace(VIEW, alive=frozenset({"n1"})),
        replace(VIEW, roster_epoch=4),
        replace(VIEW, subjects=()),
        replace(VIEW, subjects=(replace(SUBJECT, state=RingState.DOUBTED),)),
        replace(VIEW, subjects=(replace(SUBJECT, votes=(vote,)),)),
    ):
        assert news.content != VIEW.content
