"""The phase after recovery, until the node is back: powered on, its taints gone, at its storage again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ringfence.core import timing
from ringfence.core.failover import cut, precautions, recovery, sentences
from ringfence.core.failover.climb import order_working
from ringfence.core.failover.commands import OrderOn, RemoveTaints
from ringfence.core.failover.look import Look
from ringfence.core.failover.phase import ENDED, Phase
from ringfence.core.failover.record import Record, VmState
from ringfence.core.failover.step import Step, enter, timed
from ringfence.core.fencing.chassis import Places
from ringfence.core.fencing.orders import Action, Order
from ringfence.core.fencing.proof import PoweredOff, Rebooted, about_the_node, permit, void_because
from ringfence.core.fencing.rungs import DeviceLook
from ringfence.core.model import Boot, Verdict


def recovered(record: Record, look: Look) -> Step:
    later_boot = look.current_boot_id not in ("", record.boot.boot_id)
    if not look.node_exists:
        # That it was deleted says nothing of the machine: what it is cut from it stays cut from.
        still = cut.left_standing_without_its_object(record.cuts)
        sentence = f"{record.sentence}; node {sentences.deleted(record, look)}{_never_off(record, look)}"
        return Step(enter(record, Phase.CLOSED, f"{sentence}{still}", look))
    if later_boot:
        covered = {p.uid for p in record.pods}
        strangers = recovery.holders(look.pods)
        left = [p.ref.name for p in look.pods if p.ref.uid in covered and p.ref not in strangers]
        record = replace(record, new_boot_id=look.current_boot_id)
        if ended := ended_too(record, look):
            return _power_on_again(record, look, sentences.outcome(record), ended)
        if not look.node_ready or left:
            return Step(record)
        if (lifting := cut.lift(record, look.levels, look.now)) is not None:
            return Step(record, lifting)
        sentence = (
            f"{sentences.outcome(record)}; {record.boot.node} is back with boot {look.current_boot_id[:8]}"
        )
        if _may_be_shot(record, look):
            # It may end this boot too: then somebody has to order the node on again, and nothing new has to have come to it.
            why = "its taints stay until no order off can take effect any more"
            return Step(enter(record, Phase.RECOVERED, f"{sentence}; {why}", look))
        # Only while out-of-service stands does Kubernetes detach without the word of a kubelet that has forgotten
        # the volume: without it what is left would wait for six minutes.
        if look.own_taint and (attached := recovery.left_attached(look.attachments)):
            why = f"its taints stay until the storage driver has detached {', '.join(attached)}"
            return Step(enter(record, Phase.RECOVERED, f"{sentence}; {why}", look))
        stays = look.quarantined
        if (look.suspect_taint and not stays) or look.own_taint:
            return Step(record, (RemoveTaints(record.boot.node, out_of_service=True, suspect=not stays),))
        if look.foreign_taint:
            sentence += "; its out-of-service taint is somebody else's and stays"
        sentence += cut.left_standing(record.cuts, look.levels) + sentences.quarantine(look)
        return Step(enter(timed(record, "back", look.wall), Phase.CLOSED, sentence, look))
    if record.later_boot:
        return Step(record)  # our view of the Nodes lags behind
    if permit(record.boot, record.proofs, look.proofs_required) is None:
        return _recovered_some(record, look)
    if (refuted := _refuted(record, look)) is not None:
        # Told, not acted upon, as under a cut: what was moved runs elsewhere, and no order ends an old guest that was let go.
        ask = f"; {record.boot.node} {sentences.NEVER_OFF}"
        if record.sentence.endswith(ask):
            return Step(record, precautions.tell(record, look))
        sentence = f"{sentences.outcome(record)}; but {refuted}{ask}"
        return Step(enter(record, Phase.RECOVERED, sentence, look), precautions.tell(record, look))
    if _may_power_on(record, look):
        return _power_on(record, look, sentences.outcome(record))
    if gave_up := in_vain(record, look):
        record = enter(record, record.phase, f"{sentences.outcome(record)}{gave_up}", look)
    return Step(record, precautions.tell(record, look))


def _refuted(record: Record, look: Look) -> str | None:
    """Why what was proved of the boot was false: it is heard. What answers without naming its boot may be the next one."""
    if look.judgement.verdict is not Verdict.HEALTHY:
        return None
    return _void(record, look)


def _void(record: Record, look: Look) -> str | None:
    whys = (void_because(proof, look.life_at, look.life_sign) for proof in record.proofs)
    return next((why for why in whys if why is not None), None)


def _never_off(record: Record, look: Look) -> str:
    """That the boot which was proved off has registered its node anew, as the end of a sentence."""
    if look.namesake is None or look.namesake.boot_id != record.boot.boot_id:
        return ""
    why = _void(record, look)
    return f"; but {why}; it {sentences.NEVER_OFF}" if why else ""


def registered_since(record: Record, node: Boot) -> str | None:
    """That a node which this incident has proved off, and whose Node object was deleted, has been registered again in that very boot.

    An incident that has ended takes no step any more, and its proof was its only reason to let the VMs go.
    """
    if record.phase not in ENDED or not about_the_node(record.proofs):
        return None
    if node.boot_id != record.boot.boot_id or node.node_uid == record.boot.node_uid:
        return None
    return f"{node.node} is registered again in the boot that {record.name} had proved off: it {sentences.NEVER_OFF}"


def come_back(record: Record, look: Look) -> Step:
    """The node's way back while VMs of its own incident wait, perhaps for this very node; the incident stays open.

    To be asked only when every launcher of the old boot is gone: then its next boot has none to start again.
    """
    if not look.node_exists:
        return Step(record)
    if look.current_boot_id in ("", record.boot.boot_id):
        if record.later_boot:
            return Step(record)
        return _power_on(record, look, record.sentence) if _may_power_on(record, look) else Step(record)
    if (over := _dead_again(record, look)) is not None:
        return over
    record = replace(record, new_boot_id=look.current_boot_id)
    if (ended := ended_too(record, look)) and _all_wait(record):
        return _power_on_again(record, look, record.sentence, ended)
    if not look.node_ready:
        return Step(record)
    if (lifting := cut.lift(record, look.levels, look.now)) is not None:
        return Step(record, lifting)
    if _may_be_shot(record, look) or (look.own_taint and recovery.left_attached(look.attachments)):
        return Step(record)
    if look.suspect_taint or look.own_taint:
        return Step(record, (RemoveTaints(record.boot.node, out_of_service=True),))
    return Step(record)


def in_vain(record: Record, look: Look) -> str:
    """That nobody powers it on any more, as the end of a sentence; empty: it is tried, or is not to be, or is back."""
    tired = record.power_on_tries >= timing.POWER_ON_TRIES and look.power_on_due
    back = look.current_boot_id not in ("", record.boot.boot_id) and not ended_too(record, look)
    if not tired or back:
        return ""
    return f"; {record.boot.node} was ordered on {record.power_on_tries} times and is not back: look at it"


def ended_too(record: Record, look: Look) -> str:
    """That an order off may have ended the boot that the node has told of since, as the end of a sentence; empty: none has.

    An order that was on its way when that boot was told is not called back, and may take effect on it. A boot that came only after we
    had ordered the node on is not meant: by then no order off could take effect any more, and whatever has ended it was not we. One that is
    on record as a proof, or was told before the first order on, came before that.
    """
    told = look.current_boot_id
    down = look.judgement.verdict is Verdict.DOWN and not look.node_ready
    if not down or told in ("", record.boot.boot_id):
        return ""
    proved = any(isinstance(p, Rebooted) and p.new_boot_id == told for p in record.proofs)
    if not _ordered_off(record, look) or (record.power_on_tries and not proved):
        return ""
    return f"; an order off may have ended boot {told[:8]} of {record.boot.node} too"


def _power_on_again(record: Record, look: Look, so_far: str, ended: str) -> Step:
    so_far = so_far.removesuffix(f"; powering {record.boot.node} on").removesuffix(ended)
    if gave_up := in_vain(record, look):
        return Step(enter(record, record.phase, f"{so_far.removesuffix(gave_up)}{gave_up}", look))
    if not _may_power_on(record, look):
        return Step(record)
    if not any(isinstance(p, Rebooted) and p.new_boot_id == look.current_boot_id for p in record.proofs):
        # So the next try, and the next leader, know that this boot was there before any was ordered on.
        later = Rebooted(record.boot, look.current_boot_id, look.now, "told before it was ordered on")
        record = replace(record, proofs=(*record.proofs, later))
    return _power_on(record, look, f"{so_far}{ended}")


def _ordered_off(record: Record, look: Look) -> set[str]:
    """The devices of its power that were ordered off."""
    return {o.device for o in record.orders if o.action is Action.OFF} - {
        *cut.storages(look.levels),
        *record.cuts,  # one that has left the ladder meanwhile is a storage all the same
    }


def _may_be_shot(record: Record, look: Look) -> bool:
    """Whether an order to cut its power may still take effect, on whatever boot it is in by then."""
    power = _ordered_off(record, look)
    return any(
        o.device in power and look.now < o.effective_until for o in record.orders if o.action is Action.OFF
    )


def _dead_again(record: Record, look: Look) -> Step | None:
    """The end, if the node was back, has VMs again, and dies with its later boot: a node has one open incident at most.

    Nothing of that is left half-way. What waits, waits for KubeVirt or for a person; what has last run there and runs nowhere is
    of the next incident too.
    """
    died = look.judgement.may_be_fenced and record.new_boot_id == look.current_boot_id
    if not died or not look.affected or look.suspect_taint or look.own_taint:
        return None
    if not _all_taken_over(record, look):
        return None
    sentence = (
        f"{record.boot.node} is down again with its boot {record.new_boot_id[:8]}, and its next incident sees to it;"
        f" {sentences.unsettled(record)}"
    )
    return Step(enter(record, Phase.CLOSED, sentence, look))


def left_to_later_boot(record: Record, look: Look) -> Step | None:
    """The same end before the node was back: its later boot is down with launchers that only its own kubelet could have ended.

    What that boot may have started takes a proof about it (DESIGN §3). To be asked only where nothing there may be force-deleted.
    """
    down = look.judgement.may_be_fenced and look.hold_over and not look.nodes_lag
    if not down or look.current_boot_id in ("", record.boot.boot_id):
        return None
    if not look.affected or look.own_taint or _may_be_shot(record, look) or not _all_taken_over(record, look):
        return None
    if (lifting := cut.lift(record, look.levels, look.now)) is not None:
        return Step(
            record, lifting
        )  # nobody would, once this has ended; and what that boot runs was let go to nobody yet
    sentence = (
        f"{record.boot.node} is down again with its boot {look.current_boot_id[:8]}, and its next incident sees to it;"
        f" {sentences.unsettled(record)}{cut.left_standing(record.cuts, look.levels)}"
    )
    return Step(enter(record, Phase.CLOSED, sentence, look))


def left_to_namesake(record: Record, look: Look) -> Step | None:
    """The same end where the node that has the name by now is another Node object, and is Down itself."""
    assert look.namesake is not None
    if not look.namesake.down or not look.affected or not _all_taken_over(record, look):
        return None
    sentence = (
        f"{sentences.deleted(record, look)}, and is down again, and its next incident sees to it;"
        f" {sentences.unsettled(record)}"
    )
    return Step(enter(record, Phase.CLOSED, sentence, look))


def _all_taken_over(record: Record, look: Look) -> bool:
    """Whether all that is left waits for KubeVirt or a person, or is of the next incident too."""
    taken_over = {(v.namespace, v.name) for v in look.affected}
    left = [v for v in record.vms if not v.state.settled]
    return all(v.state is VmState.WAITING or (v.namespace, v.name) in taken_over for v in left)


def _all_wait(record: Record) -> bool:
    return all(v.state.settled or v.state is VmState.WAITING for v in record.vms)


def _may_power_on(record: Record, look: Look) -> bool:
    lease_allows = look.node_lease.foreign is None and look.node_lease.settled
    tries_left = record.power_on_tries < timing.POWER_ON_TRIES
    return look.power_on and look.power_on_due and lease_allows and tries_left


def _power_on(record: Record, look: Look, so_far: str) -> Step:
    """Order it on by every device that has cut its power: the one that proved it, and those that were ordered beside it."""
    cut_by = {p.device for p in record.proofs if isinstance(p, PoweredOff)}
    if ended_too(record, look):
        cut_by |= _ordered_off(record, look)
    if not cut_by or order_working(record, look):
        return Step(record, precautions.tell(record, look))
    cut_by |= _ordered_off(record, look)
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
        sentence = f"{so_far}; powering {record.boot.node} on waits for other orders to its chassis"
        return Step(enter(record, record.phase, sentence, look), precautions.tell(record, look))
    lasts = timing.ORDER_EFFECT
    orders = tuple(Order.decided(name, tried[name] + 1, look.now, lasts, Action.ON) for name in now_on)
    on = f"; powering {record.boot.node} on"
    record = replace(record, power_on_tries=record.power_on_tries + 1, orders=(*record.orders, *orders))
    return Step(
        enter(record, record.phase, f"{so_far.removesuffix(on)}{on}", look),
        tuple(OrderOn(name) for name in now_on),
    )


def _recovered_some(record: Record, look: Look) -> Step:
    """The moved VMs run elsewhere; the node is let at its storage again when no old guest of theirs is left."""
    may_lift = record.lifting or cut.guests_gone(record, look.guests)
    if (why := cut.void_because(record.proofs, look.levels, look.slot_moved_at)) is not None and not may_lift:
        # Told, not acted upon: the VMs run elsewhere, and nothing that we could do would end an old guest.
        ask = f": make sure that no old guest of theirs runs on {record.boot.node}"
        if record.sentence.endswith(ask):  # said once: a slot that moves moves again within a second
            return Step(record, precautions.tell(record, look))
        sentence = f"{sentences.outcome(record)}; but {why}{ask}"
        return Step(enter(record, Phase.RECOVERED, sentence, look), precautions.tell(record, look))
    if not may_lift:
        return Step(
            record, (*precautions.tell(record, look), *cut.watch(record.proofs, look.levels, look.now))
        )
    record = replace(record, lifting=True)
    if (lifting := cut.lift(record, look.levels, look.now)) is not None:
        sentence = f"{sentences.outcome(record)}; no old guest is left on {record.boot.node}, it is let at its storage again"
        return Step(enter(record, Phase.RECOVERED, sentence, look), lifting)
    if look.suspect_taint:
        return Step(record, (RemoveTaints(record.boot.node, out_of_service=False),))
    sentence = (
        f"{sentences.outcome(record)}; {record.boot.node} has its storage again, without its old guests"
    )
    if left := cut.left_standing(record.cuts, look.levels):
        sentence = f"{sentences.outcome(record)}; no old guest is left on {record.boot.node}{left}"
    return Step(enter(timed(record, "back", look.wall), Phase.CLOSED, sentence, look))
