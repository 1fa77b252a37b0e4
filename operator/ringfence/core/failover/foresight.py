"""What would follow if a node fell silent now: the limits', the ladder's and the machine's own answers, nothing stored or sent.

The shell puts together the same :class:`Look` and :class:`Situation` as for an incident, with a judgement made of silence.
Nothing is decided here: each answer is what the deciding function returns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ringfence.core.detection.evidence import NEVER
from ringfence.core.detection.verdict import Judgement
from ringfence.core.failover import recovery
from ringfence.core.failover.limits import FOUND_OFF_EXEMPT, LIMITS, Situation
from ringfence.core.failover.look import Look
from ringfence.core.failover.machine import open_failover, step
from ringfence.core.failover.node_lease import UNUSED
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import PodRef, Record, VmRecord
from ringfence.core.failover.recovery import PodRole, VmLook
from ringfence.core.failover.vms import with_pods
from ringfence.core.fencing.proof import StorageCut, permit_vms
from ringfence.core.fencing.rungs import DeviceLook, Rungs
from ringfence.core.model import Boot, Verdict


@dataclass(frozen=True, slots=True)
class Refusal:
    """One limit that holds now."""

    limit: str
    """Name of the function that says so."""
    sentence: str
    when_found_off: bool
    """It holds even for a node that is read as off without an order."""


@dataclass(frozen=True, slots=True)
class Deletions:
    """One class of pods, which go at once; the next waits until they are gone."""

    role: PodRole
    pods: tuple[PodRef, ...]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one protected VM once its old launcher is gone."""

    vm: VmRecord
    run_strategy: str
    then: str


@dataclass(frozen=True, slots=True)
class Foresight:
    """See the module."""

    boot: Boot
    judgement: Judgement
    """What would be made of the silence."""
    refusals: tuple[Refusal, ...]
    phase: Phase | None
    """Where the incident would stand right after its hold; None: there would be no incident."""
    sentence: str
    """What it would say there."""
    first: str
    """Where the fence would begin if no limit held."""
    levels: Rungs
    hedges: tuple[float | None, ...]
    order_delay: float
    proofs_required: int
    deletions: tuple[Deletions, ...]
    vms: tuple[Fate, ...]

    @property
    def outcome(self) -> str:
        """All of it as one sentence."""
        node = self.boot.node
        if self.phase is None:
            return f"{node} would not be held for dead: {self.judgement.sentence}"
        if self.refusals and self.phase is Phase.HELD:
            return f"{node} would not be fenced: {self.refusals[0].sentence}"
        count = f"{len(self.vms)} VM{'' if len(self.vms) == 1 else 's'}"
        if self.phase is Phase.AWAITING_CONFIRMATION:
            return f"{count} of {node} would wait until a person confirms that it is off"
        return f"{node} would be fenced, and {count} restarted elsewhere"


def foresee(boot: Boot, look: Look, situation: Situation) -> Foresight:
    """Ask every function that would decide. ``look`` and ``situation`` are of the node as if it had fallen silent."""
    silent = replace(
        look,
        hold_over=True,
        life_at=NEVER,
        slot_due=NEVER,
        slot_moved_at=NEVER,
        current_boot_id=boot.boot_id,
        node_ready=False,
        node_lease=UNUSED,
    )
    refusals = tuple(
        Refusal(limit.__name__, reason, limit not in FOUND_OFF_EXEMPT)
        for limit in LIMITS
        if (reason := limit(situation)) is not None
    )
    opened = open_failover("supposed", boot, look.wall, silent, ())
    phase: Phase | None = None
    sentence = look.judgement.sentence
    if look.judgement.may_be_fenced:
        after = step(opened, silent).record
        phase, sentence = after.phase, after.sentence
    down = replace(look.judgement, verdict=Verdict.DOWN)
    free = step(opened, replace(silent, judgement=down, limit=None, limit_when_found_off=None)).record
    return Foresight(
        boot=boot,
        judgement=look.judgement,
        refusals=refusals,
        phase=phase,
        sentence=sentence,
        first=free.sentence,
        levels=look.levels,
        hedges=look.hedges,
        order_delay=look.order_delay,
        proofs_required=look.proofs_required,
        deletions=_deletions(silent, cover := _cover(boot, silent)),
        vms=_fates(opened, silent, frozenset(ref.uid for ref in cover)),
    )


def _cover(boot: Boot, look: Look) -> tuple[PodRef, ...]:
    """The pods that the proof would be about."""
    cover = recovery.covered(look.pods)
    cut = _only_a_cut(boot, look)
    return cover if cut is None else tuple(ref for ref in cover if ref.uid in cut)


def _deletions(look: Look, cover: tuple[PodRef, ...]) -> tuple[Deletions, ...]:
    """Class by class, as each step of the recovery would find them."""
    left = look.pods
    found: list[Deletions] = []
    while due := recovery.deletions(left, cover, force=True):
        refs = {one.ref for one in due if isinstance(one, recovery.DeletePod)}
        role = next(pod.role for pod in left if pod.ref in refs)
        found.append(Deletions(role, tuple(sorted(refs))))
        left = tuple(pod for pod in left if pod.ref not in refs)
    return tuple(found)


def _only_a_cut(boot: Boot, look: Look) -> frozenset[str] | None:
    """The pods that the storages' cuts would release, where no usable device is about the whole node; else None."""
    usable = [d for level in look.levels for d in level if d.unusable is None]
    cuts = tuple(
        StorageCut(boot, d.name, look.vm_volumes, tuple(sorted(d.cuts)), look.now)
        for d in usable
        if isinstance(d, DeviceLook) and d.cuts is not None
    )
    if not cuts or len(cuts) < len(usable):
        return None
    recover = permit_vms(boot, cuts, look.proofs_required)
    return frozenset(recover.pods) if recover is not None else frozenset()


def _fates(opened: Record, look: Look, cover: frozenset[str]) -> tuple[Fate, ...]:
    looks = {(vm.namespace, vm.name): vm for vm in look.vms}
    fates = []
    for record in with_pods(opened.vms, look.pods):
        seen = looks.get((record.namespace, record.name))
        gone = not record.pod_uid or record.pod_uid in cover
        then, _ = recovery.follow(record, _ended(seen), opened.boot.node, gone, look.wall)
        stays = "" if gone else "no device of the node would let its old launcher be deleted"
        fates.append(Fate(record, seen.run_strategy if seen else "", then.message or stays))
    return tuple(fates)


def _ended(vm: VmLook | None) -> VmLook | None:
    """KubeVirt calls the instance Failed when its launcher is gone."""
    if vm is None or vm.vmi is None:
        return vm
    return replace(vm, vmi=replace(vm.vmi, phase="Failed"))
