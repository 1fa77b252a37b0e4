"""Who doesn't observe a subject learns of it only if a controller reads him, if he is a *window*: those are told here.

Which members are windows is gossiped (`dissemination`); a round's result goes straight from a few observers to them.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringfence.core.gossip.ballots import Ballots
from ringfence.core.gossip.corroboration import H, decisive
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.dissemination import FORGET, TELLERS, Windows, tellers
from ringfence.core.gossip.rings import is_small
from ringfence.core.gossip.rounds import Round
from ringfence.core.gossip.sender import Sender
from ringfence.core.gossip.states import ABSENT
from ringfence.core.gossip.subject import Subject
from ringfence.core.model import Vote

_SILENT = frozenset({Vote.NONE, Vote.AGENT_DOWN})


class Notices:
    """What one agent tells the windows that it knows of."""

    def __init__(self, desk: Desk, sender: Sender, ballots: Ballots) -> None:
        self._directory = desk.directory
        self._sender = sender
        self._ballots = ballots
        self.windows = Windows()
        self.window = False
        """Whether we are one ourselves: somebody reads our view."""
        self._read_at = float("-inf")
        """When we last saw that somebody does."""

    def news(self, now: float) -> tuple[bytes, int] | None:
        """What a ping or an ack carries."""
        roster = self._directory.roster
        if roster is None or is_small(roster):
            return None
        if self.window:
            self._read_at = now
            self.windows.heard(self._directory.tag, 0, now)
        return self.windows.next(now)

    def listens(self, now: float) -> bool:
        """Whether what we are told is for a reader: one that has gone may dial again, and for so long we are told all the same."""
        return self.window or now - self._read_at <= FORGET

    def take_news(self, window: tuple[bytes, int] | None, at: float) -> None:
        """What a ping or an ack has carried that came at ``at``."""
        if window is not None and self._directory.by_tag(window[0]) is not None:
            self.windows.heard(*window, at)

    def report(self, subject: Subject, about: Round, now: float, *, renewed: bool) -> None:
        """Tell those windows of a round's result that fall to us this time; once a round."""
        if about.reported:
            return
        about.reported = True
        voters = [name for name, vote in about.votes.items() if vote.vote in _SILENT]
        # Where all that have voted must, each lost vote is a teller that has no verdict to tell.
        count = 1 if renewed else TELLERS + (len(voters) <= H)
        self._tell(subject, about, self._ours(about, voters, count, now), now)

    def withdraw(self, subject: Subject, verdict: Round | None, about: Round, now: float) -> None:
        """Somebody has said ``alive`` in a renewal: some of those who held it for dead, by that verdict, tell the windows.

        Those are observers that are there themselves; of the second set nobody holds anybody for dead, and the others among
        the observers, who have reached it all the time, don't know that there was a verdict.
        """
        known, uid = self._directory.subjects, subject.member.uid
        observers = {
            member.name
            for member in self._directory.present_rings.observers(uid)
            if member.uid not in known or known[member.uid].state not in ABSENT
        }
        said = {name for name, vote in verdict.votes.items() if vote.vote in _SILENT} if verdict else set()
        holders = sorted(observers & said or observers)
        self._tell(subject, about, self._ours(about, holders, TELLERS + 1, now), now)

    def retract(self, subject: Subject, about: Round, now: float) -> None:
        """Somebody has said ``alive`` in a round that we have told windows of: those of us whom it falls to tell them that too.

        For the second set; where its word is a verdict, none of the subject's observers need have held it for dead.
        """
        if about.reported:
            silent = [name for name, vote in about.votes.items() if vote.vote in _SILENT]
            self._tell(subject, about, self._ours(about, silent, TELLERS + 1, now), now)

    def tell_all(self, subject: Subject, about: Round, now: float) -> None:
        """Tell all windows of a round's votes."""
        self._tell(subject, about, self.windows.open(now), now)

    def _ours(self, about: Round, voters: list[str], count: int, now: float) -> list[bytes]:
        """The windows that fall to us, where so many of these voters tell each."""
        return [
            tag
            for tag in self.windows.open(now)
            if self._directory.node in tellers(about.round_id, tag, voters, count)
        ]

    def _tell(self, subject: Subject, about: Round, windows: Iterable[bytes], now: float) -> None:
        uid = subject.member.uid
        judges = self._directory.present_rings.judges(uid, second=about.second)
        involved = {member.uid for member in judges} | {uid}
        votes = decisive(about.votes.values(), self._directory.present_roster, uid)
        message = self._ballots.pack(about, votes)
        for tag in windows:
            member = self._directory.by_tag(tag)
            if member is not None and member.uid not in involved:
                self._sender.tell_all(message, (member,), now)
