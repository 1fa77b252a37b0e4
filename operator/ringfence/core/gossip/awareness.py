"""Self-knowledge: who must not accuse others (GOSSIP §4).

An agent that was late itself has not listened; its silence proves nothing. And an agent whose survey reaches less than
half of the roster is cut off itself, whatever it seems to see. Both abstain.
"""

from __future__ import annotations

LATE = 0.1
"""A timer that fires later than this (seconds) makes its agent unwell."""
RECOVERY = 0.5
"""Seconds without another late timer until an agent trusts itself again: more than one round's window."""


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
