"""The picture that the commands show: rows made from the cluster's objects, and nothing that they don't say.

``gather`` asks the cluster once for each kind. What the user may not read is left out with a note: a tenant who may
list only ProtectedVMs still gets an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from ringfence.cli.document import Document
from ringfence.ports import Forbidden, NotFound

AWAITING_CONFIRMATION = "AwaitingConfirmation"
"""The phase in which a Failover wants a person's word."""
HELD = "Held"
"""The phase in which a limit forbids to act."""
CLOSED = frozenset({"Closed", "Withdrawn"})
"""Phases in which nothing more will happen to a Failover. (pydantic's kinds would cost each command their import.)"""


RESOURCES = ("haclusters", "hazones", "fencedevices", "nodereports", "protectedvms", "failovers", "nodes")
"""What ``status`` lists."""


class Reader(Protocol):
    """What the command line needs of a cluster; errors are those of ``ringfence.ports``."""

    @property
    def namespace(self) -> str:
        """The namespace of the kubeconfig's context."""
        ...

    def list_objects(self, plural: str, namespace: str | None = None) -> Sequence[Mapping[str, object]]: ...

    def list_nodes(self) -> Sequence[Mapping[str, object]]: ...

    def list_events(self) -> Sequence[Mapping[str, object]]: ...

    def members(self, namespace: str) -> Mapping[str, object]: ...

    def dry_run(self, namespace: str, nodes: Sequence[str]) -> Mapping[str, object]: ...

    def fetch(self, path: str) -> Mapping[str, object]: ...

    def fetch_text(self, path: str) -> str: ...

    def whoami(self) -> str: ...

    def get_lease(self, namespace: str, name: str) -> Mapping[str, object] | None: ...

    def get_vm(self, namespace: str, name: str) -> Mapping[str, object]: ...

    def confirm_failover(self, name: str, uid: str, statement: str, confirmed_by: str) -> None: ...

    def release_failover(self, name: str, uid: str, reason: str, by: str) -> None: ...

    def ask_for_drill(self, device: str, uid: str, request: str) -> None: ...

    def ask_for_keys(self, generation: int, without: Sequence[str]) -> None: ...


class NotInstalledError(Exception):
    """The cluster doesn't know ringfence's kinds."""


@dataclass(frozen=True, slots=True)
class ZoneRow:
    name: str
    enabled: bool
    ready: str
    nodes: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class NodeRow:
    name: str
    zone: str
    ready: str
    """Kubernetes' word: the Node's Ready condition (True, False, Unknown, missing); empty without a Node."""
    verdict: str
    """Ringfence's word, empty where there is none (the node is in no zone, or nobody leads)."""
    power: str
    agent: str
    sentence: str


@dataclass(frozen=True, slots=True)
class ProtectedVMRow:
    namespace: str
    name: str
    vm: str
    node: str
    protected: str
    """``True``, else the reason why not."""
    message: str


@dataclass(frozen=True, slots=True)
class FailoverRow:
    name: str
    node: str
    boot_id: str
    phase: str
    started_at: str
    vms: int
    waits: bool
    """It waits for a person's confirmation."""
    closed: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that ``status`` shows."""

    mode: str
    leader: str
    message: str
    """What is in the way; empty while nothing is."""
    zones: tuple[ZoneRow, ...]
    nodes: tuple[NodeRow, ...]
    vms: tuple[ProtectedVMRow, ...]
    failovers: tuple[FailoverRow, ...]
    """The open ones, oldest first."""
    unread: tuple[str, ...] = field(default=())
    """The resources that this user may not list; their part of the picture is missing, not empty."""


def gather(reader: Reader, namespace: str | None = None) -> Picture:
    """Read the cluster; ``namespace`` narrows the protected VMs.

    A forbidden list leaves its part out. Raises Forbidden if all are, NotInstalledError, ClusterError.
    """
    unread: list[str] = []

    def permitted(plural: str, within: str | None = None) -> tuple[Document, ...]:
        try:
            if plural == "nodes":
                return tuple(Document(node) for node in reader.list_nodes())
            return objects(reader, plural, within)
        except Forbidden:
            unread.append(plural)
            if len(unread) == len(RESOURCES):
                raise
            return ()

    read = {
        plural: permitted(plural, namespace if plural == "protectedvms" else None) for plural in RESOURCES
    }
    cluster = next((c for c in read["haclusters"] if c.name == "default"), Document({}))
    ready = cluster.condition("Ready")
    vms = sorted(read["protectedvms"], key=lambda vm: (vm.text("metadata", "namespace"), vm.name))
    return Picture(
        mode=cluster.text("spec", "mode") or ("Active" if cluster.content else ""),
        leader=cluster.text("status", "leader"),
        message="" if ready.text("status") == "True" else ready.text("message"),
        zones=tuple(zone_row(zone) for zone in sorted(read["hazones"], key=lambda zone: zone.name)),
        nodes=node_rows(read["nodes"], read["hazones"], read["fencedevices"], read["nodereports"]),
        vms=tuple(vm_row(vm) for vm in vms),
        failovers=tuple(row for row in failover_rows(read["failovers"]) if not row.closed),
        unread=tuple(unread),
    )


def objects(reader: Reader, plural: str, namespace: str | None = None) -> tuple[Document, ...]:
    """All objects of a kind of ours. Raises NotInstalledError, ClusterError."""
    try:
        return tuple(Document(item) for item in reader.list_objects(plural, namespace))
    except NotFound as error:
        raise NotInstalledError(
            f"this cluster has no {plural}.ringfence.io: install ringfence's CRDs and chart first"
        ) from error


def zone_row(zone: Document) -> ZoneRow:
    ready = zone.condition("Ready")
    return ZoneRow(
        name=zone.name,
        enabled=zone.at("spec", "enabled") is not False,
        ready=_true_or_reason(ready),
        nodes=zone.texts("status", "nodes"),
        message=ready.text("message"),
    )


def node_rows(
    nodes: Sequence[Document],
    zones: Sequence[Document],
    devices: Sequence[Document],
    reports: Sequence[Document],
) -> tuple[NodeRow, ...]:
    """One row for each node that Kubernetes knows or a zone names, by name."""
    known = {node.name: node for node in nodes}
    zone_of = {name: zone.name for zone in zones for name in zone.texts("status", "nodes")}
    verdicts = {v.text("name"): v for zone in zones for v in zone.parts("status", "nodeVerdicts")}
    power = {
        p.text("node"): p.text("power") for device in devices for p in device.parts("status", "powerState")
    }
    agents = {report.name: report.text("status", "agentVersion") for report in reports}
    nothing = Document({})
    return tuple(
        NodeRow(
            name=name,
            zone=zone_of.get(name, ""),
            ready=(known[name].condition("Ready").text("status") or "missing") if name in known else "",
            verdict=verdicts.get(name, nothing).text("verdict"),
            power=power.get(name, ""),
            agent=agents.get(name, ""),
            sentence=verdicts.get(name, nothing).text("sentence"),
        )
        for name in sorted(known.keys() | zone_of.keys() | verdicts.keys())
    )


def vm_row(vm: Document) -> ProtectedVMRow:
    protected = vm.condition("Protected")
    return ProtectedVMRow(
        namespace=vm.text("metadata", "namespace"),
        name=vm.name,
        vm=vm.text("spec", "vm", "name"),
        node=vm.text("status", "node"),
        protected=_true_or_reason(protected),
        message=protected.text("message"),
    )


def failover_rows(failovers: Sequence[Document]) -> tuple[FailoverRow, ...]:
    """All of them, oldest first."""
    return tuple(failover_row(failover) for failover in sorted(failovers, key=started))


def failover_row(failover: Document) -> FailoverRow:
    return FailoverRow(
        name=failover.name,
        node=failover.text("spec", "node"),
        boot_id=failover.text("spec", "bootID"),
        phase=failover.text("status", "phase"),
        started_at=failover.text("status", "startedAt") or failover.text("metadata", "creationTimestamp"),
        vms=len(failover.parts("status", "vms")),
        waits=waits_for_confirmation(failover),
        closed=failover.text("status", "phase") in CLOSED,
        sentence=failover.text("status", "sentence"),
    )


def waits_for_confirmation(failover: Document) -> bool:
    """Whether the controller asks a person to confirm that this node is off."""
    return failover.text("status", "phase") == AWAITING_CONFIRMATION


def started(failover: Document) -> datetime:
    """When the incident began, or the object was made; the epoch for one that says neither."""
    return (
        failover.time("status", "startedAt")
        or failover.time("metadata", "creationTimestamp")
        or datetime.fromtimestamp(0, UTC)
    )


def _true_or_reason(condition: Document) -> str:
    """``True``, else the reason; ``?`` while nobody has judged."""
    if condition.text("status") == "True":
        return "True"
    return condition.text("reason") or condition.text("status") or "?"
