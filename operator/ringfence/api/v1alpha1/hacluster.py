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
    Resource,
    Rule,
    rules,
    within,
)
from ringfence.core.model import Mode


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


class HAClusterStatus(Conditioned):
    """What the controller says."""

    leader: Name | None = None
    """The controller pod that decides and writes now."""


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
