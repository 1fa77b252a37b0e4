"""A chassis: an address behind which several outlets lie, and that takes only so many orders at once.

A blade chassis has one management module for many nodes, a PDU one small processor for many outlets. Whoever wants to give
an order there asks for a place. A place is never kept by intent, only by an order on record that is in work: so nobody waits
longer than an order can take effect, and an incident that ends leaves nothing behind.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Chassis:
    """What a device has in common with others, as one incident sees it."""

    address: str
    most: int
    """Orders that may be in work there at a time."""
    others: tuple[str, ...] = ()
    """The nodes of other incidents that have an order in work there, one for each order."""


@dataclass(slots=True)
class Places:
    """The places of one incident, in one step: what it has in work, and what it takes besides."""

    node: str
    taken: Counter[str] = field(default_factory=Counter)
    """Its orders by the chassis' address."""

    def full(self, chassis: Chassis | None) -> str | None:
        """That there is no room for one order more, as a clause; None: there is, or no limit."""
        if chassis is None:
            return None
        working = (*chassis.others, *(self.node,) * self.taken[chassis.address])
        if len(working) < chassis.most:
            return None
        nodes = ", ".join(sorted(set(working)))
        return f"{chassis.address} takes {chassis.most} at once, in work there: {nodes}"

    def take(self, chassis: Chassis | None) -> None:
        """Count an order that this step gives, or one that is in work."""
        if chassis is not None:
            self.taken[chassis.address] += 1

    def give_back(self, chassis: Chassis | None) -> None:
        """Count an order no more: it is not given after all."""
        if chassis is not None:
            self.taken[chassis.address] -= 1
