"""An incident's passes up the ladder: the ladder as its record has it, one step up, and the pass that begins anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ringfence.core.failover import cut, lies, precautions, word
from ringfence.core.failover.commands import Command
from ringfence.core.failover.look import Look
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.proof_in_hand import proof_in_hand
from ringfence.core.failover.record import Record
from ringfence.core.failover.step import Step, enter, timed
from ringfence.core.fencing.ladder import Ladder, Rung
from ringfence.core.fencing.orders import Action, Order, OrderOff, ReadPower, RevokeAgentLease
from ringfence.core.fencing.rungs import DeviceLook
from ringfence.core.model import PowerState, Verdict

LIFTED_FIRST = "it is being let at its storage again: that is finished first"


def ladder_of(record: Record, look: Look) -> Ladder:
    levels = look.levels
    if record.lifting:
        levels = tuple(
            tuple(
                replace(d, unusable=d.unusable or LIFTED_FIRST)
                if isinstance(d, DeviceLook) and d.name in record.cuts
                else d
                for d in level
            )
            for level in levels
        )
    levels = lies.believed(record, levels)
    # A kernel is silent between two answers, and that of a node that hangs goes on answering: it has to be found silent, by votes,
    # before anything that was read means that the node is off.
    may_answer = record.verdict is Verdict.HUNG and look.judgement.verdict is not Verdict.DOWN
    return Ladder(
        record.boot,
        levels,
        record.orders,
        look.now if may_answer else look.life_at,
        answers=may_answer and look.judgement.verdict is Verdict.HUNG,
        vms=look.vm_volumes,
        slot_moved_at=look.slot_moved_at,
        hedges=look.hedges,
        begun=record.begun,
        order_delay=look.order_delay if record.ladder_pass == 0 else 0.0,
        called_off=record.called_off,
    )


def order_working(record: Record, look: Look) -> bool:
    """Whether an order off may still take effect, of whichever device."""
    return any(look.now < o.effective_until for o in record.orders if o.action is not Action.ON)


def new_pass(record: Record, look: Look) -> Record:
    """The ladder from its foot. Orders that may still take effect stay on record: nothing is ordered beside them."""
    working = tuple(o for o in record.orders if look.now < o.effective_until)
    return replace(record, orders=working, begun=(), ladder_pass=record.ladder_pass + 1)


def climb(record: Record, look: Look, extra: tuple[Command, ...] = ()) -> Step:
    ladder = ladder_of(record, look)
    rung = ladder.climb(look.now, look.proofs_required)
    if (done := proof_in_hand(record, look, rung.proofs)) is not None:
        return done
    if rung.exhausted:
        sentence = (
            f"{look.judgement.sentence}; not proved off: {rung.sentence}. {word.call_a_person(record, look)}"
        )
        return Step(
            enter(record, Phase.AWAITING_CONFIRMATION, sentence, look),
            (*extra, *precautions.tell(record, look)),
        )
    record = on_record(record, look, ladder, rung)
    tell = (
        precautions.tell(record, look) if record.orders else ()
    )  # reads only: the node may be off already, or be called alive yet
    return Step(enter(record, Phase.FENCING, rung.sentence, look), (*extra, *rung.commands, *tell))


def reads_due(commands: Iterable[Command], look: Look, every: float) -> tuple[ReadPower, ...]:
    """Of these commands the readings that are due, where nobody waits for one: this may go on for hours.

    Args:
        every: seconds between two readings of a device that does not read `off`.
    """
    devices = {d.name: d for level in look.levels for d in level if isinstance(d, DeviceLook)}
    due = []
    for command in commands:
        if isinstance(command, ReadPower):
            readings = devices[command.device].readings
            last = readings[-1] if readings else None
            if last is None or last.state is PowerState.OFF or look.now - last.asked_at >= every:
                due.append(command)
    return tuple(due)


def on_record(record: Record, look: Look, ladder: Ladder, rung: Rung) -> Record:
    """The record with what this step of the ladder begins and orders: it is stored before any of that is done."""
    orders = record.orders
    record = replace(record, begun=rung.begun)
    for command in rung.commands:
        if isinstance(command, OrderOff):
            lasts = next(
                d.order_lasts
                for level in look.levels
                for d in level
                if isinstance(d, DeviceLook) and d.name == command.device
            )
            orders = (*orders, Order.decided(command.device, command.attempt, look.now, lasts))
            if command.device in cut.storages(look.levels) and command.device not in record.cuts:
                record = replace(record, cuts=(*record.cuts, command.device))
        elif isinstance(command, RevokeAgentLease) and not ladder.ordered(command.device):
            # Done again it changes nothing, so it is on record once and holds nobody up.
            orders = (*orders, Order(command.device, 1, look.now, look.now, Action.REVOKE))
    if orders != record.orders:
        record = timed(replace(record, orders=orders), "order", look.wall)
    return record
