"""`NodeReport`: what a node knows of itself, written by its own agent on change, never as a heartbeat."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from ringfence.api.v1alpha1.conditions import Conditioned
from ringfence.api.v1alpha1.meta import AGE, UID, Column, Model, Names, Resource, Sentence, Time, as_set


class NodeWatchdog(Model):
    """The node's watchdog as its agent holds it."""

    armed: bool
    """Whether it is armed: a node that is cut off from everything, or whose agent stays away, is then reset."""
    reason: Sentence | None = None
    """Why it is not armed. Such a node does not fence itself, and nobody assumes that it has."""
    device: Annotated[str | None, Field(max_length=256)] = None
    """The watchdog's device file, and its driver's name once it is open."""
    timeout_seconds: Annotated[float | None, Field(ge=0)] = None
    """The time-out that the driver really took, in seconds."""
    nowayout: bool | None = None
    """The driver's own `nowayout`: once started it can't be stopped. Then an agent's end doesn't disarm it."""
    isolation_seconds: Annotated[float | None, Field(ge=0)] = None
    """Seconds after the last leg that held, from which on it is not fed any more."""
    legs: Annotated[
        list[Annotated[str, Field(max_length=32)]], Field(max_length=8, json_schema_extra=as_set())
    ] = Field(default_factory=list)
    """What it is fed by: `Gossip` (answers from more than half of the roster), `Api` (writes of the agent's Lease),
    `Storage` (writes of the node's slot)."""


class NodeKeys(Model):
    """The group keys of the ring that a node's agent goes by."""

    held: Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(max_length=8)] = Field(
        default_factory=list
    )
    """Ids of the keys that it opens with."""
    used: Annotated[int, Field(ge=0, le=255)] = 0
    """Id of the key that it seals with."""


class NodeReportStatus(Conditioned):
    """What the agent says of its node."""

    node_uid: UID | None = None
    """The UID of the Node object."""
    boot_id: UID | None = None
    """The kernel's boot id: one value from power-on to power-off."""
    public_key: Annotated[str | None, Field(max_length=64)] = None
    """The agent's Ed25519 key for its votes, base64; pinned for this node UID and boot id."""
    addresses: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=16)] = Field(
        default_factory=list
    )
    """The node's addresses, its InternalIP first: from these the controller takes those on the zone's networks."""
    port: Annotated[int | None, Field(ge=1, le=65535)] = None
    """The port of the ring, UDP and TCP."""
    agent_version: Annotated[str | None, Field(max_length=64)] = None
    """The agent's release."""
    watchdog: NodeWatchdog | None = None
    """The node's watchdog, where it has one."""
    permitted: Annotated[dict[str, bool], Field(max_length=32)] = Field(default_factory=dict)
    """What the kernel allowed the agent: `mlock` (it stays in memory), `priority` (nice -10), `oomScore` (-997),
    `icmpDatagram` and `icmpRaw` (by which socket it may ask a silent node's kernel). An agent without them still works,
    less steadily."""
    keys: NodeKeys | None = None
    """The group keys that the agent goes by; absent from one that is older than their rotation."""
    roster_key: Annotated[str | None, Field(max_length=32)] = None
    """The fingerprint of the key whose rosters the agent believes: the one that was mounted when it started."""
    guests: Annotated[list[Annotated[str, Field(max_length=320)]] | None, Field(max_length=1024)] = None
    """The guests that run on the node, `namespace_name`, as its processes show them; absent where the agent can't see
    them (no `hostPID`). After a cut from the storage the node is let at it again only when the moved guests are gone
    from here, or the node has rebooted."""
    updated_at: Time | None = None
    """When the agent last wrote this."""


class NodeReport(Resource):
    """What a node knows of itself; named as the node, written by that node's agent alone."""

    names: ClassVar[Names] = Names(
        kind="NodeReport",
        plural="nodereports",
        short="nr",
        columns=(
            Column("Boot", ".status.bootID"),
            Column("Version", ".status.agentVersion"),
            Column("Watchdog", ".status.watchdog.armed", "boolean"),
            Column("Bites", ".status.watchdog.timeoutSeconds", "number", wide=True),
            Column("WatchdogReason", ".status.watchdog.reason", wide=True),
            Column("Updated", ".status.updatedAt", "date"),
            Column("Addresses", ".status.addresses", wide=True),
            Column("Mlock", ".status.permitted.mlock", "boolean", wide=True),
            Column("Priority", ".status.permitted.priority", "boolean", wide=True),
            Column("OOMScore", ".status.permitted.oomScore", "boolean", wide=True),
            Column("ICMPDatagram", ".status.permitted.icmpDatagram", "boolean", wide=True),
            Column("ICMPRaw", ".status.permitted.icmpRaw", "boolean", wide=True),
            AGE,
        ),
    )

    kind: str = "NodeReport"
    status: NodeReportStatus = Field(default_factory=NodeReportStatus)
    """What the agent says of its node."""
