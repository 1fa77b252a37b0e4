"""What must hold after every test, judged from outside: by the guests' disks, the API's audit trail and the power log.

The judgement is pure (:func:`judge`); :func:`evidence` gathers what it is made from. Nothing of it is ringfence's own
word: a node counts as off when the lab itself killed its process 1, whoever asked for that.

Rules, by DESIGN's numbers: one writer per disk (1); no grace-0 deletion of a pod, no out-of-service taint and no
deletion of a VMI by our accounts before that node's power was really off (2); only the leader writes (3). Nor do our accounts
ever delete a VolumeAttachment: only the storage driver knows when it has let go.
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import ticks
from lab.audit import Write, writes

if TYPE_CHECKING:
    from lab.cluster import Lab

NAMESPACE = "ringfence-system"
CONTROLLER = f"system:serviceaccount:{NAMESPACE}:ringfence-controller"
AGENT = f"system:serviceaccount:{NAMESPACE}:ringfence-agent"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_LEASE = "ringfence-controller"
RETURNING = 60.0
"""Seconds after power-on in which a node's last death still covers a taint: its new boot may not be known yet."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What outside witnesses know of one test."""

    writes: tuple[Write, ...]
    """Every audited write since the lab came up, oldest first."""
    off: tuple[tuple[float, str], ...]
    """When which node's power was really off."""
    overlaps: tuple[str, ...] = ()
    doubles: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    on: tuple[tuple[float, str], ...] = ()
    """When which node's power came on."""
    cut: tuple[tuple[float, str], ...] = ()
    """When which node was really shut out of its storage: as good as off for pods and VMIs, never for a taint."""
    since: float = 0.0
    """Wall time at which the test began: earlier writes tell where pods are, and are not judged."""
    bound: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    """Pods (namespace, name) that were there before the audit trail begins: since when on which node."""


def judge(evidence: Evidence) -> list[str]:
    """Every violation, as a sentence; an empty list is what must be."""
    return [
        *evidence.doubles,
        *evidence.overlaps,
        *evidence.foreign,
        *_before_the_proof(evidence),
        *_not_the_leader(evidence),
    ]


def _before_the_proof(evidence: Evidence) -> list[str]:
    bound = dict(evidence.bound)
    found = []
    for write in evidence.writes:
        if write.resource == "pods" and write.subresource == "binding" and write.succeeded:
            node = write.body.get("target", {}).get("name", "")
            bound[write.namespace, write.name] = (write.at, node)
        if (
            write.at < evidence.since
            or not write.succeeded
            or write.dry
            or write.user not in (CONTROLLER, AGENT)
        ):
            continue
        act, places = _danger(write, bound, evidence)
        witnesses = evidence.off + (evidence.cut if write.verb.startswith("delete") else ())
        if act and not any(_was_off(witnesses, node, after, write.at) for node, after in places):
            nodes = " or ".join(node for node, _ in places)
            found.append(
                f"{_who(write)} {act} at {write.at:.3f}, "
                + (f"and {nodes} had not been off" if nodes else "and no witness knows its node")
            )
    return found


def _danger(
    write: Write, bound: dict[tuple[str, str], tuple[float, str]], evidence: Evidence
) -> tuple[str, list[tuple[str, float]]]:
    """What is dangerous about a write, and the nodes of which one must have been off, each since when."""
    what = f"{write.namespace}/{write.name or '*'}"
    if write.verb in ("delete", "deletecollection"):
        if write.resource == "pods" and not write.subresource and _grace(write) == 0:
            place = bound.get((write.namespace, write.name))
            return f"deleted pod {what} with grace 0", [(place[1], place[0])] if place else []
        if write.resource == "virtualmachineinstances":
            # A VMI stuck on a healthy node may go when the node of any earlier launcher of its VM has died.
            launcher = re.compile(rf"virt-launcher-{re.escape(write.name)}-[a-z0-9]+")
            return f"deleted VMI {what}", [
                (node, at)
                for (namespace, pod), (at, node) in bound.items()
                if namespace == write.namespace and launcher.fullmatch(pod)
            ]
        if write.resource == "volumeattachments":
            return f"deleted VolumeAttachment {write.name}", []
    if write.resource == "leases" and write.name == "virt-controller":
        # Whose it was the Lease no longer says; one of the pods that may have held it must have died.
        return f"freed Lease {what}", [
            (node, at)
            for (namespace, pod), (at, node) in bound.items()
            if namespace == write.namespace and pod.startswith("virt-controller-")
        ]
    if (
        write.resource == "nodes"
        and write.verb in ("patch", "update")
        and adds_taint(write.body, OUT_OF_SERVICE)
    ):
        back = [
            at for at, node in evidence.on if node == write.name and at < write.at - RETURNING
        ]  # a death before that was an earlier boot's: what runs there now lives
        return f"tainted node {write.name} out of service", [(write.name, max(back, default=0.0))]
    return "", []


def _was_off(off: Sequence[tuple[float, str]], node: str, after: float, before: float) -> bool:
    return any(after <= at <= before and name == node for at, name in off)


def _grace(write: Write) -> int | None:
    named = re.search(r"gracePeriodSeconds=(\d+)", write.uri)
    if named:
        return int(named[1])
    value = write.body.get("gracePeriodSeconds")
    return int(value) if value is not None else None


def adds_taint(body: dict[str, Any], key: str) -> bool:
    """Whether a patch or a whole object sent for a node puts a taint with that key there.

    A JSON patch's ``test`` and ``remove`` may name the taint too, and a strategic merge deletes by ``$patch``.
    """
    patch = body.get("patch")
    if isinstance(patch, list):
        return any(
            step.get("op") in ("add", "replace") and key in json.dumps(step.get("value")) for step in patch
        )
    taints = (body.get("spec") or {}).get("taints") or []
    return any(taint.get("key") == key and taint.get("$patch") != "delete" for taint in taints)


def _not_the_leader(evidence: Evidence) -> list[str]:
    terms = [
        (write.at, _holder(write))
        for write in evidence.writes
        if write.resource == "leases"
        and write.name in (_LEASE, "")
        and write.user == CONTROLLER
        and write.succeeded
    ]
    starts = [at for at, _ in terms]
    found = []
    for write in evidence.writes:
        ours = write.user == CONTROLLER and write.succeeded and not write.dry
        judged = write.group in ("ringfence.io", "kubevirt.io") or write.resource in ("pods", "nodes")
        if not (ours and judged) or write.at < evidence.since:
            continue
        index = bisect.bisect_right(starts, write.at) - 1
        leader = terms[index][1] if index >= 0 else "nobody"
        if not write.pod or leader != write.pod:
            what = f"{write.verb} {write.resource} {write.name}"
            found.append(f"{_who(write)} wrote ({what}) at {write.at:.3f} while {leader} led")
    return found


def _holder(write: Write) -> str:
    """Whom the Lease names after that write; "nobody" where its holder gave it back."""
    spec = write.body.get("spec")
    if isinstance(spec, dict) and "holderIdentity" in spec:
        return str(spec["holderIdentity"] or "nobody")
    return write.pod


def _who(write: Write) -> str:
    return write.pod or write.user.rpartition(":")[2]


def power_times(log: Path, what: str) -> tuple[tuple[float, str], ...]:
    """When which node's power went ``off`` (process 1 dead, cable out) or ``on``, by the lab's own power log."""
    if not log.exists():
        return ()
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return tuple((row["t"], row["node"]) for row in rows if row["what"] == what)


def cut_times(log: Path) -> tuple[tuple[float, str], ...]:
    """When which node was really shut out of its storage, by what the lab's csi-addons did."""
    if not log.exists():
        return ()
    rows = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return tuple(
        (row["t"], node) for row in rows if row["out"] and row["mode"] != "lie" for node in row["nodes"]
    )


def foreign_writes(nodes: Path, since: float) -> tuple[str, ...]:
    """What guests cried on their consoles: the tick where theirs should have been was somebody else's."""
    found = []
    for log in nodes.glob("*/disk/var/log/pods/*virt-launcher*/guest-console-log/*.log"):
        try:
            if log.stat().st_mtime < since:
                continue
            count = log.read_text(errors="replace").count("FOREIGN-WRITE")
        except FileNotFoundError:
            continue  # kubelet tidies up after its pods
        if count:
            found.append(f"the guest of {log.parts[-3]} found {count} foreign writes on its disk")
    return tuple(found)


def evidence(
    root: Path, *, since: float = 0.0, overlaps: Iterable[str] = (), doubles: Iterable[object] = ()
) -> Evidence:
    """Gather it from the folder of a lab; *overlaps* from the VMs' disks, *doubles* from the QEMU witness."""
    logs = root / "logs"
    return Evidence(
        writes=tuple(sorted(writes(logs / "audit.log"), key=lambda write: write.at)),
        off=power_times(logs / "power.jsonl", "off"),
        on=power_times(logs / "power.jsonl", "on"),
        cut=cut_times(logs / "csiaddons.log"),
        overlaps=tuple(overlaps),
        doubles=tuple(str(double) for double in doubles),
        foreign=foreign_writes(root / "nodes", since),
        since=since,
    )


def check(lab: Lab, since: float, doubles: Iterable[object] = ()) -> list[str]:
    """Judge the time since *since* (wall) in a running lab, before its VMs are deleted: every violation as a
    sentence. *doubles* is what a :class:`lab.witness.Watch` over the same time has found."""
    overlaps = [
        f"VM {vm['metadata']['name']}: {overlap}"
        for vm in lab.get("vms")
        for overlap in ticks.overlaps(lab.ticks(vm["metadata"]["name"]))
    ]
    return judge(evidence(lab.layout.root, since=since, overlaps=overlaps, doubles=doubles))
