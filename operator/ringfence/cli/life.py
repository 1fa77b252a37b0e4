"""Signs of life of a node, looked for before a person's word that it is off is passed on.

What the acting controller has seen is asked first: its ages are counted on one clock, from when it saw a change. The Leases and
virt-handler's heartbeat are read beside it, because they need no controller; their times were written by other clocks, so they
only ever forbid. Nothing that is found here *proves* that a node is off: that is the person's part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ringfence.cli.document import Document, instant
from ringfence.cli.picture import Reader, objects
from ringfence.core import timing
from ringfence.core.detection.evidence import LifeSign
from ringfence.ports import ClusterError

KUBELET_LEASES = "kube-node-lease"
AGENT_LEASE = "ringfence-agent-"
HEARTBEAT = "kubevirt.io/heartbeat"
DOWN = "Down"


@dataclass(frozen=True, slots=True)
class Vitals:
    """What was found."""

    fresh: tuple[str, ...] = ()
    """Each sign that forbids the word, with its age."""
    old: tuple[str, ...] = ()
    """Each sign that doesn't any more."""
    unread: tuple[str, ...] = ()
    """What could not be looked at, and why."""
    looked: bool = False
    """Whether anything at all could be."""


@dataclass(frozen=True, slots=True)
class _Found:
    what: str
    fresh: bool


def vitals(reader: Reader, failover: Document, release: str, now: datetime) -> Vitals:
    """Look for signs of life of the Failover's node; ``release`` is ringfence's namespace."""
    node = failover.text("spec", "node")
    doubted = failover.time("status", "doubtedAt") or failover.time("status", "startedAt")
    unread: list[str] = []
    sources: dict[str, Iterator[_Found]] = {
        "what the acting controller hears": _heard(reader, node, release),
        "its agent's Lease": _lease(reader, release, node, now),
        "its kubelet's Lease": _lease(reader, KUBELET_LEASES, node, now),
        "virt-handler's heartbeat": _heartbeat(reader, node, doubted, now),
    }

    def told(source: str) -> Iterator[_Found]:
        try:
            yield from sources[source]
        except ClusterError as error:
            unread.append(f"{source}: {error}")

    found = [one for source in sources for one in told(source)]
    return Vitals(
        fresh=tuple(dict.fromkeys(one.what for one in found if one.fresh)),
        old=tuple(dict.fromkeys(one.what for one in found if not one.fresh)),
        unread=tuple(unread),
        looked=len(unread) < len(sources),
    )


def _heard(reader: Reader, node: str, release: str) -> Iterator[_Found]:
    """The acting controller's verdict and signs; without its word the verdict that stands on record in the zone."""
    try:
        ring = Document(reader.members(release))
    except ClusterError:
        yield from _on_record(reader, node)
        raise
    member = next((one for one in ring.parts("members") if one.text("name") == node), Document({}))
    yield from _verdict(node, member.text("verdict"), member.text("sentence"))
    for sign in member.parts("life"):
        yield _Found(
            f"{sign.text('sign')} was seen {sign.text('age')} s ago by the acting controller",
            sign.at("fresh") is True,
        )


def _on_record(reader: Reader, node: str) -> Iterator[_Found]:
    verdicts = (v for zone in objects(reader, "hazones") for v in zone.parts("status", "nodeVerdicts"))
    known = next((v for v in verdicts if v.text("name") == node), Document({}))
    yield from _verdict(node, known.text("verdict"), known.text("sentence"))


def _verdict(node: str, verdict: str, sentence: str) -> Iterator[_Found]:
    if verdict != DOWN:
        yield _Found(
            f"ringfence does not hold it for dead: {sentence or verdict or f'{node} has no verdict'}", True
        )


def _lease(reader: Reader, namespace: str, node: str, now: datetime) -> Iterator[_Found]:
    kubelet = namespace == KUBELET_LEASES
    name = node if kubelet else AGENT_LEASE + node
    what = LifeSign.KUBELET_LEASE if kubelet else LifeSign.AGENT_LEASE
    valid = timing.KUBELET_LEASE_VALID if kubelet else timing.AGENT_LEASE_VALID
    lease = reader.get_lease(namespace, name)
    renewed = Document(lease or {}).time("spec", "renewTime")
    if renewed is not None:
        age = (now - renewed).total_seconds()
        # One renewed in the future says that the clocks differ, and nothing of its age.
        yield _Found(f"{what} was renewed {age:.0f} s ago by its own clock", age < valid)


def _heartbeat(reader: Reader, node: str, doubted: datetime | None, now: datetime) -> Iterator[_Found]:
    known = next((n for n in map(Document, reader.list_nodes()) if n.name == node), Document({}))
    beat = instant(known.at("metadata", "annotations", HEARTBEAT))
    if beat is not None:
        age = (now - beat).total_seconds()
        # It comes so seldom that one from before the doubt says nothing.
        fresh = age < timing.HEARTBEAT_VALID and (doubted is None or beat > doubted)
        yield _Found(f"{LifeSign.HEARTBEAT} came {age:.0f} s ago by its own clock", fresh)
