"""Signed votes into a message and out of it again, and which of them count.

On the wire a vote is a tag, what is voted and a signature; what all votes of a message have in common is said once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ringfence.core.gossip.corroboration import refusal
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.networks import Look
from ringfence.core.gossip.rounds import Round
from ringfence.core.gossip.subject import Subject, sent_boot
from ringfence.core.gossip.wire import Ballot, Votes, fitting, tag_of
from ringfence.core.model import SignedVote


class Ballots:
    """By one agent's roster."""

    def __init__(self, desk: Desk) -> None:
        self._directory = desk.directory
        self._journal = desk.journal
        self._crypto = desk.crypto

    def pack(self, about: Round, votes: list[SignedVote]) -> Votes:
        """Those of a round's votes, as many as fit."""
        by_name = self._directory.present_roster.by_name
        ballots = fitting(
            Ballot(tag_of(by_name[vote.voter].uid), vote.vote, vote.signature, vote.columns)
            for vote in votes
            if vote.voter in by_name
        )
        return Votes(
            about.round_id,
            tag_of(about.subject.node_uid),
            sent_boot(about.subject.boot_id),
            votes[0].roster_epoch if votes else 0,
            ballots,
        )

    def pack_look(self, look: Look, votes: Iterable[SignedVote]) -> Votes:
        """Those of a look's votes."""
        about = Round(look.round_id, look.subject, look.started)
        return replace(self.pack(about, list(votes)), look=True)

    def unpack(self, sender: Subject, message: Votes, subject: Subject) -> list[SignedVote]:
        """What a message says of a subject, by members; whether it counts is another matter (`refuse`)."""
        votes = []
        for ballot in message.ballots:
            voter = self._directory.by_tag(ballot.tag)
            if voter is None and ballot.tag != self._directory.tag:
                self._journal.drop("vote: not in the roster", sender.member.name)
            elif voter is not None:
                votes.append(
                    SignedVote(
                        voter.name,
                        subject.boot,
                        ballot.vote,
                        message.epoch,
                        message.round_id,
                        ballot.signature,
                        ballot.columns,
                    )
                )
        return votes

    def valid(self, sender: Subject, message: Votes, subject: Subject) -> list[SignedVote]:
        """Those of the votes that count."""
        votes = self.unpack(sender, message, subject)
        return [vote for vote in votes if not self.refuse(sender, vote, subject)]

    def refuse(self, sender: Subject, vote: SignedVote, subject: Subject) -> bool:
        """Whether the vote counts for nothing. It may be another's who has sent it, and whose it says it is another's."""
        roster, rings = self._directory.present_roster, self._directory.present_rings
        reason = refusal(vote, roster, subject.boot, self._crypto.verify, rings)
        if reason is not None:
            self._journal.drop(f"vote: {reason}", sender.member.name)
        return reason is not None
