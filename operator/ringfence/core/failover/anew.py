"""Everything anew: what becomes of an incident when the cluster's store was set back (:mod:`ringfence.core.setback`).

Nothing is done on old words. Whatever its phase, the incident goes back to before its proof and is held; when the store
has been written anew it goes up the ladder like any other: read again, order again, or withdrawn if the node lives. A cut from
the storage stays on record, since it has to be lifted one day, with all of its VMs as moved: the store has forgotten which were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ringfence.core.failover import word
from ringfence.core.failover.climb import new_pass
from ringfence.core.failover.look import Look
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import Record, VmRecord, VmState
from ringfence.core.failover.step import Step, enter
from ringfence.core.failover.vms import with_pods
from ringfence.core.fencing.selffence import Promise
from ringfence.core.model import Boot
from ringfence.core.setback import SetBack

_NOT_COMPARED = "; what is on record waits until an agent has told that the cluster's store was not set back"


Mark = tuple[str, int, bool, int]
"""A Failover's name, its ladder's pass, whether its cuts are being lifted, how many proofs stand."""
Given = tuple[str, str, float, float, tuple[str, ...]]
"""What a boot's report promises of its watchdog: node UID, boot id, isolation, time-out, legs."""


def anew(record: Record, look: Look) -> Step | None:
    """The step, while or because the store was set back, or as long as nobody can know; None: on with the phase."""
    back = look.set_back
    if back is not None and record.set_back < back.held:
        return Step(_void(record, look, back))
    if back is not None and not back.settled:
        return Step(_held(record, look, back, ""))
    said = record.sentence.removesuffix(_NOT_COMPARED)
    if look.compared or not (record.proofs or record.cuts):
        return None if said == record.sentence else Step(enter(record, record.phase, said, look))
    return Step(enter(record, record.phase, f"{said}{_NOT_COMPARED}", look))


def proved_marks(
    open_: Iterable[Record], promises: Mapping[Boot, Promise]
) -> tuple[tuple[Mark, ...], tuple[Given, ...]]:
    """What is proved, or will be by waiting, as far as a backup of it could be taken for true later.

    With each change of it a roster is published. A proof that was void, an incident that was closed or a watchdog whose agent
    has signed off after the backup is a later epoch than the backup's, then.

    Args:
        promises: by whose report its watchdog is armed.
    """
    proved = sorted((r.name, r.ladder_pass, r.lifting, len(r.proofs)) for r in open_ if r.proofs or r.cuts)
    given = sorted(
        (boot.node_uid, boot.boot_id, one.isolation, one.timeout, tuple(sorted(one.legs)))
        for boot, one in promises.items()
    )
    return tuple(proved), tuple(given)


def _void(record: Record, look: Look, back: SetBack) -> Record:
    seen = {(v.namespace, v.name): v for v in with_pods(look.affected, look.pods)}
    void = replace(
        new_pass(record, look),
        proofs=(),
        pods=(),
        tainted=False,
        lifting=False,
        new_boot_id="",
        set_back=back.held,
        void_word=word.digest(look.confirmation) if look.confirmation is not None else "",
        vms=tuple(
            _unmoved(seen.get((v.namespace, v.name), v), look.wall if record.cuts else None)
            for v in record.vms
        ),
    )
    return _held(void, look, back, "; the proof on record is void" if record.proofs else "")


def _held(record: Record, look: Look, back: SetBack, what: str) -> Record:
    if record.phase is Phase.HELD and record.held_reason == back.sentence:
        return record
    held = replace(record, held_reason=back.sentence, begun=())
    return enter(held, Phase.HELD, f"not acting on {record.boot.node}: {back.sentence}{what}", look)


def _unmoved(vm: VmRecord, released_wall: float | None) -> VmRecord:
    return replace(
        vm, state=VmState.PENDING, new_node="", message="", released_wall=released_wall, running_wall=None
    )
