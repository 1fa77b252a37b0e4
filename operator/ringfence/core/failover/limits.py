"""Limits: why not to act now. Each is a function of the situation that returns its reason, or ``None``.

A held failover goes on by itself when the reason ends. Every reason is a sentence, since a refusal needs its
explanation as much as an act (DESIGN §1.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ringfence.core import timing
from ringfence.core.model import Mode


@dataclass(frozen=True, slots=True)
class Situation:
    """All that limits look at, for one node that is ``Down``."""

    node: str
    mode: Mode
    zone: str | None
    """The one enabled zone that the node is in; ``None``: none."""
    zone_trouble: str | None
    """Why the zone can't be used (node in two zones, ...)."""
    protected_vms: int
    alive: frozenset[str]
    """Roster members that fresh views of agents report alive."""
    electorate: frozenset[str]
    """Roster members that count: without those with a standing proof, in maintenance, left."""
    zone_size: int
    storm_fraction: float
    storm_released: bool
    """A person has given leave to go on against the storm limit, by name."""
    down_in_zone: frozenset[str]
    """Nodes of the zone that are Down now, in flight, or not yet back within the storm window; this one included."""
    in_flight_elsewhere: frozenset[str]
    """Nodes on which another failover is between verdict and proof."""
    leader_node: str
    power_devices: bool
    """Every device of the ladder cuts power or storage (needed for an exact half)."""
    settled_for: float
    """Seconds since caches and streams of this controller were complete."""
    cache_age: float
    """Age of the oldest cache that the decision rests on."""
    writable: bool
    """This controller's Lease renewals go through."""


Limit = Callable[[Situation], str | None]


def paused(s: Situation) -> str | None:
    if s.mode is Mode.ACTIVE:
        return None
    return f"HACluster mode is {s.mode}: nothing is fenced"


def not_writable(s: Situation) -> str | None:
    return None if s.writable else "the API server does not take our writes"


def not_settled(s: Situation) -> str | None:
    if s.settled_for >= timing.SETTLE:
        return None
    return f"this controller has been watching for {max(0.0, s.settled_for):.1f} s only"


def cache_too_old(s: Situation) -> str | None:
    if s.cache_age <= 90.0:
        return None
    return f"the view of the cluster is {s.cache_age:.0f} s old"


def no_zone(s: Situation) -> str | None:
    if s.zone_trouble is not None:
        return s.zone_trouble
    return None if s.zone is not None else f"{s.node} is in no enabled HAZone"


def nothing_protected(s: Situation) -> str | None:
    return None if s.protected_vms > 0 else f"no protected VM runs on {s.node}: it is not fenced"


def minority(s: Situation) -> str | None:
    """More than half of the electorate must be alive on our side; exactly half only with power devices, one at a time."""
    alive, total = len(s.alive & s.electorate), len(s.electorate)
    if 2 * alive > total:
        return None
    if 2 * alive == total and total > 0:
        if not s.power_devices:
            return f"our side sees exactly half of the nodes ({alive} of {total}) and no device cuts power"
        if s.in_flight_elsewhere:
            return f"our side sees exactly half of the nodes: one at a time, after {', '.join(sorted(s.in_flight_elsewhere))}"
        return None
    return f"our side is the minority: it sees {alive} of {total} nodes alive"


def storm(s: Situation) -> str | None:
    """At most max(1, 40 %) of a zone's nodes may be down, in flight or not yet back within the window."""
    most = max(1, math.floor(s.storm_fraction * s.zone_size))
    # Exactly half has its own rule, one at a time, in `minority`.
    if s.storm_released or len(s.down_in_zone) <= most or s.zone_size <= 2:
        return None
    return f"too many nodes of zone {s.zone} are down at once: {', '.join(sorted(s.down_in_zone))} (at most {most} of {s.zone_size})"


def own_node(s: Situation) -> str | None:
    if s.node != s.leader_node:
        return None
    return f"the acting controller runs on {s.node} itself: another must judge it"


LIMITS: tuple[Limit, ...] = (
    paused,
    not_writable,
    not_settled,
    cache_too_old,
    no_zone,
    nothing_protected,
    own_node,
    minority,
    storm,
)


def limitation(situation: Situation) -> str | None:
    """The first limit that forbids to act, as a sentence; ``None``: go."""
    for limit in LIMITS:
        if (reason := limit(situation)) is not None:
            return reason
    return None


FOUND_OFF_EXEMPT = (storm,)
"""Limits that don't bind a node that is *found* off: it is dead whoever looks, and no order goes out."""


def limitation_when_found_off(situation: Situation) -> str | None:
    """Like :func:`limitation`, for a node read as off without an order."""
    for limit in LIMITS:
        if limit not in FOUND_OFF_EXEMPT and (reason := limit(situation)) is not None:
            return reason
    return None
