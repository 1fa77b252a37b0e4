"""The failover machine: ``step(record, look) -> Step(record, commands)``.

Pure and level-triggered. One call looks at the stored record and at the world as it is, and returns the next record
and the commands that are due. The shell *stores the record first* (guarded by resourceVersion and lease epoch) and only
then runs the commands; each is idempotent, so that whoever calls ``step`` next, after a crash at any point, gets the
same commands again or better ones. One small function per phase; :data:`ringfence.core.failover.phase.FOLLOWS` is the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from ringfence.core import timing
from ringfence.core.detection.verdict import Judgement
from ringfence.core.failover import cut, node_lease, recovery
from ringfence.core.failover.cut import LiftCut
from ringfence.core.failover.node_lease import NodeLeaseLook, ReleaseNodeLease, TakeNodeLease
from ringfence.core.failover.phase import ENDED, Phase, may_follow
from ringfence.core.failover.record import Moment, Record, VmRecord
from ringfence.core.failover.recovery import AttachmentLook, PodLook, RecoveryCommand, VmLook
from ringfence.core.fencing.chassis import Places
from ringfence.core.fencing.ladder import (
    Action,
    DeviceLook,
    Ladder,
    LadderCommand,
    Order,
    OrderOff,
    RevokeAgentLease,
    Rungs,
)
from ringfence.core.fencing.proof import (
    AdminConfirmed,
    CutVm,
    FencingProof,
    PoweredOff,
    Rebooted,
    Recover,
    RecoverVms,
    SelfFenced,
    StorageCut,
    permit,
    permit_vms,
    void_because,
)
from ringfence.core.model import Boot, SignedVote, Verdict


@dataclass(frozen=True, slots=True)
class AddOutOfServiceTaint:
    """Says to Kubernetes that the node is off. Only ever issued with a :class:`Recover` in hand."""

    recover: Recover

    def __post_init__(self) -> None:
        if not isinstance(self.recover, Recover):
            raise TypeError("the out-of-service taint needs a proof about the whole node")


@dataclass(frozen=True, slots=True)
class AddSuspectTaint:
    node: str


@dataclass(frozen=True, slots=True)
class RemoveTaints:
    """Suspect, and out-of-service where it is ours."""

    node: str
    out_of_service: bool


@dataclass(frozen=True, slots=True)
class RecoverPods:
    """Deletions under a proof."""

    recover: Recover | RecoverVms
    commands: tuple[RecoveryCommand, ...]

    def __post_init__(self) -> None:
        if isinstance(self.recover, RecoverVms) and (
            foreign := [c for c in self.commands if not _within(self.recover, c)]
        ):
            raise TypeError(f"{foreign[0]} is about what is not named in the proof")


def _within(recover: RecoverVms, command: RecoveryCommand) -> bool:
    match command:
        case recovery.DeletePod(ref=ref):
            return ref.uid in recover.pods
        case recovery.DeleteVmi() | recovery.RequestStart():
            return any((vm.namespace, vm.name) == (command.namespace, command.name) for vm in recover.vms)
        case recovery.FreeLeadership():
            return False


@dataclass(frozen=True, slots=True)
class OrderOn:
    device: str


@dataclass(frozen=True, slots=True)
class RehearseAdmission:
    """Find and end the API server's dead connections to a virt-api of the node, by dry runs about this VM.

    Changes nothing, so it needs no proof. Without it each of KubeVirt's own writes that follow may meet one of those
    connections and wait for its webhook's ten seconds.
    """

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class TellFenced:
    """Let "you are fenced" be written beside the node's slot: should that boot run on, or thaw, it stops its guests.

    An order like a device's: given only where one may be given, to one boot, and it proves nothing.
    """

    boot: Boot
    incident: str
    stop_guests: bool
    """Whether the zone lets the node kill its guests."""


Command = (
    LadderCommand
    | AddOutOfServiceTaint
    | AddSuspectTaint
    | RemoveTaints
    | RecoverPods
    | OrderOn
    | RehearseAdmission
    | TellFenced
    | LiftCut
    | TakeNodeLease
    | ReleaseNodeLease
)


@dataclass(frozen=True, slots=True)
class Confirmation:
    statement: str
    confirmed_by: str
    seen_at: float


@dataclass(frozen=True, slots=True)
class Look:
    """The world with regard to one failover, at ``now`` (monotonic) and ``wall`` (for people)."""

    now: float
    wall: float
    leader: str
    epoch: int
    judgement: Judgement
    limit: str | None
    limit_when_found_off: str | None
    hold_over: bool
    """``Down`` without a break for the whole hold, last look included."""
    life_at: float
    life_sign: str
    node_exists: bool
    current_boot_id: str
    """The boot id that the node itself reports now (kubelet or agent); the incident's own while nothing newer is known."""
    node_ready: bool
    suspect_taint: bool
    out_of_service_taint: bool
    levels: Rungs
    proofs_required: int
    pods: tuple[PodLook, ...]
    vms: tuple[VmLook, ...]
    affected: tuple[VmRecord, ...]
    """The protected VMs that belong to the incident, as seen while it is still open which."""
    confirmation: Confirmation | None
    power_on: bool
    """The zone wants the node powered on after recovery."""
    power_on_due: bool = False
    retry_due: bool = False
    """The back-off after an exhausted ladder is over."""
    slot_due: float = float("-inf")
    """The node's slot has moved: until then nothing but a later boot proves that it is over."""
    slot_moved_at: float = float("-inf")
    """When the boot's slot was last seen to move."""
    vm_volumes: tuple[CutVm, ...] = ()
    """The incident's VMs with their pods on the node and all that they write to."""
    guests: frozenset[str] | None = None
    """Guests (``namespace_name``) that the agent of this boot has reported to run there, *since* the proof; None: no word."""
    told_fenced: bool | None = None
    """Whether the heartbeat volume tells this boot that it is fenced; None where it has no slot, or nobody can say."""
    stop_guests: bool = False
    """The zone lets a fenced node kill its own guests."""
    attachments: tuple[AttachmentLook, ...] = ()
    """The volumes that are attached to the node."""
    foreign_taint: bool = False
    """The out-of-service taint on the node is somebody else's."""
    node_lease: NodeLeaseLook = node_lease.UNUSED

    @property
    def own_taint(self) -> bool:
        """Our out-of-service taint stands on the node."""
        return self.out_of_service_taint and not self.foreign_taint

    hedges: tuple[float | None, ...] = ()
    """The zone's ``hedgeAfterSeconds``, level by level."""
    order_delay: float = 0.0
    """Seconds that the zone's nodes are to be left before the first order, the random part drawn."""


@dataclass(frozen=True, slots=True)
class Step:
    record: Record
    commands: tuple[Command, ...] = ()


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

    ``verdict_wall`` is when this controller judged the node Down: a standby judges too, and opens when it leads.
    """
    sentence = f"{look.judgement.sentence}; holding{_foreign_taint(look)}"
    record = Record(
        name=name,
        boot=boot,
        phase=Phase.HOLDING,
        sentence=sentence,
        doubted_wall=doubted_wall,
        started_wall=look.wall,
        verdict_sentence=look.judgement.sentence,
        voters=voters,
        votes=votes,
        vote_after=vote_after,
        vms=look.affected,
        leader=look.leader,
        epoch=look.epoch,
        story=(Moment(look.wall, Phase.HOLDING, sentence),),
    )
    return _timed(record, "verdict", look.wall if verdict_wall is None else verdict_wall)


def precedence(record: Record) -> tuple[int, int, float, str]:
    """The order in which open incidents take their steps, as a key to sort by.

    Where a chassis has one place, an incident that has ordered nobody yet goes before one that orders again: nodes whose
    devices only seem to obey don't keep the place from those whose devices do.
    """
    return (record.ladder_pass, len(record.orders), record.started_wall, record.name)


def step(record: Record, look: Look) -> Step:
    """One step of one failover."""
    if record.phase in ENDED:
        return Step(record)
    record = replace(record, leader=look.leader, epoch=look.epoch)
    result = _go_on_lifting(_PHASES[record.phase](record, look), look)
    assert may_follow(record.phase, result.record.phase), (record.phase, result.record.phase)
    lease = node_lease.due(
        record.boot, result.record.phase, look.node_lease, look.limit, retry_due=look.retry_due
    )
    return replace(result, commands=(*result.commands, *lease))


_BEFORE_PROOF = frozenset({Phase.HOLDING, Phase.HELD, Phase.FENCING, Phase.AWAITING_CONFIRMATION})


def _go_on_lifting(step_: Step, look: Look) -> Step:
    """A lift that was begun is finished, whatever the verdict says meanwhile: until then the storage proves nothing."""
    record = step_.record
    if not record.lifting or record.phase not in _BEFORE_PROOF:
        return step_
    if (lifting := cut.lift(record.cuts, look.levels, look.now)) is not None:
        new = tuple(c for c in lifting if c not in step_.commands)
        return Step(record, (*step_.commands, *new))
    orders = tuple(o for o in record.orders if o.device not in record.cuts)
    # A pass of its own: the next order is another than the one of before, under whose number nothing is sent again.
    over = replace(record, cuts=(), lifting=False, orders=orders, ladder_pass=record.ladder_pass + 1)
    if record.phase is Phase.AWAITING_CONFIRMATION:
        # It was only waited for the storage: the ladder has a rung more.
        sentence = f"{look.judgement.sentence}; it is let at its storage again, reading again"
        over = _enter(over, Phase.FENCING, sentence, look)
    return Step(over, step_.commands)


def _may_lift(record: Record, look: Look) -> bool:
    """Nothing was moved, or no old guest is left; decided once, since only another proof moves anything, and that ends the lift."""
    return record.lifting or not cut.moved(record) or cut.guests_gone(record, look.guests)


def _enter(record: Record, phase: Phase, sentence: str, look: Look) -> Record:
    """The one writer of phase and sentence; each change is a line of the story."""
    if phase == record.phase and sentence == record.sentence:
        return record
    story = (*record.story, Moment(look.wall, phase, sentence))[-64:]
    return replace(record, phase=phase, sentence=sentence, story=story)


def _timed(record: Record, what: str, wall: float) -> Record:
    if any(name == what for name, _ in record.timings):
        return record
    return replace(record, timings=(*record.timings, (what, round(max(0.0, wall - record.doubted_wall), 3))))


LIFTED_FIRST = "it is being let at its storage again: that is finished first"


def _ladder(record: Record, look: Look) -> Ladder:
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
    return Ladder(
        record.boot,
        levels,
        record.orders,
        look.life_at,
        vms=look.vm_volumes,
        slot_moved_at=look.slot_moved_at,
        hedges=look.hedges,
        begun=record.begun,
        order_delay=look.order_delay if record.ladder_pass == 0 else 0.0,
    )


def _foreign_taint(look: Look) -> str:
    """For the sentence of an incident that has no proof yet: on that taint Kubernetes deletes pods, and KubeVirt starts VMs."""
    if not look.foreign_taint:
        return ""
    return "; it carries somebody else's out-of-service taint, and what Kubernetes does for that is not ours"


def _early(record: Record, look: Look) -> tuple[Command, ...]:
    """What needs no proof and is better done before it."""
    taint = () if look.suspect_taint or not look.node_exists else (AddSuspectTaint(record.boot.node),)
    return (*taint, *_rehearsal(record, look))


def _tell(record: Record, look: Look) -> tuple[TellFenced, ...]:
    """For the node itself, should it live: due with the first order, and as long as nobody has seen the word stand."""
    if look.told_fenced is not False:
        return ()
    return (TellFenced(record.boot, record.name, look.stop_guests),)


def _rehearsal(record: Record, look: Look) -> tuple[Command, ...]:
    vms = record.vms or look.affected
    lost = any(p.role is recovery.PodRole.VIRT_API for p in look.pods)
    return (RehearseAdmission(vms[0].namespace, vms[0].name),) if lost and vms else ()


def _order_working(record: Record, look: Look) -> bool:
    """Whether an order off may still take effect, of whichever device."""
    return any(look.now < o.effective_until for o in record.orders if o.action is not Action.ON)


def _rebooted(record: Record, look: Look) -> Rebooted | None:
    if look.current_boot_id in ("", record.boot.boot_id):
        return None
    return Rebooted(
        record.boot, look.current_boot_id, look.now, f"the node reports boot {look.current_boot_id[:8]}"
    )


def _withdraw(record: Record, look: Look) -> Step | None:
    """End without a deed if the node lives, unless an order may still take effect.

    Like the way back after a recovery it ends only when the taints are seen to be gone: an ended record tries nothing again.
    """
    if look.judgement.verdict is Verdict.DOWN or _order_working(record, look):
        return None
    if cut.lift(record.cuts, look.levels, look.now) is not None:
        if not _may_lift(record, look):
            sentence = (
                f"{look.judgement.sentence}; it stays cut from its storage until it has rebooted, or its agent reports that no"
                f" guest of {', '.join(v.name for v in cut.moved(record))} is left there"
            )
            return Step(_enter(record, record.phase, sentence, look))
        sentence = f"{look.judgement.sentence}; it is let at its storage again first"
        return Step(_enter(replace(record, lifting=True), record.phase, sentence, look))
    # Out-of-service is ours only if a proof has ever stood, and was void later.
    ours = any(name == "proof" for name, _ in record.timings)
    if look.suspect_taint or (ours and look.own_taint):
        return Step(record, (RemoveTaints(record.boot.node, out_of_service=ours),))
    left = cut.left_standing(record.cuts, look.levels)
    return Step(_enter(record, Phase.WITHDRAWN, f"withdrawn: {look.judgement.sentence}{left}", look))


def _new_pass(record: Record, look: Look) -> Record:
    """The ladder from its foot. Orders that may still take effect stay on record: nothing is ordered beside them."""
    working = tuple(o for o in record.orders if look.now < o.effective_until)
    return replace(record, orders=working, begun=(), ladder_pass=record.ladder_pass + 1)


def _not_fencing(record: Record, limit: str, look: Look) -> Step:
    """A limit forbids to go on: held, and whatever level was begun is begun anew afterwards."""
    held = replace(record, held_reason=limit, begun=())
    sentence = f"{look.judgement.sentence}; not fencing: {limit}{_foreign_taint(look)}"
    return Step(_enter(held, Phase.HELD, sentence, look))


def _proof_in_hand(record: Record, look: Look, found: tuple[FencingProof, ...]) -> Step | None:
    """Go to recovery if what is proved is enough, for the whole node or for some of its VMs."""
    # A living node is silent between two writes of its slot: an `off` read in that gap is no proof yet.
    slot_quiet = look.now >= look.slot_due
    proofs = list(found) if slot_quiet else []
    # Nobody can check a person's word, so it counts only while the node is found silent now, by more than one source.
    down = look.judgement.verdict is Verdict.DOWN
    if (
        (confirmed := _word(record, look)) is not None
        and slot_quiet
        and down
        and not _too_old(confirmed, look)
    ):
        proofs.append(confirmed)
    if (rebooted := _rebooted(record, look)) is not None:
        proofs.append(rebooted)
    whole = permit(record.boot, tuple(proofs), look.proofs_required) is not None
    some = None if whole else permit_vms(record.boot, tuple(proofs), look.proofs_required)
    if not whole and some is None:
        return None
    sentence = "; ".join(proof_sentence(p) for p in proofs)
    pods = tuple(ref for ref in recovery.covered(look.pods) if some is None or ref.uid in some.pods)
    record = replace(
        record,
        proofs=tuple(proofs),
        pods=pods,
        vms=merged(record.vms, _with_pods(look.affected, look.pods)),
        held_reason="",
        lifting=False,
    )
    record = _timed(record, "proof", look.wall)
    # The commands come with the next step: first this proof and its pods have to be on record.
    what = "is off" if whole else "is cut from its storage"
    return Step(_enter(record, Phase.RECOVERING, f"{record.boot.node} {what}: {sentence}", look))


def _word(record: Record, look: Look) -> AdminConfirmed | None:
    """What a person has said of this boot."""
    said = look.confirmation
    if said is None:
        return None
    return AdminConfirmed(record.boot, said.confirmed_by, said.statement, said.seen_at)


def _too_old(confirmed: AdminConfirmed, look: Look) -> bool:
    return void_because(confirmed, look.life_at, look.life_sign) is not None


def _call_a_person(record: Record, look: Look) -> str:
    node = record.boot.node
    return (
        f"Make sure that {node} is off, then: ringfence fence confirm {node} --i-have-checked-that-it-is-off"
        f"{_unheard(record, look)}{_foreign_taint(look)}"
    )


def _unheard(record: Record, look: Look) -> str:
    """Why a person's word is not taken."""
    confirmed = _word(record, look)
    if confirmed is None or not _too_old(confirmed, look):
        return ""
    return f" (the word of {confirmed.confirmed_by} does not count: a sign of life came after it)"


def _with_pods(vms: tuple[VmRecord, ...], pods: tuple[PodLook, ...]) -> tuple[VmRecord, ...]:
    launchers = {p.vmi_uid: p.ref.uid for p in pods if p.role is recovery.PodRole.LAUNCHER}
    return tuple(replace(v, pod_uid=v.pod_uid or launchers.get(v.vmi_uid, "")) for v in vms)


def merged(before: tuple[VmRecord, ...], seen: tuple[VmRecord, ...]) -> tuple[VmRecord, ...]:
    """VMs already on record keep their state (a proof can be void and given anew); new ones join."""
    known = {(v.namespace, v.name): v for v in before if v.released_wall is not None}
    kept = dict(known)
    for vm in seen or before:
        kept.setdefault((vm.namespace, vm.name), vm)
    return tuple(kept.values())


def proof_sentence(proof: FencingProof) -> str:
    """The proof in words."""
    match proof:
        case PoweredOff():
            return f"{proof.device} reads off ({proof.how}; {proof.detail})"
        case Rebooted():
            return f"it has rebooted ({proof.detail})"
        case SelfFenced():
            return f"its own watchdog has reset it ({proof.device}: {proof.detail})"
        case AdminConfirmed():
            return f'{proof.confirmed_by} confirms: "{proof.statement}"'
        case StorageCut():
            return f"{proof.device} lets it no longer at {', '.join(proof.volumes)} ({proof.detail})"


def _holding(record: Record, look: Look) -> Step:
    rung = _ladder(record, look).look(look.now)
    # A storage that cuts says nothing of the node: it spares neither the hold nor a limit.
    off = tuple(p for p in rung.proofs if not isinstance(p, StorageCut))
    if look.limit_when_found_off is None and (done := _proof_in_hand(record, look, off)) is not None:
        return done
    if (end := _withdraw(record, look)) is not None:
        return end
    early = _early(record, look)
    if not look.hold_over:
        vms = merged(record.vms, _with_pods(look.affected, look.pods))
        return Step(replace(record, vms=vms), (*early, *rung.commands))
    if look.limit is not None:
        return replace(_not_fencing(record, look.limit, look), commands=(*early, *rung.commands))
    if not look.node_lease.settled:
        return Step(record, (*early, *rung.commands))
    return _climb(_timed(record, "hold", look.wall), look, early)


def _held(record: Record, look: Look) -> Step:
    down = look.judgement.verdict is Verdict.DOWN
    if look.hold_over and look.limit is None and look.node_lease.settled and down:
        return _climb(replace(record, held_reason=""), look, _early(record, look))
    step_ = _holding(replace(record, held_reason=""), look)
    if step_.record.phase is Phase.HELD and not look.hold_over:
        return Step(record, step_.commands)
    return step_


def _climb(record: Record, look: Look, extra: tuple[Command, ...] = ()) -> Step:
    ladder = _ladder(record, look)
    rung = ladder.climb(look.now, look.proofs_required)
    if (done := _proof_in_hand(record, look, rung.proofs)) is not None:
        return done
    if rung.exhausted:
        sentence = (
            f"{look.judgement.sentence}; not proved off: {rung.sentence}. {_call_a_person(record, look)}"
        )
        return Step(
            _enter(record, Phase.AWAITING_CONFIRMATION, sentence, look), (*extra, *_tell(record, look))
        )
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
            orders = (*orders, Order(command.device, command.attempt, look.now, look.now + lasts))
            if command.device in cut.storages(look.levels) and command.device not in record.cuts:
                record = replace(record, cuts=(*record.cuts, command.device))
        elif isinstance(command, RevokeAgentLease) and not ladder.ordered(command.device):
            # Done again it changes nothing, so it is on record once and holds nobody up.
            orders = (*orders, Order(command.device, 1, look.now, look.now, Action.REVOKE))
    if orders != record.orders:
        record = _timed(replace(record, orders=orders), "order", look.wall)
    tell = (
        _tell(record, look) if orders else ()
    )  # reads only: the node may be off already, or be called alive yet
    return Step(_enter(record, Phase.FENCING, rung.sentence, look), (*extra, *rung.commands, *tell))


def _fencing(record: Record, look: Look) -> Step:
    if (end := _withdraw(record, look)) is not None:
        return end
    ordered = bool(record.orders)
    if look.limit is not None and not ordered:
        return _not_fencing(record, look.limit, look)
    down = look.judgement.verdict is Verdict.DOWN
    if look.limit is not None or not down:
        # A fence that runs is finished first (DESIGN §2): read on, but order no more while the limit holds, nor from
        # any further device if the node turns out to live while an order is on its way.
        rung = _ladder(record, look).climb(look.now, look.proofs_required)
        if (done := _proof_in_hand(record, look, rung.proofs)) is not None:
            return done
        reads = tuple(c for c in rung.commands if not isinstance(c, OrderOff | RevokeAgentLease))
        stuck = rung.exhausted or (not reads and len(rung.commands) > 0)
        if down and look.limit is not None and stuck:
            return _not_fencing(_new_pass(record, look), look.limit, look)
        return Step(record, reads)
    return _climb(record, look, _early(record, look))


def _awaiting(record: Record, look: Look) -> Step:
    rung = _ladder(record, look).look(look.now)
    down = look.judgement.verdict is Verdict.DOWN and look.limit is None
    found = tuple(p for p in rung.proofs if down or not isinstance(p, StorageCut))
    if (done := _proof_in_hand(record, look, found)) is not None:
        return done
    if (end := _withdraw(record, look)) is not None:
        return end
    if look.retry_due and look.node_lease.settled and not _order_working(record, look):
        again = replace(record, orders=(), begun=(), ladder_pass=record.ladder_pass + 1)
        if look.limit is not None:
            return _not_fencing(again, look.limit, look)
        return _climb(again, look)
    tell = _tell(record, look) if look.limit is None else ()
    if (unheard := _unheard(record, look)) not in record.sentence:
        record = _enter(record, Phase.AWAITING_CONFIRMATION, f"{record.sentence}{unheard}", look)
    return Step(record, (*_early(record, look), *tell))


def _recovering(record: Record, look: Look) -> Step:
    recover = permit(record.boot, record.proofs, look.proofs_required)
    if recover is None and (some := permit_vms(record.boot, record.proofs, look.proofs_required)) is not None:
        return _recovering_some(record, look, some)
    later_boot = look.current_boot_id not in ("", record.boot.boot_id)
    if recover is not None and not later_boot:
        for proof in recover.proofs:
            if (why := void_because(proof, look.life_at, look.life_sign)) is not None:
                void = replace(_new_pass(record, look), proofs=())
                return Step(_enter(void, Phase.FENCING, f"the proof is void: {why}; reading again", look))
    if recover is None:
        return Step(
            _enter(
                replace(_new_pass(record, look), proofs=()),
                Phase.FENCING,
                "the proof does not reach; reading again",
                look,
            )
        )
    tell = () if later_boot else _tell(record, look)
    commands: list[Command] = [*tell]
    # A taint that was not on record before the later boot showed may have come too late for the kubelet of that boot:
    # then deletions are gentle, and that kubelet carries them out.
    if look.own_taint and not record.tainted and not later_boot:
        record = _timed(replace(record, tainted=True), "taint", look.wall)
    # Somebody else's does what ours would, but only while it is seen: they take it away when they like.
    foreign = look.foreign_taint and not record.tainted and not later_boot
    if not record.tainted and not later_boot and not foreign:
        # Taint first: else the scheduler puts the new launcher on the dead node (KUBEVIRT §1).
        if look.node_exists:
            if record.cuts:
                record = replace(record, vms=_released(record.vms, {v.pod_uid for v in record.vms}, look))
            return Step(record, (AddOutOfServiceTaint(recover), *_rehearsal(record, look), *tell))
        record = replace(record, tainted=True)
    force = record.tainted or foreign
    due = recovery.deletions(look.pods, record.pods, force=force)
    if not due:
        record = _timed(record, "deleted", look.wall)
    if record.cuts:
        deleted = {c.ref.uid for c in due if isinstance(c, recovery.DeletePod)}
        record = replace(record, vms=_released(record.vms, deleted, look))
    present = {p.ref.uid for p in look.pods}
    vms: list[VmRecord] = []
    asks: list[RecoveryCommand] = list(due)
    looks = {(v.namespace, v.name): v for v in look.vms}
    for vm in record.vms:
        gone = vm.pod_uid not in present if vm.pod_uid else not _has_launcher(vm, look.pods)
        vm_next, wishes = recovery.follow(
            vm, looks.get((vm.namespace, vm.name)), record.boot.node, gone, look.wall
        )
        vms.append(vm_next)
        asks.extend(wishes)
    record = replace(record, vms=tuple(vms))
    if asks:
        commands.append(RecoverPods(recover, tuple(asks)))
    if not due and all(v.state.settled for v in vms):
        record = _timed(record, "running", look.wall)
        return Step(_enter(record, Phase.RECOVERED, _outcome(record), look), tuple(commands))
    return Step(_enter(record, Phase.RECOVERING, _progress(record, look, len(due)), look), tuple(commands))


def _recovering_some(record: Record, look: Look, recover: RecoverVms) -> Step:
    """Recover the VMs that are cut from their storage. The node keeps its other pods, and gets no out-of-service taint."""
    off = tuple(p for p in _ladder(record, look).look(look.now).proofs if not isinstance(p, StorageCut))
    found = _proof_in_hand(record, look, (*record.proofs, *off))
    if found is not None and permit(record.boot, found.record.proofs, look.proofs_required) is not None:
        return found
    if (why := cut.void_because(record.proofs, look.levels, look.slot_moved_at)) is not None:
        void = replace(_new_pass(record, look), proofs=())
        return Step(_enter(void, Phase.FENCING, f"the cut is void: {why}; reading again", look))
    # Where more than one method is demanded, what stands beside the cut is about the node, and void by its life.
    for proof in recover.proofs:
        if (why := void_because(proof, look.life_at, look.life_sign)) is not None:
            void = replace(_new_pass(record, look), proofs=())
            return Step(_enter(void, Phase.FENCING, f"the proof is void: {why}; reading again", look))
    present = {p.ref.uid for p in look.pods}
    there = tuple(vm for vm in recover.vms if present.intersection(vm.pods))
    if (why := cut.outgrown(there, record.proofs, look.vm_volumes)) is not None:
        void = replace(_new_pass(record, look), proofs=())
        return Step(_enter(void, Phase.FENCING, f"the cut is void: {why}; reading again", look))
    watch: tuple[Command, ...] = (*_tell(record, look), *cut.watch(record.proofs, look.levels, look.now))
    if not cut.stands(record.proofs, look.levels, look.now):
        sentence = f"{record.boot.node} was cut from its storage; reading whether it still is"
        return Step(_enter(record, Phase.RECOVERING, sentence, look), watch)
    due = recovery.deletions(look.pods, record.pods, force=True)
    if not due:
        record = _timed(record, "deleted", look.wall)
    deleted = {c.ref.uid for c in due if isinstance(c, recovery.DeletePod)}
    record = replace(record, vms=_released(record.vms, deleted, look))
    looks = {(v.namespace, v.name): v for v in look.vms}
    named = {(vm.namespace, vm.name) for vm in recover.vms}
    reach = {volume for p in record.proofs if isinstance(p, StorageCut) for volume in p.volumes}
    volumes = {(vm.namespace, vm.name): vm.volumes for vm in look.vm_volumes}
    asks: list[RecoveryCommand] = list(due)
    vms: list[VmRecord] = []
    for vm in record.vms:
        key = (vm.namespace, vm.name)
        if key not in named:
            open_ = ", ".join(v for v in volumes.get(key, ()) if v not in reach) or "no volume of it"
            vms.append(replace(vm, message=f"waits for a proof about {record.boot.node}: {open_} is not cut"))
            continue
        gone = vm.pod_uid not in present if vm.pod_uid else not _has_launcher(vm, look.pods)
        vm_next, wishes = recovery.follow(vm, looks.get(key), record.boot.node, gone, look.wall)
        vms.append(vm_next)
        asks.extend(wishes)
    record = replace(record, vms=tuple(vms))
    commands: list[Command] = [*watch]
    if asks:
        commands.append(RecoverPods(recover, tuple(asks)))
    if due:
        sentence = f"{record.boot.node} is cut from its storage; deleting the pods of {_names(recover)}"
        return Step(_enter(record, Phase.RECOVERING, sentence, look), tuple(commands))
    if all(v.state.settled for v in vms):
        record = _timed(record, "running", look.wall)
        return Step(_enter(record, Phase.RECOVERED, _outcome(record), look), tuple(commands))
    waiting = "; ".join(f"{v.name} {v.state.lower()} ({v.message})" for v in vms if not v.state.settled)
    sentence = f"pods of {_names(recover)} are deleted; {waiting}{_slow_detach(record, look)}"
    return Step(_enter(record, Phase.RECOVERING, sentence, look), tuple(commands))


def _released(vms: tuple[VmRecord, ...], pods: set[str], look: Look) -> tuple[VmRecord, ...]:
    """Those whose launcher is about to be deleted may run elsewhere from here on: on record before it is done."""
    return tuple(
        replace(v, released_wall=look.wall) if v.released_wall is None and v.pod_uid in pods else v
        for v in vms
    )


def _names(recover: RecoverVms) -> str:
    return ", ".join(vm.name for vm in recover.vms)


def _has_launcher(vm: VmRecord, pods: tuple[PodLook, ...]) -> bool:
    return vm.vmi_uid != "" and any(p.vmi_uid == vm.vmi_uid for p in pods)


def _left_attached(look: Look) -> tuple[str, ...]:
    """Volumes that the node still has, though no pod on it uses them: what the out-of-service taint is there to end."""
    return tuple(sorted(a.volume for a in look.attachments if not a.wanted))


def _progress(record: Record, look: Look, due: int) -> str:
    if not record.tainted and not look.foreign_taint:
        return record.sentence
    if due:
        by = " by somebody else, whose taint is left alone" if look.foreign_taint else ""
        return f"{record.boot.node} is marked out of service{by}; deleting its pods"
    waiting = ", ".join(
        f"{v.name} {v.state.lower()}" + (f" ({v.message})" if v.message else "")
        for v in record.vms
        if not v.state.settled
    )
    return f"pods of {record.boot.node} are deleted; {waiting}{_slow_detach(record, look)}"


def _slow_detach(record: Record, look: Look) -> str:
    """The volumes that hold VMs up, as the end of a sentence; empty while it's too early to tell."""
    released = [v.released_wall for v in record.vms if not v.state.settled and v.released_wall is not None]
    if released and look.wall - min(released) >= timing.DETACH_TOLD_AFTER and (left := _left_attached(look)):
        return f"; still attached to {record.boot.node}: {', '.join(left)}"
    return ""


def _outcome(record: Record) -> str:
    done = ", ".join(f"{v.name} {v.message}" for v in record.vms) or "nothing was left to move"
    return f"recovered: {done}"


def _recovered(record: Record, look: Look) -> Step:
    later_boot = look.current_boot_id not in ("", record.boot.boot_id)
    if not look.node_exists:
        # That it was deleted says nothing of the machine: what it is cut from it stays cut from.
        still = cut.left_standing(record.cuts, ())
        return Step(
            _enter(
                record, Phase.CLOSED, f"{record.sentence}; node {record.boot.node} was deleted{still}", look
            )
        )
    if later_boot:
        covered = {p.uid for p in record.pods}
        left = [p.ref.name for p in look.pods if p.ref.uid in covered]
        record = replace(record, new_boot_id=look.current_boot_id)
        if not look.node_ready or left:
            return Step(record)
        if (lifting := cut.lift(record.cuts, look.levels, look.now)) is not None:
            return Step(record, lifting)
        sentence = f"{_outcome(record)}; {record.boot.node} is back with boot {look.current_boot_id[:8]}"
        # Only while out-of-service stands does Kubernetes detach without the word of a kubelet that has forgotten
        # the volume: without it what is left would wait for six minutes.
        if look.own_taint and (attached := _left_attached(look)):
            why = f"its taints stay until the storage driver has detached {', '.join(attached)}"
            return Step(_enter(record, Phase.RECOVERED, f"{sentence}; {why}", look))
        if look.suspect_taint or look.own_taint:
            return Step(record, (RemoveTaints(record.boot.node, out_of_service=True),))
        if look.foreign_taint:
            sentence += "; its out-of-service taint is somebody else's and stays"
        sentence += cut.left_standing(record.cuts, look.levels)
        return Step(_enter(_timed(record, "back", look.wall), Phase.CLOSED, sentence, look))
    if permit(record.boot, record.proofs, look.proofs_required) is None:
        return _recovered_some(record, look)
    lease_allows = look.node_lease.foreign is None and look.node_lease.settled
    tries_left = record.power_on_tries < timing.POWER_ON_TRIES
    if look.power_on and look.power_on_due and lease_allows and tries_left:
        return _power_on(record, look)
    return Step(record, _tell(record, look))


def _power_on(record: Record, look: Look) -> Step:
    """Order it on by every device that has cut its power: the one that proved it, and those that were ordered beside it."""
    cut_by = {p.device for p in record.proofs if isinstance(p, PoweredOff)}
    if not cut_by or _order_working(record, look):
        return Step(record, _tell(record, look))
    cut_by |= {o.device for o in record.orders if o.action is Action.OFF} - cut.storages(look.levels).keys()
    tried = Counter(o.device for o in record.orders if o.action is Action.ON)
    devices = {d.name: d for level in look.levels for d in level if isinstance(d, DeviceLook)}
    places = Places(record.boot.node)
    now_on: list[str] = []
    for name in sorted(cut_by, key=lambda name: (tried[name], name)):
        chassis = devices[name].chassis if name in devices else None
        if places.full(chassis) is None:
            places.take(chassis)
            now_on.append(name)
    if not now_on:
        sentence = f"{_outcome(record)}; powering {record.boot.node} on waits for other orders to its chassis"
        return Step(_enter(record, Phase.RECOVERED, sentence, look), _tell(record, look))
    until = look.now + timing.ORDER_EFFECT
    orders = tuple(Order(name, tried[name] + 1, look.now, until, Action.ON) for name in now_on)
    record = replace(record, power_on_tries=record.power_on_tries + 1, orders=(*record.orders, *orders))
    return Step(
        _enter(record, Phase.RECOVERED, f"{_outcome(record)}; powering {record.boot.node} on", look),
        tuple(OrderOn(name) for name in now_on),
    )


def _recovered_some(record: Record, look: Look) -> Step:
    """The moved VMs run elsewhere; the node is let at its storage again when no old guest of theirs is left."""
    may_lift = record.lifting or cut.guests_gone(record, look.guests)
    if (why := cut.void_because(record.proofs, look.levels, look.slot_moved_at)) is not None and not may_lift:
        # Told, not acted upon: the VMs run elsewhere, and nothing that we could do would end an old guest.
        sentence = (
            f"{_outcome(record)}; but {why}: make sure that no old guest of theirs runs on {record.boot.node}"
        )
        return Step(_enter(record, Phase.RECOVERED, sentence, look), _tell(record, look))
    if not may_lift:
        return Step(record, (*_tell(record, look), *cut.watch(record.proofs, look.levels, look.now)))
    record = replace(record, lifting=True)
    if (lifting := cut.lift(record.cuts, look.levels, look.now)) is not None:
        sentence = (
            f"{_outcome(record)}; no old guest is left on {record.boot.node}, it is let at its storage again"
        )
        return Step(_enter(record, Phase.RECOVERED, sentence, look), lifting)
    if look.suspect_taint:
        return Step(record, (RemoveTaints(record.boot.node, out_of_service=False),))
    sentence = f"{_outcome(record)}; {record.boot.node} has its storage again, without its old guests"
    if left := cut.left_standing(record.cuts, look.levels):
        sentence = f"{_outcome(record)}; no old guest is left on {record.boot.node}{left}"
    return Step(_enter(_timed(record, "back", look.wall), Phase.CLOSED, sentence, look))


_PHASES: dict[Phase, Callable[[Record, Look], Step]] = {
    Phase.HOLDING: _holding,
    Phase.HELD: _held,
    Phase.FENCING: _fencing,
    Phase.AWAITING_CONFIRMATION: _awaiting,
    Phase.RECOVERING: _recovering,
    Phase.RECOVERED: _recovered,
}
