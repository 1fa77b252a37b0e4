"""``ringfence dry-run``: what the acting controller would decide if nodes fell silent now, as people read it.

The controller answers (`controller/foresight.py`); here its words only get their places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ringfence.cli.document import Document
from ringfence.cli.picture import Reader

FENCED = ("Fencing", "Recovering")
"""Phases right after the hold in which the VMs will be started elsewhere without anybody's help."""


class NothingSupposedError(Exception):
    """The acting controller can't say."""


@dataclass(frozen=True, slots=True)
class Supposed:
    """One node's part of the answer: facts in groups, each with its lines."""

    node: str
    outcome: str
    good: bool
    """Its protected VMs would run again without anybody's help."""
    facts: tuple[tuple[str, str], ...]
    groups: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def ask(reader: Reader, release: str, nodes: Sequence[str]) -> Mapping[str, object]:
    """The controller's answer as it gave it. Raises NothingSupposedError, ClusterError."""
    answer = reader.dry_run(release, nodes)
    if trouble := Document(answer).text("trouble"):
        raise NothingSupposedError(trouble)
    return answer


def read(answer: Mapping[str, object]) -> tuple[Supposed, ...]:
    """The same, node by node."""
    told = Document(answer)
    return tuple(_supposed(told, node) for node in told.parts("nodes"))


def _supposed(told: Document, node: Document) -> Supposed:
    fence = node.part("fence")
    facts = (
        ("now", f"{node.text('verdict') or 'no verdict'} {node.text('sentence')}".strip()),
        ("open failover", node.text("openFailover")),
        ("would be", f"{node.text('supposed', 'verdict')} {node.text('supposed', 'sentence')}"),
        ("held for", f"{told.text('holdSeconds')} s" if node.text("phase") else ""),
        ("then", f"{node.text('phase')}: {node.text('phaseSentence')}" if node.text("phase") else ""),
    )
    refusals = tuple((one.text("limit"), _refusal(one)) for one in node.parts("refusals"))
    levels = tuple(
        (
            f"level {level.text('level')}",
            "; ".join(_device(one) for one in level.parts("devices")) + _hedge(level),
        )
        for level in fence.parts("levels")
    )
    plan = (
        *(levels or (("devices", "none: after its death a person must confirm that it is off"),)),
        *(
            (("proofs", f"{fence.text('proofsRequired')} are demanded"),)
            if fence.at("proofsRequired") != 1
            else ()
        ),
        *((("delay", f"{fence.text('orderDelaySeconds')} s"),) if fence.at("orderDelaySeconds") else ()),
        ("begins", fence.text("first")),
    )
    pods = tuple(
        (f"{number}. {one.text('role').lower().replace('_', '-')}", one.text("pods"))
        for number, one in enumerate(node.parts("deletions"), 1)
    )
    groups = (
        ("refused now, and why", refusals),
        ("fence", plan),
        ("deleted under the proof, one line after the other", pods),
        ("VMs", tuple(_vms(node))),
        ("left alone", tuple((_name(one), one.text("reason")) for one in node.parts("left"))),
    )
    return Supposed(
        node.text("node"),
        node.text("outcome"),
        node.text("phase") in FENCED,
        facts,
        tuple(group for group in groups if group[1]),
    )


def _refusal(one: Document) -> str:
    found = "" if one.at("whenFoundOff") is True else " (not where it is found off without an order)"
    return f"{one.text('sentence')}{found}"


def _device(one: Document) -> str:
    how = one.text("how")
    state = f"NOT usable: {one.text('unusable')}" if one.text("unusable") else "usable"
    error = f", last failure: {one.text('error')}" if one.text("error") else ""
    return f"{one.text('name')} ({how}) {state}{error}"


def _hedge(level: Document) -> str:
    after = level.text("hedgeAfterSeconds")
    return f"; the next level beside it after {after} s" if after else ""


def _vms(node: Document) -> Iterator[tuple[str, str]]:
    targets = node.text("targets") or "no node that could take it"
    for vm in node.parts("vms"):
        said = f"Protected={vm.text('protected')} {vm.text('reason')}".strip()
        if vm.text("protected") != "True" and vm.text("message"):
            said += f": {vm.text('message')}"
        yield (
            _name(vm),
            f"{vm.text('runStrategy') or 'gone'}; {said}; {vm.text('then')}; on one of: {targets}",
        )


def _name(one: Document) -> str:
    return f"{one.text('namespace')}/{one.text('name')}"
