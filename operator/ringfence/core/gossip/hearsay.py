"""What a window is told of rounds in which it has no part: votes about members that others observe, checked as anyone can."""

from __future__ import annotations

from ringfence.core.gossip import rounds
from ringfence.core.gossip.ballots import Ballots
from ringfence.core.gossip.corroboration import tally
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.notices import Notices
from ringfence.core.gossip.rounds import Round
from ringfence.core.gossip.states import States
from ringfence.core.gossip.subject import MAX_LEARNED, Subject
from ringfence.core.gossip.wire import Votes
from ringfence.core.model import RingState, Vote


class Hearsay:
    """One agent's ear for it."""

    def __init__(self, desk: Desk, *, states: States, ballots: Ballots, notices: Notices) -> None:
        self._desk = desk
        self._directory = desk.directory
        self._states = states
        self._ballots = ballots
        self._notices = notices

    def learn(self, sender: Subject, subject: Subject, message: Votes, now: float, at: float) -> None:
        """A round's votes about a member that others observe; the kernel had them at ``at``."""
        roster = self._directory.roster
        if roster is None or not self._notices.listens(now):
            return
        votes = self._ballots.unpack(sender, message, subject)
        shown = subject.shown
        known = shown is not None and shown.round_id == message.round_id
        veto = any(vote.vote is Vote.ALIVE for vote in votes)
        if not known and message.round_id in subject.learned and not veto:
            return  # a copy that comes late; a later round has taken its place
        heard = {(vote.voter, vote.vote) for vote in shown.votes.values()} if shown and known else set()
        if known and (
            any(vote is Vote.ALIVE for _, vote in heard)
            or heard.issuperset((vote.voter, vote.vote) for vote in votes)
        ):
            return  # it says nothing new, or nothing that changes a refuted round: not worth checking signatures
        votes = [vote for vote in votes if not self._ballots.refuse(sender, vote, subject)]
        verify, rings = self._desk.crypto.verify, self._directory.rings
        count = tally(votes, roster, subject.boot, verify, rings=rings)
        if count.alive:
            # It may be about an earlier round than the one that we show, and may overtake a verdict, which then is not
            # believed: who votes it has heard the member just now.
            state, subject.vetoed_at = RingState.UNKNOWN, max(subject.vetoed_at, at)
        elif now - at >= rounds.LAPSE:
            return  # it has lapsed while we slept, or a renewal lies behind it
        elif count.unreachable and not subject.heard_since(at - rounds.CLOSE):
            if at - subject.vetoed_at < rounds.CLOSE or self._desk.awareness.isolated:
                return
            state = RingState.UNREACHABLE
        elif count.agent_down:
            state = RingState.AGENT_DOWN
        else:
            return
        if not known:
            subject.learned = (*subject.learned, message.round_id)[-MAX_LEARNED:]
            subject.shown = shown = Round(message.round_id, subject.boot, at, closed=True)
        assert shown is not None
        for vote in votes:
            shown.take(vote, at)
        self._desk.journal.shown(subject.member.uid)
        if not count.alive:
            subject.confirmed_at = max(subject.confirmed_at, at)
            self._states.lapse(subject, at)
        self._states.enter(subject, state, count.sentence, now)
