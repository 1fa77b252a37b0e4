"""One node's story: what ringfence thinks of it now and who says so, what it thought before, and its latest Failover.

The record's shape belongs to the controller; here each list of it becomes one line an item, with the fields that a
person asks for first and whatever else stands beside them. What can't be had (no right to it, no acting controller)
is left out with a note: the rest is still worth telling.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ringfence.cli import advice
from ringfence.cli.ballot import VoteRow, vote_rows
from ringfence.cli.chronicle import EventRow, event_rows
from ringfence.cli.document import Document, instant
from ringfence.cli.picture import (
    CLOSED,
    FailoverRow,
    NodeRow,
    Reader,
    failover_row,
    node_rows,
    objects,
    started,
)
from ringfence.cli.ring import MemberRow, ring
from ringfence.ports import ClusterError, Forbidden, NotFound

EVENTS_TOLD = 20
"""The last so many."""


class UnknownNodeError(Exception):
    """Neither Kubernetes nor a zone nor a Failover knows that name."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, ``seconds`` after the incident began."""

    seconds: float
    what: str


@dataclass(frozen=True, slots=True)
class Present:
    """What the ring says of the node now, as the acting controller hears it."""

    member: MemberRow
    reporter: str
    """The agent that told of the round; empty: no round about this boot is known."""
    round_ago: float | None
    """Seconds since the latest round about it began."""
    votes: tuple[VoteRow, ...]
    networks: tuple[str, ...] = ()
    """Each further network with its address and state; the management network where it is dead."""


@dataclass(frozen=True, slots=True)
class Incident:
    """What ``explain`` shows."""

    node: NodeRow
    boot_id: str
    """The boot that the node's agent, else its kubelet, last told."""
    devices: tuple[str, ...]
    failover: FailoverRow | None
    """The latest one of this node, open or closed."""
    held: str = ""
    """The limit that keeps it from going on."""
    votes: tuple[VoteRow, ...] = ()
    """Those that the failover's verdict rests on."""
    orders: tuple[str, ...] = ()
    proofs: tuple[str, ...] = ()
    vms: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    timeline: tuple[Moment, ...] = ()
    present: Present | None = None
    """None: ringfence has no such member, or a note says why it isn't known."""
    events: tuple[EventRow, ...] = ()
    """Verdicts about the node, and what its failovers did and refused, oldest first."""
    waits_for: str = ""
    """What the failover waits for; empty: for nothing."""
    could_do: tuple[str, ...] = ()
    """What a person could do about it."""
    notes: tuple[str, ...] = ()
    """What is not shown, and why."""


def investigate_failover(reader: Reader, name: str, release: str) -> Incident:
    """As :func:`investigate`, about this Failover, the node's latest or not. Raises NotFound too."""
    failover = next((one for one in objects(reader, "failovers") if one.name == name), None)
    if failover is None:
        raise NotFound(f"no failover {name}; ringfence failovers lists them", status=404)
    return investigate(reader, failover.text("spec", "node"), release, about=name)


def investigate(reader: Reader, name: str, release: str, about: str = "") -> Incident:
    """Read what there is about the node.

    Args:
        reader: the cluster.
        name: of the node.
        release: the namespace of the controller.
        about: the Failover to tell of; empty: the node's latest.

    Raises UnknownNodeError, NotInstalledError, ClusterError.
    """
    zones = objects(reader, "hazones")
    devices = objects(reader, "fencedevices")
    reports = objects(reader, "nodereports")
    failovers = [f for f in objects(reader, "failovers") if f.text("spec", "node") == name]
    told = next((f for f in failovers if f.name == about), max(failovers, key=started, default=None))
    try:
        nodes = tuple(Document(node) for node in reader.list_nodes())
    except Forbidden:  # zones and failovers tell enough
        nodes = ()
    row = next((r for r in node_rows(nodes, zones, devices, reports) if r.name == name), None)
    if row is None and not failovers:
        raise UnknownNodeError(f"no node {name}: neither Kubernetes nor a HAZone nor a Failover knows it")
    report = next((r for r in reports if r.name == name), Document({}))
    node = next((n for n in nodes if n.name == name), Document({}))
    seen = row or NodeRow(name=name, zone="", ready="", verdict="", power="", agent="", sentence="")
    boot = report.text("status", "bootID") or node.text("status", "nodeInfo", "bootID")
    ways = tuple(device_line(device) for device in devices if name in device.texts("spec", "nodes"))
    story = (
        tell(told, seen, boot, ways)
        if told is not None
        else Incident(node=seen, boot_id=boot, devices=ways, failover=None)
    )
    notes: list[str] = []
    over = told is None or told.text("status", "phase") in CLOSED
    could = (
        advice.of_node(seen, release)
        if told is None or (over and not about)
        else advice.of_failover(told, _mode(reader, notes))
    )
    present: Present | None = None
    events: tuple[EventRow, ...] = ()
    try:
        present = _present(Document(reader.members(release)), name)
    except ClusterError as error:
        notes.append(f"what the ring says of it now: {error}")
    try:
        events = _events(reader, name, {failover.name for failover in failovers})
    except ClusterError as error:
        notes.append(f"events: {error}")
    return replace(
        story,
        present=present,
        events=events,
        waits_for=could.waits_for,
        could_do=could.could_do,
        notes=tuple(notes),
    )


def _mode(reader: Reader, notes: list[str]) -> str:
    try:
        clusters = objects(reader, "haclusters")
    except Forbidden as error:
        notes.append(f"the HACluster's mode: {error}")
        return ""
    return next((one.text("spec", "mode") for one in clusters if one.name == "default"), "")


def _present(answer: Document, name: str) -> Present | None:
    member = next((one for one in ring(answer.content).members if one.name == name), None)
    raw = next((one for one in answer.parts("members") if one.text("name") == name), Document({}))
    if member is None:
        return None
    age = raw.at("round", "age")
    return Present(
        member=member,
        reporter=raw.text("round", "reporter"),
        round_ago=float(age) if isinstance(age, int | float) else None,
        votes=vote_rows(raw.parts("round", "votes")),
        networks=tuple(
            _network(network, raw.part("networks", network))
            for network in sorted(raw.part("networks").content)
        ),
    )


def _network(name: str, told: Document) -> str:
    rtt = f", {told.text('rttMillis')} ms" if told.text("rttMillis") else ""
    why = f" ({told.text('sentence')})" if told.text("sentence") else ""
    return f"{name}{' ' * bool(told.text('address'))}{told.text('address')}: {told.text('state') or '?'}{rtt}{why}"


def _events(reader: Reader, node: str, failovers: Collection[str]) -> tuple[EventRow, ...]:
    about = [
        row
        for row in event_rows(reader.list_events())
        if (row.kind == "Node" and row.name == node) or (row.kind == "Failover" and row.name in failovers)
    ]
    return tuple(about[-EVENTS_TOLD:])


def tell(failover: Document, node: NodeRow, boot_id: str, devices: tuple[str, ...]) -> Incident:
    """The story of this Failover."""
    status = failover.part("status")
    return Incident(
        node=node,
        boot_id=boot_id,
        devices=devices,
        failover=failover_row(failover),
        votes=vote_rows(status.parts("votes")),
        orders=_lines(status.parts("orders"), "device", "action"),
        held=status.text("heldReason"),
        proofs=tuple(_proof(proof) for proof in status.parts("proofs")),
        vms=tuple(_vm(vm) for vm in status.parts("vms")),
        conditions=tuple(_condition(c) for c in status.parts("conditions")),
        timeline=tuple(sorted(_moments(failover), key=lambda moment: moment.seconds)),
    )


def _lines(items: Sequence[Document], *first: str) -> tuple[str, ...]:
    return tuple(_line(item, *first) for item in items)


def _line(item: Document, *first: str) -> str:
    """The values of ``first``, then the other plain fields by name."""
    head = " ".join(filter(None, (item.text(name) for name in first)))
    tail = ", ".join(f"{name} {text}" for name, text in item.leaves() if name not in first)
    return f"{head} ({tail})" if tail else head


def _vm(vm: Document) -> str:
    return f"{vm.text('namespace')}/{vm.text('name')}: {vm_state(vm)}"


def vm_state(vm: Document) -> str:
    """How far the incident has come with this VM, why it stands there, and what was under way on it."""
    to = f" on {vm.text('newNode')}" if vm.text("newNode") else ""
    said = "; ".join(filter(None, (vm.text("message"), vm.text("leftover"))))
    return ": ".join(filter(None, (f"{vm.text('state') or '?'}{to}", said)))


def _proof(proof: Document) -> str:
    how = " ".join(filter(None, (proof.text("variant"), proof.text("kind"))))
    by = f"by {proof.text('device')}" if proof.text("device") else ""
    seen = f"seen {proof.text('seenAt')} by {proof.text('seenBy')}" if proof.text("seenAt") else ""
    words = ", ".join(
        filter(None, (f"{how} {by}".strip(), seen, proof.text("detail"), proof.text("statement")))
    )
    if proof.at("void") is True:
        return f"VOID ({proof.text('voidReason') or 'no reason given'}): {words}"
    return words


def _condition(condition: Document) -> str:
    head = f"{condition.text('type')}={condition.text('status')} {condition.text('reason')}".rstrip()
    return ": ".join(filter(None, (head, condition.text("message"))))


def device_line(device: Document) -> str:
    """A fence device, and whether it is proved usable."""
    ready = device.condition("Ready")
    state = "proved usable" if ready.text("status") == "True" else ready.text("reason") or "not yet proved"
    since = f" at {device.text('status', 'provedAt')}" if device.text("status", "provedAt") else ""
    detail = f": {ready.text('message')}" if ready.text("message") else ""
    return f"{device.name} ({device.text('spec', 'driver')}), {state}{since}{detail}"


def _moments(failover: Document) -> Iterator[Moment]:
    """Everything in the record that bears a time, counted from its beginning."""
    begun = started(failover)
    status = failover.part("status")

    def at(when: datetime | None, what: str) -> Iterator[Moment]:
        if when is not None:
            yield Moment((when - begun).total_seconds(), what)

    for name, value in status.part("timings").content.items():
        if isinstance(value, int | float):
            yield Moment(float(value), name)
        else:
            yield from at(instant(value), name)
    for order in status.parts("orders"):
        yield from at(order.time("sentAt"), f"order {order.text('action')} sent to {order.text('device')}")
    for proof in status.parts("proofs"):
        yield from at(proof.time("seenAt"), f"proof {proof.text('kind')}")
    yield from at(status.time("doubtedAt"), "first doubt")
    yield from at(status.time("verdict", "at"), f"verdict {status.text('verdict', 'state')}")
    yield from at(status.time("holdUntil"), "end of the hold")
    yield from at(status.time("taintStoredAt"), "suspect taint seen")
    yield from at(status.time("outOfServiceStoredAt"), "out-of-service taint seen")
    for vm in status.parts("vms"):
        name = f"{vm.text('namespace')}/{vm.text('name')}"
        yield from at(vm.time("releasedAt"), f"{name} released: its old pod is gone")
        where = f"{name} running on {vm.text('newNode') or '?'}"
        yield from at(vm.time("runningAt"), where)
    for told in status.parts("history"):
        yield from at(told.time("at"), f"{told.text('phase')}: {told.text('sentence')}")
    for condition in status.parts("conditions"):
        yield from at(condition.time("lastTransitionTime"), _condition(condition))
