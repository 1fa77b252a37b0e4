"""A person's leave to go on against a limit that weighs what is likely: a storm, a whole zone, planned work, a flapping node.

The other limits end by themselves when their reason does; nobody's leave makes a minority the larger side.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.cli.document import Document
from ringfence.cli.picture import CLOSED, HELD, Reader, objects, started
from ringfence.core.failover import refusals
from ringfence.ports import NotFound


class NoLeaveError(Exception):
    """The Failover isn't held by what a person may overrule; the sentence says what it does."""


@dataclass(frozen=True, slots=True)
class Leave:
    """What is about to be released, and by whom."""

    failover: str
    uid: str
    node: str
    held: str
    """The limit's sentence."""
    vms: tuple[str, ...]
    user: str

    def lines(self) -> tuple[str, ...]:
        """What the person must have read before the answer."""
        return (
            f"Releasing, as {self.user}, this node to be fenced:",
            f"  node      {self.node}",
            f"  failover  {self.failover}",
            f"  held      {self.held}",
            *(f"  VM        {vm}" for vm in self.vms or ("none is on record",)),
            (
                "If what many nodes have in common has failed (a switch, a storage), mend that instead: fencing them mends nothing,"
                " and their VMs will run on fewer nodes."
            ),
        )


def prepare(reader: Reader, name: str) -> Leave:
    """Look whether the Failover of this name, or of the node of this name, waits for a leave. Raises NoLeaveError, NotFound,
    ClusterError.
    """
    failover = _find(reader, name)
    phase, held = failover.text("status", "phase"), failover.text("status", "heldReason")
    if given := failover.text("spec", "release", "by"):
        raise NoLeaveError(
            f"{failover.name} was released by {given} already: {failover.text('spec', 'release', 'reason')!r}"
        )
    if phase != HELD:
        raise NoLeaveError(f"{failover.name} is not held; it is in {phase or 'no phase yet'}")
    limit = refusals.of(held)
    if limit is None or not limit.releasable:
        raise NoLeaveError(
            f"{failover.name} is held for another reason, which nobody's leave ends: {held or 'none is told'}."
            f" It goes on by itself when that ends{'. ' + limit.mend if limit is not None else ''}"
        )
    return Leave(
        failover=failover.name,
        uid=failover.text("metadata", "uid"),
        node=failover.text("spec", "node"),
        held=held,
        vms=tuple(f"{vm.text('namespace')}/{vm.text('name')}" for vm in failover.parts("status", "vms")),
        user=reader.whoami(),
    )


def give(reader: Reader, asked: Leave, reason: str) -> None:
    """Write it. Raises ClusterError; Conflict or Refused if it is no longer that Failover."""
    reader.release_failover(asked.failover, asked.uid, reason, asked.user)


def _find(reader: Reader, name: str) -> Document:
    failovers = objects(reader, "failovers")
    if named := next((f for f in failovers if f.name == name), None):
        return named
    own = [f for f in failovers if f.text("spec", "node") == name and f.text("status", "phase") not in CLOSED]
    if own:
        return max(own, key=started)
    raise NotFound(f"there is no Failover {name}, and no open one of a node of that name", status=404)
