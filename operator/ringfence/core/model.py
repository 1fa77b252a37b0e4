"""The words that every floor shares: nodes, boots, votes, verdicts.

A *node* is known by its Kubernetes name, but everything that can kill is bound to the node's UID and to the
*boot id* of one boot of it: a node that is deleted and made anew, or that has rebooted, is another subject.
Durations are seconds (float); an instant named ``now`` or ``*_at`` is seconds on the caller's monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, order=True)
class Boot:
    """One boot of one node: what a verdict, a proof and a vote are about."""

    node: str
    node_uid: str
    boot_id: str

    def __str__(self) -> str:
        return f"{self.node} (boot {self.boot_id[:8]})"


class Vote(StrEnum):
    """What an observer answers when it is asked about a subject (GOSSIP §3.5)."""

    ALIVE = "alive"
    """Two-way evidence within the vote window."""
    AGENT_DOWN = "agent-down"
    """The node's kernel answered, its agent did not."""
    NONE = "none"
    """Neither agent nor kernel answered, on any network."""
    ABSTAIN = "abstain"
    """The observer itself is unwell; its silence proves nothing."""


MANAGEMENT = "management"
"""The network that is always there: the nodes' InternalIPs."""


class Answer(StrEnum):
    """What an observer got from a subject on one network."""

    AGENT = "agent"
    """Its agent answered there."""
    KERNEL = "kernel"
    """Only its kernel did: the network carries packets."""
    NONE = "none"


@dataclass(frozen=True, slots=True, order=True)
class Column:
    """One network's column of a vote."""

    network: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class SignedVote:
    """A vote with everything that its signature covers; checkable by anyone who has the roster.

    ``round_id`` is the corroboration round (chosen by the asker, fresh for every round), so an old vote can't be
    used again in a new round. ``signature`` is Ed25519 by the key that the roster pins for the voter. ``columns`` say
    what each network brought, sorted by name; a network that is missing was not looked at. Without any it is a vote about
    the management network only, as all are where no zone names others.
    """

    voter: str
    subject: Boot
    vote: Vote
    roster_epoch: int
    round_id: bytes
    signature: bytes
    columns: tuple[Column, ...] = ()


class RingState(StrEnum):
    """What the gossip ring says of one roster member, from one agent's point of view."""

    ALIVE = "alive"
    DOUBTED = "doubted"
    """A probe, its retry and the relays went unanswered; a corroboration round is under way."""
    PARTIAL = "partial"
    """Some observers reach it, some don't: asked again with back-off, never fenced."""
    AGENT_DOWN = "agent-down"
    UNREACHABLE = "unreachable"
    """Enough signed votes ``none``, nothing from its kernel. A stream: the first answer withdraws it."""
    LEFT = "left"
    UNKNOWN = "unknown"
    """In the roster, never heard of since this agent started."""


class NetworkState(StrEnum):
    """What one agent makes of one further network of a member (the management network's word is the RingState)."""

    UNKNOWN = "unknown"
    """Not looked at yet, or not now: its agent is silent everywhere."""
    ANSWERS = "answers"
    SILENT = "silent"
    """This agent gets no answer there; others may."""
    DEAD = "dead"
    """Enough signed columns say so, and none says otherwise."""


class Verdict(StrEnum):
    """What the controller makes of all evidence about one node (DESIGN §3)."""

    HEALTHY = "Healthy"
    SUSPECT = "Suspect"
    AGENT_DOWN = "AgentDown"
    CONTROL_PATH_LOST = "ControlPathLost"
    GUEST_NET_LOST = "GuestNetLost"
    STORAGE_LOST = "StorageLost"
    ISOLATED = "Isolated"
    HUNG = "Hung"
    DOWN = "Down"
    MAINTENANCE = "Maintenance"
    LEFT = "Left"


class OnHung(StrEnum):
    """HAZone.spec.onHung: what becomes of a node that is found ``Hung``."""

    ALERT = "Alert"
    """It is told."""
    FENCE = "Fence"
    """Where its silent storage slot speaks for its guests, it is fenced like one that is ``Down``, after a longer hold."""


class Mode(StrEnum):
    """HACluster.spec.mode: how far the controller may go."""

    ACTIVE = "Active"
    PAUSED = "Paused"
    DISARMED = "Disarmed"
    DRY_RUN = "DryRun"


class PowerState(StrEnum):
    """What a fence device *reads* (never what it answered to an order)."""

    ON = "on"
    OFF = "off"
    TRANSITION = "transition"
    UNKNOWN = "unknown"
