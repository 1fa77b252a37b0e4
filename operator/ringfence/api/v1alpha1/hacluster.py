"""`HACluster`: how far ringfence may go in this cluster, and how fast."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from ringfence.api.v1alpha1.conditions import Conditioned
from ringfence.api.v1alpha1.meta import (
    AGE,
    CLUSTER_NAME,
    Column,
    Model,
    Name,
    Names,
    ObjectName,
    Resource,
    Rule,
    as_set,
    rules,
    within,
)
from ringfence.core.gossip.keys import Step
from ringfence.core.model import Mode


class GossipSpec(Model):
    """What is asked of the agents' ring."""

    key_generation: Annotated[
        int,
        within(
            0,
            1_000_000,
            "spec.gossip.keyGeneration must be from 0 to 1000000: `ringfence keys rotate` raises it",
        ),
    ] = 0
    """How often the ring's group key shall have been changed. Raised above `status.keys.generation` it asks for a change
    (`ringfence keys rotate` does it); lower, it asks for nothing."""
    rotate_without: Annotated[list[ObjectName], Field(max_length=256, json_schema_extra=as_set())] = Field(
        default_factory=list
    )
    """Nodes whose agents a change of the group key doesn't wait for. Such an agent hears nobody from then on, until the
    changed Secret is brought to it: its node is `AgentDown` so long. Nodes that are down are never waited for."""


class HAClusterSpec(Model):
    """What the administrator asks for."""

    mode: Mode = Mode.ACTIVE
    """How far ringfence may go: `Active` fences and recovers; `Paused` finishes what is running and begins nothing;
    `Disarmed` does nothing at all; `DryRun` says what it would do and does not do it."""
    hold_seconds: Annotated[
        float,
        within(0, 30, "spec.holdSeconds must be from 0 to 30: remove it for 2 s, or say 0 to order at once"),
    ] = 2.0
    """Seconds between the verdict that a node is down and the first order to its fence device: time for a last look."""
    shutdown_grace_seconds: Annotated[
        float,
        within(0, 3600, "spec.shutdownGraceSeconds must be from 0 to 3600: remove it for 180 s"),
    ] = 180.0
    """Seconds for which a node that announced its own shutdown is not accused once its kernel has gone silent."""
    storm_window_seconds: Annotated[
        float,
        within(60, 86400, "spec.stormWindowSeconds must be from 60 to 86400: remove it for 600 s"),
    ] = 600.0
    """Seconds within which nodes that go down count as one storm."""
    storm_fraction: Annotated[
        float,
        within(
            0,
            0.5,
            "spec.stormFraction must be from 0 to 0.5: half of a zone is never ordered off at once; remove it for 0.4",
        ),
    ] = 0.4
    """The part of a zone's nodes that may be down, in flight or not yet back within the storm window; with more, none
    is ordered off until the storm clears or an administrator releases it. One node is always allowed."""
    gossip: GossipSpec = Field(default_factory=GossipSpec, json_schema_extra={"default": {}})
    """What is asked of the agents' ring."""


class GroupKeys(Model):
    """The ring's group keys and how far their change has come. The keys themselves are in a Secret."""

    generation: Annotated[int, Field(ge=0)] = 0
    """How often the key has been changed, the change under way included."""
    step: Step = Step.SETTLED
    """`Settled`; or what is waited for: that all agents have the new key (`Installing`), use it (`Using`), and have let
    go of the old one (`Removing`)."""
    held: Annotated[list[int], Field(max_length=4)] = Field(default_factory=list)
    """Ids of the keys that open."""
    used: Annotated[int, Field(ge=0, le=255)] = 0
    """Id of the key that seals."""
    waiting_for: Annotated[list[Name], Field(max_length=64)] = Field(default_factory=list)
    """Nodes whose agents are waited for; the first 64 of them."""


class HAClusterStatus(Conditioned):
    """What the controller says."""

    leader: Name | None = None
    """The controller pod that decides and writes now."""
    keys: GroupKeys | None = None
    """The ring's group keys and how far their change has come."""
    roster_key: Annotated[str | None, Field(max_length=32)] = None
    """The fingerprint of the key that signs rosters now; condition `RosterTrusted` says whether the agents go by it."""


class HACluster(Resource):
    """The one object, named `default`, that says how far ringfence may go in this cluster and how fast."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                f"self.metadata.name == '{CLUSTER_NAME}'",
                f"metadata.name must be '{CLUSTER_NAME}': a cluster has one HACluster, rename this one",
            )
        )
    )
    names: ClassVar[Names] = Names(
        kind="HACluster",
        plural="haclusters",
        short="hac",
        columns=(
            Column("Mode", ".spec.mode"),
            Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            Column("Leader", ".status.leader"),
            Column("Message", ".status.conditions[?(@.type=='Ready')].message", wide=True),
            AGE,
        ),
    )

    kind: str = "HACluster"
    spec: HAClusterSpec = Field(default_factory=HAClusterSpec, json_schema_extra={"default": {}})
    """What the administrator asks for; all of it has defaults."""
    status: HAClusterStatus = Field(default_factory=HAClusterStatus)
    """What the controller says."""
