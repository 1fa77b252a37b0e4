"""The phases of a failover, and which may follow which. One table; the machine may leave no other way."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    HOLDING = "Holding"
    """The verdict stands; the hold runs and the devices are looked at."""
    HELD = "Held"
    """A limit forbids to act; goes on by itself when the reason ends."""
    FENCING = "Fencing"
    AWAITING_CONFIRMATION = "AwaitingConfirmation"
    """No device gave a proof: tried again with back-off; a person may confirm."""
    RECOVERING = "Recovering"
    """The proof is stored; taint, deletions, restarts."""
    RECOVERED = "Recovered"
    """Every VM runs elsewhere or is settled; the node is still out."""
    CLOSED = "Closed"
    """The node is back; or it was, and has died again while VMs still waited: that is another incident."""
    WITHDRAWN = "Withdrawn"
    """The node lives: nothing was done to it."""


FOLLOWS: dict[Phase, frozenset[Phase]] = {
    Phase.HOLDING: frozenset(
        {Phase.HELD, Phase.FENCING, Phase.AWAITING_CONFIRMATION, Phase.RECOVERING, Phase.WITHDRAWN}
    ),
    Phase.HELD: frozenset(
        {Phase.HOLDING, Phase.FENCING, Phase.AWAITING_CONFIRMATION, Phase.RECOVERING, Phase.WITHDRAWN}
    ),
    Phase.FENCING: frozenset({Phase.HELD, Phase.AWAITING_CONFIRMATION, Phase.RECOVERING, Phase.WITHDRAWN}),
    Phase.AWAITING_CONFIRMATION: frozenset({Phase.HELD, Phase.FENCING, Phase.RECOVERING, Phase.WITHDRAWN}),
    Phase.RECOVERING: frozenset({Phase.HELD, Phase.FENCING, Phase.RECOVERED, Phase.CLOSED}),
    Phase.RECOVERED: frozenset({Phase.HELD, Phase.CLOSED}),
    Phase.CLOSED: frozenset(),
    Phase.WITHDRAWN: frozenset(),
}

ENDED = frozenset({Phase.CLOSED, Phase.WITHDRAWN})
PROVED = frozenset({Phase.RECOVERING, Phase.RECOVERED, Phase.CLOSED})


def may_follow(before: Phase, after: Phase) -> bool:
    return after == before or after in FOLLOWS[before]
