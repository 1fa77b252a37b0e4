"""Self-knowledge: who must not accuse others (GOSSIP §4).

An agent that was late itself has not listened; its silence proves nothing. And an agent whose survey reaches less than
half of the roster is cut off itself, whatever it seems to see. Both abstain, and so does one whose interface has no
link. A host under pressure is no reason to abstain, only to wait longer for answers.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringfence.core.gossip.report import SelfView

LATE = 0.1
"""A timer that fires later than this (seconds) makes its agent unwell."""
RECOVERY = 0.5
"""Seconds without another late timer until an agent trusts itself again: more than one round's window."""
RELIEF = 0.25
"""How much of the stretch goes with each second after its reason: four seconds from the most to none."""
_FADES = 0.5 ** (1 / 20)


def strain_of(pressures: Iterable[float], dropped: int) -> float:
    """How much longer than usual to wait for an answer on a host like this.

    ``pressures`` are percentages of the last ten seconds in which some task had to wait, for CPU, memory and I/O;
    ``dropped`` is how many datagrams the kernel had no room for in the last second.

    ======================  ======
    the worst pressure      factor
    ======================  ======
    below 40 %              1.0
    40 % and more           1.25
    70 % and more           1.5
    any datagram dropped    2.0
    ======================  ======
    """
    worst = max(pressures, default=0.0)
    if dropped > 0:
        return 2.0
    return 1.5 if worst >= 70 else 1.25 if worst >= 40 else 1.0


class Awareness:
    """One agent's opinion of itself."""

    def __init__(self) -> None:
        self.isolated = False
        self.lag = 0.0
        """The last timer's overshoot, seconds."""
        self.worst_lag = 0.0
        """The most of late: it halves in 20 s."""
        self.stretch = 1.0
        """By how much every wait for an answer is longer than usual."""
        self.carrier: bool | None = None
        """Whether our interface has a link; None where nobody can tell."""
        self._unwell_until = float("-inf")

    def healthy(self, now: float) -> bool:
        """Whether this agent may accuse."""
        return not self.isolated and self.carrier is not False and now >= self._unwell_until

    def ran_late(self, lag: float, now: float) -> None:
        """A timer fired ``lag`` seconds after its time, or the clock was seen to jump by so much."""
        self.lag = lag
        self.worst_lag = max(self.worst_lag, lag)
        if lag > LATE:
            self._unwell_until = max(self._unwell_until, now + RECOVERY)

    def strain(self, factor: float) -> None:
        """Once a second: the host is strained by so much (`strain_of`). It passes slower than it comes."""
        self.stretch = max(factor, self.stretch - RELIEF)
        self.worst_lag *= _FADES

    def see_carrier(self, up: bool | None, now: float) -> None:
        """Our interface has a link, has none, or nobody can tell. Until somebody can answer again, silence is our own."""
        if self.carrier is False and up is not False:
            self._unwell_until = max(self._unwell_until, now + RECOVERY)
        self.carrier = up

    def view(self) -> SelfView:
        """What controllers are told of it."""
        return SelfView(self.isolated, self.carrier, self.worst_lag, self.stretch)
