"""`ProtectedVM`: one VM that has to run again when its node dies."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ringfence.api.v1alpha1.conditions import Conditioned
from ringfence.api.v1alpha1.meta import AGE, Column, Model, Name, Names, ObjectName, Resource, within


class VMReference(Model):
    """A VirtualMachine in the same namespace."""

    name: ObjectName
    """The VirtualMachine's name."""


class ProtectedVMSpec(Model):
    """What the VM's owner asks for."""

    vm: VMReference
    """The VirtualMachine to protect, in this object's namespace."""
    on_node_failure: Literal["Restart", "Ignore"] = "Restart"
    """What to do when the VM's node is lost: `Restart` it elsewhere once the node is proved off, or `Ignore` it (no
    node is fenced on its account)."""
    priority: Annotated[int, within(0, 1000, "spec.priority must be from 0 to 1000: remove it for 100")] = 100
    """Who goes first when many VMs have to restart: the greater number."""


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
            AGE,
        ),
    )

    kind: str = "ProtectedVM"
    spec: ProtectedVMSpec
    """What the VM's owner asks for."""
    status: ProtectedVMStatus = Field(default_factory=ProtectedVMStatus)
    """Whether the VM would survive its node now, and if not, why."""
