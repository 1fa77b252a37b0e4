"""The phases before a proof, one function each: holding, held, fencing, awaiting a person's word.

Two ways lead out of all four: :func:`ringfence.core.failover.proof_in_hand.proof_in_hand` and
:func:`ringfence.core.failover.withdrawal.withdraw`.
"""

from __future__ import annotations

from dataclasses import replace

from ringfence.core.failover import precautions, sentences, word
from ringfence.core.failover.climb import climb, ladder_of, new_pass, order_working, reads_due
from ringfence.core.failover.look import Look
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.proof_in_hand import proof_in_hand
from ringfence.core.failover.record import Record
from ringfence.core.failover.step import Step, enter, timed
from ringfence.core.failover.vms import merged, with_pods
from ringfence.core.failover.withdrawal import lives, once_proved, withdraw
from ringfence.core.fencing.orders import OrderOff, RevokeAgentLease
from ringfence.core.fencing.proof import StorageCut
from ringfence.core.fencing.rungs import DeviceLook
from ringfence.core.model import Verdict

READ_ON_EVERY = 5.0
"""Seconds between two readings of a device that still reads `on` while a person is waited for, who may switch the node off by hand."""


def holding(record: Record, look: Look) -> Step:
    rung = ladder_of(record, look).look(look.now)
    # A storage that cuts says nothing of the node: it spares neither the hold nor a limit.
    off = tuple(p for p in rung.proofs if not isinstance(p, StorageCut))
    if look.limit_when_found_off is None and (done := proof_in_hand(record, look, off)) is not None:
        return done
    if (end := withdraw(record, look)) is not None:
        return end
    early = precautions.early(record, look)
    if not (look.hold_over and look.may_order):
        vms = merged(record.vms, with_pods(look.affected, look.pods))
        return Step(_doubt_told(replace(record, vms=vms), look), (*early, *rung.commands))
    if look.limit is not None:
        return replace(_not_fencing(record, look.limit, look), commands=(*early, *rung.commands))
    if not look.node_lease.settled:
        return Step(record, (*early, *rung.commands))
    return climb(timed(record, "hold", look.wall), look, early)


def held(record: Record, look: Look) -> Step:
    ready = look.limit is None and look.node_lease.settled
    if look.hold_over and ready and look.may_order:
        return climb(replace(record, held_reason=""), look, precautions.early(record, look))
    step_ = holding(replace(record, held_reason=""), look)
    said = (step_.record.phase, step_.record.sentence)
    if said == (Phase.HELD, record.sentence) and not look.hold_over:
        return Step(replace(step_.record, held_reason=record.held_reason), step_.commands)
    return step_


def fencing(record: Record, look: Look) -> Step:
    # Who was proved off and tells of a later boot was off: that ends nothing, it is the proof that was void before.
    if once_proved(record) and (done := proof_in_hand(record, look, ())) is not None:
        return done
    if (end := withdraw(record, look)) is not None:
        return end
    ordered = any(not o.unsent for o in record.orders)
    if look.limit is not None and not ordered:
        return _not_fencing(record, look.limit, look)
    if look.limit is not None or not look.may_order:
        # A fence that runs is finished first (DESIGN §2): read on, but order no more while the limit holds, nor from
        # any further device if the node turns out to live while an order is on its way.
        rung = ladder_of(record, look).climb(look.now, look.proofs_required)
        if (done := proof_in_hand(record, look, rung.proofs)) is not None:
            return done
        reads = tuple(c for c in rung.commands if not isinstance(c, OrderOff | RevokeAgentLease))
        stuck = rung.exhausted or (not reads and len(rung.commands) > 0)
        if look.may_order and look.limit is not None and stuck:
            return _not_fencing(new_pass(record, look), look.limit, look)
        return Step(_not_hung_told(record, look), reads)
    return climb(record, look, precautions.early(record, look))


def awaiting(record: Record, look: Look) -> Step:
    rung = ladder_of(record, look).look(look.now)
    may_act = look.may_order and look.limit is None
    found = tuple(p for p in rung.proofs if may_act or not isinstance(p, StorageCut))
    if (done := proof_in_hand(record, look, found)) is not None:
        return done
    if (end := withdraw(record, look)) is not None:
        return end
    if look.may_order and look.retry_due and look.node_lease.settled and not order_working(record, look):
        again = replace(record, orders=(), begun=(), ladder_pass=record.ladder_pass + 1)
        if look.limit is not None:
            return _not_fencing(again, look.limit, look)
        return climb(again, look)
    # A device in trouble is asked again by the next pass: its session would have to be opened anew each time.
    answer = {d.name for level in look.levels for d in level if isinstance(d, DeviceLook) and d.error is None}
    reads = tuple(c for c in reads_due(rung.commands, look, READ_ON_EVERY) if c.device in answer)
    tell = precautions.tell(record, look) if look.limit is None else ()
    if (unheard := word.unheard(record, look)) not in record.sentence:
        record = enter(record, Phase.AWAITING_CONFIRMATION, f"{record.sentence}{unheard}", look)
    return Step(record, (*reads, *precautions.early(record, look), *tell))


def _not_hung_told(record: Record, look: Look) -> Record:
    """Fencing a node that hung and is not found to hang now, or for too short a time: with what is done, and what is not."""
    if record.verdict is not Verdict.HUNG or look.may_order:
        return record
    works = ", and what was ordered may still take effect" if order_working(record, look) else ""
    node, reads = record.boot.node, f"its devices are read on{works}"
    if look.judgement.may_be_fenced:
        sentence = f"{node} hangs again; nothing more is ordered before its hold is over, {reads}"
    elif lives(record, look):
        sentence = f"{node} lives; nothing more is ordered, {reads}"
    else:
        sentence = f"{node} is not found to hang any more; nothing more is ordered before it hangs again or is down, {reads}"
    return enter(record, Phase.FENCING, sentence, look)


def _doubt_told(record: Record, look: Look) -> Record:
    """Holding, with the reason why neither the hold nor the incident ends. Who is held has a reason already."""
    doubted = f"{record.boot.node} is not found down any more, and not heard either: nothing is ordered before it is down again, and only a sign of life ends this"
    if look.life_at > look.down_at > float("-inf"):
        doubted = (
            f"{record.boot.node} is not found down any more: {look.life_sign} was seen since, but may be older than its silence;"
            " nothing is ordered before it is down again, and only a sign of life that is surely newer ends this"
        )
    if record.verdict is Verdict.HUNG:
        doubted = f"{record.boot.node} is not found to hang any more, and nothing but its kernel was heard: nothing is ordered before it hangs again or is down, and only another sign of life ends this"
    if record.phase is not Phase.HOLDING:
        return record
    if not look.judgement.may_be_fenced:
        return enter(record, Phase.HOLDING, doubted, look)
    if record.sentence.startswith(f"{record.boot.node} is not found "):
        return enter(record, Phase.HOLDING, f"{look.judgement.sentence}; holding", look)
    return record


def _not_fencing(record: Record, limit: str, look: Look) -> Step:
    """A limit forbids to go on: held, and whatever level was begun is begun anew afterwards."""
    held = replace(record, held_reason=limit, begun=(), stormed=record.stormed or look.storm)
    sentence = f"{look.judgement.sentence}; not fencing: {limit}{sentences.foreign_taint(look)}"
    return Step(enter(held, Phase.HELD, sentence, look))
