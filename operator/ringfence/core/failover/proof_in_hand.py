"""Proof in hand: whether what is proved is enough for this incident, and the step to recovery if it is."""

from __future__ import annotations

from dataclasses import replace

from ringfence.core.failover import recovery, sentences, word
from ringfence.core.failover.look import Look
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import Record
from ringfence.core.failover.recovery import PodLook, PodRole
from ringfence.core.failover.step import Step, enter, timed
from ringfence.core.failover.vms import followed, merged, of_earlier_boot, with_pods
from ringfence.core.fencing.proof import FencingProof, Rebooted, about_the_node, permit, permit_vms
from ringfence.core.model import Verdict


def proof_in_hand(record: Record, look: Look, found: tuple[FencingProof, ...]) -> Step | None:
    """Go to recovery if what is proved is enough, for the whole node or for some of its VMs."""
    # A living node is silent between two writes of its slot: an `off` read in that gap is no proof yet.
    slot_quiet = look.now >= look.slot_due
    heard = is_heard(record, look)
    proofs = [p for p in found if slot_quiet and not (heard and about_the_node((p,)))]
    # Nobody can check a person's word, so it counts only while the node is found silent now, by more than one source.
    down = look.judgement.verdict is Verdict.DOWN
    if (
        (confirmed := word.given(record, look)) is not None
        and slot_quiet
        and down
        and word.void(record, look) is None
    ):
        proofs.append(confirmed)
    if (rebooted := _rebooted(record, look)) is not None:
        proofs.append(rebooted)
    whole = permit(record.boot, tuple(proofs), look.proofs_required) is not None
    some = None if whole else permit_vms(record.boot, tuple(proofs), look.proofs_required)
    if not whole and some is None:
        return None
    sentence = "; ".join(sentences.of_proof(p) for p in proofs)
    vms = merged(record.vms, with_pods(look.affected, look.pods))
    theirs = look.pods
    if rebooted is not None:
        # What runs there now may be the later boot's: of the earlier one are the instances on record, and nothing else.
        vms = with_pods(of_earlier_boot(record.vms, look, record.boot.node), look.pods)
        instances = {v.vmi_uid for v in vms if v.vmi_uid}
        theirs = tuple(p for p in look.pods if p.vmi_uid in instances or _orphaned(p))
    pods = tuple(ref for ref in recovery.covered(theirs) if some is None or ref.uid in some.pods)
    vms = followed(vms, record.vms, theirs, pods)
    record = replace(
        record,
        proofs=tuple(proofs),
        pods=pods,
        vms=vms,
        held_reason="",
        lifting=False,
    )
    record = timed(record, "proof", look.wall)
    # The commands come with the next step: first this proof and its pods have to be on record.
    what = "is off" if whole else "is cut from its storage"
    return Step(enter(record, Phase.RECOVERING, f"{record.boot.node} {what}: {sentence}", look))


def is_heard(record: Record, look: Look) -> bool:
    """Whether the incident's boot is found alive now: its packets, or its kernel's answers, are told once in a while, and an `off` read between two of them is no proof.

    Each next packet would void it, but a deletion may have been sent by then. What is heard of a later boot, or of another machine under
    its name, says nothing of this one; a node that is gone after all is doubted within a second. One that only some peers reach is heard too.
    """
    if look.namesake is not None:
        return look.namesake.boot_id == record.boot.boot_id and not look.namesake.down
    later_boot = look.current_boot_id not in ("", record.boot.boot_id)
    return look.judgement.known and look.judgement.verdict is not Verdict.DOWN and not later_boot


def _orphaned(pod: PodLook) -> bool:
    """A hotplugged volume's pod without its launcher, which it does not outlive in its own boot for long."""
    return pod.role is PodRole.HOTPLUG and not pod.vmi_uid


def _rebooted(record: Record, look: Look) -> Rebooted | None:
    if look.current_boot_id in ("", record.boot.boot_id):
        return None
    return Rebooted(
        record.boot, look.current_boot_id, look.now, f"the node reports boot {look.current_boot_id[:8]}"
    )
