"""`HAZone`: a failure zone, its nodes, and how a node of it is proved off."""

from __future__ import annotations

import ipaddress
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from ringfence.api.v1alpha1.conditions import Conditioned
from ringfence.api.v1alpha1.labels import LabelSelector
from ringfence.api.v1alpha1.meta import (
    AGE,
    Column,
    Model,
    Name,
    Names,
    ObjectName,
    Resource,
    Rule,
    Sentence,
    as_map,
    as_set,
    required_by_rule,
    rules,
    within,
)
from ringfence.core.fencing.exercise import PROOF_MAX_AGE
from ringfence.core.fencing.slotwatch import SlotState
from ringfence.core.model import MANAGEMENT, OnHung, Verdict
from ringfence.core.timing import CLOCK_RATE_BOUND, SELF_FENCE_MARGIN, self_fence_seconds


class NodeSelector(LabelSelector):
    """Nodes by their labels; all demands must hold."""


class ZoneNodes(Model):
    """Which nodes are in the zone: those named and those selected."""

    names: Annotated[list[ObjectName], Field(max_length=1024, json_schema_extra=as_set())] = Field(
        default_factory=list
    )
    """Nodes by name."""
    selector: NodeSelector | None = None
    """Nodes by label. An empty selector selects nothing: a zone of all nodes has to be said by a label."""


_HEDGE = "hedgeAfterSeconds must be from 0 to 600: remove it to wait until the level has failed"
_DELAY = "spec.fencing.delaySeconds must be from 0 to 60: remove it for none"
_DELAY_RANDOM = "spec.fencing.delayRandomSeconds must be from 0 to 60: remove it for none"


class FencingLevel(Model):
    """Devices that must all succeed before the node counts as off by this level."""

    hedge_after_seconds: Annotated[float | None, within(0, 600, _HEDGE)] = None
    """Seconds after which the next level is begun, if this one has neither proved the node off nor failed by then. This one goes
    on, and the first proof wins. Unset: the next level waits until this one has failed, so that two devices never order the
    same node off."""
    devices: Annotated[
        list[ObjectName],
        Field(
            max_length=8,
            json_schema_extra={
                **as_set(),
                **rules(
                    Rule(
                        "size(self) > 0",
                        "devices must name at least one FenceDevice: name one, or remove the level",
                    )
                ),
            },
        ),
    ]
    """FenceDevices by name. For a node only those count whose `spec.nodes` has it."""


WatchdogLeg = Literal["Gossip", "Api", "Storage"]
_LEGS: tuple[WatchdogLeg, ...] = ("Gossip", "Api")


class ZoneWatchdog(Model):
    """The times of self-fencing by watchdog. Where it is on, a node that is totally isolated resets itself."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.assumeSeconds) || (self.isolationSeconds + self.timeoutSeconds)"
                f" * {1 + CLOCK_RATE_BOUND} + {SELF_FENCE_MARGIN} < self.assumeSeconds",
                "assumeSeconds must be greater than (isolationSeconds + timeoutSeconds) * 1.001 + 5: a node must have"
                " reset itself before another may assume it; raise assumeSeconds or lower the other two",
                ".assumeSeconds",
            ),
            Rule(
                "has(self.assumeSeconds)",
                "assumeSeconds must be given: say how long to wait before the node counts as reset, 80 fits the defaults",
                ".assumeSeconds",
                "FieldValueRequired",
            ),
        )
    )

    isolation_seconds: Annotated[
        float, within(1, 600, "isolationSeconds must be from 1 to 600: remove it for 10 s")
    ] = 10.0
    """Seconds of total isolation after which a node stops feeding its watchdog."""
    timeout_seconds: Annotated[
        float, within(5, 600, "timeoutSeconds must be from 5 to 600: remove it for 60 s")
    ] = 60.0
    """Seconds after its last feeding at which the watchdog resets the node."""
    legs: Annotated[
        list[WatchdogLeg],
        Field(
            max_length=3,
            json_schema_extra={
                **as_set(),
                "default": [*_LEGS],
                **rules(
                    Rule(
                        "'Gossip' in self",
                        "legs must name Gossip: without it an outage of the API server would reset every node",
                    )
                ),
            },
        ),
    ] = Field(default_factory=lambda: [*_LEGS])
    """What may feed the zone's watchdogs, and is waited for before a node counts as reset: `Gossip` (answers from more than half
    of the roster), `Api` (writes of the agent's Lease), `Storage` (writes of the node's slot on `spec.storage.heartbeat`). A node
    that is fed by more than its zone names is never taken for reset."""
    assume_seconds: Annotated[float, Field(json_schema_extra=required_by_rule())]
    """Seconds after which others may assume that the node has reset itself."""

    @model_validator(mode="after")
    def _assume_after_reset(self) -> ZoneWatchdog:
        least = self_fence_seconds(self.isolation_seconds, self.timeout_seconds)
        if not least < self.assume_seconds:
            raise ValueError(
                f"assumeSeconds is {self.assume_seconds:g}, but a node may live for {least:g} s: raise it above that"
            )
        if "Gossip" not in self.legs:
            raise ValueError("spec.fencing.watchdog.legs doesn't name Gossip: add it")
        return self


class ZoneFencing(Model):
    """How a node of this zone is proved off."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.levels) || self.levels.all(a, a.devices.all(d, self.levels.filter(b, d in b.devices).size() == 1))",
                "a FenceDevice may stand on one level only: remove it from the others",
                ".levels",
            ),
            Rule(
                "!has(self.levels) || size(self.levels) == 0 || !has(self.levels[size(self.levels) - 1].hedgeAfterSeconds)",
                "hedgeAfterSeconds of the last level begins nothing: remove it, or add a level after that one",
                ".levels",
            ),
        )
    )

    levels: Annotated[list[FencingLevel], Field(max_length=8)] = Field(default_factory=list)
    """The ladder: the first level is tried first, the next when it fails or is slow (`hedgeAfterSeconds`)."""
    delay_seconds: Annotated[float, within(0, 60, _DELAY)] = 0.0
    """Seconds that nodes of this zone are left, after the hold, before the first order. For stretched clusters whose halves may
    both come to act: the zone that should survive gets the longer delay. A node that is read as off waits for nothing."""
    delay_random_seconds: Annotated[float, within(0, 60, _DELAY_RANDOM)] = 0.0
    """Up to so many seconds more, drawn anew for each incident."""
    allowed_addresses: Annotated[
        list[Annotated[str, Field(min_length=2, max_length=64)]],
        Field(
            max_length=32,
            json_schema_extra={
                **as_set(),
                **rules(
                    Rule(
                        "self.all(a, isCIDR(a))",
                        "spec.fencing.allowedAddresses must be networks such as 10.0.8.0/24",
                    )
                ),
            },
        ),
    ] = Field(default_factory=list)
    """The networks that the zone's fence devices may be in. A device elsewhere, or one that is given by name, is never
    spoken to. Empty: any. A fence agent is judged by its parameter `ip`."""
    proofs: Annotated[Literal[1, 2], Field(json_schema_extra={"type": "integer"})] = 1
    """How many independent proofs recovery needs; 2 where a device's word alone is not trusted."""
    proof_max_age_seconds: Annotated[
        float,
        within(
            180,
            604800,
            "spec.fencing.proofMaxAgeSeconds must be from 180 to 604800 (a week): remove it for an hour",
        ),
    ] = PROOF_MAX_AGE
    """Seconds after which a device that was not proved usable again counts no more: its VMs are `Protected=False,
    FenceDeviceUnproved`. A device is asked once a minute, without harm."""
    drill_max_age_days: Annotated[
        int | None,
        Field(
            ge=1,
            le=3650,
            json_schema_extra=rules(
                Rule(
                    "self >= 1 && self <= 3650",
                    "spec.fencing.drillMaxAgeDays must be from 1 to 3650: remove it if no drills are wanted",
                )
            ),
        ),
    ] = None
    """Days after which an off/on drill of each power device has to be done again; without it none is asked for."""
    power_on: Literal["Always", "Never"] = "Always"
    """Whether a node that ringfence ordered off is ordered on again once its VMs run elsewhere."""
    watchdog: ZoneWatchdog | None = None
    """Self-fencing by watchdog. Total isolation then stops that node's guests: think before you say it."""
    allow_storage_fence: bool = False
    """Whether cutting a node from its storage counts as a proof. The old guest may answer on the network for a while."""


MAX_NETWORKS = 4


class ZoneNetwork(Model):
    """A network of the zone's nodes beside the management network (the nodes' InternalIPs)."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=20,
            pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            json_schema_extra=rules(
                Rule(
                    "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
                    "name must be of small letters, digits and dashes, such as storage",
                ),
                Rule(
                    f"self != '{MANAGEMENT}'",
                    "name must not be 'management': that is the InternalIPs' network, which is always there",
                ),
            ),
        ),
    ]
    """What it is called, such as `storage`. Zones that give the same name mean the same network: its nodes reach each other."""
    cidrs: Annotated[
        list[
            Annotated[
                str,
                Field(
                    max_length=43,
                    json_schema_extra=rules(
                        Rule(
                            "isCIDR(self)",
                            "each of cidrs must be an address range such as 10.20.0.0/16 or fd00:20::/64",
                        )
                    ),
                ),
            ]
        ],
        Field(
            max_length=8,
            json_schema_extra=rules(
                Rule(
                    "size(self) > 0",
                    "cidrs must have at least one range: say where the nodes' addresses on this network lie",
                )
            ),
        ),
    ]
    """Where the nodes' addresses on it lie. A node's address is looked for in the first range, then in the next."""
    role: Literal["Storage", "Guest", "Migration", "Other"] = "Other"
    """What it carries: a node that lost its `Storage` network is `StorageLost`, its `Guest` network `GuestNetLost`."""

    @model_validator(mode="after")
    def _ranges(self) -> ZoneNetwork:
        for cidr in self.cidrs:
            try:
                ipaddress.ip_network(cidr, strict=False)
            except ValueError as error:
                raise ValueError(f"network {self.name}: {cidr} is no address range: {error}") from error
        return self


class StorageHeartbeat(Model):
    """The shared volume on which the zone's nodes write their slots; the chart's `slots` mounts it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.volume) && self.volume != ''",
                "heartbeat.volume must be given: say the claim or the path that the chart's slots.volume names",
                ".volume",
                "FieldValueRequired",
            ),
        )
    )

    volume: Annotated[str, Field(min_length=1, max_length=253, json_schema_extra=required_by_rule())]
    """The volume as the chart names it: the PersistentVolumeClaim, or the path on the nodes."""
    interval_seconds: Annotated[
        float, within(0.5, 60, "heartbeat.intervalSeconds must be from 0.5 to 60: remove it for 1 s")
    ] = 1.0
    """Seconds between two writes of a node, as the chart's `slots.intervalSeconds`. A failover by a device waits for one
    and a half of them."""
    stop_guests: bool = False
    """Whether a node that reads that it is fenced kills its guests (the chart's `slots.stopGuests` must let it)."""


class ZoneStorage(Model):
    """What the zone's nodes share."""

    heartbeat: StorageHeartbeat | None = None
    """A storage heartbeat: a node that writes is alive, however silent its networks are."""


_BY_SLOT = (
    "(has(self.fencing) && has(self.fencing.watchdog) && has(self.fencing.watchdog.legs)"
    " && 'Storage' in self.fencing.watchdog.legs)"
)
"""CEL: the zone counts on watchdogs that slots may feed."""


class HAZoneSpec(Model):
    """What the administrator declares."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.networks) || self.networks.all(a, self.networks.filter(b, a.name == b.name).size() == 1)",
                "each of spec.networks must have a name of its own: rename or remove one, or put its cidrs into the other",
                ".networks",
            ),
            Rule(
                "has(self.nodes) && (has(self.nodes.names) && size(self.nodes.names) > 0"
                " || has(self.nodes.selector) && (has(self.nodes.selector.matchLabels) && size(self.nodes.selector.matchLabels) > 0"
                " || has(self.nodes.selector.matchExpressions) && size(self.nodes.selector.matchExpressions) > 0))",
                "spec.nodes must name or select the zone's nodes: fill spec.nodes.names or spec.nodes.selector",
                ".nodes",
            ),
            Rule(
                f"!{_BY_SLOT} || has(self.storage) && has(self.storage.heartbeat)",
                "fencing.watchdog.legs names Storage, so spec.storage.heartbeat must be given: name the heartbeat volume there,"
                " or remove Storage",
                ".fencing.watchdog.legs",
            ),
            Rule(
                f"!{_BY_SLOT} || !has(self.storage) || !has(self.storage.heartbeat)"
                " || 3.0 * self.storage.heartbeat.intervalSeconds <= self.fencing.watchdog.isolationSeconds",
                "fencing.watchdog.isolationSeconds must be three times spec.storage.heartbeat.intervalSeconds at least, for Storage"
                " in legs: raise it, or let slots be written more often",
                ".fencing.watchdog.isolationSeconds",
            ),
            Rule(
                f"!has(self.onHung) || self.onHung != '{OnHung.FENCE}' || has(self.storage) && has(self.storage.heartbeat)",
                "spec.onHung is Fence, so spec.storage.heartbeat must be given: only a silent slot there says that the guests of a node"
                " that hangs are lost; name the heartbeat volume, or set onHung to Alert",
                ".onHung",
            ),
        )
    )

    enabled: bool = True
    """Whether nodes of this zone are fenced and their VMs recovered."""
    nodes: ZoneNodes = Field(default_factory=ZoneNodes)
    """The zone's nodes. A node belongs to at most one zone; a conflict is a condition on both."""
    fencing: ZoneFencing = Field(default_factory=ZoneFencing, json_schema_extra={"default": {}})
    """How a node of this zone is proved off."""
    on_hung: OnHung = OnHung.ALERT
    """What becomes of a node that is found `Hung`: its kernel answers, and neither its agent, its kubelet (40 s) nor virt-handler (180 s).
    `Alert`: it is told. `Fence`: if its storage slot is silent too, it is looked at for a minute more, and then fenced like a node that
    is `Down`; any sign of life but its kernel's ends that. Needs `storage.heartbeat`."""
    networks: Annotated[list[ZoneNetwork], Field(max_length=MAX_NETWORKS)] = Field(default_factory=list)
    """Networks that the ring probes beside the management network, so that it can tell which one of a node is dead.

    Upgrade every agent and controller before the first one is named: those of the version before can't read the roster then.
    """
    storage: ZoneStorage | None = None
    """What the zone's nodes share."""

    @model_validator(mode="after")
    def _slots_that_speak_for_guests(self) -> HAZoneSpec:
        if self.on_hung is OnHung.FENCE and (self.storage is None or self.storage.heartbeat is None):
            raise ValueError(
                "spec.onHung is Fence, but there is no spec.storage.heartbeat: name the volume there, or set onHung to Alert"
            )
        return self

    @model_validator(mode="after")
    def _slots_that_feed(self) -> HAZoneSpec:
        dog = self.fencing.watchdog
        if dog is None or "Storage" not in dog.legs:
            return self
        heartbeat = self.storage.heartbeat if self.storage is not None else None
        if heartbeat is None:
            raise ValueError(
                "spec.fencing.watchdog.legs names Storage, but there is no spec.storage.heartbeat: name the volume there"
            )
        if 3 * heartbeat.interval_seconds > dog.isolation_seconds:
            raise ValueError(
                f"spec.fencing.watchdog.isolationSeconds is {dog.isolation_seconds:g}, less than three times"
                f" spec.storage.heartbeat.intervalSeconds ({heartbeat.interval_seconds:g}): raise it"
            )
        return self


class NodeVerdict(Model):
    """What is made of one node now."""

    name: Name
    """The node."""
    verdict: Verdict
    """The verdict."""
    sentence: Sentence = ""
    """Why."""
    slot: SlotState | None = None
    """What is seen of its storage slot, where the zone has a heartbeat."""


class HAZoneStatus(Conditioned):
    """What the controller says."""

    nodes: Annotated[list[Name], Field(max_length=5000, json_schema_extra=as_set())] = Field(
        default_factory=list
    )
    """The nodes that are in the zone now."""
    node_verdicts: Annotated[list[NodeVerdict], Field(max_length=5000, json_schema_extra=as_map("name"))] = (
        Field(default_factory=list)
    )
    """What the leader makes of each of them."""


class HAZone(Resource):
    """A failure zone: its nodes and how one of them is proved off."""

    names: ClassVar[Names] = Names(
        kind="HAZone",
        plural="hazones",
        short="haz",
        columns=(
            Column("Enabled", ".spec.enabled", "boolean"),
            Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            Column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
            Column("Nodes", ".status.nodes", wide=True),
            Column("Message", ".status.conditions[?(@.type=='Ready')].message", wide=True),
            AGE,
        ),
    )

    kind: str = "HAZone"
    spec: HAZoneSpec
    """What the administrator declares."""
    status: HAZoneStatus = Field(default_factory=HAZoneStatus)
    """What the controller says."""
