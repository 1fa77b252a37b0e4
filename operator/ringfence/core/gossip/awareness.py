"""Self-knowledge: who must not accuse others (GOSSIP §4).

An agent that was late itself has not listened; its silence proves nothing. And an agent that loses many peers at once
and hears from less than half of those it watches is cut off itself, whatever it seems to see. Both abstain.
"""

from __future__ import annotations

from collections.abc import Iterable

LATE = 0.1
"""A timer that fires later than this (seconds) makes its agent unwell."""
RECOVERY = 0.5
"""Seconds without another late timer until an agent trusts itself again: more than one round's window."""
AT_ONCE = 2
"""Losing so many peers within two periods is suspicious; a single one never makes an agent doubt itself."""


class Awareness:
    """One agent's opinion of itself."""

    def __init__(self) -> None:
        self.isolated = False
        self.lag = 0.0
        """The last timer's overshoot, seconds."""
        self._unwell_until = float("-inf")

    def healthy(self, now: float) -> bool:
        """Whether this agent may accuse."""
        return not self.isolated and now >= self._unwell_until

    def on_time(self, now: float) -> bool:
        """Whether its timers have been punctual of late."""
        return now >= self._unwell_until

    def ran_late(self, lag: float, now: float) -> None:
        """A timer fired ``lag`` seconds after its time, or the clock was seen to jump by so much."""
        self.lag = lag
        if lag > LATE:
            self._unwell_until = max(self._unwell_until, now + RECOVERY)

    def look_around(self, last_answers: Iterable[float | None], now: float, every: float) -> bool:
        """Judge isolation by the times of the last two-way evidence of each peer. Returns whether it has changed."""
        answers = list(last_answers)
        window = every + LATE
        heard = sum(1 for at in answers if at is not None and now - at <= window)
        minority = 2 * (heard + 1) < len(answers) + 1
        if self.isolated:
            self.isolated = minority
            return not minority
        span = window + max(2 * every, 1.0)
        lost = sum(1 for at in answers if at is None or window < now - at <= span)
        self.isolated = minority and lost >= AT_ONCE
        return self.isolated
