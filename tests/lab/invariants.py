"""What must hold after every test, judged from outside: by the guests' disks, the API's audit trail and the power log.

The judgement is pure (:func:`judge`); :func:`evidence` gathers what it is made from. Nothing of it is ringfence's own
word: a node counts as off when the lab itself killed its process 1, whoever asked for that.

Rules, by DESIGN's numbers: one writer per disk (1); no grace-0 deletion of a pod, no out-of-service taint and no
deletion of a VMI by our accounts before that node's power was really off (2); only the leader writes (3).
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
        act, node, after = _danger(write, bound)
        if act and not _was_off(evidence.off, node, after, write.at):
            found.append(f"{_who(write)} {act} at {write.at:.3f}, and {node or 'no node'} had not been off")
    return found


def _danger(write: Write, bound: dict[tuple[str, str], tuple[float, str]]) -> tuple[str, str, float]:
    """What is dangerous about a write, for which node, and after when that node must have been off."""
    if write.verb in ("delete", "deletecollection"):
        if write.resource == "pods" and not write.subresource and _grace(write) == 0:
            since, node = bound.get((write.namespace, write.name), (0.0, ""))
            return f"deleted pod {write.namespace}/{write.name} with grace 0", node, since
        if write.resource == "virtualmachineinstances":
            return f"deleted VMI {write.namespace}/{write.name}", "", 0.0
    if (
        write.resource == "nodes"
        and write.verb in ("patch", "update")
        and adds_taint(write.body, OUT_OF_SERVICE)
    ):
        return f"tainted node {write.name} out of service", write.name, 0.0
    return "", "", 0.0


def _was_off(off: Sequence[tuple[float, str]], node: str, after: float, before: float) -> bool:
    # A deleted VMI names no node (it may be stuck on a healthy one): then any node's death must precede it.
    return any(after <= at <= before and (name == node or not node) for at, name in off)


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
        (write.at, write.pod)
        for write in evidence.writes
        if write.resource == "leases"
        and write.name in (_LEASE, "")
        and write.user == CONTROLLER
        and write.succeeded
    ]
    starts = [at for at, _ in terms]
    found = []
    for write in evidence.writes:
        ours = write.user == CONTROLLER and write.pod and write.succeeded and not write.dry
        judged = write.group in ("ringfence.io", "kubevirt.io") or write.resource in ("pods", "nodes")
        if not (ours and judged) or write.at < evidence.since:
            continue
        index = bisect.bisect_right(starts, write.at) - 1
        leader = terms[index][1] if index >= 0 else "nobody"
        if leader != write.pod:
            what = f"{write.verb} {write.resource} {write.name}"
            found.append(f"{_who(write)} wrote ({what}) at {write.at:.3f} while {leader} led")
    return found


def _who(write: Write) -> str:
    return write.pod or write.user.rpartition(":")[2]


def power_off_times(log: Path) -> tuple[tuple[float, str], ...]:
    """When which node's process 1 was dead and its cable out, by the lab's own power log."""
    if not log.exists():
        return ()
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return tuple((row["t"], row["node"]) for row in rows if row["what"] == "off")


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
        off=power_off_times(logs / "power.jsonl"),
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
