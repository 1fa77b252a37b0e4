"""The rule table: from evidence to exactly one verdict, with its reason.

Rules are tried from the top; the first that holds gives the verdict. ``Down`` has three conditions, none of which a
single agent can bring about: enough signed votes ``none`` from the node's observers (that is silence of its agent
*and* of its kernel, seen by each of them), no sign of life since the doubt began, and votes younger than every sign.

``Hung`` is told, and where the node's zone has such nodes fenced (``onHung: Fence``) it may be acted upon too. That its kernel answers
makes it ``Hung``; so every other sign of life forbids it, and evidence from its guests is asked for: a storage slot that this boot
was seen to write, that good looks find silent now, on a volume which takes others' writes.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.core import timing
from ringfence.core.detection.evidence import (
    NEVER,
    AgedSign,
    DeadNetwork,
    Evidence,
    LifeSign,
    NetworkRole,
    Ready,
)
from ringfence.core.fencing.slotwatch import SlotState, silence_of
from ringfence.core.model import MANAGEMENT, OnHung, RingState, Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and the sentence that explains it."""

    verdict: Verdict
    sentence: str
    hold_more: float = 0.0
    """Seconds that it has to stand beyond the usual hold, where it may be acted upon."""
    not_before: float = NEVER
    """The instant before which ``Down`` can't be acted upon, hold or not: a living node may not have spoken yet."""
    known: bool = True
    """False: neither enough votes nor anything that was heard stands behind it. Such a verdict ends no incident."""
    on_hung: OnHung = OnHung.ALERT
    """For ``Hung``: what its zone's policy comes to, by the evidence that there is from its guests."""
    only_kernel: bool = False
    """Nothing of the node has been seen for as long as makes it ``Hung``, but its kernel: that ends no incident of a node that hangs."""

    @property
    def may_be_fenced(self) -> bool:
        """Whether an incident of the node is to be opened, and may act once its hold is over and no limit forbids it.

        It is ``Down``; or it is ``Hung``, its guests' evidence is there, and its zone has such a node fenced.
        """
        hung = self.verdict is Verdict.HUNG and self.on_hung is OnHung.FENCE
        return self.verdict is Verdict.DOWN or hung


def judge(evidence: Evidence, now: float, on_hung: OnHung = OnHung.ALERT) -> Judgement:
    """Apply the rule table to what is known about a node at ``now``.

    Args:
        on_hung: the policy of the node's zone.
    """
    node, ring = evidence.boot.node, evidence.ring
    match ring.state:
        case RingState.UNREACHABLE:
            if (veto := life_veto(evidence, now)) is not None:
                return Judgement(
                    Verdict.SUSPECT,
                    f"{node} is silent for its peers ({ring.sentence}), but {veto}",
                    known=_surely_later(evidence, now),
                    only_kernel=_only_kernel(evidence, now),
                )
            if not ring.voters or ring.round_at == NEVER:
                return Judgement(
                    Verdict.SUSPECT,
                    f"{node} is silent for its peers, but no vote stands behind it",
                    known=False,
                )
            if (ring.single or len(ring.voters) < 2) and (
                missing := _single_voter_lacks(evidence, now)
            ) is not None:
                return Judgement(
                    Verdict.SUSPECT,
                    f"{node} is silent for its only voter ({ring.sentence}); {missing}",
                    known=False,
                )
            hold_more = timing.SECOND_SET_HOLD if ring.by_second else 0.0
            silent = "; its storage slot is silent" if evidence.slot.state is SlotState.SILENT else ""
            return Judgement(
                Verdict.DOWN, f"{node} is down: {ring.sentence}{silent}", hold_more, slot_due(evidence)
            )
        case RingState.DOUBTED:
            return Judgement(
                Verdict.SUSPECT,
                f"{node} is doubted by its peers: {ring.sentence or 'votes are being taken'}",
                known=False,
            )
        case RingState.PARTIAL:
            if (lost := _dead(evidence, MANAGEMENT)) is not None:
                return Judgement(
                    Verdict.CONTROL_PATH_LOST,
                    f"{node}'s management network is dead ({lost.sentence}), another one carries its packets:"
                    " it lives and its VMs run on",
                )
            detail = f": {ring.sentence}" if ring.sentence else ""
            return Judgement(
                Verdict.SUSPECT,
                f"{node} is reached by some peers only{detail}",
                only_kernel=_only_kernel(evidence, now),
            )
        case RingState.LEFT:
            return Judgement(Verdict.LEFT, f"{node}'s agent has left; its kernel answers")
        case RingState.AGENT_DOWN:
            if _hung(evidence, now):
                return _hangs(evidence, now, on_hung)
            return Judgement(
                Verdict.AGENT_DOWN,
                f"{node}'s kernel answers, its agent does not: the node lives",
                only_kernel=on_hung is OnHung.FENCE and _only_kernel(evidence, now),
            )
        case RingState.ALIVE:
            if (judgement := _network_lost(evidence)) is not None:
                return judgement
            if _control_path_lost(evidence, now):
                return Judgement(
                    Verdict.CONTROL_PATH_LOST,
                    f"{node} is alive for its peers, but not for the API server (Ready={evidence.ready}): its VMs run on",
                )
            if _storage_lost(evidence, now):
                return Judgement(
                    Verdict.STORAGE_LOST,
                    f"{node} is alive, but its storage slot is silent: its heartbeat is stopped, or it has lost the volume;"
                    f" its VMs are left where they are{_also_dead(evidence)}",
                )
            return Judgement(Verdict.HEALTHY, f"{node} is alive{_also_dead(evidence)}")
        case RingState.UNKNOWN:
            lease = _fresh(evidence.life.kubelet_lease, now, timing.KUBELET_LEASE_VALID)
            if lease and evidence.has_agent:  # its agent may be well: it is we who hear of nobody
                return Judgement(
                    Verdict.SUSPECT, f"{node} renews its Lease, but no agent tells us of it now", known=False
                )
            if lease:
                return Judgement(
                    Verdict.AGENT_DOWN,
                    f"{node} renews its Lease, but no agent of it was heard yet",
                    known=False,
                )
            return Judgement(Verdict.SUSPECT, f"{node} was not heard of yet", known=False)


_LOSSES = {
    NetworkRole.STORAGE: (
        Verdict.STORAGE_LOST,
        "its VMs can't reach their disks there; nobody is fenced for it",
    ),
    NetworkRole.GUEST: (Verdict.GUEST_NET_LOST, "its VMs can't be reached there; nobody is fenced for it"),
}
"""The storage network comes first: without disks a guest does nothing, whoever reaches it."""


def _network_lost(evidence: Evidence) -> Judgement | None:
    for role, (verdict, consequence) in _LOSSES.items():
        for one in evidence.ring.dead_networks:
            if one.role is role:
                sentence = f"{evidence.boot.node} is alive, but its {one.network} network is dead ({one.sentence}): {consequence}"
                return Judgement(verdict, sentence)
    return None


def _also_dead(evidence: Evidence) -> str:
    """A network whose loss is no verdict of its own."""
    return "".join(
        f"; its {one.network} network is dead ({one.sentence})" for one in evidence.ring.dead_networks
    )


def _dead(evidence: Evidence, network: str) -> DeadNetwork | None:
    return next((one for one in evidence.ring.dead_networks if one.network == network), None)


def life_veto(evidence: Evidence, now: float) -> str | None:
    """The sign of life that forbids ``Down``, as a clause; ``None`` if there is none.

    Packets and kernel answers veto until a round that began after them says otherwise. The API's periodic signs veto
    if they came after the doubt began, for two of their periods: between two renewals a living kubelet is silent too.
    """
    return _heard(evidence, now) or _renewed(evidence, now) or _written(evidence, now)


def _surely_later(evidence: Evidence, now: float) -> bool:
    """Whether its veto is surely newer than the doubt: who was cut off sees a dead node's last renewal only when back, and dates it by that.

    Such a one keeps everybody from fencing, which is safe, but doesn't show that the node lives.
    """
    renewed = evidence.life.renewed_after > evidence.ring.doubted_at
    return renewed or bool(_heard(evidence, now) or _written(evidence, now))


def _heard(evidence: Evidence, now: float) -> str | None:
    life, ring = evidence.life, evidence.ring
    for seen_at, what in (
        (life.packet, "a gossip packet of it arrived"),
        (life.kernel, "its kernel answered"),
    ):
        if seen_at >= ring.round_at > NEVER:
            return f"{what} {_ago(now, seen_at)}"
    return None


def _renewed(evidence: Evidence, now: float) -> str | None:
    life = evidence.life
    for seen_at, valid, what in (
        (life.kubelet_lease, timing.KUBELET_LEASE_VALID, "its kubelet renewed the node's Lease"),
        (life.agent_lease, timing.AGENT_LEASE_VALID, "its agent renewed its Lease"),
        (life.heartbeat, timing.HEARTBEAT_VALID, "virt-handler's heartbeat came"),
    ):
        if seen_at > evidence.ring.doubted_at and _fresh(seen_at, now, valid):
            return f"{what} {_ago(now, seen_at)}"
    return None


def _written(evidence: Evidence, now: float) -> str | None:
    """Only a write that surely came after the doubt: a dead node's last one is often seen later.

    A living one writes again before anybody may be shot (`not_before`).
    """
    life, slot = evidence.life, evidence.slot
    if slot.moved_after > evidence.ring.doubted_at and _fresh(life.slot, now, silence_of(slot.interval)):
        return f"its storage slot moved {_ago(now, life.slot)}"
    return None


def signs_of_life(evidence: Evidence, now: float) -> tuple[AgedSign, ...]:
    """Every sign of this boot that was ever seen, the newest first, and whether it forbids a person's word.

    What a living node gives all the time forbids it for :data:`timing.HEARD_FRESH`; what it gives periodically, for as long
    as that vetoes ``Down``, and only if it came after the doubt began: a node that has just died had renewed all of it.
    """
    valid = {
        LifeSign.AGENT_LEASE: timing.AGENT_LEASE_VALID,
        LifeSign.KUBELET_LEASE: timing.KUBELET_LEASE_VALID,
        LifeSign.HEARTBEAT: timing.HEARTBEAT_VALID,
        LifeSign.SLOT: silence_of(evidence.slot.interval),
    }
    told = [
        AgedSign(
            what,
            now - seen_at,
            _fresh(seen_at, now, valid.get(what, timing.HEARD_FRESH))
            and (what not in valid or seen_at > evidence.ring.doubted_at),
        )
        for what, seen_at in evidence.life.signs().items()
        if seen_at > NEVER
    ]
    return tuple(sorted(told, key=lambda sign: sign.age))


def slot_due(evidence: Evidence) -> float:
    """Until when a slot that has moved has to be waited for: its next write, if its node lives, is seen by then.

    Before that nobody is shot, and no device's `off` is a proof: between two writes a living node is silent too. One that
    has surely written after the doubt lives without its networks, and a busy disk is slow: it is waited for until it is silent.
    """
    slot, moved_at = evidence.slot, max(evidence.life.slot, evidence.slot.first_at)
    if slot.state is SlotState.NONE or moved_at == NEVER:
        return NEVER
    if slot.moved_after > evidence.ring.doubted_at > NEVER:
        return moved_at + silence_of(slot.interval)
    return timing.slot_due(moved_at, slot.interval)


def _storage_lost(evidence: Evidence, now: float) -> bool:
    slot = evidence.slot
    silent = slot.state is SlotState.SILENT and slot.silent_since > NEVER
    return silent and now - slot.silent_since >= timing.STORAGE_LOST_AFTER


def _single_voter_lacks(evidence: Evidence, now: float) -> str | None:
    if not evidence.own_probe_silent:
        return "the controller's own probe of its kernel has not been silent"
    # From when it was first seen, if it has never been seen to change: what was not watched is not silent.
    if evidence.kubelet_silent_since == NEVER:
        return "its kubelet's Lease has never been seen"
    if _fresh(evidence.kubelet_silent_since, now, timing.SINGLE_VOTER_LEASE_AGE):
        return f"its kubelet's Lease has not been silent for {timing.SINGLE_VOTER_LEASE_AGE:.0f} s"
    if not evidence.device_proved:
        return "no fence device of it is proved"
    return None


def _hung(evidence: Evidence, now: float) -> bool:
    """Whether all that should speak has been silent for long, while the kernel answered.

    A storage slot that moves says that its processes run. A silent one is told beside it; whether anybody is fenced for
    that is the zone's policy, ``onHung`` (DESIGN §3).
    """
    if evidence.slot.state is SlotState.MOVING:
        return False
    known = (
        min(evidence.kubelet_silent_since, evidence.heartbeat_silent_since, evidence.agent_down_at) > NEVER
    )
    lease = now - max(evidence.kubelet_silent_since, evidence.agent_down_at)
    heartbeat = now - max(evidence.heartbeat_silent_since, evidence.agent_down_at)
    return known and lease > timing.HUNG_LEASE_AGE and heartbeat > timing.HUNG_HEARTBEAT_AGE


def _hangs(evidence: Evidence, now: float, on_hung: OnHung) -> Judgement:
    """The verdict on a node that hangs, and whether its zone's policy has it fenced."""
    silent = ", and its storage slot is silent" if evidence.slot.state is SlotState.SILENT else ""
    hangs = (
        f"{evidence.boot.node} hangs: its kernel answers, but not its agent, its kubelet for more than"
        f" {timing.HUNG_LEASE_AGE:.0f} s, virt-handler for {timing.HUNG_HEARTBEAT_AGE:.0f} s{silent}"
    )
    if on_hung is OnHung.ALERT:
        return Judgement(
            Verdict.HUNG, f"{hangs}; nothing is done without evidence from its guests: look at it"
        )
    if (why_not := _no_word_of_its_guests(evidence, now)) is not None:
        return Judgement(
            Verdict.HUNG,
            f"{hangs}; its zone has such a node fenced, but {why_not}: look at it",
            only_kernel=_only_kernel(evidence, now),
        )
    return Judgement(
        Verdict.HUNG, f"{hangs}; its zone has such a node fenced", timing.HUNG_HOLD, on_hung=OnHung.FENCE
    )


def _no_word_of_its_guests(evidence: Evidence, now: float) -> str | None:
    """Why nothing speaks for its guests being lost, as a clause; None: its storage slot does.

    A slot that nobody has seen says nothing, nor one that this boot was never seen to write: its process may never have run there.
    Nor does silence on a volume on which nobody else's slot moves: that is the storage's, not the node's. And any other sign of life
    than its kernel's says that the node is not lost.
    """
    slot = evidence.slot
    if (sign := _sign_but_kernels(evidence, now)) is not None:
        return sign
    if slot.state is SlotState.NONE:
        return "no storage slot of it is known"
    if slot.state is not SlotState.SILENT:
        return "nobody can read its storage slot now"
    if slot.written_at == NEVER:
        return "this boot of it was not seen to write its storage slot"
    if evidence.life.slot > slot.written_at:
        return "another boot was the last to write its storage slot"
    if not slot.others_write:
        return "no other node's slot is seen to be written either: the storage may be gone for all"
    return None


def _only_kernel(evidence: Evidence, now: float) -> bool:
    return evidence.slot.state is not SlotState.MOVING and _sign_but_kernels(evidence, now) is None


def _sign_but_kernels(evidence: Evidence, now: float) -> str | None:
    """A sign of life that no hanging node gives, as a clause; its slot is another matter."""
    life = evidence.life
    for what, seen_at, valid in (
        (LifeSign.PACKET, life.packet, timing.HUNG_LEASE_AGE),
        (LifeSign.AGENT_LEASE, life.agent_lease, timing.HUNG_LEASE_AGE),
        (LifeSign.KUBELET_LEASE, life.kubelet_lease, timing.HUNG_LEASE_AGE),
        (LifeSign.HEARTBEAT, life.heartbeat, timing.HUNG_HEARTBEAT_AGE),
        (LifeSign.BOOT, life.boot, timing.HUNG_HEARTBEAT_AGE),
    ):
        if _fresh(seen_at, now, valid):
            return f"{what} was seen within the last {valid:.0f} s"
    return None


def _control_path_lost(evidence: Evidence, now: float) -> bool:
    if evidence.ready in (Ready.UNKNOWN, Ready.FALSE):
        return True
    lease = evidence.life.kubelet_lease
    return lease > NEVER and now - lease > timing.CONTROL_PATH_LOST_AFTER


def _fresh(seen_at: float, now: float, valid: float) -> bool:
    return now - seen_at < valid


def _ago(now: float, seen_at: float) -> str:
    return f"{now - seen_at:.1f} s ago"
