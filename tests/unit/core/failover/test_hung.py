"""The incident of a node that hangs: its kernel's answers end nothing, prove nothing away, and void every `off`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringfence.api.v1alpha1.failover import Failover
from ringfence.controller.records import record_of, spec_of, status_of
from ringfence.core import timing
from ringfence.core.detection.verdict import Judgement
from ringfence.core.failover.look import Confirmation, Look
from ringfence.core.failover.machine import open_failover, step
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import PodRef, Record, VmRecord
from ringfence.core.failover.recovery import PodLook, PodRole, VmLook
from ringfence.core.fencing.orders import Order, OrderOff, RevokeAgentLease
from ringfence.core.fencing.proof import CutVm, PoweredOff, PowerOffHow, Reading, StorageCut
from ringfence.core.fencing.rungs import DeviceLook
from ringfence.core.fencing.selffence import Leg, Promise, WatchdogLook
from ringfence.core.model import Boot, OnHung, PowerState, Verdict
from simulator.system.world import World

NOW = 1000.0
BOOT = Boot("n1", "uid-1", "boot-1")
ON, OFF = PowerState.ON, PowerState.OFF
HUNG = Judgement(
    Verdict.HUNG,
    "n1 hangs: its kernel answers, and its storage slot is silent; its zone has such a node fenced",
    timing.HUNG_HOLD,
    on_hung=OnHung.FENCE,
)
NO_EVIDENCE = Judgement(
    Verdict.HUNG, "n1 hangs: its kernel answers; nobody can read its slot", only_kernel=True
)
SILENCE = Judgement(Verdict.SUSPECT, "n1 is silent for its peers, but its kernel answered", only_kernel=True)
AGAIN = Judgement(Verdict.AGENT_DOWN, "n1's kernel answers", only_kernel=True)
DOUBTED = Judgement(Verdict.SUSPECT, "n1 is doubted by its peers: votes are being taken", known=False)
DOWN = Judgement(Verdict.DOWN, "n1 is down: 2 of 2 peers")
HEARD = Judgement(Verdict.AGENT_DOWN, "n1's kernel answers, and its slot moves")
ALERT = Judgement(Verdict.HUNG, "n1 hangs: its kernel answers; nothing is done")
DB = VmRecord("vms", "db", "vm-1", "vmi-1", "pod-1")
LAUNCHER = PodLook(PodRef("vms", "launcher", "pod-1"), PodRole.LAUNCHER, "vmi-1", protected=True)
READS_ON = ((ON, NOW - 0.1),)
READS_OFF = ((OFF, NOW - 0.7), (OFF, NOW - 0.2))
LOOK = Look(
    now=NOW,
    wall=NOW,
    leader="c-1",
    epoch=3,
    judgement=HUNG,
    limit=None,
    limit_when_found_off=None,
    hold_over=True,
    life_at=NOW - 1.0,
    life_sign="an answer of its kernel",
    node_exists=True,
    current_boot_id="boot-1",
    node_ready=False,
    suspect_taint=False,
    out_of_service_taint=False,
    levels=(),
    proofs_required=1,
    pods=(LAUNCHER,),
    vms=(VmLook("vms", "db", "vm-1", True, "Always", False, None),),
    affected=(DB,),
    confirmation=None,
    power_on=True,
    retry_due=True,
)
HOLDING = open_failover("n1-1", BOOT, NOW - 242.0, LOOK, ())
OVER = Order("bmc", 1, NOW - 20.0, NOW - 8.0)
PHASES = [
    HOLDING,
    replace(HOLDING, phase=Phase.HELD, held_reason="a storm"),
    replace(HOLDING, phase=Phase.FENCING),
    replace(HOLDING, phase=Phase.FENCING, orders=(OVER,)),
    replace(HOLDING, phase=Phase.AWAITING_CONFIRMATION),
]
in_each_phase = pytest.mark.parametrize("record", PHASES, ids=lambda r: f"{r.phase}-{len(r.orders)}")


def reads(*readings: tuple[PowerState, float], look: Look = LOOK) -> Look:
    bmc = DeviceLook("bmc", readings=tuple(Reading(s, at, at) for s, at in readings))
    return replace(look, levels=((bmc,),))


def orders(record: Record, look: Look) -> list[object]:
    return [c for c in step(record, look).commands if isinstance(c, OrderOff | RevokeAgentLease)]


def test_it_is_on_record_that_the_node_hangs() -> None:
    assert HOLDING.verdict is Verdict.HUNG
    stored = Failover.model_validate(
        {
            "metadata": {"name": HOLDING.name},
            "spec": spec_of(HOLDING),
            "status": status_of(HOLDING, [], 0.0),
        }
    )
    assert stored.status.verdict is not None
    assert stored.status.verdict.state is Verdict.HUNG
    taken_over = record_of(stored, NOW, NOW, NOW, NOW)
    assert taken_over is not None
    assert taken_over.verdict is Verdict.HUNG


def test_an_incident_of_silence_becomes_one_of_a_node_that_hangs_by_being_acted_upon_as_such() -> None:
    silent = replace(HOLDING, verdict=Verdict.DOWN)
    assert step(silent, LOOK).record.verdict is Verdict.HUNG
    assert step(silent, replace(LOOK, judgement=DOWN)).record.verdict is Verdict.DOWN


def test_it_is_ordered_off_when_its_hold_is_over_and_no_limit_forbids_it() -> None:
    assert orders(HOLDING, reads(*READS_ON, look=replace(LOOK, hold_over=False))) == []
    assert orders(HOLDING, reads(*READS_ON, look=replace(LOOK, limit="a storm"))) == []
    assert orders(HOLDING, reads(*READS_ON)) == [OrderOff("bmc", 1)]


@in_each_phase
@pytest.mark.parametrize("judgement", [HUNG, NO_EVIDENCE, SILENCE, AGAIN, DOUBTED], ids=lambda j: j.sentence)
def test_what_its_kernel_answers_does_not_end_it(record: Record, judgement: Judgement) -> None:
    after = step(record, reads(*READS_ON, look=replace(LOOK, judgement=judgement)))
    assert after.record.phase is not Phase.WITHDRAWN


@in_each_phase
@pytest.mark.parametrize("judgement", [HEARD, ALERT], ids=lambda j: j.sentence)
def test_any_other_sign_of_life_ends_it_and_so_does_a_policy_that_is_taken_back(
    record: Record, judgement: Judgement
) -> None:
    after = step(record, reads(*READS_ON, look=replace(LOOK, judgement=judgement)))
    assert after.record.phase is Phase.WITHDRAWN
    assert after.commands == ()


@in_each_phase
@pytest.mark.parametrize(
    "judgement", [NO_EVIDENCE, SILENCE, AGAIN, DOUBTED, HEARD, ALERT], ids=lambda j: j.sentence
)
def test_nothing_is_ordered_without_all_of_the_evidence(record: Record, judgement: Judgement) -> None:
    look = reads(*READS_ON, look=replace(LOOK, judgement=judgement))
    assert orders(record, look) == []
    assert step(step(record, look).record, look).record == step(record, look).record, "and it is said once"


@pytest.mark.parametrize("record", PHASES, ids=lambda r: f"{r.phase}-{len(r.orders)}")
def test_evidence_that_was_gone_for_a_moment_is_held_anew_before_any_order(record: Record) -> None:
    assert orders(record, reads(*READS_ON, look=replace(LOOK, hold_over=False))) == []
    down = replace(LOOK, judgement=DOWN, hold_over=True)
    assert orders(record, reads(*READS_ON, look=down)) != []


def test_who_reads_a_hold_that_does_not_end_is_told_why() -> None:
    waits = step(HOLDING, replace(LOOK, judgement=SILENCE, hold_over=False)).record
    assert waits.phase is Phase.HOLDING
    assert waits.sentence.startswith("n1 is not found to hang any more, and nothing but its kernel was heard")
    again = step(waits, replace(LOOK, hold_over=False)).record
    assert again.sentence == f"{HUNG.sentence}; holding"


@pytest.mark.parametrize(
    ("judgement", "told"),
    [
        (
            NO_EVIDENCE,
            "n1 is not found to hang any more; nothing more is ordered before it hangs again or is down,",
        ),
        (
            DOUBTED,
            "n1 is not found to hang any more; nothing more is ordered before it hangs again or is down,",
        ),
        (HUNG, "n1 hangs again; nothing more is ordered before its hold is over,"),
        (HEARD, "n1 lives; nothing more is ordered,"),
    ],
    ids=["no evidence", "doubted", "hangs again", "heard"],
)
def test_a_fence_whose_evidence_is_gone_says_what_it_does(judgement: Judgement, told: str) -> None:
    at_work = replace(OVER, sent_at=NOW - 2.0, effective_until=NOW + 10.0)
    fencing = replace(HOLDING, phase=Phase.FENCING, sentence="fencing, level 1", orders=(at_work,))
    look = reads(*READS_ON, look=replace(LOOK, judgement=judgement, hold_over=False))
    after = step(fencing, look).record
    assert after.phase is Phase.FENCING
    assert after.sentence == f"{told} its devices are read on, and what was ordered may still take effect"
    assert step(after, look).record == after, "and it is said once"
    assert step(after, reads(*READS_ON)).record.sentence.startswith("fencing, level 1: bmc is ordered off")


@in_each_phase
@pytest.mark.parametrize("judgement", [HUNG, NO_EVIDENCE, SILENCE, AGAIN, DOUBTED], ids=lambda j: j.sentence)
def test_no_device_proves_it_off_before_its_kernel_is_found_silent(
    record: Record, judgement: Judgement
) -> None:
    """Both readings came after the kernel's last answer: it is silent between two of them."""
    lies = reads(*READS_OFF, look=replace(LOOK, judgement=judgement))
    assert step(record, lies).record.proofs == ()
    off = replace(lies, judgement=DOWN)
    assert [type(p) for p in step(record, off).record.proofs] == [PoweredOff]


def test_who_reads_it_as_off_while_its_kernel_answers_is_not_believed_and_a_person_is_called() -> None:
    asked = step(HOLDING, reads(*READS_OFF)).record
    assert asked.phase is Phase.AWAITING_CONFIRMATION
    assert "bmc reads off, but the node's kernel answers" in asked.sentence


def test_a_watchdog_that_has_not_bitten_in_its_time_keeps_the_next_level_waiting_no_longer() -> None:
    """Each answer of the kernel begins its time anew: counted from there it would never be over, and nobody be called."""
    promise = Promise(10.0, 60.0, frozenset({Leg.GOSSIP, Leg.API}))
    dog = WatchdogLook("dogs", promise=promise, assume_after=80.0, revoked_at=NOW - 79.0)
    bmc = DeviceLook("bmc", readings=tuple(Reading(s, at, at) for s, at in READS_ON))
    fencing = replace(HOLDING, phase=Phase.FENCING)
    assert orders(fencing, replace(LOOK, levels=((dog,), (bmc,)))) == [], "it may bite yet"
    late = replace(dog, revoked_at=NOW - 81.0)
    assert orders(fencing, replace(LOOK, levels=((late,), (bmc,)))) == [OrderOff("bmc", 1)]
    asked = step(fencing, replace(LOOK, levels=((late,),))).record
    assert asked.phase is Phase.AWAITING_CONFIRMATION
    assert "dogs: its time is over, but the node's kernel answers" in asked.sentence
    down = replace(LOOK, judgement=DOWN, levels=((late,), (bmc,)))
    assert orders(fencing, down) == [], "it may have bitten just now"


def test_an_order_that_may_just_have_been_obeyed_is_waited_for() -> None:
    ordered = replace(HOLDING, phase=Phase.FENCING, orders=(Order("bmc", 1, NOW - 1.0, NOW + 11.0),))
    assert step(ordered, reads(*READS_OFF)).record.phase is Phase.FENCING


def test_no_persons_word_is_taken_while_its_kernel_answers() -> None:
    said = replace(LOOK, confirmation=Confirmation("I pulled the plug", "kim", NOW))
    awaiting = replace(HOLDING, phase=Phase.AWAITING_CONFIRMATION)
    assert step(awaiting, replace(said, retry_due=False)).record.proofs == ()
    assert step(awaiting, replace(said, judgement=DOWN)).record.phase is Phase.RECOVERING


def test_a_kernel_that_answers_after_the_proof_voids_it() -> None:
    proof = PoweredOff(BOOT, "bmc", PowerOffHow.ORDERED, NOW - 3.0)
    proved = replace(HOLDING, phase=Phase.RECOVERING, proofs=(proof,), pods=(LAUNCHER.ref,))
    assert step(proved, replace(LOOK, life_at=NOW - 4.0)).record.phase is Phase.RECOVERING
    void = step(proved, replace(LOOK, life_at=NOW - 2.0))
    assert void.record.phase is Phase.FENCING
    assert void.record.proofs == ()
    assert "the proof is void: an answer of its kernel" in void.record.sentence


def test_a_cut_from_its_storage_is_read_though_its_kernel_answers() -> None:
    """That one says nothing of the node."""
    vm = CutVm("vms", "db", "vmi-1", ("pod-1",), ("vms/db",))
    ceph = DeviceLook(
        "ceph", readings=tuple(Reading(s, at, at) for s, at in READS_OFF), cuts=frozenset({"vms/db"})
    )
    fencing = replace(
        HOLDING, phase=Phase.FENCING, orders=(Order("ceph", 1, NOW - 1.0, NOW + 9.0),), cuts=("ceph",)
    )
    cut = step(fencing, replace(LOOK, levels=((ceph,),), vm_volumes=(vm,)))
    assert [type(p) for p in cut.record.proofs] == [StorageCut]


FAULT = st.one_of(
    st.sampled_from(
        [
            ["unhang", "n1"],
            ["hang", "n1"],
            ["heal-storage", "n1"],
            ["cut-storage", "n1"],
            ["cut-storage", "n2"],
            ["heal-storage", "n2"],
            ["start-agent", "n1"],
            ["power-cut", "n1"],
            ["kill-leader"],
        ]
    ),
    st.tuples(
        st.just("bmc"), st.just("n1"), st.sampled_from(["ok", "lie", "says-off", "ignore", "slow"])
    ).map(list),
    st.tuples(st.just("kill-leader-when"), st.sampled_from(["Fencing", "Recovering"])).map(list),
)


@settings(max_examples=12, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.floats(0.0, 70.0),
    st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0, 3.0, 11.0]), FAULT), min_size=1, max_size=6),
)
def test_invariants_hold_whatever_happens_to_a_node_that_hangs(
    at: float, script: list[tuple[float, list[str]]]
) -> None:
    """Beside those of every world: no order without all of the evidence, and no proof by a BMC that lies while the kernel answers."""
    world = World(
        ["n1", "n2", "n3"], {"db": "n1", "web": "n2"}, {}, "Active", heartbeat={}, on_hung=OnHung.FENCE
    )
    run_until(world, 3.0)
    world.do(["hang", "n1"])
    run_until(world, 3.0 + timing.HUNG_HEARTBEAT_AGE + at)
    for delay, words in script:
        run_until(world, world.now + delay)
        world.do(words)
    run_until(world, world.now + 20.0)
    assert world.plant.vms["web"].qemu == {"n2"}, "a bystander was touched"
    assert all(world.plant.bmcs[name].orders == 0 for name in ("n2", "n3"))


def run_until(world: World, instant: float) -> None:
    while world.now < instant:
        world.tick()
