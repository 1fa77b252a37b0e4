"""A person's word that a node is off: the one fence that nobody can check.

So it is shown in full what is being confirmed, it binds to one Failover (one boot of one node), and the API server is
asked who is speaking; its admission policy compares that name with the one written.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.cli.document import Document
from ringfence.cli.incident import Incident, tell
from ringfence.cli.picture import NodeRow, Reader, objects, waits_for_confirmation
from ringfence.ports import NotFound


class NotAskedError(Exception):
    """The Failover does not wait for a confirmation; the sentence says what it does."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What is about to be confirmed, and as whom."""

    failover: str
    uid: str
    node: str
    node_uid: str
    boot_id: str
    user: str
    story: Incident

    def lines(self) -> tuple[str, ...]:
        """What the person must have read before the answer."""
        story = self.story
        record = story.failover
        return (
            f"You are about to state, as {self.user}, that this node is powered off:",
            f"  node      {self.node} (UID {self.node_uid})",
            f"  boot      {self.boot_id}",
            f"  failover  {self.failover}, since {record.started_at if record else '?'}",
            f"  sentence  {(record.sentence if record else '') or '-'}",
            *(f"  vote      {vote}" for vote in story.votes),
            *(f"  order     {order}" for order in story.orders),
            *(f"  VM        {vm}" for vm in story.vms),
            "Its VMs will then be started on other nodes, on the same disks.",
            "If the node still runs, they run twice and their disks are destroyed. Nothing else checks this.",
        )


def prepare(reader: Reader, name: str) -> Confirmation:
    """Look whether the Failover waits for a person. Raises NotAskedError, NotFound, ClusterError."""
    failover = next((f for f in objects(reader, "failovers") if f.name == name), None)
    if failover is None:
        raise NotFound(f"no failover {name}", status=404)
    if given := failover.text("spec", "confirm", "confirmedBy"):
        raise NotAskedError(
            f"{name} was confirmed by {given} already: {failover.text('spec', 'confirm', 'statement')!r}"
        )
    if not waits_for_confirmation(failover):
        phase = failover.text("status", "phase") or "no phase yet"
        sentence = failover.text("status", "sentence")
        raise NotAskedError(
            f"{name} does not wait for a confirmation; it is in {phase}"
            + (f": {sentence}" if sentence else "")
        )
    return _asked(failover, reader.whoami())


def give(reader: Reader, asked: Confirmation, statement: str) -> None:
    """Write the confirmation. Raises ClusterError; Conflict or Refused if it is no longer that Failover."""
    reader.confirm_failover(asked.failover, asked.uid, statement, asked.user)


def _asked(failover: Document, user: str) -> Confirmation:
    node = failover.text("spec", "node")
    row = NodeRow(name=node, zone="", ready="", verdict="", power="", agent="", sentence="")
    return Confirmation(
        failover=failover.name,
        uid=failover.text("metadata", "uid"),
        node=node,
        node_uid=failover.text("spec", "nodeUID"),
        boot_id=failover.text("spec", "bootID"),
        user=user,
        story=tell(failover, row, failover.text("spec", "bootID"), ()),
    )
