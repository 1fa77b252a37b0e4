"""`ProtectedVM`: one VM that has to run again when its node dies."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from ringfence.api.v1alpha1.conditions import Conditioned
from ringfence.api.v1alpha1.meta import (
    AGE,
    Column,
    Model,
    Name,
    Names,
    ObjectName,
    Resource,
    Rule,
    rules,
    within,
)


class VMReference(Model):
    """A VirtualMachine in the same namespace."""

    name: ObjectName
    """The VirtualMachine's name."""


class ProtectionSettings(Model):
    """What is done for a VM, and when in turn."""

    on_node_failure: Literal["Restart", "Ignore"] = "Restart"
    """What to do when the VM's node is lost: `Restart` it elsewhere once the node is proved off, or `Ignore` it (no
    node is fenced on its account)."""
    priority: Annotated[int, within(0, 1000, "priority must be from 0 to 1000: remove it for 100")] = 100
    """Who goes first when many VMs have to restart: the greater number. One of lower priority restarts when those before it
    have a node, or a reason why they have none."""
    depends_on: Annotated[list[VMReference], Field(max_length=16)] = Field(default_factory=list)
    """VMs of this namespace that have to be ready before this one restarts (their condition `Ready`: its readiness probe
    passes, where there is one). Waited for up to 60 seconds after the fence; one that is stopped is not waited for."""


class ProtectedVMSpec(ProtectionSettings):
    """What the VM's owner asks for."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.dependsOn) || self.dependsOn.all(d, d.name != self.vm.name)",
                "spec.dependsOn must not name the VM itself: remove it there",
                ".dependsOn",
            )
        )
    )

    vm: VMReference
    """The VirtualMachine to protect, in this object's namespace."""


class ProtectedVMStatus(Conditioned):
    """Whether the VM would survive its node now."""

    node: Name | None = None
    """The node that the VM runs on."""


class ProtectedVM(Resource):
    """One VM that runs again elsewhere when its node dies. The condition `Protected` says now whether it would."""

    names: ClassVar[Names] = Names(
        kind="ProtectedVM",
        plural="protectedvms",
        short="pvm",
        namespaced=True,
        columns=(
            Column("VM", ".spec.vm.name"),
            Column("Protected", ".status.conditions[?(@.type=='Protected')].status"),
            Column("Reason", ".status.conditions[?(@.type=='Protected')].reason"),
            Column("Node", ".status.node"),
            Column("Priority", ".spec.priority", "integer", wide=True),
            Column("Message", ".status.conditions[?(@.type=='Protected')].message", wide=True),
            Column("Policy", ".metadata.ownerReferences[?(@.kind=='HAPolicy')].name", wide=True),
            AGE,
        ),
    )

    kind: str = "ProtectedVM"
    spec: ProtectedVMSpec
    """What the VM's owner asks for."""
    status: ProtectedVMStatus = Field(default_factory=ProtectedVMStatus)
    """Whether the VM would survive its node now, and if not, why."""
