"""A person's word that a node is off: the one fence that nobody can check.

So nothing is passed on while the node shows a sign of life, it is shown in full what is being confirmed and what is at stake,
the word binds to one Failover (one boot of one node), and the API server is asked who is speaking; its admission policy
compares that name with the one written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ringfence.cli.document import Document
from ringfence.cli.incident import Incident, device_line, tell
from ringfence.cli.life import Vitals, vitals
from ringfence.cli.picture import AWAITING_CONFIRMATION, CLOSED, HELD, NodeRow, Reader, objects, started
from ringfence.ports import ClusterError, NotFound

FLAG = "--i-have-checked-that-it-is-off"


TAKES_A_WORD = frozenset({AWAITING_CONFIRMATION, HELD})
"""A limit that forbids to order a node off doesn't make a person's knowledge of it less true."""


class NotAskedError(Exception):
    """The node's Failover does not wait for a confirmation, or the node lives; the sentence says which."""


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
    vms: tuple[str, ...]
    """Each VM that will start elsewhere, with the disks at stake."""
    vitals: Vitals

    def lines(self) -> tuple[str, ...]:
        """What the person must have read before the answer."""
        story = self.story
        record = story.failover
        return (
            f"Confirming, as {self.user}, that this node is powered off:",
            f"  node      {self.node} (UID {self.node_uid})",
            f"  boot      {self.boot_id}",
            f"  failover  {self.failover}, since {record.started_at if record else '?'}",
            f"  sentence  {(record.sentence if record else '') or '-'}",
            *(f"  vote      {vote.line}" for vote in story.votes),
            *(f"  device    {device}" for device in story.devices),
            *(f"  order     {order}" for order in story.orders),
            *(f"  life      {sign}" for sign in self.vitals.old),
            *(f"  not seen  {source}" for source in self.vitals.unread),
            *(f"  VM        {vm}" for vm in self.vms or ("none is on record",)),
            "These VMs will start on other nodes at once, on the same disks.",
            "If the node still runs, they run twice and their disks are destroyed. Nothing else checks this.",
        )

    def checks(self) -> tuple[str, ...]:
        """What to look at before the word is given."""
        return (
            f"Before you confirm, see for yourself that {self.node} is off:",
            '  - at the machine or its console: no power light, no picture; "it does not answer" is not off',
            "  - every power supply: pull the plug, or switch the outlet off and see it off",
            f"  - that it is {self.node} that you look at: its name and serial number, not its place in the rack",
            "  - that nobody and nothing switches it on again before ringfence says that its VMs run (power policy, BMC)",
            f"Then: ringfence fence confirm {self.node} {FLAG}",
        )


def prepare(reader: Reader, node: str, release: str, now: datetime) -> Confirmation:
    """Look whether the node's Failover waits for a person, and whether the node shows signs of life.

    ``release`` is ringfence's namespace. Raises NotAskedError, NotFound, ClusterError.
    """
    failover = _open(reader, node)
    if failover.text("status", "phase") not in TAKES_A_WORD:
        if given := failover.text("spec", "confirm", "confirmedBy"):
            raise NotAskedError(
                f"{failover.name} was confirmed by {given} already: {failover.text('spec', 'confirm', 'statement')!r}"
            )
        phase = failover.text("status", "phase") or "no phase yet"
        sentence = failover.text("status", "sentence")
        raise NotAskedError(
            f"{failover.name} does not wait for a confirmation; it is in {phase}"
            + (f": {sentence}" if sentence else "")
        )
    seen = vitals(reader, failover, release, now)
    if seen.fresh:
        raise NotAskedError(
            f"{node} shows signs of life, so nothing was confirmed: {'; '.join(seen.fresh)}."
            " Find out what still runs; a node that is off goes silent: ask again then"
        )
    if not seen.looked:
        raise NotAskedError(
            f"it can't be seen whether {node} shows signs of life, so nothing was confirmed: {'; '.join(seen.unread)}"
        )
    return _asked(reader, failover, seen)


def give(reader: Reader, asked: Confirmation, statement: str) -> None:
    """Write the confirmation. Raises ClusterError; Conflict or Refused if it is no longer that Failover."""
    reader.confirm_failover(asked.failover, asked.uid, statement, asked.user)


def _open(reader: Reader, node: str) -> Document:
    """The node's open Failover; there is at most one."""
    failovers = objects(reader, "failovers")
    own = [f for f in failovers if f.text("spec", "node") == node and f.text("status", "phase") not in CLOSED]
    if own:
        return max(own, key=started)
    if named := next((f for f in failovers if f.name == node), None):
        raise NotFound(
            f"{node} is a Failover; give the name of its node: ringfence fence confirm {named.text('spec', 'node')}",
            status=404,
        )
    raise NotFound(f"{node} has no open Failover: nothing waits for a confirmation", status=404)


def _asked(reader: Reader, failover: Document, seen: Vitals) -> Confirmation:
    node = failover.text("spec", "node")
    row = NodeRow(name=node, zone="", ready="", verdict="", power="", agent="", sentence="")
    try:
        devices = tuple(
            device_line(d) for d in objects(reader, "fencedevices") if node in d.texts("spec", "nodes")
        )
    except ClusterError as error:
        devices = (f"not shown: {error}",)
    return Confirmation(
        failover=failover.name,
        uid=failover.text("metadata", "uid"),
        node=node,
        node_uid=failover.text("spec", "nodeUID"),
        boot_id=failover.text("spec", "bootID"),
        user=reader.whoami(),
        story=tell(failover, row, failover.text("spec", "bootID"), devices),
        vms=tuple(_stake(reader, vm) for vm in failover.parts("status", "vms")),
        vitals=seen,
    )


def _stake(reader: Reader, vm: Document) -> str:
    """One VM with the disks that two instances of it would destroy."""
    namespace, name = vm.text("namespace"), vm.text("name")
    return f"{namespace}/{name}, {_disks(reader, namespace, name)}"


def _disks(reader: Reader, namespace: str, name: str) -> str:
    from ringfence.kube.objects import VmObject  # noqa: PLC0415 - wanted by this command only

    try:
        claims = VmObject.from_raw(reader.get_vm(namespace, name)).claims
    except ClusterError as error:
        return f"disks not shown: {error}"
    return f"disks: {', '.join(claims)}" if claims else "no shared disk"
