"""The phase under a stored proof: taint, deletions and restarts, for as long as the proof stands.

Of the whole node, or, where it is only cut from its storage, of the VMs that the cut names.
"""

from __future__ import annotations

from dataclasses import replace

from ringfence.core.failover import beyond, cut, planner, precautions, recovery, sentences
from ringfence.core.failover.climb import new_pass
from ringfence.core.failover.commands import AddOutOfServiceTaint, Command, RecoverPods, RemoveTaints
from ringfence.core.failover.look import Look
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import Record, VmRecord, VmState
from ringfence.core.failover.recovered import (
    come_back,
    ended_too,
    in_vain,
    left_to_later_boot,
    left_to_namesake,
)
from ringfence.core.failover.recovery import DeletePod, FreeLeadership, RecoveryCommand
from ringfence.core.failover.step import Step, enter, timed
from ringfence.core.failover.vms import has_launcher, released
from ringfence.core.fencing.proof import RecoverVms, StorageCut, permit, permit_vms, void_because


def recovering(record: Record, look: Look) -> Step:
    recover = permit(record.boot, record.proofs, look.proofs_required)
    if recover is None and (some := permit_vms(record.boot, record.proofs, look.proofs_required)) is not None:
        return _recovering_some(record, look, some)
    if look.namesake is not None:
        if (over := left_to_namesake(record, look)) is not None:
            return over
        if look.namesake.boot_id != record.boot.boot_id:
            # Our taint went with the Node object: nothing keeps the kubelet of that boot from starting what is bound to its name.
            record = replace(record, new_boot_id=look.namesake.boot_id, tainted=False)
    later_boot = record.later_boot or look.current_boot_id not in ("", record.boot.boot_id)
    # Once we have ordered it on, what answers there may be its next boot already.
    if recover is not None and not later_boot and not record.power_on_tries:
        for proof in recover.proofs:
            if (why := void_because(proof, look.life_at, look.life_sign)) is not None:
                void = replace(new_pass(record, look), proofs=())
                return Step(enter(void, Phase.FENCING, f"the proof is void: {why}; reading again", look))
    if recover is None:
        return Step(
            enter(
                replace(new_pass(record, look), proofs=()),
                Phase.FENCING,
                "the proof does not reach; reading again",
                look,
            )
        )
    tell = () if later_boot else precautions.tell(record, look)
    commands: list[Command] = [*tell]
    # A taint that was not on record before the later boot showed may have come too late for the kubelet of that boot:
    # then deletions are gentle, and that kubelet carries them out.
    if record.tainted and look.node_exists and not look.nodes_lag and not look.own_taint:
        # Without it volumes stay attached for minutes, and the node's next kubelet starts what is bound to it.
        record = replace(record, tainted=False)
        if not later_boot and not look.foreign_taint:
            record = _told_taken_away(record, look)
    if look.own_taint and not record.tainted and not later_boot:
        record = timed(replace(record, tainted=True), "taint", look.wall)
    # Somebody else's does what ours would, but only while it is seen: they take it away when they like.
    foreign = look.foreign_taint and not record.tainted and not later_boot
    # Without its Node object there is nothing to taint, and no node to be scheduled to: for as long as nobody has the name.
    gone = not look.node_exists and not later_boot
    if not record.tainted and not later_boot and not foreign and not gone:
        # Taint first: else the scheduler puts the new launcher on the dead node (KUBEVIRT §1).
        if record.cuts:
            record = replace(record, vms=released(record.vms, {v.pod_uid for v in record.vms}, look))
        return Step(record, (AddOutOfServiceTaint(recover), *precautions.rehearsal(record, look), *tell))
    # Under a later boot it has to be seen: its kubelet may have started what was bound to it, and has to end it itself then.
    force = (record.tainted and (look.own_taint or not later_boot)) or foreign or gone
    due, waiting = _due(record, look, force=force)
    # What is a stranger's is asked for, and not waited for: a finalizer may keep it.
    left = tuple(c for c in due if not (isinstance(c, DeletePod) and c.ref in recovery.holders(look.pods)))
    asked = later_boot and not force and bool(left)
    if asked and look.own_taint:
        # It has come too late for that boot. While it stands Kubernetes force-deletes by itself what is being deleted on a node that isn't
        # ready: what was asked of a kubelet that is cut off meanwhile.
        return Step(record, (RemoveTaints(record.boot.node, out_of_service=True, suspect=False),))
    if not left and not waiting:
        record = timed(record, "deleted", look.wall)
    if record.cuts:
        deleted = {c.ref.uid for c in due if isinstance(c, recovery.DeletePod)}
        record = replace(record, vms=released(record.vms, deleted, look))
    present = {p.ref.uid for p in look.pods}
    vms: list[VmRecord] = []
    asks: list[RecoveryCommand] = list(due)
    looks = {(v.namespace, v.name): v for v in look.vms}
    for vm in record.vms:
        pod_gone = vm.pod_uid not in present if vm.pod_uid else not has_launcher(vm, look.pods)
        key = (vm.namespace, vm.name)
        vm_next, wishes = recovery.follow(
            vm, looks.get(key), record.boot.node, pod_gone, look.wall, later_boot=later_boot
        )
        vms.append(_waits(vm_next, waiting.get(key)))
        asks.extend(wishes)
    record = replace(record, vms=tuple(vms))
    if asked and (over := left_to_later_boot(record, look)) is not None:
        return over
    if asks:
        commands.append(RecoverPods(recover, tuple(asks)))
    if not left and all(v.state.settled for v in vms):
        record = timed(record, "running", look.wall)
        return Step(enter(record, Phase.RECOVERED, sentences.outcome(record), look), tuple(commands))
    record = enter(
        record, Phase.RECOVERING, _progress(record, look, len(left), later_boot=later_boot, asked=asked), look
    )
    only_wait = all(v.state.settled or v.state is VmState.WAITING for v in vms)
    if not left and not waiting and (later_boot or only_wait):
        # Nothing of the old boot is left there, and one of these VMs may have nowhere else to go.
        back = come_back(record, look)
        return Step(back.record, (*commands, *back.commands))
    return Step(record, tuple(commands))


def _due(
    record: Record, look: Look, *, force: bool, among: set[planner.Key] | None = None
) -> tuple[tuple[DeletePod | FreeLeadership, ...], dict[planner.Key, str]]:
    """The deletions that are due now, and the VMs whose launchers stay for a while, each with what it waits for."""
    due = recovery.deletions(look.pods, record.pods, force=force)
    waiting = planner.waits(record, look, among)
    return planner.due_now(due, record, waiting), waiting


def _waits(vm: VmRecord, why: str | None) -> VmRecord:
    if vm.state is not VmState.PENDING:
        return vm
    return replace(vm, message=why or "")


def _told_taken_away(record: Record, look: Look) -> Record:
    """Said once, however often it is done: else nothing but that would be left of the story."""
    taken = (
        f"{record.boot.node} was marked out of service, and somebody has taken that away; marking it again"
    )
    if any(moment.sentence == taken for moment in record.story):
        return record
    return enter(record, Phase.RECOVERING, taken, look)


def _progress(record: Record, look: Look, due: int, *, later_boot: bool, asked: bool) -> str:
    if asked and look.node_exists:
        return f"{record.boot.node} has booted again; its kubelet is asked to end what is bound to it; {sentences.unsettled(record)}"
    if look.node_exists and not record.tainted and not look.foreign_taint and not later_boot:
        return record.sentence
    by = " by somebody else, whose taint is left alone" if look.foreign_taint and due else ""
    marked = f"{record.boot.node} is marked out of service{by}"
    if not look.node_exists:
        marked = sentences.deleted(record, look)
    elif later_boot and not (look.own_taint or look.foreign_taint):
        marked = f"{record.boot.node} has booted again"
    if due:
        return f"{marked}; deleting its pods"
    # As it is said when the order is given: one story line an order, not two.
    ended = ended_too(record, look)
    still_off = bool(ended) or not record.new_boot_id
    on = f"{ended}; powering {record.boot.node} on" if record.power_on_tries and still_off else ""
    on = in_vain(record, look) or on
    end = f"{sentences.unsettled(record)}{sentences.slow_detach(record, look)}{on}"
    if any(v.state is VmState.PENDING for v in record.vms):
        return f"{marked}; {end}"
    return f"pods of {record.boot.node} are deleted; {end}"


def _recovering_some(record: Record, look: Look, recover: RecoverVms) -> Step:
    """Recover the VMs that are cut from their storage. The node keeps its other pods, and gets no out-of-service taint."""
    if (why := cut.void_because(record.proofs, look.levels, look.slot_moved_at)) is not None:
        void = replace(new_pass(record, look), proofs=())
        return Step(enter(void, Phase.FENCING, f"the cut is void: {why}; reading again", look))
    # Where more than one method is demanded, what stands beside the cut is about the node, and void by its life.
    for proof in recover.proofs:
        if (why := void_because(proof, look.life_at, look.life_sign)) is not None:
            void = replace(new_pass(record, look), proofs=())
            return Step(enter(void, Phase.FENCING, f"the proof is void: {why}; reading again", look))
    present = {p.ref.uid for p in look.pods}
    there = tuple(vm for vm in recover.vms if present.intersection(vm.pods))
    if (why := cut.outgrown(there, record.proofs, look.vm_volumes)) is not None:
        void = replace(new_pass(record, look), proofs=())
        return Step(enter(void, Phase.FENCING, f"the cut is void: {why}; reading again", look))
    onward = beyond.climb_on(record, look, recover)
    if isinstance(onward, Step):
        return onward
    record, further = onward
    watch = tuple(
        dict.fromkeys(
            (*precautions.tell(record, look), *cut.watch(record.proofs, look.levels, look.now), *further)
        )
    )
    if not cut.stands(record.proofs, look.levels, look.now):
        sentence = f"{record.boot.node} was cut from its storage; reading whether it still is"
        return Step(enter(record, Phase.RECOVERING, sentence, look), watch)
    named = {(vm.namespace, vm.name) for vm in recover.vms}
    due, queued = _due(record, look, force=True, among=named)
    if not due and not queued:
        record = timed(record, "deleted", look.wall)
    deleted = {c.ref.uid for c in due if isinstance(c, recovery.DeletePod)}
    record = replace(record, vms=released(record.vms, deleted, look))
    looks = {(v.namespace, v.name): v for v in look.vms}
    reach = {volume for p in record.proofs if isinstance(p, StorageCut) for volume in p.volumes}
    volumes = {(vm.namespace, vm.name): vm.volumes for vm in look.vm_volumes}
    asks: list[RecoveryCommand] = list(due)
    vms: list[VmRecord] = []
    for vm in record.vms:
        key = (vm.namespace, vm.name)
        if key not in named:
            open_ = ", ".join(v for v in volumes.get(key, ()) if v not in reach) or "no volume of it"
            waits = f"waits for a proof about {record.boot.node}: {open_} is not cut"
            vms.append(replace(vm, message=f"{waits}{beyond.ordered_for_them(record)}"))
            continue
        gone = vm.pod_uid not in present if vm.pod_uid else not has_launcher(vm, look.pods)
        vm_next, wishes = recovery.follow(vm, looks.get(key), record.boot.node, gone, look.wall)
        vms.append(_waits(vm_next, queued.get(key)))
        asks.extend(wishes)
    record = replace(record, vms=tuple(vms))
    commands: list[Command] = [*watch]
    if asks:
        commands.append(RecoverPods(recover, tuple(asks)))
    if due:
        sentence = f"{record.boot.node} is cut from its storage; deleting the pods of {_names(recover)}"
        return Step(enter(record, Phase.RECOVERING, sentence, look), tuple(commands))
    if all(v.state.settled for v in vms):
        record = timed(record, "running", look.wall)
        return Step(enter(record, Phase.RECOVERED, sentences.outcome(record), look), tuple(commands))
    if (done := beyond.left_to_a_living_node(record, look, recover)) is not None:
        return done
    waiting = "; ".join(f"{v.name} {v.state.lower()} ({v.message})" for v in vms if not v.state.settled)
    sentence = f"pods of {_names(recover)} are deleted; {waiting}{sentences.slow_detach(record, look)}"
    return Step(enter(record, Phase.RECOVERING, sentence, look), tuple(commands))


def _names(recover: RecoverVms) -> str:
    return ", ".join(vm.name for vm in recover.vms)
