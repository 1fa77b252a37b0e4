"""What lies between two nodes: delay, jitter, loss, copies, disorder, and what a fault makes of them.

Every ordered pair of nodes starts from the same link. A `Rule` makes the paths from some nodes to others worse, in that
direction only, for as long as it stands; several add up. Ended rules are remembered for a while, so that an invariant
can ask how a path has been, not only how it is.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache

from ringfence.core.model import MANAGEMENT

IP_UDP_BYTES = 28
"""Header bytes that a datagram adds to its payload on an IPv4 path."""
_REMEMBERED = 10.0


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of a path. Times in seconds, the rest are probabilities, except ``mtu`` in bytes."""

    delay: float = 0.0002
    jitter: float = 0.0006
    """Added to the delay: uniform between none and so much. Packets overtake each other by it."""
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    """How many packets are held back by `HELD_BACK` more."""
    mtu: int = 1500


HELD_BACK = 0.02
LAN = Link()
LOSSY = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """How the paths from ``sources`` to ``targets`` (indices of nodes; None: all) differ from the usual link."""

    sources: frozenset[int] | None
    targets: frozenset[int] | None
    worse: Link
    """What is added; of the MTUs the smaller counts. A loss of 1 is a cut."""
    network: str | None = None
    """The only one on which it holds; None: on all."""

    def covers(self, source: int, target: int, network: str) -> bool:
        """Whether this path is among those."""
        return (
            (self.sources is None or source in self.sources)
            and (self.targets is None or target in self.targets)
            and (self.network is None or network == self.network)
        )


@dataclass(frozen=True, slots=True)
class Past:
    """The worst that a path has been since some instant, both directions together."""

    loss: float
    delay: float
    """Seconds beyond the usual, jitter included."""
    mtu: int

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing held up for longer than a time-out allows for."""
        return self.loss == 0 and self.delay <= 0.01 and self.mtu >= 1228

    @property
    def serves(self) -> bool:
        """Bad, but not so bad that an examination by several observers could fail on all their paths."""
        return self.loss <= LOSSY and self.delay <= 0.02 and self.mtu >= 1228


class Links:
    """All paths of a world."""

    def __init__(self, usual: Link, dice: random.Random) -> None:
        self.usual = usual
        self._dice = dice.random
        self._rules: dict[Rule, float] = {}
        """Those that stand, and since when."""
        self._ended: list[tuple[float, Rule]] = []

    def add(self, rule: Rule, now: float) -> None:
        """From now on this rule stands."""
        self._rules[rule] = now

    def end(self, rule: Rule, now: float) -> None:
        """From now on it doesn't."""
        del self._rules[rule]
        self._ended = [(at, ended) for at, ended in self._ended if now - at < _REMEMBERED]
        self._ended.append((now, rule))

    def delays(self, source: int, target: int, size: int, network: str = MANAGEMENT) -> tuple[float, ...]:
        """After how many seconds each copy of a packet arrives; empty where it is lost."""
        dice = self._dice
        usual = self.usual
        if not self._rules and usual is LAN:
            return (0.0002 + dice() * 0.0006,)  # the common case, without the questions below
        delay, jitter, through = usual.delay, usual.jitter, 1 - usual.loss
        duplicate, reorder, mtu = usual.duplicate, usual.reorder, usual.mtu
        for rule in self._rules:
            if rule.covers(source, target, network):
                worse = rule.worse
                delay += worse.delay
                jitter += worse.jitter
                through *= 1 - worse.loss
                duplicate += worse.duplicate
                reorder += worse.reorder
                mtu = min(mtu, worse.mtu)
        if through <= 0 or size > mtu - IP_UDP_BYTES or (through < 1 and dice() >= through):
            return ()
        first = delay + dice() * jitter + (HELD_BACK if reorder and dice() < reorder else 0.0)
        if duplicate and dice() < duplicate:
            return (first, first + dice() * HELD_BACK)
        return (first,)

    def past(self, one: int, other: int, since: float, network: str = MANAGEMENT) -> Past:
        """How bad the path between two nodes has been since then, in its worse direction."""
        rules = [
            rule
            for rule in (*self._rules, *(ended for at, ended in self._ended if at >= since))
            if rule.covers(one, other, network) or rule.covers(other, one, network)
        ]
        if not rules:
            return Past(self.usual.loss, 0.0, self.usual.mtu)
        return Past(
            loss=max(self._lost(rules, one, other, network), self._lost(rules, other, one, network)),
            delay=sum(rule.worse.delay + rule.worse.jitter for rule in rules),
            mtu=min(rule.worse.mtu for rule in rules),
        )

    def cut_since(self, one: int, other: int, since: float, network: str = MANAGEMENT) -> bool:
        """Whether nothing has passed between them, in one direction at least, from then until now."""
        return any(
            at <= since
            and rule.worse.loss >= 1
            and (rule.covers(one, other, network) or rule.covers(other, one, network))
            for rule, at in self._rules.items()
        )

    def cut_off(self, one: int, everybody: frozenset[int], since: float) -> frozenset[int]:
        """Of everybody all those for whom `cut_since` holds with this one on the management network, and perhaps itself."""
        cut: dict[frozenset[int], None] = {}
        for rule, at in self._rules.items():
            if at <= since and rule.worse.loss >= 1 and rule.network in {None, MANAGEMENT}:
                if rule.sources is None or one in rule.sources:
                    cut[everybody if rule.targets is None else rule.targets] = None
                if rule.targets is None or one in rule.targets:
                    cut[everybody if rule.sources is None else rule.sources] = None
        return _union(tuple(cut))

    def _lost(self, rules: list[Rule], source: int, target: int, network: str) -> float:
        through = math.prod(1 - rule.worse.loss for rule in rules if rule.covers(source, target, network))
        return 1 - (1 - self.usual.loss) * through


@lru_cache(maxsize=64)
def _union(sets: tuple[frozenset[int], ...]) -> frozenset[int]:
    """Of thousands it takes a while, and while a cut stands each verdict asks for the same few."""
    return sets[0] if len(sets) == 1 else frozenset[int]().union(*sets)
