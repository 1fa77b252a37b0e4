"""`HAPolicy`: a ProtectedVM for each VM that a selector finds."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from ringfence.api.v1alpha1.conditions import Conditioned
from ringfence.api.v1alpha1.labels import LabelSelector
from ringfence.api.v1alpha1.meta import AGE, Column, Model, Names, Resource, Rule, required_by_rule, rules
from ringfence.api.v1alpha1.protectedvm import ProtectionSettings

_DEMANDS = (
    "has(self.selector) && ((has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0)"
    " || (has(self.selector.matchExpressions) && self.selector.matchExpressions.size() > 0))"
)


class VMSelector(LabelSelector):
    """VirtualMachines by their own labels (not those of their template); all demands must hold."""


class HAPolicySpec(Model):
    """Which VMs, and what each of them gets."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                f"({_DEMANDS}) != (has(self.allVms) && self.allVms)",
                "spec.selector must name at least one label; for all VMs of the namespace set spec.allVms instead, and remove the selector",
                ".selector",
                "FieldValueRequired",
            )
        )
    )

    selector: Annotated[VMSelector | None, Field(json_schema_extra=required_by_rule())] = None
    """The VMs of this namespace with these labels (the VirtualMachine's own, not its template's)."""
    all_vms: bool = False
    """All VMs of this namespace, whatever their labels."""
    template: ProtectionSettings = Field(default_factory=ProtectionSettings)
    """What the ProtectedVM of each of them says."""


class HAPolicyStatus(Conditioned):
    """Whether it is in force as it stands."""

    protects: Annotated[int, Field(ge=0)] = 0
    """How many VMs have a ProtectedVM of this policy."""


class HAPolicy(Resource):
    """A ProtectedVM for each VM that it selects, made and kept by the controller. The condition `Ready` says whether all got one."""

    names: ClassVar[Names] = Names(
        kind="HAPolicy",
        plural="hapolicies",
        short="hap",
        namespaced=True,
        columns=(
            Column("Protects", ".status.protects", "integer"),
            Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            Column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
            Column("Message", ".status.conditions[?(@.type=='Ready')].message", wide=True),
            AGE,
        ),
    )

    kind: str = "HAPolicy"
    spec: HAPolicySpec
    """Which VMs, and what each of them gets."""
    status: HAPolicyStatus = Field(default_factory=HAPolicyStatus)
    """Whether it is in force as it stands."""
