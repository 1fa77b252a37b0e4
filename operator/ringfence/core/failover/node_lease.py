"""The Lease ``node-<name>``: by it programs that mend nodes keep out of each other's way.

medik8s' convention (``medik8s/common``, ``pkg/lease``): whoever acts on a node holds that Lease, by default in the namespace
``medik8s-leases``. NodeHealthCheck holds it as ``NHC``, the node maintenance operator as ``node-maintenance``. It is theirs while
``renewTime + leaseDurationSeconds`` has not passed; the clocks of the writers decide that, as they do among themselves.

It is manners, not safety: nothing is started elsewhere but under a proof of our own, whoever holds a Lease. So no Lease, no right to
it and no answer hold up a fence (:data:`timing.NODE_LEASE_WAIT`); but a node on which somebody else acts is ordered nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.core import timing
from ringfence.core.failover.phase import Phase
from ringfence.core.model import Boot

HOLDER = "ringfence"


@dataclass(frozen=True, slots=True)
class Held:
    """A Lease as it stands. Times are seconds since the epoch, as their writer has them; None where it wrote none."""

    holder: str
    renewed: float | None
    duration: float | None

    def valid(self, wall: float) -> bool:
        """Whether its holder still counts on it. One renewed further ahead than it lasts is no clock's drift but nonsense."""
        if not self.holder or self.renewed is None or self.duration is None:
            return False
        return self.renewed - self.duration <= wall <= self.renewed + self.duration


@dataclass(frozen=True, slots=True)
class NodeLeaseLook:
    """What is known of the Lease of an incident's node. As it stands: in this cluster nobody goes by such Leases."""

    used: bool = False
    ours: bool = False
    renewal_due: bool = False
    foreign: str | None = None
    """Somebody else acts on the node: the limit, as a sentence."""
    settled: bool = True
    """There is nothing to wait for: it is ours or somebody else's, or the answer has taken too long since it was asked for,
    or since somebody else was last seen to hold it."""


UNUSED = NodeLeaseLook()


@dataclass(frozen=True, slots=True)
class TakeNodeLease:
    """Take the Lease, or renew it, unless somebody else holds it."""

    boot: Boot


@dataclass(frozen=True, slots=True)
class ReleaseNodeLease:
    boot: Boot


def foreign(node: str, holder: str, lease: str) -> str:
    """Why nothing is ordered: the holder acts on the node. ``lease`` is its namespace and name."""
    return (
        f"{holder} acts on {node}: it holds the Lease {lease} until it gives that back or lets it expire;"
        " if it switches the node off, that is seen"
    )


_ACTING = frozenset({Phase.FENCING, Phase.RECOVERING, Phase.RECOVERED})


def due(
    boot: Boot, phase: Phase, lease: NodeLeaseLook, limit: str | None, *, retry_due: bool
) -> tuple[TakeNodeLease | ReleaseNodeLease, ...]:
    """What to do about the Lease in this phase.

    It is taken while the hold runs, so that it costs no time, and kept until the node is back. Where we wait (a limit, a person) it is
    given back: somebody else may be able to do what we can't.
    """
    if not lease.used:
        return ()
    waits = (
        phase is Phase.HOLDING or phase is Phase.HELD or (phase is Phase.AWAITING_CONFIRMATION and retry_due)
    )
    wanted = phase in _ACTING or (waits and limit in {None, lease.foreign})
    if wanted and (not lease.ours or lease.renewal_due):
        return (TakeNodeLease(boot),)
    if lease.ours and not wanted:
        return (ReleaseNodeLease(boot),)
    return ()


assert timing.NODE_LEASE_RENEW * 2 < timing.NODE_LEASE_DURATION
