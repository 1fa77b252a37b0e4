"""``ringfence dry-run``: what this replica would decide if nodes fell silent now, served as JSON at ``/dry-run``.

The evidence is supposed to be silence of everything: all observers that are not supposed dead vote `none`, no Lease, heartbeat, slot
or kernel answers. The verdict on that, the limits, the ladder and the machine are the real ones, asked about the real caches; nothing
is stored, ordered or told.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from ringfence.api.v1alpha1.failover import Failover
from ringfence.api.v1alpha1.protectedvm import ProtectedVM
from ringfence.controller.evidence import Witness
from ringfence.controller.loop import Loop
from ringfence.controller.world import World
from ringfence.core.detection.evidence import NEVER, Evidence, Life, RingEvidence
from ringfence.core.detection.verdict import Judgement, judge
from ringfence.core.failover.foresight import Foresight, foresee
from ringfence.core.failover.phase import ENDED
from ringfence.core.fencing.selffence import WatchdogLook
from ringfence.core.gossip.rings import rings_of
from ringfence.core.model import RingState
from ringfence.ports import Clock


def dry_run(nodes: Sequence[str], loop: Loop, world: World, witness: Witness, clock: Clock) -> dict[str, Any]:
    """What would follow if all of these fell silent at this moment; ``trouble`` where that can't be said."""
    now = clock.monotonic()
    if witness.roster is None:
        return {"trouble": "the acting controller has no roster yet: it has only just begun"}
    if unknown := [node for node in nodes if witness.boot(node) is None]:
        return {"trouble": f"no node {unknown[0]}: Kubernetes doesn't know it"}
    supposed = frozenset(nodes)
    judgements = {node: _judge(node, supposed, loop, witness, now) for node in nodes}
    down = frozenset(node for node, judgement in judgements.items() if judgement.may_be_fenced)
    return {
        "supposedDown": sorted(supposed),
        "controller": loop.leader,
        "mode": loop.mode.value,
        "holdSeconds": loop.spec.hold_seconds,
        "nodes": [_row(node, judgements[node], down, supposed, loop, world, witness) for node in nodes],
    }


def _judge(node: str, supposed: Collection[str], loop: Loop, witness: Witness, now: float) -> Judgement:
    """The rule table's verdict on silence."""
    evidence = witness.evidence(node, now, device_proved=loop.device_proved(node))
    assert evidence is not None
    return judge(_silent(evidence, _voters(node, supposed, witness, now), now), now)


def _voters(node: str, supposed: Collection[str], witness: Witness, now: float) -> tuple[str, ...]:
    """The node's observers that are alive for us and not supposed dead themselves."""
    assert witness.roster is not None
    member = witness.roster.by_name.get(node)
    if member is None:
        return ()
    observers = rings_of(witness.roster).observers(member.uid)
    alive = witness.alive(now)
    return tuple(sorted(one.name for one in observers if one.name in alive and one.name not in supposed))


def _silent(evidence: Evidence, voters: tuple[str, ...], now: float) -> Evidence:
    ring = RingEvidence(
        RingState.UNREACHABLE,
        f"supposed: {len(voters)} of {len(voters)} peers: {', '.join(voters)}",
        voters,
        single=len(voters) == 1,
        doubted_at=now,
        round_at=now,
    )
    return replace(
        evidence,
        ring=ring if voters else RingEvidence(RingState.UNREACHABLE),
        life=Life(),
        own_probe_silent=True,
        # What was seen at all is silent for as long as any rule asks.
        kubelet_silent_since=min(evidence.kubelet_silent_since, _LONG_AGO),
        heartbeat_silent_since=min(evidence.heartbeat_silent_since, _LONG_AGO),
        slot=replace(evidence.slot, moved_after=NEVER),
    )


_LONG_AGO = -1e9
"""An instant of a monotonic clock, long before any."""


def _row(
    node: str,
    judgement: Judgement,
    down: frozenset[str],
    supposed: frozenset[str],
    loop: Loop,
    world: World,
    witness: Witness,
) -> dict[str, Any]:
    boot = witness.boot(node)
    assert boot is not None
    seen = foresee(boot, *loop.supposing(boot, judgement, down, supposed))
    present = loop.judgements.get(node)
    open_ = [
        name
        for (_, name), failover in world.own.all(Failover).items()
        if failover.spec.node == node and failover.status.phase not in ENDED
    ]
    affected = {(fate.vm.namespace, fate.vm.name) for fate in seen.vms}
    return {
        "node": node,
        "bootID": boot.boot_id,
        "verdict": present.verdict.value if present else "",
        "sentence": present.sentence if present else "",
        "openFailover": open_[0] if open_ else "",
        "supposed": {"verdict": judgement.verdict.value, "sentence": judgement.sentence},
        "outcome": seen.outcome,
        "phase": seen.phase.value if seen.phase else "",
        "phaseSentence": seen.sentence,
        "refusals": [
            {"limit": one.limit, "sentence": one.sentence, "whenFoundOff": one.when_found_off}
            for one in seen.refusals
        ],
        "fence": _fence(seen),
        "deletions": [
            {"role": one.role.name, "pods": [f"{pod.namespace}/{pod.name}" for pod in one.pods]}
            for one in seen.deletions
        ],
        "vms": [
            {
                "namespace": fate.vm.namespace,
                "name": fate.vm.name,
                "runStrategy": fate.run_strategy,
                "then": fate.then,
                **_protected(fate.vm.namespace, fate.vm.name, world),
            }
            for fate in seen.vms
        ],
        "left": _left(node, affected, world),
        "targets": sorted(world.takers() - supposed - {node}),
    }


def _fence(seen: Foresight) -> dict[str, Any]:
    return {
        "first": seen.first,
        "proofsRequired": seen.proofs_required,
        "orderDelaySeconds": seen.order_delay,
        "levels": [
            {
                "level": number,
                "hedgeAfterSeconds": seen.hedges[number - 1] if number <= len(seen.hedges) else None,
                "devices": [
                    {
                        "name": device.name,
                        "unusable": device.unusable or "",
                        "error": device.error or "",
                        "how": _how(device),
                    }
                    for device in level
                ],
            }
            for number, level in enumerate(seen.levels, 1)
            if level
        ],
    }


def _how(device: object) -> str:
    if isinstance(device, WatchdogLook):
        return "watchdog"
    return "power" if getattr(device, "cuts", None) is None else "storage"


def _protected(namespace: str, vm: str, world: World) -> dict[str, str]:
    """What the VM's ProtectedVM says of itself."""
    for (space, _), pvm in world.own.all(ProtectedVM).items():
        one = pvm.status.condition("Protected")
        if (space, pvm.spec.vm.name) == (namespace, vm) and one is not None:
            return {"protected": one.status, "reason": one.reason, "message": one.message}
    return {"protected": "Unknown", "reason": "", "message": ""}


def _left(node: str, affected: Collection[tuple[str, str]], world: World) -> list[dict[str, str]]:
    """The node's other guests, and why nothing would be done for them."""
    by_vm = {(space, pvm.spec.vm.name): pvm for (space, _), pvm in world.own.all(ProtectedVM).items()}
    rows = []
    for (namespace, name), vmi in sorted(world.vmis.store.items()):
        if vmi.node != node or (namespace, name) in affected or vmi.phase in ("Failed", "Succeeded"):
            continue
        pvm, vm = by_vm.get((namespace, name)), world.vms.store.get((namespace, name))
        if pvm is None:
            why = "no ProtectedVM names it"
        elif pvm.spec.on_node_failure != "Restart":
            why = f"its ProtectedVM says onNodeFailure: {pvm.spec.on_node_failure}"
        elif vm is None:
            why = "it has no VirtualMachine that KubeVirt could start again"
        else:
            why = f"its run strategy is {vm.run_strategy}, its instance is {vmi.phase or 'not scheduled'}"
        rows.append({"namespace": namespace, "name": name, "reason": why})
    return rows
