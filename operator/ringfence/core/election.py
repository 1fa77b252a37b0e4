"""The leader's Lease: who may write, and until when.

A machine over observations of one ``coordination.k8s.io/v1`` Lease. Like client-go's leader election it never trusts
the times *written* in the Lease: a standby counts ``LEASE_DURATION`` on its own monotonic clock from the moment it
*saw* the Lease change. The holder counts from the moment it *sent* the renewal that succeeded, so that its own end is
never later than the end the standbys count (see :data:`ringfence.core.timing.CLOCK_RATE_BOUND`).

A candidate that sees no majority of the nodes can fence nobody, so it should not lead while another sees more (scenario
A15: the observer is the sick one). It gives the Lease back once, and takes a free one only when nobody else has
wanted it for a while: some leader is better than none.

Nor does a leader judge the node that it runs on. When that node is found Down it hands over at once, in the same way;
whoever leads then gives the order. If nobody takes the Lease, it leads on and leaves its own node alone
(:func:`ringfence.core.failover.limits.own_node`).

``epoch`` is the Lease's ``leaseTransitions``: it grows with each change of holder and goes into each record written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from ringfence.core.timing import (
    LEASE_DURATION,
    LEASE_GIVE_WAY,
    LEASE_RENEW,
    LEASE_RETRY,
    LEASE_UNABLE,
    ORDER_MARGIN,
)


@dataclass(frozen=True, slots=True)
class LeaseView:
    """A Lease as it was read; ``resource_version`` guards the next write."""

    holder: str
    epoch: int
    resource_version: str


class LeaseAction(StrEnum):
    NOTHING = "nothing"
    CREATE = "create"
    ACQUIRE = "acquire"
    RENEW = "renew"
    GIVE_WAY = "give way"


@dataclass(frozen=True, slots=True)
class Election:
    """State of one candidate. Immutable; every method returns the next state."""

    identity: str
    view: LeaseView | None = None
    seen_at: float = float("-inf")
    """When this candidate saw the Lease's present version for the first time."""
    renewed_at: float = float("-inf")
    """When this candidate sent its last renewal that succeeded."""
    tried_at: float = float("-inf")
    synced: bool = False
    unable_since: float | None = None
    """Since when this candidate has seen no majority, or been accused."""
    accused: bool = False
    """The node that it runs on is found Down."""
    gave_way: bool = False
    """It has given the Lease back for one of these reasons already."""

    def able(self, able: bool, now: float, *, accused: bool = False) -> Election:
        """Take in whether this candidate sees a majority of the nodes alive, and whether its own node is found Down."""
        if able and not accused:
            if self.unable_since is None and not self.accused and not self.gave_way:
                return self
            return replace(self, unable_since=None, accused=False, gave_way=False)
        since = now if self.unable_since is None else self.unable_since
        return replace(self, unable_since=since, accused=accused)

    def gives_way(self) -> Election:
        """The Lease was given back."""
        return replace(self, view=None, synced=False, gave_way=True)

    def observe(self, view: LeaseView | None, now: float) -> Election:
        """Take in what a read or a watch shows (``None``: there is no such Lease)."""
        if self.synced and (view is self.view or view == self.view):
            return self
        return replace(self, view=view, seen_at=now, synced=True)

    def action(self, now: float) -> LeaseAction:
        """What to write next. At most one write a ``LEASE_RETRY``."""
        if not self.synced or now - self.tried_at < LEASE_RETRY:
            return LeaseAction.NOTHING
        if self.view is None:
            return LeaseAction.CREATE
        if self.view.holder == self.identity:
            if (
                self.unable_since is not None
                and not self.gave_way
                and (self.accused or now - self.unable_since >= LEASE_UNABLE)
            ):
                return LeaseAction.GIVE_WAY
            return LeaseAction.RENEW if now - self.renewed_at >= LEASE_RENEW else LeaseAction.NOTHING
        return LeaseAction.ACQUIRE if now >= self._free_at(self.view) else LeaseAction.NOTHING

    def _free_at(self, view: LeaseView) -> float:
        """When this candidate may take a Lease that another holds, or nobody."""
        if self.unable_since is not None:
            return self.seen_at + LEASE_GIVE_WAY + (LEASE_DURATION if view.holder else 0.0)
        return self.seen_at + LEASE_DURATION if view.holder else float("-inf")

    def tried(self, now: float) -> Election:
        return replace(self, tried_at=now)

    def succeeded(self, view: LeaseView, sent_at: float, now: float) -> Election:
        """Our write went through; it counts from when it was sent."""
        return replace(self, view=view, seen_at=now, renewed_at=sent_at, synced=True)

    def next_wake(self, now: float) -> float:
        """When :meth:`action` may say something else than now."""
        if self.view is not None and self.view.holder == self.identity:
            return max(self.renewed_at + LEASE_RENEW, self.tried_at + LEASE_RETRY, now)
        free_at = self._free_at(self.view) if self.view is not None else now
        return max(free_at, self.tried_at + LEASE_RETRY, now)

    @property
    def epoch(self) -> int:
        return self.view.epoch if self.view else 0

    @property
    def holder(self) -> str:
        return self.view.holder if self.view else ""

    def deadline(self) -> float:
        """The latest instant at which this candidate may still *send* a write or an order; ``-inf`` if it does not lead."""
        if self.view is None or self.view.holder != self.identity:
            return float("-inf")
        return self.renewed_at + LEASE_DURATION - ORDER_MARGIN

    def leads(self, now: float) -> bool:
        return now < self.deadline()
