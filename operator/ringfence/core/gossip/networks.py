"""Several networks: what one agent knows of a subject on each of them, and when votes call one of them dead (GOSSIP §6).

The management network (the nodes' InternalIPs) decides about life and death, as if there were no other; a packet on any
network is a sign of life all the same. Each further network that a zone names is probed at a quarter of the pace. Who
gets no answer there asks the subject's observers to *look*: each pings it and asks its kernel on every network and casts
a signed vote with a column a network. A *look* has nothing to do with the rounds about life: no verdict waits for it, and
none comes from it.

A network of a subject is dead when nobody got an answer there, neither of its agent nor of its kernel, and enough say
``none``: in small rosters all that looked, two at least; else three fifths of the observers that stand on it themselves, two
at least, from two zones where they are in two. Who doesn't stand on it says nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from ringfence.core.gossip.corroboration import Verify, count_once
from ringfence.core.gossip.members import Member, Roster
from ringfence.core.gossip.probe import RoundTrip
from ringfence.core.gossip.report import NetworkView
from ringfence.core.gossip.rings import K, Rings, is_small, rings_of
from ringfence.core.model import MANAGEMENT, Answer, Boot, Column, NetworkState, SignedVote

PACE = 4
"""Periods between two probes of one further network: it costs a quarter of what the management network costs."""
FIRST, LAST = 2.0, 16.0
"""Pause between looks while a network is silent, seconds: doubled from the first to the last."""
FRESH = 40.0
"""Seconds for which a look's votes hold: two renewals may be lost."""
MAX_LOOKS = K
"""Looks about one subject that are remembered at a time: each observer may have asked. Who refused one would be missed in it, and his answer
with him."""
LEARNED = 8


@dataclass(slots=True)
class Leg:
    """One network of one subject, as far as this agent stands on it too; of the management network what a look asks."""

    network: str
    address: str
    path: RoundTrip = field(default_factory=RoundTrip)
    state: NetworkState = NetworkState.UNKNOWN
    two_way_at: float | None = None
    kernel_at: float | None = None
    cycle_at: float | None = None
    """When the first probe of the present unanswered cycle left."""
    dead_at: float = float("-inf")
    """When the last look began that found it dead."""

    def answer_since(self, instant: float) -> Answer:
        """What came from there since then."""
        if self.two_way_at is not None and self.two_way_at >= instant:
            return Answer.AGENT
        if self.kernel_at is not None and self.kernel_at >= instant:
            return Answer.KERNEL
        return Answer.NONE


@dataclass(slots=True)
class Look:
    """One look as one observer, or one window, knows it."""

    round_id: bytes
    subject: Boot
    started: float
    votes: dict[str, SignedVote] = field(default_factory=dict)
    dead: frozenset[str] = frozenset()
    """Networks that its votes call dead while another lives."""


@dataclass(slots=True)
class Reach:
    """A subject's networks. Without further ones there are no legs, and nothing happens."""

    legs: dict[str, Leg] = field(default_factory=dict)
    armed: bool = False
    """Whether a timer for its next slow probe runs."""
    looks: dict[bytes, Look] = field(default_factory=dict)
    looking_since: float | None = None
    """When the examination for the present looks began."""
    shown: Look | None = None
    """The last look, if it found a network dead."""
    told_dead: bool = False
    """Whether what the windows were told last is that a network of it is dead."""
    learned: tuple[bytes, ...] = ()
    """Ids of the last looks that its observers have told us, a window, of: `LEARNED` at most."""
    ask_at: float | None = None
    pause: float = 0.0

    def reset(self) -> None:
        """Another boot: the addresses stay, what was known of them doesn't."""
        self.legs = {leg.network: Leg(leg.network, leg.address) for leg in self.legs.values()}
        self.looks = {}
        self.looking_since = self.shown = self.ask_at = None
        self.told_dead = False
        self.pause = 0.0

    @property
    def further(self) -> tuple[Leg, ...]:
        """Those beside the management network."""
        return tuple(leg for leg in self.legs.values() if leg.network != MANAGEMENT)

    def columns(self, since: float, *, final: bool) -> tuple[Column, ...]:
        """A vote's columns: what came since then. Before the end of an examination silence says nothing."""
        said = ((leg.network, leg.answer_since(since)) for leg in self.legs.values())
        return tuple(
            sorted(Column(network, answer) for network, answer in said if final or answer is not Answer.NONE)
        )

    def fresh(self, now: float) -> Look | None:
        """The look whose votes still hold."""
        return self.shown if self.shown is not None and now - self.shown.started <= FRESH else None

    def views(self, now: float) -> tuple[NetworkView, ...]:
        """What the stream says of them."""
        return tuple(
            NetworkView(
                leg.network,
                leg.state,
                None if leg.two_way_at is None else max(0.0, now - leg.two_way_at),
                leg.path.mean,
            )
            for leg in self.further
        )


def shared(subject: Member, mine: Iterable[str]) -> dict[str, str]:
    """Addresses by network to look at: its management network, and each of its others on which we stand too."""
    if not subject.networks or not subject.addresses:
        return {}
    mine = frozenset(mine)
    further = {network: address for network, address in subject.networks if network in mine}
    return {MANAGEMENT: subject.addresses[0], **further}


@dataclass(frozen=True, slots=True)
class NetworkTally:
    """What a look's votes amount to for one network. Neither dead nor living: too few have said anything."""

    network: str
    dead: bool
    lives: bool
    sentence: str
    voters: tuple[str, ...]
    """Names of those whose ``none`` counts."""


def tally_networks(
    votes: Iterable[SignedVote], roster: Roster, subject: Boot, verify: Verify, *, rings: Rings | None = None
) -> tuple[NetworkTally, ...]:
    """Count the columns about each network of one boot, the management network first."""
    rings = rings or rings_of(roster)
    accused = roster.by_uid.get(subject.node_uid)
    if accused is None:
        return ()
    counted, _, _ = count_once(votes, roster, subject, verify, rings)
    names = [MANAGEMENT, *(network for network, _ in accused.networks)]
    return tuple(_count(name, counted, roster, subject, rings) for name in names)


def _count(
    network: str, counted: dict[str, SignedVote], roster: Roster, subject: Boot, rings: Rings
) -> NetworkTally:
    said = {
        name: column.answer
        for name, vote in sorted(counted.items())
        for column in vote.columns
        if column.network == network
    }
    able = {
        member.name: member
        for member in rings.observers(subject.node_uid)
        if network == MANAGEMENT or member.on(network)
    }
    silent = tuple(name for name, answer in said.items() if answer is Answer.NONE and name in able)
    reached = [name for name, answer in said.items() if answer is not Answer.NONE]
    if reached:
        return NetworkTally(network, False, True, f"{', '.join(reached)} reached it on {network}", ())
    needed = 2 if is_small(roster) else max(2, math.ceil(0.6 * len(able)))
    zones = {member.zone for member in able.values()}
    counted_words = f"{len(silent)} of {len(able)} observers on {network}: {', '.join(silent) or 'none'}"
    dead = len(silent) >= needed and (
        is_small(roster) or len(zones) < 2 or len({able[name].zone for name in silent}) > 1
    )
    return NetworkTally(network, dead, False, counted_words, silent)
