"""A corroboration round and an examination: the bounded part of a doubt (GOSSIP §3.5).

The first doubter opens a *round* by asking all observers. Each of them *examines* the subject for a fixed time and casts
one signed vote to all observers, so each can count for itself. Figures, in seconds from the asker's start: an examination
takes 0.25; a vote goes out at once and again 50 ms later, ``alive`` a third time after 100 (a lost ``alive`` must not look
like no vote, while of the others five are enough); the round closes when all that can have answered, at the latest at
0.4 = examination + last copy + the way. A round that only renews a verdict says everything once: the next one is near.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from ringfence.core.gossip.wire import ROUND_BYTES
from ringfence.core.model import Boot, SignedVote, Vote

EXAMINATION = 0.25
CLOSE = 0.4
COPIES = (0.05, 0.1)
"""When a vote is said again."""
PINGS = (0.06, 0.19)
"""When an examination pings again, after its first at once: the last so late that a cut which ends meanwhile is seen to, and so
early that its answer comes in time where the way takes less than 30 ms."""
KERNEL_AGAIN = 0.1
COUNTED = EXAMINATION + COPIES[-1] + CLOSE
"""So long after a round began here somebody may still count it: who missed the question joins with the last copy of a vote."""
BEFORE = 0.1
"""A packet heard so long before an examination began still counts for life: a doubt begins at least 0.15 s after the
first probe that was missed, so no such packet is older than the crash."""
RENEW = 0.9
"""A verdict's next round begins this long after the last one began (plus up to a tenth of jitter)."""
ASKED_ANEW = 1.4
"""A question or a first vote that has waited so long in our socket is of a round that is over: whoever still doubts has opened
the next one (`RENEW` and its jitter, the first round's `CLOSE`). An agent that has been paused doesn't answer them all at once.
"""
TOLD_AGAIN = 1.5
"""So long after a verdict began the windows are told of it by as many as at first: who missed it hears it by the first renewal."""
LAPSE = 3.0
"""An unreachable verdict that no round has confirmed for so long is withdrawn."""
PARTIAL_FIRST, PARTIAL_LAST = 1.0, 8.0
"""Back-off of rounds about a subject that others do reach."""
OPEN_LAST = 2.0
"""Longest pause between rounds about a doubted subject that too few observers are left to judge."""
KEEP = 5.0
"""Seconds for which a round is remembered, if there is room: an `alive` that comes late still takes its verdict back."""
MAX_ROUNDS = 8


def copies(vote: Vote, *, renewed: bool) -> tuple[float, ...]:
    """When a vote is said again; a question is said as often as a ``none``."""
    if vote is Vote.ALIVE:
        return COPIES
    return () if renewed else COPIES[:1]


def new_id(bits: int, *, second: bool) -> bytes:
    """A round's id from 64 random bits. Its last one says whether the second set is asked too: who first hears of the round by
    somebody's vote has to know whom his own concerns.
    """
    return (bits & ~1 | second).to_bytes(ROUND_BYTES, "big")


def of_second(round_id: bytes) -> bool:
    """Whether the second set is asked too in this round."""
    return bool(round_id[-1] & 1)


class Begun(Protocol):
    """A round or a look."""

    @property
    def started(self) -> float:
        """When, by our clock."""


_B = TypeVar("_B", bound=Begun)


def spent(kept: Iterable[_B], room: int, now: float) -> list[_B]:
    """Those that need not be remembered any longer: the old ones, and as many that are over as another one needs room for.

    Who refused another one for those that are over would be missed in it, and his `alive` with him.
    """
    by_age = sorted(kept, key=lambda one: one.started)
    return [
        one
        for place, one in enumerate(by_age)
        if now - one.started > (CLOSE if len(by_age) - place >= room else KEEP)
    ]


@dataclass(slots=True)
class Round:
    """One round as one observer knows it."""

    round_id: bytes
    subject: Boot
    started: float
    votes: dict[str, SignedVote] = field(default_factory=dict)
    cast: Vote | None = None
    """This observer's own vote."""
    closed: bool = False
    refuted: bool = False
    """Somebody has said ``alive`` in it."""
    reported: bool = False
    """This observer has told the windows of it."""

    @property
    def second(self) -> bool:
        """Whether the second set is asked too."""
        return of_second(self.round_id)

    came: dict[str, float] = field(default_factory=dict)
    """When each vote came, by voter."""

    def take(self, vote: SignedVote, at: float) -> None:
        """This vote has come at ``at``, or is our own."""
        self.votes[vote.voter] = vote
        self.came[vote.voter] = at

    @property
    def alive_at(self) -> float:
        """When the last ``alive`` came; minus infinity: none has."""
        came = (self.came[name] for name, vote in self.votes.items() if vote.vote is Vote.ALIVE)
        return max(came, default=float("-inf"))


@dataclass(slots=True)
class Examination:
    """An observer's own look at a subject, for all rounds that are open meanwhile."""

    started: float
