"""`FenceDevice`: one way to cut the power of one or many nodes, and when it was last proved to work."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AliasChoices, ConfigDict, Field, model_validator

from ringfence.api.v1alpha1.conditions import Conditioned
from ringfence.api.v1alpha1.meta import (
    AGE,
    UID,
    Column,
    Model,
    Name,
    Names,
    ObjectName,
    Resource,
    Rule,
    Time,
    as_map,
    as_set,
    required_by_rule,
    rules,
    within,
)
from ringfence.core.model import PowerState

_HTTPS = r"^https://[^\s/?#@]+(/[^\s?#]*)?$"


class SecretReference(Model):
    """A Secret in ringfence's own namespace."""

    name: ObjectName
    """The Secret's name. It has the keys `username` and `password`."""


class Redfish(Model):
    """A BMC that speaks Redfish."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.address)",
                "spec.redfish.address must be given: say the BMC's URL, such as https://10.0.0.9",
                ".address",
                "FieldValueRequired",
            ),
            Rule(
                rf"!has(self.address) || self.address.matches(r'{_HTTPS}')",
                "spec.redfish.address must be an https:// URL without user, query or fragment, such as https://10.0.0.9:"
                " a BMC's password must not travel in the clear",
                ".address",
            ),
            Rule(
                "has(self.secretRef)",
                "spec.redfish.secretRef must be given: name a Secret of ringfence's namespace with username and password",
                ".secretRef",
                "FieldValueRequired",
            ),
            Rule(
                "!(has(self.caBundle) && self.insecureSkipVerify)",
                "spec.redfish.caBundle and insecureSkipVerify exclude each other: keep caBundle and remove insecureSkipVerify",
                ".insecureSkipVerify",
            ),
        )
    )

    address: Annotated[str, Field(max_length=512, pattern=_HTTPS, json_schema_extra=required_by_rule())]
    """The BMC's URL, `https://` only."""
    system_id: Annotated[
        str | None,
        Field(
            max_length=256,
            validation_alias=AliasChoices("systemId", "systemID"),
            serialization_alias="systemId",
        ),
    ] = None
    """The name of the system under `/redfish/v1/Systems`; needed only where the BMC has more than one."""
    secret_ref: Annotated[SecretReference, Field(json_schema_extra=required_by_rule())]
    """The Secret with the BMC's `username` and `password`."""
    ca_bundle: Annotated[str | None, Field(max_length=65536)] = None
    """Who signed the BMC's certificate: PEM, or base64 of PEM. Without it the system's own authorities are asked."""
    insecure_skip_verify: bool = False
    """Whether any certificate will do. Then whoever holds the network can lie about the power."""
    timeout_seconds: Annotated[
        float, within(1, 60, "spec.redfish.timeoutSeconds must be from 1 to 60: remove it for 5 s")
    ] = 5.0
    """Seconds that one request may take."""


class FenceDeviceSpec(Model):
    """What the administrator declares."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.driver != 'redfish' || has(self.redfish)",
                "spec.redfish must be given for the driver redfish: say at least its address and secretRef",
                ".redfish",
                "FieldValueRequired",
            ),
            Rule(
                "self.driver == 'redfish' || !has(self.redfish)",
                "spec.redfish belongs to the driver redfish only: remove it, or set spec.driver to redfish",
                ".redfish",
                "FieldValueForbidden",
            ),
            Rule(
                "has(self.nodes) && size(self.nodes) > 0",
                "spec.nodes must name at least one node that this device cuts",
                ".nodes",
            ),
        )
    )

    driver: Literal["redfish", "watchdog", "manual"]
    """How the device is spoken to: `redfish`; `watchdog` (the nodes' own watchdogs: nobody orders, the time is counted out,
    by the zone's `spec.fencing.watchdog`); or `manual` (a person is asked, and confirms in the Failover)."""
    nodes: Annotated[
        list[ObjectName],
        Field(min_length=1, max_length=256, json_schema_extra={**as_set(), **required_by_rule()}),
    ]
    """The nodes that this device cuts, by name."""
    redfish: Redfish | None = None
    """The BMC, for the driver `redfish`."""

    @model_validator(mode="after")
    def _driver_has_its_block(self) -> FenceDeviceSpec:
        if (self.driver == "redfish") != (self.redfish is not None):
            raise ValueError(
                f"spec.redfish and the driver {self.driver} don't fit: redfish needs it, others have none"
            )
        return self


class NodePower(Model):
    """What the device last read of one node."""

    node: Name
    """The node."""
    power: PowerState = PowerState.UNKNOWN
    """The power as the device reads it."""
    uuid: UID | None = None
    """The machine's own UUID as the device tells it, to be compared with the node's `systemUUID`."""
    checked_at: Time | None = None
    """When it was read."""


class FenceDeviceStatus(Conditioned):
    """What the controller found."""

    proved_at: Time | None = None
    """When the device was last proved usable for all of its nodes."""
    power_state: Annotated[list[NodePower], Field(max_length=256, json_schema_extra=as_map("node"))] = Field(
        default_factory=list
    )
    """What the device last read, node by node."""


class FenceDevice(Resource):
    """One way to cut the power of one or many nodes. The condition `Ready` says whether it is proved to work."""

    names: ClassVar[Names] = Names(
        kind="FenceDevice",
        plural="fencedevices",
        short="fd",
        columns=(
            Column("Driver", ".spec.driver"),
            Column("Nodes", ".spec.nodes"),
            Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            Column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
            Column("Proved", ".status.provedAt", "date"),
            Column("Power", ".status.powerState[*].power", wide=True),
            Column("Address", ".spec.redfish.address", wide=True),
            Column("Message", ".status.conditions[?(@.type=='Ready')].message", wide=True),
            AGE,
        ),
    )

    kind: str = "FenceDevice"
    spec: FenceDeviceSpec
    """What the administrator declares."""
    status: FenceDeviceStatus = Field(default_factory=FenceDeviceStatus)
    """What the controller found."""
