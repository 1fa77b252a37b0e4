"""The way out without a proof: the node lives, so it gets back what it was cut from, and the incident ends without a deed."""

from __future__ import annotations

from dataclasses import replace

from ringfence.core import timing
from ringfence.core.failover import cut, lies, sentences
from ringfence.core.failover.climb import order_working
from ringfence.core.failover.commands import RemoveTaints
from ringfence.core.failover.look import Look
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import Record, VmRecord, VmState
from ringfence.core.failover.step import Step, enter
from ringfence.core.fencing.orders import Action
from ringfence.core.model import Verdict

_BEFORE_PROOF = frozenset({Phase.HOLDING, Phase.HELD, Phase.FENCING, Phase.AWAITING_CONFIRMATION})


def lives(record: Record, look: Look) -> bool:
    """Whether the node is known to live, and not only not known to be down. For one that hangs its kernel's answers say nothing.

    A leader that a cut has left on a small side counts too few votes for ``Down``, and hears nothing of the node. Then it lives if something
    has been renewed at the API server since the incident was begun, and since this controller has last found it so: a kubelet's
    Lease is valid for longer than a dead node takes to be found, and who was cut off is told of a renewal long after it. When it was
    last heard is no matter of this, for who was suspended for a while tells ages that are too small. And without its Node object
    nothing would ever be heard of the node again.
    """
    if look.judgement.may_be_fenced or not look.hears:
        return False
    begun_at = look.now - (look.wall - record.started_wall)
    known = look.judgement.known and not (record.verdict is Verdict.HUNG and look.judgement.only_kernel)
    return known or look.renewed_after > max(begun_at, look.down_at) or not look.node_exists


def withdraw(record: Record, look: Look) -> Step | None:
    """End without a deed if the node lives, unless an order may still take effect.

    Like the way back after a recovery it ends only when the taints are seen to be gone: an ended record tries nothing again.
    """
    if not lives(record, look) or order_working(record, look):
        return None
    if _may_be_booting(record, look):
        return _until_its_boot_is_told(record, look)
    if cut.lift(record, look.levels, look.now) is not None:
        if not _may_lift(record, look):
            waits = (
                "; it stays cut from its storage until it has rebooted, or its agent reports that no"
                f" guest of {', '.join(v.name for v in cut.moved(record))} is left there"
            )
            # Said once: the age of the sign of life before it is another on each turn.
            if record.sentence.endswith(waits):
                return Step(record)
            return Step(enter(record, record.phase, f"{look.judgement.sentence}{waits}", look))
        sentence = f"{look.judgement.sentence}; it is let at its storage again first"
        return Step(enter(replace(record, lifting=True), record.phase, sentence, look))
    # Out-of-service is ours only if a proof has ever stood, and was void later.
    ours = once_proved(record)
    stays = look.quarantined
    if (look.suspect_taint and not stays) or (ours and look.own_taint):
        return Step(record, (RemoveTaints(record.boot.node, out_of_service=ours, suspect=not stays),))
    left = cut.left_standing(record.cuts, look.levels) + sentences.quarantine(look)
    moved = "".join(f"; {v.name} {v.message}" for v in record.vms if v.state is VmState.RUNNING)
    ordered = _unread_orders(record, look)
    sentence = f"withdrawn: {look.judgement.sentence}{moved}{_old_guests(record, look)}{ordered}{lies.told(record)}{left}"
    return Step(enter(record, Phase.WITHDRAWN, sentence, look))


def once_proved(record: Record) -> bool:
    """Whether a proof has ever stood in this incident, void as it may be now."""
    return any(name == "proof" for name, _ in record.timings)


def _may_be_booting(record: Record, look: Look) -> bool:
    """Whether a node that was proved off answers again by its kernel only, which names no boot.

    Where a device has called it off of late without our order, or on again, that is the next boot as likely as not (:mod:`.blackout`), and
    within that time its kubelet or agent says so. An incident that ended before would call the node one that was never off.
    """
    off_lately = any(look.now < one.until for one in record.called_off)
    nameless = look.judgement.verdict is Verdict.AGENT_DOWN
    return off_lately and nameless and look.node_exists and once_proved(record) and not record.cuts


def _until_its_boot_is_told(record: Record, look: Look) -> Step:
    """Wait, with the taint taken back at once that deletes what runs there: it may never have been off."""
    if look.own_taint:
        return Step(record, (RemoveTaints(record.boot.node, out_of_service=True, suspect=False),))
    let_go = ", ".join(v.name for v in cut.moved(_with_what_was_sent(record, look)))
    run = f", and {let_go} may run elsewhere" if let_go else ""
    waits = f"{record.boot.node} was read as off{run}; its kernel answers again, and it is waited for at most {timing.FOUND_OFF_BLACKOUT:.0f} s until it tells whether that is its next boot"
    return Step(enter(record, record.phase, waits, look))


def _old_guests(record: Record, look: Look) -> str:
    """That VMs were let go by a proof that was void later: they may run twice until somebody has looked, as the end of a sentence."""
    record = _with_what_was_sent(record, look)
    if not cut.moved(record) or cut.guests_gone(record, look.guests):
        return ""
    return f"; {', '.join(v.name for v in cut.moved(record))} may run elsewhere, and {record.boot.node} {sentences.NEVER_OFF}"


def _with_what_was_sent(record: Record, look: Look) -> Record:
    """A deletion that was sent in the last step before the proof was void is on record as a proof that stood; that it was done shows by
    the launcher, which is gone.
    """
    later_boot = look.current_boot_id not in ("", record.boot.boot_id)  # then no old guest is left
    if later_boot or not once_proved(record):
        return record
    there = {pod.ref.uid for pod in look.pods}
    stopped = {(vm.namespace, vm.name) for vm in look.vms if vm.stopped_by_user or not vm.exists}

    def gone(vm: VmRecord) -> bool:
        launcher_gone = vm.pod_uid != "" and vm.pod_uid not in there
        return vm.released_wall is None and launcher_gone and (vm.namespace, vm.name) not in stopped

    return replace(
        record, vms=tuple(replace(vm, released_wall=look.wall) if gone(vm) else vm for vm in record.vms)
    )


def _unread_orders(record: Record, look: Look) -> str:
    """That a node was ordered off whose Node object somebody deleted meanwhile: nobody asks its devices any more, as the end of a sentence."""
    if look.node_exists or look.namesake is not None:
        return ""
    ordered = sorted({o.device for o in record.orders if o.action is Action.OFF and not o.unsent})
    if not ordered:
        return ""
    return f"; {', '.join(ordered)} was ordered to cut it off before, and nobody reads any more whether it has: look at it"


def _may_lift(record: Record, look: Look) -> bool:
    """Nothing was moved, or no old guest is left; decided once, since only another proof moves anything, and that ends the lift."""
    return record.lifting or not cut.moved(record) or cut.guests_gone(record, look.guests)


def go_on_lifting(step_: Step, look: Look) -> Step:
    """A lift that was begun is finished, whatever the verdict says meanwhile: until then the storage proves nothing."""
    record = step_.record
    if not record.lifting or record.phase not in _BEFORE_PROOF:
        return step_
    if (lifting := cut.lift(record, look.levels, look.now)) is not None:
        new = tuple(c for c in lifting if c not in step_.commands)
        return Step(record, (*step_.commands, *new))
    orders = tuple(o for o in record.orders if o.device not in record.cuts)
    # A pass of its own: the next order is another than the one of before, under whose number nothing is sent again.
    over = replace(record, cuts=(), lifting=False, orders=orders, ladder_pass=record.ladder_pass + 1)
    if record.phase is Phase.AWAITING_CONFIRMATION:
        # It was only waited for the storage: the ladder has a rung more.
        sentence = f"{look.judgement.sentence}; it is let at its storage again, reading again"
        over = enter(over, Phase.FENCING, sentence, look)
    return Step(over, step_.commands)
