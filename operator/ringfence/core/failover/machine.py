"""The failover machine: ``step(record, look) -> Step(record, commands)``.

Pure and level-triggered. One call looks at the stored record and at the world as it is, and returns the next record
and the commands that are due. The shell *stores the record first* (guarded by resourceVersion and lease epoch) and only
then runs the commands; each is idempotent, so that whoever calls ``step`` next, after a crash at any point, gets the
same commands again or better ones. One small function per phase; :data:`ringfence.core.failover.phase.FOLLOWS` is the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ringfence.core.failover import lies, node_lease, sentences
from ringfence.core.failover.anew import anew
from ringfence.core.failover.blackout import noted
from ringfence.core.failover.late import without_late
from ringfence.core.failover.look import Look
from ringfence.core.failover.phase import ENDED, Phase, may_follow
from ringfence.core.failover.record import Moment, Record
from ringfence.core.failover.recovered import recovered
from ringfence.core.failover.recovering import recovering
from ringfence.core.failover.step import Step, timed
from ringfence.core.failover.unproved import awaiting, fencing, held, holding
from ringfence.core.failover.withdrawal import go_on_lifting
from ringfence.core.model import Boot, SignedVote, Verdict


def open_failover(
    name: str,
    boot: Boot,
    doubted_wall: float,
    look: Look,
    voters: tuple[str, ...],
    *,
    votes: tuple[SignedVote, ...] = (),
    vote_after: tuple[float, ...] = (),
    verdict_wall: float | None = None,
) -> Record:
    """The record of a new incident.

    ``verdict_wall`` is when this controller judged that the node may be fenced: a standby judges too, and opens when it leads.
    """
    sentence = f"{look.judgement.sentence}; holding{sentences.foreign_taint(look)}"
    record = Record(
        name=name,
        boot=boot,
        phase=Phase.HOLDING,
        sentence=sentence,
        doubted_wall=doubted_wall,
        started_wall=look.wall,
        verdict=Verdict.HUNG if look.judgement.verdict is Verdict.HUNG else Verdict.DOWN,
        verdict_sentence=look.judgement.sentence,
        voters=voters,
        votes=votes,
        vote_after=vote_after,
        vms=look.affected,
        set_back=look.set_back.held if look.set_back is not None else 0,
        lies=look.lies,
        leader=look.leader,
        epoch=look.epoch,
        story=(Moment(look.wall, Phase.HOLDING, sentence),),
    )
    return timed(record, "verdict", look.wall if verdict_wall is None else verdict_wall)


def precedence(record: Record) -> tuple[int, int, float, str]:
    """The order in which open incidents take their steps, as a key to sort by.

    Where a chassis has one place, an incident that has ordered nobody yet goes before one that orders again: nodes whose
    devices only seem to obey don't keep the place from those whose devices do.
    """
    return (record.ladder_pass, len(record.orders), record.started_wall, record.name)


def outlives_its_object(record: Record, now: float) -> bool:
    """Whether the incident goes on though somebody has deleted its object: VMs are half-way, an order may be at work, or a storage
    has cut the node off, which nobody else would let in again.

    Else whoever deletes it has ended it; a node that is still down then gets another, which begins at its beginning.
    """
    at_work = any(now < order.effective_until for order in record.orders)
    return record.phase is Phase.RECOVERING or at_work or bool(record.cuts)


def step(record: Record, look: Look) -> Step:
    """One step of one failover."""
    if record.phase in ENDED:
        return Step(record)
    if (record.leader, record.epoch) != (look.leader, look.epoch):
        record = replace(record, leader=look.leader, epoch=look.epoch)
    if look.judgement.may_be_fenced and look.judgement.verdict is Verdict.HUNG:
        record = replace(record, verdict=Verdict.HUNG)  # also one that was opened for silence
    record = lies.caught(noted(without_late(record, look), look), look)
    if (waits := anew(record, look)) is not None:
        assert may_follow(record.phase, waits.record.phase), (record.phase, waits.record.phase)
        return waits
    result = go_on_lifting(_PHASES[record.phase](record, look), look)
    assert may_follow(record.phase, result.record.phase), (record.phase, result.record.phase)
    lease = node_lease.due(
        record.boot, result.record.phase, look.node_lease, look.limit, retry_due=look.retry_due
    )
    return replace(result, commands=(*result.commands, *lease))


_PHASES: dict[Phase, Callable[[Record, Look], Step]] = {
    Phase.HOLDING: holding,
    Phase.HELD: held,
    Phase.FENCING: fencing,
    Phase.AWAITING_CONFIRMATION: awaiting,
    Phase.RECOVERING: recovering,
    Phase.RECOVERED: recovered,
}
