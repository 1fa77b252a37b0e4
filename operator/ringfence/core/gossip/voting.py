"""Voting: our part in rounds about others, from the question to the round's end (`rounds` has its figures).

Everybody who takes part tells everybody else, so each can count for himself. A vote counts until the round is closed;
``alive`` does even then, for it takes a verdict back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ringfence.core.gossip import rounds
from ringfence.core.gossip.ballots import Ballots
from ringfence.core.gossip.corroboration import H, vote_payload
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.hearsay import Hearsay
from ringfence.core.gossip.notices import Notices
from ringfence.core.gossip.rings import is_small
from ringfence.core.gossip.rounds import Round
from ringfence.core.gossip.sender import Sender
from ringfence.core.gossip.states import ABSENT, NO_ANSWER
from ringfence.core.gossip.subject import Subject
from ringfence.core.gossip.wire import Ask, Votes
from ringfence.core.model import Column, SignedVote, Vote


class Voting:
    """One agent's. ``examine`` begins an examination, which ends in `vote_all`; ``judge`` draws a round's conclusion."""

    def __init__(
        self,
        desk: Desk,
        *,
        sender: Sender,
        ballots: Ballots,
        notices: Notices,
        hearsay: Hearsay,
        examine: Callable[[Subject, float], None],
        judge: Callable[[Subject, Round, float], None],
    ) -> None:
        self._directory = desk.directory
        self._timers = desk.timers
        self._journal = desk.journal
        self._crypto = desk.crypto
        self._sender = sender
        self._ballots = ballots
        self._notices = notices
        self._hearsay = hearsay
        self._examine = examine
        self._judge = judge

    # -- taking part ----------------------------------------------------------------------------------------------

    def join(self, subject: Subject, round_id: bytes, began: float, now: float) -> Round | None:
        """Take part in a round about the subject's present boot, of which the first word came at ``began``."""
        for old in rounds.spent(subject.rounds.values(), rounds.MAX_ROUNDS, now):
            del subject.rounds[old.round_id]
        joined = Round(round_id, subject.boot, began)
        called = subject.observed or (joined.second and self._in_second(subject))
        if len(subject.rounds) >= rounds.MAX_ROUNDS or not called:
            self._journal.drop("too many rounds", subject.member.name)
            return None
        subject.rounds[round_id] = joined
        self._timers.at(max(now, began + rounds.CLOSE), lambda now, _late: self._close(subject, joined, now))
        if subject.examination is None:
            self._examine(subject, now)
        return joined

    def on_ask(self, asker: Subject, message: Ask, now: float, at: float) -> None:
        """A peer asks us to take part; the kernel had its question at ``at``."""
        subject = self._directory.subject_by_tag(message.tag)
        if subject is None:
            self._journal.drop("about a stranger", asker.member.name)
            return
        if not (subject.observed or (rounds.of_second(message.round_id) and self._in_second(subject))):
            self._journal.drop("about one that others observe", asker.member.name)
            return
        if message.boot != subject.boot_sent:
            self._journal.drop("about another boot", asker.member.name)
            return
        if message.round_id not in subject.rounds and now - at <= rounds.ASKED_ANEW:
            self.join(subject, message.round_id, at, now)

    def _in_second(self, subject: Subject) -> bool:
        second = self._directory.present_rings.second(subject.member.uid)
        return any(member.name == self._directory.node for member in second)

    # -- our votes ------------------------------------------------------------------------------------------------

    def vote_all(
        self, subject: Subject, vote: Vote, now: float, columns: tuple[Column, ...] | None = None
    ) -> None:
        """End the examination with this vote, in all rounds that wait for it."""
        if columns is None:
            columns = subject.reach.columns(now - rounds.BEFORE, final=False)
        subject.examination = None
        for waiting in list(subject.rounds.values()):
            if waiting.cast is None:
                self._cast(subject, waiting, vote, now, columns)

    def heard(self, subject: Subject, now: float) -> None:
        """A packet of it has come."""
        if subject.examination is not None:
            self.vote_all(subject, Vote.ALIVE, now)
        if not subject.rounds:
            return
        for about in list(subject.rounds.values()):
            # Said too early: whoever still counts this round has to know, or he believes us.
            counted = now - about.started <= rounds.COUNTED and not self._also_alive(about)
            if about.cast is Vote.NONE and about.subject == subject.boot and counted:
                self._cast(subject, about, Vote.ALIVE, now)

    def veto(self, subject: Subject, now: float) -> None:
        """We said ``none`` in the round that made the verdict, and have heard the subject since: say so there.

        Those who only know the verdict (windows) would show it until it lapses. Nothing takes it back for them that we didn't
        believe it ourselves, nor that its kernel has answered somebody meanwhile.
        """
        shown = subject.shown
        if (
            shown is None
            or shown.subject != subject.boot
            or shown.cast in {None, Vote.ALIVE, Vote.AGENT_DOWN}
        ):
            return
        if self._made_verdict(shown) and not self._also_alive(shown):
            self._cast(subject, shown, Vote.ALIVE, now)
            self._notices.tell_all(subject, shown, now)

    def _cast(
        self, subject: Subject, about: Round, vote: Vote, now: float, columns: tuple[Column, ...] = ()
    ) -> None:
        me, roster = self._directory.me, self._directory.roster
        if me is None or not me.votes or roster is None:
            return
        voter = self._directory.node
        unsigned = SignedVote(voter, about.subject, vote, roster.epoch, about.round_id, b"", columns)
        signature = self._crypto.sign(vote_payload(roster.cluster, unsigned))
        signed = replace(unsigned, signature=signature)
        about.cast = vote
        about.take(signed, now)
        self._journal.stats[f"vote {vote}"] += 1
        renewed = subject.state in NO_ANSWER
        if vote in {Vote.NONE, Vote.ABSTAIN} and self._sender.overspent(now, renewed=renewed):
            self._journal.stats["votes kept back"] += 1
            self._count(subject, about, now)
            return
        copies = rounds.copies(vote, renewed=renewed)
        # Where all the others' votes have come by then, little is lost on these paths: then nor was ours.
        wanted = (
            (lambda: not self._also_alive(about))
            if vote is Vote.ALIVE
            else (lambda: not self._decided(about))
        )
        self._sender.repeat(self._ballots.pack(about, [signed]), about, now, copies, wanted)
        self._count(subject, about, now)

    # -- counting -------------------------------------------------------------------------------------------------

    def on_votes(self, sender: Subject, message: Votes, now: float, at: float) -> None:
        """A peer's vote, or what a round has found that we had no part in; the kernel had it at ``at``."""
        subject = self._directory.subject_by_tag(message.tag)
        if subject is None or subject.boot_sent != message.boot:
            # Of ourselves anybody may speak, and does: who votes about us tells all who observe us.
            if message.tag != self._directory.tag:
                self._journal.drop(
                    "about a stranger" if subject is None else "about another boot", sender.member.name
                )
            return
        about = subject.rounds.get(message.round_id)
        if about is None and not subject.observed:
            self._hearsay.learn(sender, subject, message, now, at)
            return
        if about is None and sender is not subject and now - at <= rounds.ASKED_ANEW:
            about = self.join(subject, message.round_id, at, now)  # the vote has overtaken the question
        if about is None:
            return
        for vote in self._ballots.unpack(sender, message, subject):
            known = about.votes.get(vote.voter)
            if vote.voter != self._directory.node and (
                known is None or vote.vote is Vote.ALIVE is not known.vote
            ):
                if self._ballots.refuse(sender, vote, subject) and vote.vote is not Vote.ALIVE:
                    continue  # it must not stand where the voter's own would
                about.take(vote, at)
                self._count(subject, about, now)

    def _count(self, subject: Subject, about: Round, now: float) -> None:
        """Close a round early when nothing more can change it; reopen the verdict when a veto comes."""
        if any(vote.vote is Vote.ALIVE for vote in about.votes.values()):
            if not about.refuted and about.subject == subject.boot:
                about.closed = about.refuted = True
                self._judge(subject, about, now)
            return
        rings, subjects = self._directory.rings, self._directory.subjects
        if about.closed or rings is None:
            return
        expected = {
            member.name
            for member in rings.judges(subject.member.uid, second=about.second)
            if member.uid not in subjects or subjects[member.uid].state not in ABSENT
        }
        if expected <= about.votes.keys():
            self._close(subject, about, now)

    def _also_alive(self, about: Round) -> bool:
        """Whether somebody else has said ``alive`` in it: then all know by him."""
        node = self._directory.node
        return any(vote.vote is Vote.ALIVE for name, vote in about.votes.items() if name != node)

    def _made_verdict(self, about: Round) -> bool:
        """Whether it may have called its subject unreachable. In small rosters, where all judge for themselves, it always may."""
        said = sum(vote.vote is Vote.NONE for vote in about.votes.values())
        return said >= H or is_small(self._directory.present_roster)

    def _decided(self, about: Round) -> bool:
        """Whether its votes are all in, or as many as a verdict takes."""
        said = sum(vote.vote is Vote.NONE for vote in about.votes.values())
        small = is_small(self._directory.present_roster)
        return about.closed or (not small and not about.second and said >= H)

    def _close(self, subject: Subject, about: Round, now: float) -> None:
        if not about.closed:
            about.closed = True
            if about.subject == subject.boot:
                self._judge(subject, about, now)
