"""What every part of one agent's machine works with."""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.core.gossip.awareness import Awareness
from ringfence.core.gossip.dice import Dice
from ringfence.core.gossip.directory import Directory
from ringfence.core.gossip.journal import Journal
from ringfence.core.gossip.timers import Timers
from ringfence.core.gossip.wire import Crypto


@dataclass(frozen=True, slots=True)
class Desk:
    """One agent's. What is not here a part is given when it is made, and by that alone it knows other parts."""

    directory: Directory
    timers: Timers
    journal: Journal
    awareness: Awareness
    dice: Dice
    crypto: Crypto

    def may_accuse(self, now: float) -> bool:
        """Whether our own silence proves anything now."""
        me = self.directory.me
        return me is not None and me.votes and self.awareness.healthy(now)
