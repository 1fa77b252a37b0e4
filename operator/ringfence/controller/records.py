"""A failover's stored state: :class:`Record` to Failover and back. The status is the record; nothing else is kept.

Instants on record are wall clock, for people. What the machine counts on its own monotonic clock is counted anew by
whoever takes a record over, from when it *first saw* it: an order of another may take effect until then plus the whole
of :data:`~ringfence.core.timing.ORDER_EFFECT`, a proof of another holds unless life is seen after that.
"""

from __future__ import annotations

import base64
from itertools import zip_longest

from ringfence.api.v1alpha1.failover import Failover, FailoverProof, FenceOrder
from ringfence.controller.rfc3339 import parse, stamp
from ringfence.core import timing
from ringfence.core.failover.blackout import SEEN_LATE
from ringfence.core.failover.phase import ENDED, PROVED, Phase
from ringfence.core.failover.record import Lie, Moment, PodRef, Record, VmRecord, VmState
from ringfence.core.fencing.orders import Action, Begun, CalledOff, Order
from ringfence.core.fencing.proof import (
    AdminConfirmed,
    CutVm,
    FencingProof,
    PoweredOff,
    PowerOffHow,
    Rebooted,
    SelfFenced,
    StorageCut,
)
from ringfence.core.model import Boot, Column, SignedVote, Verdict
from ringfence.ports import Json


def spec_of(record: Record) -> Json:
    return {"node": record.boot.node, "nodeUID": record.boot.node_uid, "bootID": record.boot.boot_id}


def status_of(record: Record, conditions: list[Json], offset: float) -> Json:
    """The status to store. ``offset`` is wall minus monotonic, to write the machine's instants for people."""
    return {
        "stateVersion": record.state_version,
        "phase": record.phase.value,
        "sentence": record.sentence[:1024],
        "doubtedAt": stamp(record.doubted_wall),
        "startedAt": stamp(record.started_wall),
        "verdict": {
            "state": record.verdict.value,
            "sentence": record.verdict_sentence[:1024],
            "at": stamp(record.started_wall),
            "voters": list(record.voters),
        },
        "votes": [
            {
                "voter": v.voter,
                "vote": v.vote.value,
                **({} if after is None else {"afterSeconds": after}),
                **({"columns": {c.network: c.answer.value for c in v.columns}} if v.columns else {}),
                "signature": base64.b64encode(v.signature).decode(),
                "round": base64.b64encode(v.round_id).decode(),
                "rosterEpoch": v.roster_epoch,
            }
            for v, after in zip_longest(record.votes, record.vote_after[: len(record.votes)])
        ],
        "heldReason": record.held_reason[:1024],
        "heldForStorm": record.stormed,
        "ladderPass": record.ladder_pass,
        "orders": [
            {
                "device": o.device,
                "action": o.action.value,
                "attempt": o.attempt,
                "sentAt": stamp(o.sent_at + offset),
                "effectiveUntil": stamp(o.effective_until + offset),
            }
            for o in record.orders
        ],
        "begunLevels": [
            {"level": b.level, "begunAt": stamp(b.at + offset), "slowLevel": b.slow} for b in record.begun
        ],
        "calledOffBy": [
            {"device": c.device, "noOrderBefore": stamp(c.until + offset)} for c in record.called_off
        ],
        "liedBy": [{"device": lie.device, "at": stamp(lie.wall)} for lie in record.lies],
        "proofs": [_proof(p, record.pods, offset) for p in record.proofs],
        "vms": [_vm(v) for v in record.vms],
        "outOfServiceSeen": record.tainted,
        "newBootID": record.new_boot_id,
        "powerOnTries": record.power_on_tries,
        "storageCuts": list(record.cuts),
        "storageLifting": record.lifting,
        "setBackEpoch": record.set_back,
        "voidWord": record.void_word,
        **({"neverOffOn": record.never_off_on} if record.never_off_on else {}),
        "leader": record.leader,
        "epoch": record.epoch,
        "history": [
            {"at": stamp(m.wall), "phase": m.phase.value, "sentence": m.sentence[:1024]} for m in record.story
        ],
        "timings": dict(record.timings),
        "conditions": conditions,
    }


def conditions_of(record: Record, before: list[Json], wall: float, generation: int) -> list[Json]:
    """``Proved``, ``Recovered`` and ``Blocked``: the contract; phases are for people. ``generation`` is the object's."""
    wanted = (
        ("Proved", record.phase in PROVED, _proved_reason(record)),
        ("Recovered", record.phase in (Phase.RECOVERED, Phase.CLOSED), record.phase.value),
        ("Blocked", record.phase in (Phase.HELD, Phase.AWAITING_CONFIRMATION), record.phase.value),
    )
    old = {c["type"]: c for c in before}
    result = []
    for kind, status, reason in wanted:
        text = "True" if status else "False"
        known = old.get(kind)
        same = known is not None and known["status"] == text
        result.append(
            {
                "type": kind,
                "status": text,
                "reason": reason,
                "message": record.sentence[:1024],
                "observedGeneration": generation,
                "lastTransitionTime": known["lastTransitionTime"]
                if known and same
                else stamp(wall)[:19] + "Z",
            }
        )
    return result


def _proved_reason(record: Record) -> str:
    if record.proofs:
        return type(record.proofs[0]).__name__
    return "Ended" if record.phase in ENDED else "NoProofYet"


def _proof(proof: FencingProof, pods: tuple[PodRef, ...], offset: float) -> Json:
    common: Json = {
        "kind": type(proof).__name__,
        "node": proof.boot.node,
        "nodeUID": proof.boot.node_uid,
        "bootID": proof.boot.boot_id,
        "seenAt": stamp(proof.seen_at + offset),
        "detail": proof.detail,
        "pods": [{"namespace": p.namespace, "name": p.name, "uid": p.uid} for p in pods],
    }
    match proof:
        case PoweredOff():
            return common | {"device": proof.device, "variant": proof.how.value, "address": proof.address}
        case Rebooted():
            return common | {"newBootID": proof.new_boot_id}
        case SelfFenced():
            return common | {"device": proof.device}
        case AdminConfirmed():
            return common | {"seenBy": proof.confirmed_by, "statement": proof.statement}
        case StorageCut():
            return common | {
                "device": proof.device,
                "volumes": list(proof.volumes),
                "cutVMs": [
                    {
                        "namespace": vm.namespace,
                        "name": vm.name,
                        "vmiUID": vm.vmi_uid,
                        "pods": list(vm.pods),
                        "volumes": list(vm.volumes),
                    }
                    for vm in proof.vms
                ],
            }


def _vm(vm: VmRecord) -> Json:
    row: Json = {
        "namespace": vm.namespace,
        "name": vm.name,
        "vmUID": vm.vm_uid,
        "vmiUID": vm.vmi_uid,
        "podUID": vm.pod_uid,
        "state": vm.state.value,
        "newNode": vm.new_node,
        "message": vm.message,
    }
    if vm.unstarted:
        row["unstarted"] = True
    if vm.leftover:
        row["leftover"] = vm.leftover
    if vm.released_wall is not None:
        row["releasedAt"] = stamp(vm.released_wall)
    if vm.running_wall is not None:
        row["runningAt"] = stamp(vm.running_wall)
    if vm.failed_uid:
        row |= {"startFailures": vm.failures, "failedInstanceUID": vm.failed_uid}
    if vm.failed_wall is not None:
        row["failedAt"] = stamp(vm.failed_wall)
    return row


def record_of(
    failover: Failover, orders_seen: float, proofs_seen: float, levels_seen: float, called_off_seen: float
) -> Record | None:
    """Take over what is stored; ``None`` if nothing is stored yet but the object itself.

    Args:
        orders_seen: when it first saw the newest of the orders (monotonic): each may take effect for its whole time
            from then.
        levels_seen: when it first saw the newest of the levels on record: how long each is at work counts from then.
        called_off_seen: when it first saw the newest device that has called the node off: no order for the whole time from then.
        proofs_seen: when it first saw the object with proofs; less a second for the write's own way.
    """
    status = failover.status
    if status.phase is None:
        return None
    boot = Boot(failover.spec.node, failover.spec.node_uid, failover.spec.boot_id)
    started = parse(status.started_at) if status.started_at else 0.0
    return Record(
        name=failover.metadata.name,
        boot=boot,
        phase=Phase(status.phase),
        sentence=status.sentence or "",
        doubted_wall=parse(status.doubted_at) if status.doubted_at else started,
        started_wall=started,
        verdict=status.verdict.state if status.verdict else Verdict.DOWN,
        verdict_sentence=(status.verdict.sentence if status.verdict else "") or "",
        voters=tuple(status.verdict.voters) if status.verdict else (),
        votes=tuple(
            SignedVote(
                voter=v.voter,
                subject=boot,
                vote=v.vote,
                roster_epoch=v.roster_epoch or 0,
                round_id=base64.b64decode(v.round or ""),
                signature=base64.b64decode(v.signature or ""),
                columns=tuple(sorted(Column(network, answer) for network, answer in v.columns.items())),
            )
            for v in status.votes
        ),
        vote_after=tuple(v.after_seconds for v in status.votes if v.after_seconds is not None),
        held_reason=status.held_reason or "",
        stormed=status.held_for_storm,
        ladder_pass=status.ladder_pass or 0,
        orders=tuple(
            Order(o.device, o.attempt, orders_seen, orders_seen + _lasts(o), Action(o.action))
            for o in status.orders or ()
        ),
        begun=tuple(Begun(b.level, levels_seen, b.slow_level) for b in status.begun_levels),
        called_off=tuple(CalledOff(c.device, called_off_seen + SEEN_LATE) for c in status.called_off_by),
        lies=tuple(Lie(one.device, parse(one.at)) for one in status.lied_by),
        proofs=tuple(_proof_of(p, boot, proofs_seen - 1.0) for p in status.proofs or ()),
        pods=tuple(
            dict.fromkeys(
                PodRef(pod.namespace, pod.name, pod.uid) for p in status.proofs or () for pod in p.pods or ()
            )
        ),
        vms=tuple(
            VmRecord(
                namespace=v.namespace,
                name=v.name,
                vm_uid=v.vm_uid or "",
                vmi_uid=v.vmi_uid or "",
                pod_uid=v.pod_uid or "",
                unstarted=bool(v.unstarted),
                leftover=v.leftover or "",
                state=VmState(v.state),
                new_node=v.new_node or "",
                message=v.message or "",
                released_wall=parse(v.released_at) if v.released_at else None,
                running_wall=parse(v.running_at) if v.running_at else None,
                failures=v.start_failures or 0,
                failed_uid=v.failed_instance_uid or "",
                failed_wall=parse(v.failed_at) if v.failed_at else None,
            )
            for v in status.vms or ()
        ),
        tainted=bool(status.out_of_service_seen),
        new_boot_id=status.new_boot_id or "",
        power_on_tries=status.power_on_tries or 0,
        cuts=tuple(status.storage_cuts or ()),
        lifting=bool(status.storage_lifting),
        set_back=status.set_back_epoch or 0,
        void_word=status.void_word or "",
        never_off_on=status.never_off_on or "",
        leader=status.leader or "",
        epoch=status.epoch or 0,
        story=tuple(Moment(parse(m.at), Phase(m.phase), m.sentence) for m in status.history or ()),
        timings=tuple((status.timings or {}).items()),
    )


def _lasts(order: FenceOrder) -> float:
    """For how long the order may take effect, as its sender reckoned; never less than our own reckoning."""
    if order.action == "revoke":
        return 0.0  # it holds up no order: done again it changes nothing
    if not order.sent_at or not order.effective_until:
        return timing.ORDER_EFFECT
    return max(timing.ORDER_EFFECT, parse(order.effective_until) - parse(order.sent_at))


def _proof_of(proof: FailoverProof, boot: Boot, seen_at: float) -> FencingProof:
    match proof.kind:
        case "PoweredOff":
            how = PowerOffHow(proof.variant)
            return PoweredOff(boot, proof.device or "", how, seen_at, proof.detail or "", proof.address or "")
        case "SelfFenced":
            return SelfFenced(boot, proof.device or "", seen_at, proof.detail or "")
        case "Rebooted":
            return Rebooted(boot, proof.new_boot_id or "", seen_at, proof.detail or "")
        case "StorageCut":
            vms = tuple(
                CutVm(v.namespace, v.name, v.vmi_uid or "", tuple(v.pods), tuple(v.volumes))
                for v in proof.cut_vms
            )
            return StorageCut(
                boot, proof.device or "", vms, tuple(proof.volumes), seen_at, proof.detail or ""
            )
        case _:
            return AdminConfirmed(
                boot, proof.seen_by or "", proof.statement or "", seen_at, proof.detail or ""
            )
