"""What an agent says of the datagrams that it has refused: each reason once a minute, with how many and whose.

Every one is counted (metric ``ringfence_agent_drops_total``); the log is for who wants to know that it happens at all and
where it comes from. A flood must not become a flood of lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

EVERY = 60.0
"""Seconds between two lines about one reason."""
_DROP = "drop "


class Refusals:
    """Remembers what has been said, by reason."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}
        """How many of each had been counted when its last line was written."""
        self._told_at: dict[str, float] = {}

    def news(self, counts: Mapping[str, int], whose: Mapping[str, str], now: float) -> Iterator[str]:
        """A line for each reason that has come up since its last line, if that is a minute ago.

        Args:
            counts: the machine's ``stats``; those that begin with "drop " are meant.
            whose: the machine's ``refused``.
        """
        for key, count in counts.items():
            if not key.startswith(_DROP):
                continue
            reason = key.removeprefix(_DROP)
            new = count - self._told.get(reason, 0)
            if new > 0 and now - self._told_at.get(reason, float("-inf")) >= EVERY:
                self._told[reason], self._told_at[reason] = count, now
                yield f"{new} refused: {reason} (the last by {whose.get(reason, 'nobody knows whom')})"
