"""`FenceDevice`: one way to cut the power of one or many nodes, and when it was last proved to work."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, ConfigDict, Field, field_validator, model_validator

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
    Sentence,
    Time,
    as_map,
    as_set,
    required_by_rule,
    rules,
    within,
)
from ringfence.core.model import PowerState

_HTTPS = r"^https://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?(/[^\s?#]*)?$"
_HOST = r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?$"
_PROGRAM = r"^fence_[a-z0-9_]+$"
_PARAMETER = r"^[A-Za-z][A-Za-z0-9_.-]*$"
_LINE = r"^[^\x00-\x1f\x7f]*$"


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

    @field_validator("address")
    @classmethod
    def _is_url(cls, address: str) -> str:
        try:
            port = urlsplit(address).port
        except ValueError as error:
            raise ValueError(f"spec.redfish.address {address!r} is no URL: {error}") from error
        if port == 0:
            raise ValueError(f"spec.redfish.address {address!r} has port 0: leave it out, or say the BMC's")
        return address


class Ipmi(Model):
    """A BMC that speaks IPMI 2.0 (RMCP+, `lanplus`). It cuts one machine."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.address)",
                "spec.ipmi.address must be given: say the BMC's host or host:port, such as 10.0.0.9",
                ".address",
                "FieldValueRequired",
            ),
            Rule(
                rf"!has(self.address) || self.address.matches(r'{_HOST}')",
                "spec.ipmi.address must be host or host:port without scheme or user, such as 10.0.0.9:623",
                ".address",
            ),
            Rule(
                "has(self.secretRef)",
                "spec.ipmi.secretRef must be given: name a Secret of ringfence's namespace with username and password",
                ".secretRef",
                "FieldValueRequired",
            ),
        )
    )

    address: Annotated[str, Field(max_length=512, pattern=_HOST, json_schema_extra=required_by_rule())]
    """The BMC's host or `host:port` (623 if not said)."""
    secret_ref: Annotated[SecretReference, Field(json_schema_extra=required_by_rule())]
    """The Secret with the BMC's `username` (16 bytes at most) and `password` (20 at most)."""
    cipher_suite: Annotated[Literal[3, 17], Field(json_schema_extra={"type": "integer"})] = 17
    """The cipher suite of the session: 17 (HMAC-SHA256, AES), or 3 (HMAC-SHA1, AES) for older BMCs."""
    privilege_level: Literal["Operator", "Administrator"] = "Operator"
    """The privilege that a session asks for. `Operator` may switch the power; some BMCs want `Administrator` for it."""
    timeout_seconds: Annotated[
        float, within(2, 60, "spec.ipmi.timeoutSeconds must be from 2 to 60: remove it for 5 s")
    ] = 5.0
    """Seconds that one session, for a reading or an order, may take."""


class SecretKey(Model):
    """One key of a Secret in ringfence's own namespace."""

    name: ObjectName
    """The Secret's name."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """The key in it."""


_Value = Annotated[str, Field(max_length=256)]
_Values = Annotated[dict[str, _Value], Field(max_length=32)]


class Agent(Model):
    """A fence agent: a `fence_*` program of the cluster stacks that is in the controller's image."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.program)",
                "spec.agent.program must be given: name a fence agent such as fence_apc",
                ".program",
                "FieldValueRequired",
            ),
            Rule(
                rf"!has(self.program) || self.program.matches(r'{_PROGRAM}')",
                "spec.agent.program must be a name like fence_apc, without a path: the controller finds it",
                ".program",
            ),
            Rule(
                "!has(self.parameters) || !('action' in self.parameters || 'option' in self.parameters)",
                "spec.agent.parameters must not have action: ringfence says what is to be done, remove it",
                ".parameters",
                "FieldValueForbidden",
            ),
            Rule(
                "!has(self.parameters) || !('password' in self.parameters || 'passwd' in self.parameters)",
                "spec.agent.parameters must not have a password: put it into a Secret and name that in secretParameters",
                ".parameters",
                "FieldValueForbidden",
            ),
            Rule(
                "!has(self.parameters) || !has(self.secretParameters)"
                " || !self.parameters.exists(p, p in self.secretParameters)",
                "a parameter stands in spec.agent.parameters and in secretParameters: remove it from one of them",
                ".secretParameters",
            ),
        )
    )

    program: Annotated[str, Field(max_length=64, pattern=_PROGRAM, json_schema_extra=required_by_rule())]
    """The agent's name, such as `fence_apc`."""
    parameters: _Values = Field(default_factory=dict)
    """What the agent gets for every node, as its metadata names it (`fence_apc -o metadata`)."""
    secret_parameters: Annotated[dict[str, SecretKey], Field(max_length=16)] = Field(default_factory=dict)
    """What it gets out of Secrets, such as `password`."""
    node_parameters: Annotated[dict[str, _Values], Field(max_length=256)] = Field(default_factory=dict)
    """What it gets besides for one node, by the node's name: the outlet of a PDU (`plug`), for instance."""
    timeout_seconds: Annotated[
        float, within(1, 120, "spec.agent.timeoutSeconds must be from 1 to 120: remove it for 20 s")
    ] = 20.0
    """Seconds that one run of the agent may take; then it is ended."""

    def for_node(self, node: str) -> dict[str, str]:
        """The plain parameters of one node."""
        return {**self.parameters, **self.node_parameters.get(node, {})}

    @model_validator(mode="after")
    def _lines(self) -> Agent:
        for name, value in (
            (n, v) for given in (self.parameters, *self.node_parameters.values()) for n, v in given.items()
        ):
            if not re.match(_PARAMETER, name) or not re.match(_LINE, value):
                raise ValueError(
                    f"spec.agent: parameter {name!r} is no name, or its value has control characters"
                )
        return self


class SecretOfStorage(Model):
    """A Secret of the storage's CSI driver; ringfence never reads it."""

    name: ObjectName
    """The Secret's name."""
    namespace: ObjectName
    """Its namespace."""


class NodeCidrs(Model):
    """The addresses from which one node reaches the storage."""

    node: ObjectName
    """The node."""
    cidrs: Annotated[
        list[
            Annotated[
                str,
                Field(
                    max_length=64,
                    json_schema_extra=rules(
                        Rule("isCIDR(self)", "each of cidrs must be an address range such as 10.1.0.7/32")
                    ),
                ),
            ]
        ],
        Field(min_length=1, max_length=16),
    ]
    """Its addresses, such as `10.1.0.7/32`."""

    @model_validator(mode="after")
    def _ranges(self) -> NodeCidrs:
        for cidr in self.cidrs:
            try:
                ipaddress.ip_network(cidr, strict=False)
            except ValueError as error:
                raise ValueError(f"addresses of {self.node}: {cidr} is no address range: {error}") from error
        return self


class StorageFence(Model):
    """A storage that can shut a node out: csi-addons' `NetworkFence`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.csiDriver) && self.csiDriver != ''",
                "spec.storage.csiDriver must be given: say the CSI driver's name, such as rook-ceph.rbd.csi.ceph.com",
                ".csiDriver",
                "FieldValueRequired",
            ),
            Rule(
                "has(self.storageClasses) && size(self.storageClasses) > 0",
                "spec.storage.storageClasses must name at least one StorageClass whose volumes this storage keeps: a VM with a"
                " volume of any other class is never moved on its word",
                ".storageClasses",
            ),
            Rule(
                "has(self.networkFenceClassName) != has(self.secretRef)",
                "spec.storage needs one of networkFenceClassName and secretRef: name the NetworkFenceClass, or the Secret of the"
                " CSI driver",
                ".networkFenceClassName",
            ),
        )
    )

    csi_driver: Annotated[str, Field(min_length=1, max_length=253, json_schema_extra=required_by_rule())]
    """The CSI driver's name, as its PersistentVolumes have it."""
    storage_classes: Annotated[
        list[ObjectName],
        Field(min_length=1, max_length=64, json_schema_extra={**as_set(), **required_by_rule()}),
    ]
    """The StorageClasses whose volumes are behind this fence, as far as the CSI driver has made them."""
    static_storage_classes: Annotated[list[ObjectName], Field(max_length=64, json_schema_extra=as_set())] = (
        Field(default_factory=list)
    )
    """StorageClasses whose volumes *without* a CSI driver (NFS, iSCSI, local paths made by hand) are behind this fence too. Nothing
    can show that: you state that each of them lies on this storage, and is reached by the nodes' addresses that are shut out."""
    network_fence_class_name: ObjectName | None = None
    """The NetworkFenceClass to use."""
    secret_ref: SecretOfStorage | None = None
    """The CSI driver's Secret, where there is no NetworkFenceClass."""
    parameters: Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """What the CSI driver wants besides, such as `clusterID`."""
    addresses: Annotated[list[NodeCidrs], Field(max_length=256, json_schema_extra=as_map("node"))] = Field(
        default_factory=list
    )
    """For nodes that reach the storage from other addresses than their InternalIPs: all of those."""


def _block(driver: str, hint: str) -> tuple[Rule, Rule]:
    """Each driver has its own block, and no other."""
    return (
        Rule(
            f"self.driver != '{driver}' || has(self.{driver})",
            f"spec.{driver} must be given for the driver {driver}: {hint}",
            f".{driver}",
            "FieldValueRequired",
        ),
        Rule(
            f"self.driver == '{driver}' || !has(self.{driver})",
            f"spec.{driver} belongs to the driver {driver} only: remove it, or set spec.driver to {driver}",
            f".{driver}",
            "FieldValueForbidden",
        ),
    )


class FenceDeviceSpec(Model):
    """What the administrator declares."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *_block("redfish", "say at least its address and secretRef"),
            *_block("ipmi", "say at least its address and secretRef"),
            *_block("agent", "say at least its program"),
            *_block(
                "storage", "say its csiDriver and storageClasses, and networkFenceClassName or secretRef"
            ),
            Rule(
                "has(self.nodes) && size(self.nodes) > 0",
                "spec.nodes must name at least one node that this device cuts",
                ".nodes",
            ),
            Rule(
                "self.driver in ['redfish', 'ipmi', 'agent'] || !has(self.maxConcurrentOrders)",
                "spec.maxConcurrentOrders belongs to the drivers redfish, ipmi and agent: remove it, nobody sends orders to an"
                " address here",
                ".maxConcurrentOrders",
                "FieldValueForbidden",
            ),
            Rule(
                "self.driver != 'ipmi' || !has(self.nodes) || size(self.nodes) <= 1",
                "spec.nodes must name one node: an IPMI BMC cuts one machine, declare a FenceDevice for each",
                ".nodes",
            ),
            Rule(
                "!has(self.agent) || !has(self.agent.nodeParameters) || !has(self.nodes)"
                " || self.agent.nodeParameters.all(n, n in self.nodes)",
                "spec.agent.nodeParameters names a node that spec.nodes has not: add it to spec.nodes or remove it here",
                ".agent.nodeParameters",
            ),
            Rule(
                "!has(self.storage) || !has(self.storage.addresses) || !has(self.nodes)"
                " || self.storage.addresses.all(a, a.node in self.nodes)",
                "spec.storage.addresses names a node that spec.nodes has not: correct its name, or the node meant would be shut"
                " out by its InternalIPs only",
                ".storage.addresses",
            ),
        )
    )

    driver: Literal["redfish", "ipmi", "agent", "watchdog", "storage", "manual"]
    """How the device is spoken to: `redfish`, `ipmi`, `agent` (any `fence_*` program); `watchdog` (the nodes' own watchdogs:
    nobody orders, the time is counted out, by the zone's `spec.fencing.watchdog`); `storage` (the node is shut out of its
    storage by csi-addons); or `manual` (a person is asked, and confirms in the Failover)."""
    nodes: Annotated[
        list[ObjectName],
        Field(min_length=1, max_length=256, json_schema_extra={**as_set(), **required_by_rule()}),
    ]
    """The nodes that this device cuts, by name."""
    max_concurrent_orders: Annotated[
        int | None,
        Field(
            ge=1,
            le=64,
            json_schema_extra=rules(
                Rule(
                    "self >= 1 && self <= 64",
                    "spec.maxConcurrentOrders must be from 1 to 64: remove it if the device takes any number",
                )
            ),
        ),
    ] = None
    """How many orders may be in work at once at this device's address, by whichever FenceDevices: for a blade chassis, or a PDU
    that chokes. Of several limits for one address (as written, without the port) the smallest counts. Unset: any number."""
    redfish: Redfish | None = None
    """The BMC, for the driver `redfish`."""
    ipmi: Ipmi | None = None
    """The BMC, for the driver `ipmi`."""
    agent: Agent | None = None
    """The fence agent, for the driver `agent`."""
    storage: StorageFence | None = None
    """The storage, for the driver `storage`. It counts only in zones with `allowStorageFence`."""

    @model_validator(mode="after")
    def _driver_has_its_block(self) -> FenceDeviceSpec:
        for name, block in (
            ("redfish", self.redfish),
            ("ipmi", self.ipmi),
            ("agent", self.agent),
            ("storage", self.storage),
        ):
            if (self.driver == name) != (block is not None):
                raise ValueError(
                    f"spec.{name} and the driver {self.driver} don't fit: {name} needs it, others have none"
                )
        for one in self.storage.addresses if self.storage else ():
            if one.node not in self.nodes:
                raise ValueError(f"spec.storage.addresses names {one.node}, which spec.nodes has not")
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
    """When it was last looked at, whatever came of it; written anew every five minutes."""
    proved_at: Time | None = None
    """When it was last proved usable: it let us in, was this node's, and told the power. Written anew every five minutes."""


class PassedDrill(Model):
    """An off/on drill that has proved which machine the device cuts."""

    node: Name
    """The node that was switched off and on."""
    outlet: Annotated[str, Field(max_length=64)]
    """The fingerprint of what was declared then; with another declaration the drill counts no more."""
    node_uuid: UID = ""
    """The node's `systemUUID` then."""
    device_uuid: UID = ""
    """What the device said then that it stands before; empty where it says nothing."""
    passed_at: Time
    """When the node was back with another boot id."""


class Drill(Model):
    """The drill that was asked for last, by the annotation `ringfence.io/drill`."""

    request: Annotated[str, Field(max_length=512)]
    """The annotation's value: the node, and any words that make it another request than the last."""
    phase: Literal["Running", "Passed", "Failed", "Refused"]
    """Where it stands."""
    sentence: Sentence = ""
    """Why."""
    changed_at: Time
    """Since when."""


class FenceDeviceStatus(Conditioned):
    """What the controller found."""

    proved_at: Time | None = None
    """When the device was last proved usable for all of its nodes: the oldest of `powerState[].provedAt`."""
    power_state: Annotated[list[NodePower], Field(max_length=256, json_schema_extra=as_map("node"))] = Field(
        default_factory=list
    )
    """What the device last read, node by node."""
    drill: Drill | None = None
    """The drill that was asked for last."""
    drills: Annotated[list[PassedDrill], Field(max_length=256, json_schema_extra=as_map("node"))] = Field(
        default_factory=list
    )
    """The drills that were passed. They prove the identity of a device that can't tell it."""


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
