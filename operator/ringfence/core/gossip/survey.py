"""A survey: before an agent accuses anybody it finds out whether it is itself the one who is cut off (GOSSIP §4).

It pings the members that it watches. When all but one of them answer, one dead node among many is the likelier story
and nothing was lost but a round trip. When they don't, it pings a fresh random sample of the whole roster (the whole
roster, up to `SAMPLE` members), a few first and the rest if those leave it open, and goes by the majority: with less
than half of them in reach it is isolated and accuses nobody. Exactly half is no minority (DESIGN §3, equal halves).
Only answers to pings of this very survey count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

FRESH = 0.1
"""Seconds in which a survey serves all who ask: what was true 0.1 s ago is not worth asking twice."""
NEAR = 0.06
"""After so long the sample's first part is asked; a round trip on a LAN takes a hundredth of it."""
AGAIN = 0.11
"""Then the rest is, and a few of the silent once more, so that loss doesn't look like a cut."""
CLOSE = 0.16
"""Then it is over: earlier than the examination that began with it."""
SAMPLE = 64
"""Members in a sample. A side of 40 % passes for a majority once in twenty surveys, and a verdict takes five voters."""
FEW = 24
"""Members in its first part: enough where the answer is clear, as it is when one rack of many is cut off."""
PAUSE = 1.0
"""Seconds at least until one that was silent and answers makes an agent that is cut off look again; and for so long
half of a base is enough, that loss doesn't make every survey ask a sample."""
BASE_SHARE = 0.75
"""So much of a base must still answer; more where it is of a sample of which half was hardly there."""
MOST_SAMPLES = 2
"""Samples that an agent asks in that time. A further survey goes by its base alone, and those of it that are silent are asked
once more and again; if too few answer it is put off, and what waits for it: nobody is accused before."""
REPEAT = 4.0
"""Seconds after which an agent that found itself cut off looks again, if no answer makes it look earlier; and for so
long a sample's result stands as a base."""
_FEW_NEAR = 4
"""Fewer near ones than this say nothing of the rest, unless a sample has just spoken for them."""


@dataclass(slots=True)
class Survey:
    """One survey. ``near`` are UIDs of watched voters, ``voters`` how many the roster has, ourselves included."""

    started: float
    near: frozenset[str]
    voters: int
    asked: set[str] = field(default_factory=set)
    heard: set[str] = field(default_factory=set)
    rest: tuple[str, ...] = ()
    """Of the sample, who has not been asked yet."""
    base: frozenset[str] = frozenset()
    """The near ones that answered in the last survey that reached a majority of a sample: while ``base_share`` of them
    still answer we have been cut off from nobody since, and the sample is spared."""
    base_share: float = BASE_SHARE
    unsampled: bool = False
    """Whether no sample may be asked for it: then those near us decide it, or nothing does."""
    majority: bool | None = None
    """The result; None while it is open."""
    settled: bool = False
    """Whether its result has been taken over."""
    then: list[Callable[[float], None]] = field(default_factory=list)
    """What waits for the result and is dropped when we are cut off."""

    def __post_init__(self) -> None:
        self.asked |= self.near
        self._judge()

    def answered(self, uid: str) -> None:
        """This member has answered a ping of this survey."""
        if uid in self.asked:
            self.heard.add(uid)
            if self.majority is None:
                self._judge()

    @property
    def share(self) -> float:
        """The share of those asked who have answered, ourselves included; answers go on coming after the result."""
        return (len(self.heard) + 1) / (len(self.asked) + 1)

    def widen(self, sample: Sequence[str]) -> list[str]:
        """Take this sample, drawn at random; returns who of its first part is to be asked."""
        self.rest = tuple(sample[FEW:])
        return self._ask(sample[:FEW])

    def widen_again(self) -> list[str] | None:
        """Who of the sample's rest is to be asked now; None where it would change nothing: far too few have answered."""
        if 4 * (len(self.heard) + 1) < len(self.asked):
            return None
        rest, self.rest = self.rest, ()
        return self._ask(rest)

    def _ask(self, uids: Sequence[str]) -> list[str]:
        unanswered = [uid for uid in uids if uid not in self.heard]
        self.asked |= set(uids)
        self._judge()
        return unanswered

    def close(self) -> None:
        """Time is up."""
        if self.majority is None:
            self.majority = False

    @property
    def wide(self) -> bool:
        """Whether a sample was asked."""
        return len(self.asked) > len(self.near)

    @property
    def silent(self) -> set[str]:
        """Who was asked and has not answered."""
        return self.asked - self.heard

    def _judge(self) -> None:
        reached, everybody = len(self.heard) + 1, len(self.asked) + 1
        near, base = len(self.heard & self.near), len(self.heard & self.base)
        complete = everybody >= self.voters or (self.wide and not self.rest)
        if (
            (complete and 2 * reached >= min(self.voters, everybody))
            or (self.wide and 8 * reached >= 5 * everybody)
            or (len(self.near) >= _FEW_NEAR and near >= len(self.near) - 1)  # all but the accused
            or (len(self.base) > 1 and base >= self.base_share * len(self.base))
        ):
            self.majority = True
