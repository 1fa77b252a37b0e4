"""Who may restart now: priority, dependencies, and no more at once than the nodes that are left can start.

KubeVirt restarts a VM as soon as its old launcher is gone, so the order of restarts is the order in which launchers are
deleted, and a VM that has to wait keeps its launcher. Among those that may go, the greater priority goes first; one of
lower priority is let go when those before it have a node, or a reason why they have none: so the important ones find
the room, and nobody waits behind one that no node takes. What a VM depends on goes no later than that VM.

An order, not a gate: every wait here ends by itself (:mod:`ringfence.core.timing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ringfence.core import timing
from ringfence.core.failover.look import Look
from ringfence.core.failover.record import Record, VmRecord, VmState
from ringfence.core.failover.recovery import DeletePod, FreeLeadership, VmLook

Key = tuple[str, str]
"""Namespace and name of a VM."""


ROUNDED = 1.0
"""Seconds by which an instant on record may lie ahead of the clock that wrote it, or of the next leader's."""


def room(targets: int, elsewhere: int) -> int:
    """How many VMs of an incident may be starting at once.

    Args:
        targets: nodes that can take VMs now.
        elsewhere: VMs that are starting under other incidents. One may always go: incidents don't wait for each other.
    """
    return max(1, timing.STARTS_PER_NODE * max(1, targets) - elsewhere)


def starting(vms: Iterable[VmRecord], wall: float) -> int:
    """How many were let go, and are on their way to Running."""
    return sum(_lately(vm, wall, timing.START_COUNTS) for vm in vms)


_UNDER_WAY = (VmState.PENDING, VmState.RELEASED, VmState.STARTING, VmState.STUCK)


def _lately(vm: VmRecord, wall: float, seconds: float) -> bool:
    """Whether it was let go so lately, and neither runs nor waits for a node."""
    return (
        vm.state in _UNDER_WAY and vm.released_wall is not None and _within(seconds, vm.released_wall, wall)
    )


def _within(seconds: float, since: float, wall: float) -> bool:
    """Whether it is less than so long ago. A clock that was set back makes nobody wait: what lies ahead is over."""
    return -ROUNDED <= wall - since < seconds


def waits(record: Record, look: Look, among: set[Key] | None = None) -> dict[Key, str]:
    """The VMs whose launchers stay for now, each with what it waits for; ``among``: those that the proof is about, if not all."""
    looks = {(v.namespace, v.name): v for v in look.vms}
    present = {p.ref.uid for p in look.pods}
    ranks = _ranks(looks)
    mine = sorted(
        (v for v in record.vms if _wanted(looks.get(_key(v))) and (among is None or _key(v) in among)),
        key=lambda v: (-ranks[_key(v)], _key(v)),
    )
    here = [
        v for v in mine if v.state is VmState.PENDING and v.pod_uid in present and v.released_wall is None
    ]
    stay = {_key(v) for v in here}
    # A launcher that is gone this very moment was let go this very moment.
    away = [
        v if v.released_wall else replace(v, released_wall=look.wall) for v in mine if _key(v) not in stay
    ]
    places = look.room - starting(away, look.wall)
    first = next(
        (v for v in away if _lately(v, look.wall, timing.PLACED_WITHIN) and not _placed(v, looks[_key(v)])),
        None,
    )
    told: dict[Key, str] = {}
    for vm in here:
        if first is not None and ranks[_key(first)] > ranks[_key(vm)]:
            told[_key(vm)] = f"waits until {first.name} has a node, which goes before it"
            continue
        if (why := _dependency(record, looks[_key(vm)], look)) is not None:
            told[_key(vm)] = why
        elif places <= 0:
            told[_key(vm)] = f"waits its turn: at most {timing.STARTS_PER_NODE} at once start for each node"
        else:
            places -= 1
        first = first or vm
    return told


def due_now(
    due: tuple[DeletePod | FreeLeadership, ...], record: Record, waiting: Mapping[Key, str]
) -> tuple[DeletePod | FreeLeadership, ...]:
    """Of these deletions those that are nobody's who waits."""
    stay = {v.pod_uid for v in record.vms if v.pod_uid and _key(v) in waiting}
    return tuple(c for c in due if not (isinstance(c, DeletePod) and c.ref.uid in stay))


def _key(vm: VmRecord) -> Key:
    return vm.namespace, vm.name


def _wanted(look: VmLook | None) -> bool:
    """Whether it is to run again."""
    return look is not None and look.exists and not look.stopped_by_user


def _ranks(looks: Mapping[Key, VmLook]) -> dict[Key, int]:
    """Priorities; what another depends on goes no later than that other."""
    ranks = {key: look.priority for key, look in looks.items()}
    for _ in looks:
        raised = dict(ranks)
        for key, look in looks.items():
            for needed in look.after:
                if needed in raised:
                    raised[needed] = max(raised[needed], ranks[key])
        if raised == ranks:
            break
        ranks = raised
    return ranks


def _placed(vm: VmRecord, look: VmLook) -> bool:
    vmi = look.vmi
    return vmi is not None and vmi.uid != vm.vmi_uid and (vmi.bound or vmi.node != "")


def _dependency(record: Record, look: VmLook, now: Look) -> str | None:
    """What the VM depends on and waits for."""
    proved = next((at for name, at in record.timings if name == "proof"), None)
    if proved is None or not _within(timing.DEPENDENCY_WAIT, record.doubted_wall + proved, now.wall):
        return None
    mine = {_key(v): v for v in record.vms}
    for key in look.after:
        vm = mine.get(key)
        if vm is not None and vm.state in (VmState.LEFT, VmState.FAILED, VmState.WAITING):
            continue
        if key in now.unready or (vm is not None and vm.state is not VmState.RUNNING):
            return f"waits for {key[1]} to be ready"
    return None
