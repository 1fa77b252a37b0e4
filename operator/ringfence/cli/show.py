"""How a picture looks: tables of plain columns on a terminal, the same rows as JSON or YAML for programs.

Colour says nothing that the words don't; rich leaves it out for NO_COLOR and where the output is no terminal. There
lines aren't folded either, so ``grep`` and ``awk`` see one row as one line.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TextIO

import rich.console
import rich.table
import rich.text

from ringfence.cli.chronicle import EventRow
from ringfence.cli.devices import DeviceRow
from ringfence.cli.doctor.finding import Finding, Level
from ringfence.cli.document import instant
from ringfence.cli.guest import GuestStory
from ringfence.cli.incident import Incident, Present
from ringfence.cli.keys import KeysRow
from ringfence.cli.picture import FailoverRow, NodeRow, Picture, ProtectedVMRow, ZoneRow
from ringfence.cli.ring import MemberRow, Ring
from ringfence.cli.simulation import Played, StoryRow
from ringfence.cli.supposition import Supposed

PIPE_WIDTH = 10_000
"""Columns of an output that is no terminal: nothing is folded there."""

_COLOURS = {
    "True": "green",
    "Healthy": "green",
    "on": "green",
    "off": "red",
    "False": "red",
    "Down": "bold red",
    "Suspect": "yellow",
    "Unknown": "yellow",
    "Disarmed": "bold yellow",
    "Paused": "bold yellow",
    "DryRun": "bold yellow",
    "ok": "green",
    "warning": "yellow",
    "broken": "bold red",
    "unknown": "yellow",
}


class Format(StrEnum):
    """What ``-o`` takes."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


def console(file: TextIO) -> rich.console.Console:
    if file.isatty():
        return rich.console.Console(file=file, highlight=False)
    return rich.console.Console(file=file, highlight=False, width=PIPE_WIDTH)


def as_text(value: object, form: Format) -> str:
    """A dataclass, or a list of them, as JSON or YAML with camelCase keys."""
    plain = _plain(value)
    if form is Format.JSON:
        return json.dumps(plain, indent=2)
    import yaml  # noqa: PLC0415 - wanted by few, and slow

    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)).rstrip()


def picture(out: rich.console.Console, shown: Picture, now: datetime, *, wide: bool) -> None:
    if "haclusters" in shown.unread:
        out.print("ringfence: you may not list haclusters")
    else:
        leader = f", led by {shown.leader}" if shown.leader else ", nobody leads"
        mode = rich.text.Text(shown.mode or "no HACluster named default", style=_COLOURS.get(shown.mode, ""))
        message = f"; {shown.message}" if shown.message else ""
        out.print(rich.text.Text.assemble("ringfence: ", mode, leader, message))

    def section(title: str, source: str, table: rich.table.Table, empty: str = "none") -> None:
        _section(out, title, table, f"you may not list {source}" if source in shown.unread else empty)

    unwatched = "none: ringfence watches no node until a HAZone names its nodes"
    section("ZONES", "hazones", _zones(shown.zones), unwatched)
    section("NODES", "nodes", _nodes(shown.nodes, wide=wide))
    section("PROTECTED VMS", "protectedvms", _vms(shown.vms))
    section("OPEN FAILOVERS", "failovers", failovers(shown.failovers, now, wide=wide))
    if shown.unread:
        out.print(f"\nnote: not all is shown: you may not list {', '.join(shown.unread)}")


def failovers(rows: Sequence[FailoverRow], now: datetime, *, wide: bool) -> rich.table.Table:
    table = _table("NAME", "NODE", *(("BOOT",) if wide else ()), "PHASE", "VMS", "AGE", "SENTENCE")
    for row in rows:
        sentence = row.sentence
        if row.waits:
            sentence = f"{sentence} [waits for: ringfence fence confirm {row.node}]".strip()
        _row(
            table,
            *(row.name, row.node),
            *((row.boot_id,) if wide else ()),
            *(row.phase, str(row.vms), age(row.started_at, now), sentence),
        )
    return table


def devices(rows: Sequence[DeviceRow], now: datetime, *, wide: bool) -> rich.table.Table:
    more = ("POWER",) if wide else ()
    table = _table("DEVICE", "DRIVER", "NODE", "READY", "PROVED", "DRILLED", *more, "MESSAGE")
    for row in rows:
        _row(
            table,
            *(row.device, row.driver, row.node, row.ready),
            age(row.proved_at, now) or "never",
            age(row.drilled_at, now) or "never",
            *((row.power,) if wide else ()),
            "; ".join(filter(None, (row.message, f"drill {row.drill}" if row.drill else ""))),
        )
    return table


def findings(out: rich.console.Console, rows: Sequence[Finding], *, wide: bool) -> None:
    """What is not in order; with ``wide`` also what is. And a line that counts."""
    shown = [row for row in rows if wide or row.level is not Level.OK]
    table = _table("PART", "LEVEL", "ABOUT", "SENTENCE")
    for row in shown:
        _row(table, row.part, row.level.value, row.about, row.sentence)
    if shown:
        out.print(table)
    counts = [(level, sum(row.level is level for row in rows)) for level in Level]
    told = ", ".join(f"{count} {level}" for level, count in counts if count)
    out.print(_words(f"{len(rows)} findings: {told or 'nothing was looked at'}"))


def events(rows: Sequence[EventRow]) -> rich.table.Table:
    table = _table("AT", "ABOUT", "REASON", "SENTENCE")
    for row in rows:
        _row(table, row.at, row.regarding, row.reason, row.sentence)
    return table


def ring(out: rich.console.Console, shown: Ring, *, wide: bool) -> None:
    out.print(_members(shown.members, wide=wide))
    if wide and shown.followed:
        out.print(
            _words(f"\nroster epoch {shown.roster_epoch}; the controller follows {', '.join(shown.followed)}")
        )
    if shown.note:
        out.print(_words(f"\nnote: {shown.note}"))


def _members(rows: Sequence[MemberRow], *, wide: bool) -> rich.table.Table:
    more = (
        ("LAG MS", "STRETCH", "EPOCH", "VERSION", "PERMITTED", "NETWORKS", "OBSERVERS", "SEEN BY")
        if wide
        else ()
    )
    table = _table(
        "NAME", "ZONE", "VERDICT", "STATE", "RTT MS", "LOSS %", "HEARD S", "AGENT", *more, "SENTENCE"
    )
    for row in rows:
        extra = (
            *(row.lag, row.stretch, row.epoch, row.version, " ".join(row.permitted), " ".join(row.networks)),
            *(", ".join(row.observers), " ".join(row.states)),
        )
        _row(
            table,
            *(row.name, row.zone, row.verdict, row.state, row.rtt, row.loss, row.heard, row.agent),
            *(extra if wide else ()),
            row.sentence,
        )
    return table


def event_line(row: EventRow) -> str:
    """One event as one line, for a watch."""
    return f"{row.at}  {row.regarding}  {row.reason}: {row.sentence}"


def incident(out: rich.console.Console, shown: Incident) -> None:
    out.print(_words(f"node {shown.node.name}"))
    _facts(
        out,
        ("zone", shown.node.zone or "none: ringfence doesn't watch this node"),
        ("verdict", " ".join(filter(None, (shown.node.verdict, shown.node.sentence)))),
        ("Kubernetes", f"Ready={shown.node.ready}" if shown.node.ready else "no such Node"),
        ("power", shown.node.power),
        ("boot", shown.boot_id),
        *(("fence device", device) for device in shown.devices),
    )
    if shown.present is not None:
        _present(out, shown.present)
    if shown.failover is not None:
        _failover(out, shown, shown.failover)
    else:
        out.print("\nno failover is recorded for this node")
    _advice(out, shown.waits_for, shown.could_do)
    if shown.events:
        out.print("\nevents (oldest first)")
        for row in shown.events:
            out.print(_words(f"  {event_line(row)}"))
    _notes(out, shown.notes)


def _present(out: rich.console.Console, present: Present) -> None:
    member = present.member
    out.print("\nthe ring now")
    path = f"{member.rtt} ms, {member.loss or '?'} % lost" if member.rtt else ""
    ago = f"{present.round_ago:.1f} s ago" if present.round_ago is not None else "at an unknown time"
    _facts(
        out,
        ("state", member.state or "none of the followed agents has to do with it"),
        ("path", path),
        ("heard", f"{member.heard} s ago" if member.heard else "by none of the followed agents"),
        ("its agent", " ".join(filter(None, (member.version, member.agent)))),
        ("observers", ", ".join(member.observers)),
        *(("network", word) for word in present.networks),
        *(("says", word) for word in member.states),
        (
            "last round",
            f"begun {ago}, as {present.reporter} tells" if present.votes else "none that is remembered",
        ),
        *(("vote", vote.line) for vote in present.votes),
    )


def _failover(out: rich.console.Console, shown: Incident, failover: FailoverRow) -> None:
    out.print(_words(f"\nfailover {failover.name}: {failover.phase}"))
    _facts(
        out,
        ("sentence", failover.sentence),
        ("boot", failover.boot_id),
        ("begun", failover.started_at),
        ("held by", shown.held),
        *(("vote", vote.line) for vote in shown.votes),
        *(("order", order) for order in shown.orders),
        *(("proof", proof) for proof in shown.proofs or ("none: nothing was started elsewhere",)),
        *(("VM", vm) for vm in shown.vms),
        *(("condition", condition) for condition in shown.conditions),
    )
    if shown.timeline:
        out.print("\ntimeline (seconds since the incident began)")
        for moment in shown.timeline:
            out.print(_words(f"  {moment.seconds:+9.1f}  {moment.what}"))


def guest(out: rich.console.Console, shown: GuestStory) -> None:
    """A VM: its protection, its node, its latest incident."""
    out.print(_words(f"VM {shown.namespace}/{shown.name}"))
    nobody = "by nobody: there is no ProtectedVM that names it"
    condition = " ".join(filter(None, (f"Protected={shown.protected}", shown.reason)))
    _facts(
        out,
        ("KubeVirt", ", ".join(filter(None, (shown.status, shown.run_strategy))) or "no such VirtualMachine"),
        ("node", shown.node.name if shown.node else ""),
        ("its verdict", f"{shown.node.verdict} {shown.node.sentence}".strip() if shown.node else ""),
        (
            "protected",
            f"by {shown.protected_by}, priority {shown.priority or '100'}" if shown.protected else nobody,
        ),
        ("on node failure", shown.on_node_failure),
        ("condition", f"{condition}: {shown.message}" if shown.protected else ""),
    )
    if shown.failover is not None:
        out.print(_words(f"\nits latest failover {shown.failover.name}: {shown.failover.phase}"))
        _facts(
            out,
            ("of node", shown.failover.node),
            ("begun", shown.failover.started_at),
            ("sentence", shown.failover.sentence),
            ("this VM", shown.state),
        )
    else:
        out.print("\nno failover of it is on record")
    _advice(out, shown.waits_for, shown.could_do)
    _notes(out, shown.notes)


def _advice(out: rich.console.Console, waits_for: str, could_do: Sequence[str]) -> None:
    if waits_for:
        out.print(_words(f"\nwaits for {waits_for}"))
    if could_do:
        out.print("\nyou could")
        for line in could_do:
            out.print(_words(f"  {line}"))


def _notes(out: rich.console.Console, notes: Sequence[str]) -> None:
    if notes:
        out.print("\nnot shown")
        for note in notes:
            out.print(_words(f"  {note}"))


def supposed(out: rich.console.Console, rows: Sequence[Supposed]) -> None:
    """What would be done and refused, node by node; the outcome is the last line of each."""
    names = ", ".join(row.node for row in rows)
    out.print(_words(f"if {names} fell silent now (nothing is done or written)", style="bold"))
    for row in rows:
        out.print(_words(f"\n{row.node}"))
        _facts(out, *row.facts)
        for title, lines in row.groups:
            out.print(_words(f"\n{row.node}: {title}"))
            _facts(out, *lines)
        out.print(_words(f"\n{row.outcome}", style="green" if row.good else "bold red"))


def stories(rows: Sequence[StoryRow]) -> rich.table.Table:
    table = _table("STORY", "WHAT IT SHOWS")
    for row in rows:
        _row(table, row.name, row.title)
    return table


_KINDS = {
    "fault": "bold red",
    "order": "yellow",
    "world": "cyan",
    "Held": "magenta",
    "AwaitingConfirmation": "magenta",
    "Recovered": "green",
    "Closed": "green",
}


def played(out: rich.console.Console, shown: Played) -> None:
    """A story: what it is about, then line by line what happened and what was decided."""
    out.print(_words(shown.title or shown.name, style="bold"))
    if shown.about:
        out.print(_words(f"\n{shown.about}"))
    out.print("\nseconds")
    for line in shown.lines:
        style = _KINDS.get(line.kind, "")
        kind = rich.text.Text(f"{line.kind}: " if line.kind else "", style=style)
        out.print(rich.text.Text.assemble((f"{line.at:7.2f} ", "dim"), kind, line.text))
    if not shown.broken:
        out.print(_words(f"\n{shown.seconds:g} s were played, and every invariant held", style="green"))


def keys(out: rich.console.Console, row: KeysRow) -> None:
    _facts(
        out,
        ("generation", f"{row.generation}" + ("" if row.done else f" ({row.asked} is asked for)")),
        ("step", row.step),
        ("keys that open", ", ".join(row.held)),
        ("key that seals", row.used),
        ("waits for", ", ".join(row.waiting_for)),
        ("sentence", row.sentence),
    )


def age(since: str, now: datetime) -> str:
    """As kubectl says it: 42s, 7m, 3h, 12d."""
    begun = instant(since)
    if begun is None:
        return ""
    seconds = max(0, int((now - begun).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _zones(rows: Sequence[ZoneRow]) -> rich.table.Table:
    table = _table("NAME", "ENABLED", "READY", "NODES", "MESSAGE")
    for row in rows:
        _row(table, row.name, "yes" if row.enabled else "no", row.ready, " ".join(row.nodes), row.message)
    return table


def _nodes(rows: Sequence[NodeRow], *, wide: bool) -> rich.table.Table:
    more = ("POWER", "AGENT") if wide else ()
    table = _table("NAME", "ZONE", "READY", "VERDICT", *more, "SENTENCE")
    for row in rows:
        extra = (row.power, row.agent) if wide else ()
        _row(table, row.name, row.zone, row.ready, row.verdict, *extra, row.sentence)
    return table


def _vms(rows: Sequence[ProtectedVMRow]) -> rich.table.Table:
    table = _table("NAMESPACE", "NAME", "VM", "NODE", "PROTECTED", "MESSAGE")
    for row in rows:
        _row(table, row.namespace, row.name, row.vm, row.node, row.protected, row.message)
    return table


def _section(out: rich.console.Console, title: str, table: rich.table.Table, empty: str) -> None:
    out.print(_words(f"\n{title}", style="bold"))
    if table.row_count:
        out.print(table)
    else:
        out.print(_words(empty))


def _facts(out: rich.console.Console, *facts: tuple[str, str]) -> None:
    table = rich.table.Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value:
            table.add_row(_words(f"  {name}"), _words(value))
    out.print(table)


def _table(*columns: str) -> rich.table.Table:
    table = rich.table.Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="")
    for column in columns:
        table.add_column(column, no_wrap=column not in {"SENTENCE", "MESSAGE", "NODES"}, overflow="fold")
    return table


def _row(table: rich.table.Table, *cells: str) -> None:
    table.add_row(*(_words(cell or "-", style=_COLOURS.get(cell, "")) for cell in cells))


def _words(text: str, style: str = "") -> rich.text.Text:
    """Plain text: brackets in somebody's sentence are no markup."""
    return rich.text.Text(text, style=style)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, StrEnum):
        return value.value
    if dataclasses.is_dataclass(value):
        return {_camel(f.name): _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join({"id": "ID", "uid": "UID"}.get(word, word.capitalize()) for word in rest)
