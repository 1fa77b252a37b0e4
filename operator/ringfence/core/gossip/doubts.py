"""Doubts: from a member's silence to a round of votes, and to the next one as long as the doubt lasts.

Nobody is accused before a survey has found most of the roster in reach (`surveyor`).
"""

from __future__ import annotations

from collections.abc import Callable

from ringfence.core.gossip import rounds
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.rounds import Round
from ringfence.core.gossip.sender import Sender
from ringfence.core.gossip.states import NO_ANSWER, States
from ringfence.core.gossip.subject import Subject
from ringfence.core.gossip.surveyor import Surveyor
from ringfence.core.gossip.wire import Ask
from ringfence.core.model import RingState, Vote


class Doubts:
    """One agent's. ``join`` takes part in a round of this id about a subject: None where that can't be."""

    def __init__(
        self,
        desk: Desk,
        *,
        states: States,
        sender: Sender,
        surveyor: Surveyor,
        join: Callable[[Subject, bytes, float], Round | None],
    ) -> None:
        self._desk = desk
        self._directory = desk.directory
        self._timers = desk.timers
        self._stats = desk.journal.stats
        self._states = states
        self._sender = sender
        self._surveyor = surveyor
        self._join = join

    def doubt(self, subject: Subject, now: float) -> None:
        """It has not answered us."""
        if not self._desk.may_accuse(now):
            return
        boot, began = subject.boot, now

        def accuse(now: float) -> None:
            answered = subject.two_way_at is not None and subject.two_way_at >= began
            if subject.boot != boot or answered or not self._desk.may_accuse(now):
                return
            if subject.state is RingState.PARTIAL:
                if subject.ask_at is None:
                    self.ask_after(subject, now)
            elif subject.state is not RingState.DOUBTED:
                self._stats["doubted"] += 1
                why = "a probe, its retry and the relays went unanswered"
                self._states.enter(subject, RingState.DOUBTED, why, now)
                self.ask(subject, now)

        self._surveyor.look_around(now, accuse)

    def ask(self, subject: Subject, now: float) -> None:
        """Open a round, unless one has just been opened by somebody else."""
        if self._desk.may_accuse(now):
            boot = subject.boot
            second = subject.by_second and subject.state is RingState.UNREACHABLE
            self._surveyor.look_around(
                now,
                lambda now: self.open_round(subject, now, second=second) if subject.boot == boot else None,
            )
        self.ask_after(subject, now)

    def open_round(self, subject: Subject, now: float, *, second: bool = False) -> None:
        """Open a round, unless one of its kind has just been opened by somebody else."""
        current = max(
            (r.started for r in subject.rounds.values() if r.second or not second), default=float("-inf")
        )
        if now - current < rounds.CLOSE or not self._desk.may_accuse(now):
            return
        if self._sender.exhausted(now):
            self._stats["rounds put off"] += 1
            return  # it is asked again in its turn, unless somebody else has asked by then
        round_id = rounds.new_id(self._desk.dice.getrandbits(64), second=second)
        opened = self._join(subject, round_id, now)
        if opened is not None:
            self._stats["appeals" if second else "rounds"] += 1
            ask = Ask(opened.round_id, subject.tag, subject.boot_sent)
            copies = rounds.copies(Vote.NONE, renewed=subject.state in NO_ANSWER)
            self._sender.repeat(ask, opened, now, copies, lambda: not opened.closed)

    def ask_after(self, subject: Subject, now: float) -> None:
        """Ask again as long as the doubt lasts: at a steady pace, or backing off where others do reach it."""
        last = max((r.started for r in subject.rounds.values()), default=now)
        pause = subject.back_off or rounds.RENEW
        when = max(last, now - pause + rounds.CLOSE) + pause * (1 + self._desk.dice.random() / 9)
        subject.ask_at = when

        def ask(now: float, _late: float) -> None:
            if subject.ask_at != when or self._directory.subjects.get(subject.member.uid) is not subject:
                return
            if subject.state is RingState.UNREACHABLE and now - subject.confirmed_at > rounds.LAPSE:
                why = "nobody has confirmed the verdict for 3 s"
                self._states.enter(subject, RingState.DOUBTED, why, now)
            recent = max((r.started for r in subject.rounds.values()), default=float("-inf"))
            if now - recent < pause * 0.8:
                self.ask_after(subject, now)  # somebody else has asked meanwhile
            else:
                self.ask(subject, now)

        self._timers.at(when, ask)
