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
    """All that limits look at, for one node that may be fenced (:attr:`~ringfence.core.detection.verdict.Judgement.may_be_fenced`)."""

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
    down_in_zone: frozenset[str]
    """Nodes of the zone that may be fenced now, are in flight, or not yet back within the storm window; this one included."""
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
    maintenance: str | None = None
    """The NodeMaintenance that names the node, as a clause."""
    maintained: frozenset[str] = frozenset()
    """Nodes in maintenance: no part of the electorate either, nor of a storm."""
    intent: str | None = None
    """Who takes the node away on purpose, as a clause (:mod:`~ringfence.core.failover.intent`)."""
    down_for: float = 0.0
    """Seconds for which this controller has found without a break that the node may be fenced."""
    grace: float = 180.0
    """Seconds that a node has which is taken away on purpose (``shutdownGraceSeconds``)."""
    zone_members: frozenset[str] = frozenset()
    refuge: frozenset[str] = frozenset()
    """Nodes of other enabled zones that are alive."""
    slots_seen: frozenset[str] = frozenset()
    """The zone's other nodes that have a slot on the heartbeat volume."""
    slots_moving: frozenset[str] = frozenset()
    """Those whose slot still moves."""
    slot_witnesses: frozenset[str] = frozenset()
    """Other nodes whose heartbeat processes tell us now what they see."""
    incidents_lately: int = 0
    """Failovers of the node that were begun within the last hour and are over."""
    stormed: bool = False
    """The incident was held for a storm."""
    forgotten: str = ""
    """A Failover whose taint the node bears, and that is gone without anybody here having seen it, as long as its order may work."""
    roster_epoch: int = 0
    roster_epochs: tuple[int, ...] = ()
    """Those that the agents which speak to us go by, one of each."""
    released: bool = False
    """A person has given leave to go on against what may be overruled (:data:`RELEASABLE`)."""

    @property
    def whole(self) -> frozenset[str]:
        """The electorate as it was before proofs took members out of it."""
        return self.electorate | self.proved

    @property
    def zone_is_gone(self) -> bool:
        """Every node of the zone is down, in flight or not yet back, or in maintenance, and none is heard."""
        members = self.zone_members
        return bool(members) and members <= self.down_in_zone | self.maintained and not members & self.alive

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


def roster_in_doubt(s: Situation) -> str | None:
    """Half of what? A majority of those who once were the members is none. One agent's word alone holds nobody up."""
    newer = sum(epoch > s.roster_epoch for epoch in s.roster_epochs)
    if 2 * newer <= len(s.roster_epochs):
        return None
    return "agents go by a newer roster than this controller: it is not sure who the members are"


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
    waiting = {s.node} if s.released else s.in_flight_elsewhere | {s.node}  # a leave goes before its turn
    first = min(s.fencing or waiting)
    return None if first == s.node else f"{seen}: one at a time, after {first}"


def storm(s: Situation) -> str | None:
    """At most max(1, 40 %) of a zone's nodes may be down, in flight or not yet back within the window."""
    most = max(1, math.floor(s.storm_fraction * s.zone_size))
    if len(s.down_in_zone) <= most or s.zone_size <= 2 or s.zone_is_gone:
        return None
    if s.is_half(s.whole) and len(s.whole) <= K:
        return (
            None  # `half`, below, lets them go one at a time; in larger clusters that many are a storm first
        )
    return f"too many nodes of zone {s.zone} are down at once: {', '.join(sorted(s.down_in_zone))} (at most {most} of {s.zone_size})"


def after_storm(s: Situation) -> str | None:
    """A storm that has cleared may have been a mistake about all of its nodes: whom it has held goes one at a time.

    After whoever of the zone is being fenced: until that one is proved off, and its VMs run or its order can take effect no
    more; or until its devices were tried in vain. None waits for one that only waits: what holds that one up may last.
    """
    first = min((s.fencing & s.zone_members) - {s.node}, default=None)
    if not s.stormed or first is None:
        return None
    return f"too many nodes of zone {s.zone} were down at once: one at a time, after {first}"


def whole_zone(s: Situation) -> str | None:
    """A zone that is gone as a whole is one decision: its nodes go one after the other, to another zone, or none goes.

    All at once they are as likely cut off as dead (a switch, a room's power): so they are looked at for longer, and go
    only by devices that cut, and only where the VMs have somewhere to go. In a cluster of one zone this is nobody's case:
    who is left there is the minority.
    """
    if not s.zone_is_gone or s.zone_size <= 2:
        return None
    gone = f"zone {s.zone} is gone as a whole ({', '.join(sorted(s.zone_members))})"
    if not s.refuge:
        return f"{gone}, and no node of another zone is alive that its VMs could go to"
    if not s.power_devices:
        return f"{gone}, and no device cuts {s.node}'s power"
    if s.down_for < timing.ZONE_HOLD:
        return f"{gone}: it is looked at for {timing.ZONE_HOLD:.0f} s before anybody is ordered off"
    here = s.zone_members
    first = min(s.fencing & here or (s.in_flight_elsewhere & here) | {s.node})
    return None if first == s.node else f"{gone}: one at a time, after {first}"


def storage_gone(s: Situation) -> str | None:
    """An outage of the storage is nobody's death; and without disks nothing would start elsewhere.

    Two at least have to tell it: that no heartbeat process is heard says nothing of the storage. A fence that has begun
    is finished, and says itself what it waits for.
    """
    if s.node in s.fencing or min(len(s.slots_seen), len(s.slot_witnesses)) < 2 or s.slots_moving:
        return None
    return f"no node of zone {s.zone} writes its slot any more: the storage is gone for all, and no VM would start elsewhere"


FLAPS = 4
"""Incidents of one node within :data:`FLAPS_WITHIN` that make it a flapping one."""
FLAPS_WITHIN = 3600.0
"""Seconds."""


def flapping(s: Situation) -> str | None:
    """To fence it for the fifth time in an hour mends nothing: what comes and goes is looked at by a person."""
    if s.incidents_lately < FLAPS:
        return None
    return f"{s.node} flaps: {FLAPS} incidents within {FLAPS_WITHIN / 60:.0f} min, and so it is in quarantine"


def maintained(s: Situation) -> str | None:
    """Planned work is nobody's failure, however long it takes."""
    return None if s.maintenance is None else f"{s.node} is in maintenance ({s.maintenance})"


def going_away(s: Situation) -> str | None:
    """Who was announced to go has the grace to come back; then it is a node that is down like any other."""
    if s.intent is None or s.down_for >= s.grace:
        return None
    return f"{s.node} goes away on purpose ({s.intent}): it has {s.grace:.0f} s to come back"


def own_node(s: Situation) -> str | None:
    if s.node != s.leader_node:
        return None
    return f"the acting controller runs on {s.node} itself: another must judge it, if one takes the lead"


def forgotten(s: Situation) -> str | None:
    """Somebody has deleted it while no controller ran: nobody orders beside an order that is on record nowhere."""
    if not s.forgotten:
        return None
    return f"{s.node} bears the taint of Failover {s.forgotten}, which was deleted while nobody watched: an order of it may be at work"


def somebody_acts(s: Situation) -> str | None:
    """Two that switch one node off and on undo each other's work; a stale Lease expires."""
    return s.remediator


LIMITS: tuple[Limit, ...] = (
    maintained,
    paused,
    not_writable,
    not_settled,
    cache_too_old,
    roster_in_doubt,
    no_zone,
    nothing_protected,
    own_node,
    forgotten,
    going_away,
    minority,
    whole_zone,
    storm,
    after_storm,
    half,
    storage_gone,
    flapping,
    somebody_acts,
)

RELEASABLE: tuple[Limit, ...] = (going_away, whole_zone, storm, after_storm, storage_gone, flapping)
"""Limits that weigh what is likely, and that a person who knows better may overrule (`ringfence failover release`).

Nobody's leave makes a minority the larger side, or an old view a fresh one; a mode and a maintenance are ended, not overruled.
"""

FOUND_OFF_EXEMPT: tuple[Limit, ...] = (forgotten, whole_zone, storm, after_storm, flapping, somebody_acts)
"""Limits that don't bind a node that is *found* off: it is dead whoever looks, and no order goes out."""


def first(situation: Situation, exempt: tuple[Limit, ...] = ()) -> Limit | None:
    """The first limit that forbids to act."""
    for limit in LIMITS:
        overruled = situation.released and limit in RELEASABLE
        if limit not in exempt and not overruled and limit(situation) is not None:
            return limit
    return None


def limitation(situation: Situation) -> str | None:
    """The first limit that forbids to act, as a sentence; ``None``: go."""
    limit = first(situation)
    return None if limit is None else limit(situation)


def limitation_when_found_off(situation: Situation) -> str | None:
    """Like :func:`limitation`, for a node read as off without an order."""
    limit = first(situation, FOUND_OFF_EXEMPT)
    return None if limit is None else limit(situation)
