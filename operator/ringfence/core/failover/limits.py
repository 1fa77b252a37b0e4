"""Limits: why not to act now. Each is a function of the situation that returns its reason, or ``None``.

A held failover goes on by itself when the reason ends. Every reason is a sentence, since a refusal needs its
explanation as much as an act (DESIGN §1.4). It stays the same for as long as it holds: each change of it is stored,
logged and told as an Event, so it names what is waited for, never how long that has lasted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ringfence.core import timing
from ringfence.core.gossip.rings import K
from ringfence.core.model import Mode

CACHE_TOO_OLD = 90.0
"""Seconds."""


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
    fencing: frozenset[str]
    """Nodes that may have been ordered off and are not proved off yet; this one included, where it is one."""
    proved: frozenset[str]
    """Nodes with a standing proof: no part of the electorate, but of what once was the whole."""
    leader_node: str
    power_devices: bool
    """Every device of the ladder cuts power or storage (needed for an exact half)."""
    settled_for: float
    """Seconds since caches and streams of this controller were complete."""
    cache_age: float
    """Age of the oldest cache that the decision rests on."""
    writable: bool
    """This controller's Lease renewals go through."""
    remediator: str | None = None
    """Who else acts on the node, as a sentence (:mod:`~ringfence.core.failover.node_lease`)."""

    @property
    def whole(self) -> frozenset[str]:
        """The electorate as it was before proofs took members out of it."""
        return self.electorate | self.proved

    def is_half(self, members: frozenset[str]) -> bool:
        """Whether exactly half of these are alive on our side."""
        return bool(members) and 2 * len(self.alive & members) == len(members)


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
    return f"this controller has been watching for less than {timing.SETTLE:.0f} s"


def cache_too_old(s: Situation) -> str | None:
    if s.cache_age <= CACHE_TOO_OLD:
        return None
    return f"the view of the cluster is more than {CACHE_TOO_OLD:.0f} s old"


def no_zone(s: Situation) -> str | None:
    if s.zone_trouble is not None:
        return s.zone_trouble
    return None if s.zone is not None else f"{s.node} is in no enabled HAZone"


def nothing_protected(s: Situation) -> str | None:
    return None if s.protected_vms > 0 else f"no protected VM runs on {s.node}: it is not fenced"


def sees_half(alive: frozenset[str], electorate: frozenset[str]) -> bool:
    """Whether half of the electorate at least is alive: with less a controller can fence nobody, and should not lead."""
    return 2 * len(alive & electorate) >= len(electorate)


def minority(s: Situation) -> str | None:
    """Half of the electorate at least must be alive on our side."""
    alive, total = len(s.alive & s.electorate), len(s.electorate)
    if total > 0 and sees_half(s.alive, s.electorate):
        return None
    return f"our side is the minority: it sees {alive} of {total} nodes alive"


def half(s: Situation) -> str | None:
    """Two halves have the same right: the leader's acts, by devices that cut, on one node after the other.

    The first is whoever has been ordered off already, else the first by name: the same for all that are asked about, so
    none waits for one that waits for it.
    """
    members = next((some for some in (s.whole, s.electorate) if s.is_half(some)), None)
    if members is None:
        return None
    seen = f"our side sees exactly half of the nodes ({len(s.alive & members)} of {len(members)})"
    if not s.power_devices:
        return f"{seen} and no device cuts power"
    first = min(s.fencing or s.in_flight_elsewhere | {s.node})
    return None if first == s.node else f"{seen}: one at a time, after {first}"


STORM_WORDS = "too many nodes of zone"
"""How the one limit begins that a person may overrule (`ringfence failover release`)."""


def storm(s: Situation) -> str | None:
    """At most max(1, 40 %) of a zone's nodes may be down, in flight or not yet back within the window."""
    most = max(1, math.floor(s.storm_fraction * s.zone_size))
    if s.storm_released or len(s.down_in_zone) <= most or s.zone_size <= 2:
        return None
    if s.is_half(s.whole) and len(s.whole) <= K:
        return None  # `half` lets them go one at a time; in larger clusters that many are a storm
    return f"{STORM_WORDS} {s.zone} are down at once: {', '.join(sorted(s.down_in_zone))} (at most {most} of {s.zone_size})"


def own_node(s: Situation) -> str | None:
    if s.node != s.leader_node:
        return None
    return f"the acting controller runs on {s.node} itself: another must judge it, if one takes the lead"


def somebody_acts(s: Situation) -> str | None:
    """Two that switch one node off and on undo each other's work; a stale Lease expires."""
    return s.remediator


LIMITS: tuple[Limit, ...] = (
    paused,
    not_writable,
    not_settled,
    cache_too_old,
    no_zone,
    nothing_protected,
    own_node,
    minority,
    half,
    storm,
    somebody_acts,
)


def limitation(situation: Situation) -> str | None:
    """The first limit that forbids to act, as a sentence; ``None``: go."""
    for limit in LIMITS:
        if (reason := limit(situation)) is not None:
            return reason
    return None


FOUND_OFF_EXEMPT = (storm, somebody_acts)
"""Limits that don't bind a node that is *found* off: it is dead whoever looks, and no order goes out."""


def limitation_when_found_off(situation: Situation) -> str | None:
    """Like :func:`limitation`, for a node read as off without an order."""
    for limit in LIMITS:
        if limit not in FOUND_OFF_EXEMPT and (reason := limit(situation)) is not None:
            return reason
    return None
