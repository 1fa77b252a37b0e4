"""What is known about one node, each piece with its age and its source (GOSSIP §5).

All instants are on the observer's own monotonic clock, *when it saw the change*; a time written inside an object
says nothing (clocks jump, watches lag).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from ringfence.core import timing
from ringfence.core.fencing.slotwatch import SlotState
from ringfence.core.model import Boot, RingState, SignedVote

NEVER = float("-inf")


class Ready(StrEnum):
    """The node's Ready condition. Four different inputs besides True (DESIGN §3)."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"
    MISSING = "missing"
    STALE = "stale"
    """The cache that it came from is too old."""


class NetworkRole(StrEnum):
    """What a network carries, as its zone says."""

    STORAGE = "Storage"
    GUEST = "Guest"
    MIGRATION = "Migration"
    OTHER = "Other"


@dataclass(frozen=True, slots=True)
class DeadNetwork:
    """A network of the node that votes call dead while another one lives, as verified by this controller."""

    network: str
    role: NetworkRole
    sentence: str
    """Who voted, in words."""


@dataclass(frozen=True, slots=True)
class RingEvidence:
    """What the agents' streams say, as verified by this controller."""

    state: RingState = RingState.UNKNOWN
    sentence: str = ""
    """Who voted what, in words."""
    voters: tuple[str, ...] = ()
    votes: tuple[SignedVote, ...] = ()
    vote_at: tuple[float, ...] = ()
    """When each of the votes came to the agent that told us; empty where it is older than this."""
    single: bool = False
    """Only one voter was eligible: its vote alone is not enough."""
    by_second: bool = False
    """It took the second set of observers: too few of the first were left."""
    doubted_at: float = NEVER
    """Since when the ring has doubted the node without a break."""
    round_at: float = NEVER
    """When the round began whose votes these are."""
    dead_networks: tuple[DeadNetwork, ...] = ()

    @property
    def vote_after(self) -> tuple[float, ...]:
        """Seconds from the doubt until each of the votes came; a window that observes nobody may learn both at once."""
        if self.doubted_at == NEVER:
            return ()
        return tuple(round(at - self.doubted_at, 3) for at in self.vote_at)


class LifeSign(StrEnum):
    """What shows that a node lives, as sentences name it."""

    PACKET = "a gossip packet"
    KERNEL = "an answer of its kernel"
    AGENT_LEASE = "its agent's Lease"
    KUBELET_LEASE = "its kubelet's Lease"
    HEARTBEAT = "virt-handler's heartbeat"
    SLOT = "its storage slot"
    BOOT = "its new boot id"


@dataclass(frozen=True, slots=True)
class Life:
    """Signs of life of one boot: the instant at which each was last seen to change.

    ``kernel`` and ``kubelet_lease`` and ``heartbeat`` carry no boot id: they count for the boot that is current.
    """

    packet: float = NEVER
    """An authenticated gossip packet of this boot reached any agent."""
    kernel: float = NEVER
    agent_lease: float = NEVER
    kubelet_lease: float = NEVER
    heartbeat: float = NEVER
    slot: float = NEVER
    """Its slot on the heartbeat volume: when the look began that saw it change."""
    boot: float = NEVER
    """When this boot was first told of, where another was known before: what was read of the node until then says nothing of it."""

    renewed_after: float = NEVER
    """Something of it was renewed at the API server after this instant. No agent's clock has a part in it, and it is no later than that was,
    however late it was seen: a sign that voids a proof is dated by when it was seen, one that ends an incident by this.
    """
    packets_since: float = NEVER
    """Since when packets of this boot have come no further apart than :data:`~ringfence.core.timing.HEARD_GAP`."""

    def heard(self, at: float) -> Life:
        """With a packet of this boot that was received at that instant."""
        if at <= self.packet:
            return self
        one_row = at - self.packet <= timing.HEARD_GAP
        return replace(self, packet=at, packets_since=self.packets_since if one_row else at)

    @property
    def latest(self) -> float:
        reported = max(self.packet, self.kernel, self.slot, self.boot)
        return max(reported, self.agent_lease, self.kubelet_lease, self.heartbeat)

    def latest_sign(self) -> str:
        """Name of the newest sign, for sentences."""
        signs = self.signs()
        sign = max(signs, key=lambda one: signs[one])
        return sign.value if signs[sign] > NEVER else "nothing"

    def signs(self) -> dict[LifeSign, float]:
        """When each sign was last seen."""
        return {
            LifeSign.PACKET: self.packet,
            LifeSign.KERNEL: self.kernel,
            LifeSign.AGENT_LEASE: self.agent_lease,
            LifeSign.KUBELET_LEASE: self.kubelet_lease,
            LifeSign.HEARTBEAT: self.heartbeat,
            LifeSign.SLOT: self.slot,
            LifeSign.BOOT: self.boot,
        }


@dataclass(frozen=True, slots=True)
class AgedSign:
    """One sign of life as a person is told of it."""

    what: LifeSign
    age: float
    """Seconds since it was last seen."""
    fresh: bool
    """Too young for anybody to say that the node is off."""


@dataclass(frozen=True, slots=True)
class SlotEvidence:
    """What is seen of this boot's slot on the heartbeat volume. When it last moved is in :class:`Life`."""

    state: SlotState = SlotState.NONE
    interval: float = 0.0
    """Seconds between two writes, as the node says."""
    moved_after: float = NEVER
    """Its last write came surely after this instant."""
    silent_since: float = NEVER
    """For a silent one: since when good looks have seen no change."""
    first_at: float = NEVER
    """Since when this controller has known it: before its next write is due nothing is known of it."""
    written_at: float = NEVER
    """When this very boot was last seen to write it; NEVER: what stands there was never seen to change."""
    others_write: bool = False
    """For a silent one: who sees it silent sees another node's slot on the same volume move."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All there is about one boot of one node."""

    boot: Boot
    ring: RingEvidence = RingEvidence()
    life: Life = Life()
    ready: Ready = Ready.MISSING
    has_agent: bool = False
    """An agent of this boot has reported (NodeReport), so silence means something."""
    own_probe_silent: bool = False
    """The controller's own kernel probe went unanswered, asked after the doubt began."""
    device_proved: bool = False
    kubelet_silent_since: float = NEVER
    """When the kubelet's Lease was last seen to change, or first seen at all; NEVER where there is none."""
    heartbeat_silent_since: float = NEVER
    """The same of virt-handler's heartbeat."""
    slot: SlotEvidence = SlotEvidence()
    agent_down_at: float = NEVER
    """Since when its kernel has answered without a break, and its agent hasn't."""

    @property
    def silent_at(self) -> float:
        """Since when something of it has been missed: the ring has doubted it, or has heard nothing but its kernel."""
        return self.ring.doubted_at if self.ring.doubted_at > NEVER else self.agent_down_at
