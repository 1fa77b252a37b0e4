"""`NodeMaintenance`: planned work on nodes, for as long as the object stands."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from ringfence.api.v1alpha1.conditions import Conditioned
from ringfence.api.v1alpha1.meta import (
    AGE,
    Column,
    Model,
    Names,
    ObjectName,
    Resource,
    Rule,
    as_set,
    required_by_rule,
    rules,
)


class NodeMaintenanceSpec(Model):
    """What is worked on, and why."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.nodes) && self.nodes.size() > 0",
                "spec.nodes must name at least one node: those that are worked on",
                ".nodes",
                "FieldValueRequired",
            )
        )
    )

    nodes: Annotated[
        list[ObjectName], Field(max_length=256, json_schema_extra={**as_set(), **required_by_rule()})
    ]
    """The nodes that are worked on. None of them is fenced, and none of their VMs restarted elsewhere, until this object is
    deleted: move the VMs first (`kubectl drain`)."""
    reason: Annotated[str, Field(max_length=256)] = ""
    """Why, in a few words, for whoever finds it: "memory of rack 4 is replaced". Told wherever it holds a failover."""


class NodeMaintenanceStatus(Conditioned):
    """Whether it is in force."""


class NodeMaintenance(Resource):
    """Planned work on nodes: while it stands ringfence leaves them alone, whatever becomes of them. The condition `InForce` says so."""

    names: ClassVar[Names] = Names(
        kind="NodeMaintenance",
        plural="nodemaintenances",
        short="nm",
        columns=(
            Column("Nodes", ".spec.nodes"),
            Column("Reason", ".spec.reason"),
            Column("InForce", ".status.conditions[?(@.type=='InForce')].status"),
            Column("Message", ".status.conditions[?(@.type=='InForce')].message", wide=True),
            AGE,
        ),
    )

    kind: str = "NodeMaintenance"
    spec: NodeMaintenanceSpec
    """What is worked on, and why."""
    status: NodeMaintenanceStatus = Field(default_factory=NodeMaintenanceStatus)
    """Whether it is in force."""
