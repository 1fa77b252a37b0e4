"""What to do with the pods and VMs of a node that is proved off: the order of deletions, and following each VM.

KubeVirt restarts a VM as soon as its old launcher pod is gone (KUBEVIRT §2.1), so recovery is: clear the way
(virt-api first, since every change of a VMI passes its webhooks), delete the launchers, and watch each VM until its
instance is *seen* running on another node. Nothing here writes a VMI's status or strips a finalizer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from ringfence.core import timing
from ringfence.core.failover.record import PodRef, VmRecord, VmState


class PodRole(IntEnum):
    """In the order in which pods of a dead node are deleted (KUBEVIRT §1, "What blocks or slows recovery")."""

    VIRT_API = 0
    VIRT_CONTROLLER = 1
    INFRASTRUCTURE = 2
    HOTPLUG = 3
    HOLDER = 4
    """Neither KubeVirt's nor the VM's own, but it has a volume that only one node can have: an import, a backup, an export."""
    LAUNCHER = 5
    OTHER = 9
    """Left to Kubernetes' own eviction by the out-of-service taint."""


@dataclass(frozen=True, slots=True)
class PodLook:
    ref: PodRef
    role: PodRole
    vmi_uid: str = ""
    protected: bool = False
    """A launcher of a VM of this incident, its hotplug pod, or the holder of one of its volumes."""


@dataclass(frozen=True, slots=True)
class AttachmentLook:
    """A volume that Kubernetes calls attached to the node."""

    name: str
    volume: str
    """The PersistentVolume's name."""
    wanted: bool
    """A pod that is bound to the node uses it."""


@dataclass(frozen=True, slots=True)
class VmiLook:
    uid: str
    phase: str
    node: str
    lock_refused_for: float | None = None
    """Seconds since it was first seen to fail on the image's write lock."""
    deleting: bool = False
    on_lost_node: bool = False
    """The node that it is said to run on is lost too: what is said of it is old."""
    unschedulable: str = ""
    """Why no node takes it, in the scheduler's words; empty: one does, or nothing is known."""
    bound: bool = False
    """Whether its launcher has a node. KubeVirt says which only when the launcher has started: some three seconds later."""


@dataclass(frozen=True, slots=True)
class VmLook:
    """One protected VM as it is now."""

    namespace: str
    name: str
    uid: str
    exists: bool
    run_strategy: str
    stopped_by_user: bool
    """Halted, deleted, or a Stop request that is not ours is pending."""
    vmi: VmiLook | None
    start_requested: bool = False
    priority: int = 100
    """Who goes first: the greater number."""
    after: tuple[tuple[str, str], ...] = ()
    """VMs (namespace, name) that are to be ready before it is started."""
    failures: int = 0
    """Starts in a row that never reached Running, as KubeVirt counts them."""
    blocked: str = ""
    """Why KubeVirt starts it only after a person has done something."""
    held_up: str = ""
    """What its start waits for that is likely to end by itself."""
    snapshot: str = ""
    """The VirtualMachineSnapshot of it that is under way."""
    restore: str = ""
    """The VirtualMachineRestore of it that is under way."""


@dataclass(frozen=True, slots=True)
class DeletePod:
    ref: PodRef
    force: bool


@dataclass(frozen=True, slots=True)
class FreeLeadership:
    """Let another replica lead KubeVirt's controller at once, if it is this pod that leads.

    The pod's node is proved off, so nobody renews the Lease any more; left alone it runs for 15 s (KUBEVIRT §1).
    """

    namespace: str
    pod: str


@dataclass(frozen=True, slots=True)
class DeleteVmi:
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class RequestStart:
    """Ask KubeVirt to start the VM; ``stop_uid`` first ends the instance that is final."""

    namespace: str
    name: str
    vm_uid: str
    stop_uid: str = ""


RecoveryCommand = DeletePod | FreeLeadership | DeleteVmi | RequestStart


def covered(pods: tuple[PodLook, ...]) -> tuple[PodRef, ...]:
    """The pods that a proof covers: what may be force-deleted under it, in the order to do it."""
    chosen = [
        p
        for p in pods
        if p.role in (PodRole.VIRT_API, PodRole.VIRT_CONTROLLER, PodRole.INFRASTRUCTURE)
        or (p.role in (PodRole.HOTPLUG, PodRole.HOLDER, PodRole.LAUNCHER) and p.protected)
    ]
    return tuple(p.ref for p in sorted(chosen, key=lambda p: (p.role, p.ref)))


def holders(pods: tuple[PodLook, ...]) -> frozenset[PodRef]:
    """Those of the pods that are a stranger's: who owns them decides when they are gone."""
    return frozenset(p.ref for p in pods if p.role is PodRole.HOLDER)


def deletions(
    pods: tuple[PodLook, ...], cover: tuple[PodRef, ...], *, force: bool
) -> tuple[DeletePod | FreeLeadership, ...]:
    """The deletions that are due now: one class of pods after the other, all of a class at once.

    A virt-controller that is force-deleted is dead, so its leadership goes with it. Launchers go beside the holders of their volumes: what
    is a stranger's may have a finalizer (a Job's pod has one), and no VM waits for its owner.
    """
    present = sorted((p for p in pods if p.ref in cover), key=lambda p: p.role)
    if not present:
        return ()
    first = present[0].role
    last = PodRole.LAUNCHER if first is PodRole.HOLDER else first
    due = [p.ref for p in present if p.role <= last]
    freed = due if force and first is PodRole.VIRT_CONTROLLER else []
    return (
        *(DeletePod(ref, force=force) for ref in due),
        *(FreeLeadership(ref.namespace, ref.name) for ref in freed),
    )


def left_attached(attachments: tuple[AttachmentLook, ...]) -> tuple[str, ...]:
    """Volumes that the node still has, though no pod on it uses them: what the out-of-service taint is there to end."""
    return tuple(sorted(a.volume for a in attachments if not a.wanted))


def follow(
    record: VmRecord,
    look: VmLook | None,
    dead_node: str,
    pod_gone: bool,
    wall: float,
    *,
    later_boot: bool = False,
) -> tuple[VmRecord, tuple[RecoveryCommand, ...]]:
    """The VM's next state and what to ask of KubeVirt for it.

    Success is an observed post-condition: an instance that is Running on another node than the dead one; or on that one, as
    another instance, once it has a ``later_boot``: the boot that the incident is about is over.
    """
    if look is None or not look.exists:
        return replace(record, state=VmState.LEFT, message="its VirtualMachine is gone"), ()
    if look.stopped_by_user:
        return replace(record, state=VmState.LEFT, message="its user stopped it"), ()
    record = _with_leftovers(record, look)
    if not pod_gone:
        return record, ()
    if record.state is VmState.PENDING:
        since = wall if record.released_wall is None else record.released_wall
        record = replace(record, released_wall=since, state=VmState.RELEASED, message=_NOTHING_LEFT)
    vmi = look.vmi
    if (
        vmi is not None
        and vmi.phase == "Running"
        and vmi.node
        and (vmi.node != dead_node or (later_boot and vmi.uid != record.vmi_uid))
        and not vmi.on_lost_node
        and not vmi.deleting  # an instance on its way out is no success: nobody may start the next one
    ):
        again = " again, under its later boot" if vmi.node == dead_node else ""
        known = (record.state, record.new_node, record.message)
        if record.running_wall and known == (VmState.RUNNING, vmi.node, f"runs on {vmi.node}{again}"):
            return record, ()
        return (
            replace(
                record,
                state=VmState.RUNNING,
                new_node=vmi.node,
                message=f"runs on {vmi.node}{again}",
                running_wall=record.running_wall or wall,
            ),
            (),
        )
    if record.state is VmState.RUNNING:
        # Seen to run once: what becomes of it later is not this incident's business.
        return record, ()
    if (why := _waits_for(look)) and (vmi is None or vmi.phase in ("Failed", "Succeeded")):
        # One whose stuck instance was deleted has yet to be started: that is not forgotten over the wait.
        state = VmState.STUCK if record.state is VmState.STUCK else VmState.WAITING
        return replace(record, state=state, message=why), ()
    if (failed := _failed(record, look, wall)) is not None:
        return failed
    if vmi is None:
        if (
            look.run_strategy in ("Manual", "RerunOnFailure")
            and not look.start_requested
            and record.state is VmState.STUCK
        ):
            return replace(record, message="a start is requested"), (
                RequestStart(look.namespace, look.name, look.uid),
            )
        return _held_up(record, look), ()
    if vmi.uid == record.vmi_uid and vmi.phase in ("Failed", "Succeeded"):
        if look.run_strategy == "Manual" and not look.start_requested:
            return replace(record, message="a restart is requested"), (
                RequestStart(look.namespace, look.name, look.uid, stop_uid=vmi.uid),
            )
        if look.run_strategy == "Once" and not vmi.deleting:
            return replace(record, message="its ended instance is deleted"), (
                DeleteVmi(look.namespace, look.name, vmi.uid),
            )
        return _held_up(record, look), ()
    if vmi.lock_refused_for is not None and vmi.lock_refused_for >= timing.STUCK_AFTER:
        record = replace(
            record,
            state=VmState.STUCK,
            message=_LOCKED,
            failed_uid=vmi.uid,  # it ends because we delete it: no start that failed by itself
        )
        return record, () if vmi.deleting else (DeleteVmi(look.namespace, look.name, vmi.uid),)
    if vmi.unschedulable and vmi.uid != record.vmi_uid and not vmi.node:
        return replace(record, state=VmState.WAITING, message=f"no node takes it: {vmi.unschedulable}"), ()
    if vmi.uid != record.vmi_uid or vmi.node != dead_node:
        state = VmState.STUCK if record.state is VmState.STUCK and vmi.deleting else VmState.STARTING
        where = f" on {vmi.node}" if vmi.node else ""
        held = f"; {look.held_up}" if look.held_up else ""
        return replace(
            record, state=state, message=f"its new instance is {vmi.phase or 'Pending'}{where}{held}"
        ), ()
    return record, ()


def _waits_for(look: VmLook) -> str:
    """What has to be over before it may be started: by KubeVirt, or by us.

    A restore begins only once there is no instance, so one that stands is no reason to wait: that restore waits for its end. KubeVirt
    itself lets nobody switch a VM on by its run strategy meanwhile (pkg/storage/admitters/vm-storage-status.go); we ask for no start either.
    """
    if look.blocked or not look.restore or look.vmi is not None:
        return look.blocked
    return f"restore {look.restore} is putting its disks back: no start is asked for until that has ended or is deleted"


_NOTHING_LEFT = "the old launcher is gone"
_LOCKED = "the new instance failed on the old one's image lock"


def _held_up(record: VmRecord, look: VmLook) -> VmRecord:
    """There is no instance, and nothing that it was told to wait for any more: with what keeps KubeVirt from making one, if that is known."""
    if record.state is VmState.STUCK:
        return replace(record, message="a start is requested" if look.start_requested else _LOCKED)
    if record.state is VmState.WAITING:
        record = replace(record, state=VmState.RELEASED, message=_NOTHING_LEFT)
    if not look.held_up or record.state is not VmState.RELEASED:
        return record
    return replace(record, message=f"{_NOTHING_LEFT}; {look.held_up}")


def _with_leftovers(record: VmRecord, look: VmLook) -> VmRecord:
    """With what was under way on the VM between its node's death and its new start, and what that means to its owner.

    A snapshot holds up nothing: it goes on, or fails at its own deadline. But KubeVirt takes what guest agent there was for a promise, and a
    disk without an instance for one that was shut down; both are wrong here (pkg/storage/snapshot: ``updateSnapshotSourceIndications``).
    One that says so is still under way when the dead instance goes: before its end KubeVirt thaws the guest, which doesn't answer.
    A restore that has found a moment without an instance has begun, and doesn't end while the next one stands.
    """
    if record.state.settled:
        return record
    found = []
    if look.snapshot:
        worth = "count on no more in it than a power cut leaves, whatever it says"
        found.append(f"snapshot {look.snapshot} was under way meanwhile: {worth}")
    if look.restore and look.vmi is not None and look.vmi.uid != record.vmi_uid:
        bars = "KubeVirt lets nobody change its run strategy until that VirtualMachineRestore is deleted"
        found.append(f"restore {look.restore} has begun and waits for it to be stopped: {bars}")
    told = record.leftover.split("; ") if record.leftover else []
    for one in found:
        if one in told or told[_LEFTOVERS:]:
            continue
        told.append(one if len(told) < _LEFTOVERS else "and more since")
    return replace(record, leftover="; ".join(told))


_LEFTOVERS = 8
"""So many are told of one VM. It may wait for weeks, and what is taken of its disks meanwhile is all the same; a text without end is not stored."""


def _failed(
    record: VmRecord, look: VmLook, wall: float
) -> tuple[VmRecord, tuple[RecoveryCommand, ...]] | None:
    """What follows from failed starts; None: there is none to speak of.

    KubeVirt starts again by itself, with pauses, what runs Always or RerunOnFailure; the others are ours to start again.
    Either way a VM that does not start keeps neither its incident open nor its node away for ever.
    """
    vmi = look.vmi
    if vmi is not None and (vmi.phase != "Failed" or vmi.deleting or vmi.uid == record.vmi_uid):
        vmi = None
    if vmi is not None and vmi.uid != record.failed_uid:
        record = replace(record, failures=record.failures + 1, failed_uid=vmi.uid, failed_wall=wall)
    failures = max(record.failures, look.failures)
    if failures >= timing.START_TRIES or record.state is VmState.FAILED:
        message = f"does not start: {max(failures, 1)} starts have failed, its instance's events say why"
        return replace(record, state=VmState.FAILED, message=message), ()
    failed_at = record.failed_wall
    if vmi is None or failed_at is None:
        return None
    record = replace(
        record, state=VmState.STARTING, message=f"a start has failed ({failures} of {timing.START_TRIES})"
    )
    if look.run_strategy not in ("Manual", "Once") or look.start_requested:
        return record, ()
    if 0.0 <= wall - failed_at < timing.START_BACKOFF[max(record.failures, 1) - 1]:
        return record, ()
    if look.run_strategy == "Manual":
        return record, (RequestStart(look.namespace, look.name, look.uid, stop_uid=vmi.uid),)
    return record, (DeleteVmi(look.namespace, look.name, vmi.uid),)
