"""What a round's votes make of their subject, here: its next state, what our view shows, whom that is to be told.

`corroboration` says what votes amount to. Before anything is believed stands what we know ourselves: an answer, a packet
since the round began, our own isolation.
"""

from __future__ import annotations

from ringfence.core.gossip import rounds
from ringfence.core.gossip.corroboration import Tally, tally
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.dissemination import tellers
from ringfence.core.gossip.doubts import Doubts
from ringfence.core.gossip.notices import Notices
from ringfence.core.gossip.rounds import Round
from ringfence.core.gossip.states import NO_ANSWER, QUIET, States
from ringfence.core.gossip.subject import Subject
from ringfence.core.model import RingState, Vote


class Judgement:
    """One agent's."""

    def __init__(self, desk: Desk, *, states: States, notices: Notices, doubts: Doubts) -> None:
        self._directory = desk.directory
        self._journal = desk.journal
        self._awareness = desk.awareness
        self._crypto = desk.crypto
        self._states = states
        self._notices = notices
        self._doubts = doubts

    def judge(self, subject: Subject, about: Round, now: float) -> None:
        """Draw the conclusion from a round's votes."""
        roster, rings = self._directory.present_roster, self._directory.rings
        count = tally(about.votes.values(), roster, about.subject, self._crypto.verify, rings=rings)
        votes = {vote.vote for vote in about.votes.values()}
        self._journal.step("closed", subject.tag, about)
        if subject.two_way_at is not None and subject.two_way_at >= about.started:
            return  # it has answered us since
        if not subject.observed:
            self._judge_for_others(subject, about, count, now)
            return
        enter = self._states.enter
        if count.unreachable and self._awareness.isolated:
            pass  # who reaches less than half of the roster accepts no verdict; the next round tells him when he is back
        elif Vote.ALIVE in votes:
            subject.vetoed_at = max(subject.vetoed_at, about.alive_at)
            # Even one that the tally refuses (a peer whose new key the roster has not yet) is reason to wait.
            verdict = subject.shown
            self._show(subject, about)
            if subject.state in NO_ANSWER:
                self._notices.withdraw(subject, verdict, about, now)
            if subject.state is not RingState.ALIVE:
                subject.back_off = min(max(2 * subject.back_off, rounds.PARTIAL_FIRST), rounds.PARTIAL_LAST)
                why = count.sentence if count.alive else "a peer reached it"
                enter(subject, RingState.PARTIAL, why, now)
        elif Vote.AGENT_DOWN in votes:
            self._show(subject, about)
            subject.back_off = 0.0
            renewed = subject.state is RingState.AGENT_DOWN
            if subject.state is not RingState.LEFT:  # else we know why its agent is silent
                enter(subject, RingState.AGENT_DOWN, count.sentence, now)
            self._notices.report(subject, about, now, renewed=renewed)
        elif self._lives_since(subject, about):
            votes = set()  # they are older than that, and say nothing any more
            if subject.state is RingState.DOUBTED:
                subject.back_off = min(max(2 * subject.back_off, rounds.RENEW), rounds.OPEN_LAST)
        elif count.unreachable:
            self._show(subject, about)
            subject.back_off = 0.0
            subject.confirmed_at = max(subject.confirmed_at, about.started)
            subject.by_second = count.by_second
            renewed = subject.state is RingState.UNREACHABLE and now - subject.since > rounds.TOLD_AGAIN
            enter(subject, RingState.UNREACHABLE, count.sentence, now)
            self._notices.report(subject, about, now, renewed=renewed)
        elif subject.state is not RingState.UNREACHABLE:
            self._show(subject, about)
            if subject.state is RingState.DOUBTED:  # too few can say anything: ask on, but not as often
                subject.back_off = min(max(2 * subject.back_off, rounds.RENEW), rounds.OPEN_LAST)
            if count.voters and subject.state in {RingState.AGENT_DOWN, RingState.PARTIAL}:
                subject.back_off = 0.0
                enter(subject, RingState.DOUBTED, f"nobody reaches it any more ({count.sentence})", now)
        if Vote.NONE in votes and votes.isdisjoint({Vote.ALIVE, Vote.AGENT_DOWN}) and not count.unreachable:
            self._appeal(subject, about, now)
        if subject.ask_at is None and subject.state not in QUIET:
            self._doubts.ask_after(subject, now)

    def _judge_for_others(self, subject: Subject, about: Round, count: Tally, now: float) -> None:
        """What a round says to one of the second set: he has no say in what comes of it, but tells the windows."""
        if count.unreachable and not (self._lives_since(subject, about) or self._awareness.isolated):
            if self._notices.listens(now):
                self._show(subject, about)
                subject.confirmed_at = max(subject.confirmed_at, about.started)
                self._states.lapse(subject, now)
                self._states.enter(subject, RingState.UNREACHABLE, count.sentence, now)
            self._notices.report(subject, about, now, renewed=False)
        elif count.alive:
            subject.vetoed_at = max(subject.vetoed_at, about.alive_at)
            self._notices.retract(subject, about, now)
            if subject.state in NO_ANSWER:
                self._show(subject, about)
                self._states.enter(subject, RingState.UNKNOWN, count.sentence, now)

    def _lives_since(self, subject: Subject, about: Round) -> bool:
        """Whether we have heard it, or somebody who has, since the round began: rounds overlap, and the votes of one that was
        under way when the node came back say nothing of it any more.
        """
        return subject.heard_since(about.started) or subject.vetoed_at >= about.started

    def _appeal(self, subject: Subject, about: Round, now: float) -> None:
        """Its observers' round came to nothing because too few of them are left: one of them asks the second set too."""
        silent = [name for name, vote in about.votes.items() if vote.vote is Vote.NONE]
        if not about.second and self._directory.node in tellers(about.round_id, b"second", silent, 1):
            self._doubts.open_round(subject, now, second=True)

    def _show(self, subject: Subject, about: Round) -> None:
        if subject.shown is None or subject.shown.started <= about.started:
            subject.shown = about
            self._journal.shown(subject.member.uid)
