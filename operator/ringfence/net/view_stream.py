"""The views of one stream, without what the one before has said already: the votes about members that nobody has voted on since.

Votes carry signatures, which no compression makes shorter. Where packets are lost a view has dozens of them, of the rounds about
all who were doubted of late; sent again with every view they made it five segments long, and of five TCP loses one again and again.
Both sides have to want it (`deflate`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ringfence.core.gossip.report import AgentView, SubjectView
from ringfence.net.views import ViewError, decode_shown, encode_view

_PRECISION = 0.01
"""Seconds by which what a reader counts on may differ from what would have been sent."""


class ViewWriter:
    """The sender's end of one connection."""

    def __init__(self) -> None:
        self._before: dict[str, SubjectView] = {}
        self._sent_at: float | None = None

    def frame(self, view: AgentView) -> bytes:
        """The next view's bytes."""
        voted = {one.subject.node_uid: one for one in view.subjects if one.votes or one.look_votes}
        same = {uid for uid, one in voted.items() if self._repeats(one, view.sent_at)}
        self._before, self._sent_at = voted, view.sent_at
        return encode_view(view, same)

    def _repeats(self, subject: SubjectView, sent_at: float | None) -> bool:
        before = self._before.get(subject.subject.node_uid)
        if before is None or sent_at is None or self._sent_at is None:
            return False
        passed = sent_at - self._sent_at
        return (
            before.subject == subject.subject
            and before.votes == subject.votes
            and before.look_votes == subject.look_votes
            and len(before.vote_ages) == len(subject.vote_ages)
            and all(
                abs(then + passed - now) <= _PRECISION
                for then, now in zip(before.vote_ages, subject.vote_ages, strict=True)
            )
        )


class ViewReader:
    """The reader's end of one connection."""

    def __init__(self) -> None:
        self._before: dict[str, SubjectView] = {}
        self._sent_at: float | None = None

    def view(self, frame: bytes) -> AgentView:
        """The next view, whole. Raises ViewError."""
        view, same = decode_shown(frame)
        if same:
            view = replace(view, subjects=self._whole(view, frozenset(same)))
        self._before = {one.subject.node_uid: one for one in view.subjects if one.votes or one.look_votes}
        self._sent_at = view.sent_at
        return view

    def _whole(self, view: AgentView, same: Collection[str]) -> tuple[SubjectView, ...]:
        if view.sent_at is None or self._sent_at is None:
            raise ViewError("votes as in a view that doesn't say when it was sent")
        passed = view.sent_at - self._sent_at
        if unknown := same - self._before.keys():
            raise ViewError(f"votes about {min(unknown)} as in the view before, which has none")
        return tuple(
            replace(
                one,
                votes=before.votes,
                vote_ages=tuple(age + passed for age in before.vote_ages),
                look_votes=before.look_votes,
            )
            if one.subject.node_uid in same and (before := self._before[one.subject.node_uid])
            else one
            for one in view.subjects
        )
