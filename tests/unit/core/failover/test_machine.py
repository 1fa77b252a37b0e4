"""The machine in random worlds, and single steps that no story tells."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ringfence.core import timing
from ringfence.core.detection.verdict import Judgement
from ringfence.core.failover.beyond import may_be_off_soon
from ringfence.core.failover.commands import (
    AddOutOfServiceTaint,
    OrderOn,
    RecoverPods,
    RehearseAdmission,
    RemoveTaints,
    TellFenced,
)
from ringfence.core.failover.cut import LiftCut
from ringfence.core.failover.look import Confirmation, Look, Namesake
from ringfence.core.failover.machine import open_failover, step
from ringfence.core.failover.node_lease import NodeLeaseLook, ReleaseNodeLease, TakeNodeLease
from ringfence.core.failover.phase import ENDED, FOLLOWS, PROVED, Phase, may_follow
from ringfence.core.failover.record import PodRef, Record, VmRecord, VmState
from ringfence.core.failover.recovered import registered_since
from ringfence.core.failover.recovery import AttachmentLook, DeletePod, PodLook, PodRole, VmiLook, VmLook
from ringfence.core.failover.vms import merged
from ringfence.core.fencing.chassis import Chassis
from ringfence.core.fencing.orders import (
    Action,
    Begun,
    CalledOff,
    Order,
    OrderOff,
    ReadPower,
    RevokeAgentLease,
)
from ringfence.core.fencing.proof import (
    CutVm,
    FencingProof,
    PoweredOff,
    PowerOffHow,
    Reading,
    Rebooted,
    SelfFenced,
    StorageCut,
)
from ringfence.core.fencing.rungs import DeviceLook
from ringfence.core.fencing.selffence import Leg, Promise, WatchdogLook
from ringfence.core.model import Boot, PowerState, Verdict
from ringfence.core.setback import SetBack
from simulator.system.device import LadderSetup
from simulator.system.watchdogs import kennel
from simulator.system.world import World

NODES = ["n1", "n2", "n3", "n4", "n5"]
VMS = {"db": "n1", "web": "n2"}
SETTLED = settings(
    max_examples=25, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)

node = st.sampled_from(["n1", "n1", "n1", "n2", "n3"])
fault = st.one_of(
    st.tuples(
        st.sampled_from(["power-cut", "power-on", "cut", "heal", "kill-agent", "kill-kubelet", "cut-api"]),
        node,
    ).map(list),
    st.tuples(st.just("bmc"), node, st.sampled_from(["ok", "lie", "ignore", "hang", "unauthorized"])).map(
        list
    ),
    st.tuples(st.sampled_from(["stop-vm", "force-delete-launcher"]), st.sampled_from(list(VMS))).map(list),
    st.tuples(
        st.just("kill-leader-when"), st.sampled_from(["Holding", "Fencing", "Recovering", "Recovered"])
    ).map(list),
    st.just(["kill-leader"]),
    st.tuples(st.just("csi"), st.sampled_from(["hangs", "ok"])).map(list),
    st.just(["minority", "n3", "n4", "n5"]),
    st.tuples(st.just("mode"), st.sampled_from(["Active", "Paused", "Disarmed"])).map(list),
)
pause = st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5, 1.0, 2.0, 5.0, 11.0])


def run_for(world: World, seconds: float) -> None:
    """Let time pass; on every tick the invariants hold, and phases follow each other as the table says."""
    end = world.now + seconds
    while world.now < end:
        before = {name: record.phase for name, record in world.memory.stored.items()}
        world.tick()
        for name, record in world.memory.stored.items():
            was = before.get(name, Phase.HOLDING)
            assert was not in ENDED or record.phase is was
            assert record.phase not in PROVED or record.proofs
            assert len(record.story) <= 64


@SETTLED
@given(st.lists(st.tuples(pause, fault), min_size=1, max_size=7))
def test_invariants_hold_whatever_happens_when(script: list[tuple[float, list[str]]]) -> None:
    world = World(NODES, VMS, {}, "Active", {"db": "rwx", "web": "rwo"})
    for delay, words in script:
        run_for(world, delay)
        world.do(words)
    run_for(world, 16.0)


dogs_fault = st.one_of(
    st.tuples(
        st.sampled_from(
            ["cut", "cut", "heal", "cut-api", "kill-agent", "start-agent", "thaw-agent", "kill-feeder", "start-feeder",
             "upgrade-agent", "power-cut", "cut-storage", "heal-storage"]
        ),
        node,
    ).map(list),
    st.just(["kill-leader"]),
    st.tuples(st.just("bmc"), st.just("n3"), st.sampled_from(["ok", "lie", "hang"])).map(list),
)  # fmt: skip


@settings(max_examples=12, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 3.0, 6.0, 11.0]), dogs_fault), min_size=1, max_size=6),
    st.floats(0.999, 1.001),
    st.sampled_from([None, {"stopGuests": False}, {"stopGuests": True}]),
    st.sampled_from([None, ["db"], ["db", "web"]]),
)
@example(
    [(0.0, ["cut", "n1"]), (6.0, ["kill-leader"]), (11.0, ["power-cut", "n1"])],
    1.0,
    {"stopGuests": False},
    None,
)
def test_no_vm_runs_twice_where_watchdogs_are_counted_out(
    script: list[tuple[float, list[str]]],
    rate: float,
    heartbeat: dict[str, bool] | None,
    behind: list[str] | None,
) -> None:
    """Short times, so that a node resets itself, and is assumed, well within the story."""
    times = {"isolationSeconds": 3, "timeoutSeconds": 5, "assumeSeconds": 13.1, "rate": rate}
    dogs = kennel({"nodes": NODES, **times})
    bmcs: dict[str, str | None] = {"n1": None, "n2": None}
    world = World(NODES, VMS, bmcs, "Active", kennel=dogs, heartbeat=heartbeat, storage_fence=behind)
    run_for(world, 2.0)
    for delay, words in script:
        run_for(world, delay)
        world.do(words)
    run_for(world, 30.0)


mode = st.sampled_from(["ok", "ok", "slow", "ignore", "hang", "unauthorized", "lie"])
ladder_fault = st.one_of(
    st.tuples(st.sampled_from(["cut", "cut", "heal", "power-cut", "power-on"]), node).map(list),
    st.tuples(st.sampled_from(["bmc", "pdu"]), st.sampled_from(["n1", "n2"]), mode).map(list),
    st.tuples(st.just("kill-leader-when"), st.sampled_from(["Fencing", "Recovering"])).map(list),
    st.just(["kill-leader"]),
    st.tuples(st.just("mode"), st.sampled_from(["Active", "Disarmed"])).map(list),
)


@settings(max_examples=40, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(pause, ladder_fault), min_size=1, max_size=8),
    st.tuples(st.none() | st.sampled_from([0.0, 1.0, 4.0]), st.none()),
    st.none() | st.just(1) | st.just(2),
    st.sampled_from([0.0, 0.0, 1.5]),
)
def test_no_order_without_a_record_nor_more_than_the_chassis_takes(
    script: list[tuple[float, list[str]]], hedges: tuple[float | None, ...], most: int | None, delay: float
) -> None:
    """The world breaks if an order is on no record, goes to a node that lives or leads, or is one too many."""
    world = World(NODES, VMS, {}, "Active", ladder=LadderSetup({"n1": "ok", "n2": "ok"}, hedges, delay, most))
    world.do(["cut", "n1"])
    for wait, words in script:
        run_for(world, wait)
        world.do(words)
    run_for(world, 30.0)


@settings(max_examples=30, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            pause,
            st.one_of(
                st.tuples(
                    st.sampled_from(["cut", "cut", "heal", "power-cut", "power-on", "cut-api", "heal-api"]),
                    node,
                ).map(list),
                st.tuples(st.just("bmc"), node, mode).map(list),
            ),
        ),
        min_size=1,
        max_size=7,
    )
)
def test_no_leader_orders_its_own_node_off(script: list[tuple[float, list[str]]]) -> None:
    """Three replicas, each of whose nodes may be the one that is found Down, also while its pod still reaches the API."""
    world = World(NODES, VMS, {}, "Active", controllers=["n1", "n2", "n3"])
    for wait, words in script:
        run_for(world, wait)
        world.do(words)
    run_for(world, 20.0)


@SETTLED
@given(
    st.sampled_from(["cut", "power-cut"]),
    st.floats(0.0, 6.0),
    st.sampled_from([None, None, "Holding", "Fencing", "Recovering"]),
    st.floats(0.0, 8.0),
)
def test_a_dead_nodes_vm_runs_elsewhere_whenever_the_leader_dies(
    what: str, at: float, dies_when: str | None, dies_at: float
) -> None:
    world = World(NODES, VMS, {}, "Active")
    run_for(world, at)
    world.do([what, "n1"])
    if dies_when is not None:
        world.do(["kill-leader-when", dies_when])
    else:
        run_for(world, dies_at)
        world.do(["kill-leader"])
    run_for(world, 32.0)
    assert world.plant.last_run["db"] not in ("", "n1")
    assert world.plant.vms["db"].phase == "Running"
    assert world.plant.vms["web"].qemu == {"n2"}, "a bystander was touched"
    assert world.plant.bmcs["n1"].orders <= 2
    assert len(world.memory.stored) == 1


@SETTLED
@given(
    st.lists(st.tuples(pause, st.sampled_from(["kill-agent", "kill-kubelet", "cut-api"]), node), max_size=5)
)
def test_what_leaves_the_kernel_alive_is_nobodys_death(script: list[tuple[float, str, str]]) -> None:
    world = World(NODES, VMS, {}, "Active")
    for delay, what, where in script:
        run_for(world, delay)
        world.do([what, where])
    run_for(world, 10.0)
    assert world.memory.stored == {}
    assert all(bmc.orders == 0 for bmc in world.plant.bmcs.values())


@SETTLED
@given(
    st.lists(
        st.tuples(
            pause,
            st.one_of(
                st.tuples(
                    st.sampled_from(["cut", "heal", "kill-agent", "kill-kubelet", "cut-api"]), st.just("n1")
                ).map(list),
                st.tuples(st.just("bmc"), st.just("n1"), st.sampled_from(["lie", "says-off", "ignore"])).map(
                    list
                ),
                st.just(["kill-leader"]),
            ),
        ),
        min_size=1,
        max_size=7,
    ),
    st.booleans(),
)
def test_whose_slot_moves_is_left_alone_whatever_its_device_says(
    script: list[tuple[float, list[str]]], stop_guests: bool
) -> None:
    """A14b: lies and silence of every network, at every phase of the slot's writes; the BMC alone would be believed."""
    world = World(NODES, VMS, {}, "Active", heartbeat={"stopGuests": stop_guests})
    world.do(["bmc", "n1", "says-off"])
    run_for(world, 3.0)
    for delay, words in script:
        run_for(world, delay)
        world.do(words)
    run_for(world, 16.0)
    assert world.memory.forced == []
    assert world.plant.bmcs["n1"].orders == 0
    assert not world.plant.nodes["n1"].out_of_service
    assert world.plant.vms["db"].qemu == {"n1"}


@SETTLED
@given(
    st.lists(
        st.tuples(
            pause,
            st.one_of(
                st.tuples(
                    st.sampled_from(
                        ["cut", "heal", "power-cut", "power-on", "kill-kubelet", "lift", "unfence"]
                    ),
                    st.just("n1"),
                ).map(list),
                st.tuples(
                    st.just("storage-fence"), st.just("n1"), st.sampled_from(["ok", "ignore", "slow"])
                ).map(list),
                st.tuples(
                    st.just("bmc"), st.just("n1"), st.sampled_from(["ok", "ignore", "hang", "slow"])
                ).map(list),
                st.tuples(
                    st.just("kill-leader-when"), st.sampled_from(["Fencing", "Recovering", "Recovered"])
                ).map(list),
                st.just(["kill-leader"]),
            ),
        ),
        min_size=1,
        max_size=7,
    ),
    st.sampled_from([["db"], ["db", "web"], []]),
    st.booleans(),
    st.sampled_from([(), (0.0, None), (2.0, None)]),
)
def test_under_a_cut_from_the_storage_no_disk_has_two_writers(
    script: list[tuple[float, list[str]]], behind: list[str], with_bmc: bool, hedges: tuple[float | None, ...]
) -> None:
    """A lifted fence is as good as none: what the machine lifts itself is checked where it gives the order."""
    bmcs: dict[str, str | None] = {"n1": "ignore" if with_bmc else None}
    ladder = LadderSetup(hedges=hedges)
    world = World(NODES, {"db": "n1", "web": "n1"}, bmcs, "Active", storage_fence=behind, ladder=ladder)
    run_for(world, 1.0)
    for delay, words in script:
        run_for(world, delay)
        if words[0] == "bmc" and not with_bmc:
            continue
        if words[0] in ("lift", "unfence") and any(
            "n1" in vm.qemu and vm.node != "n1" for vm in world.plant.vms.values()
        ):
            continue  # a person who lifts it while an old guest lives breaks it: nothing here could prevent that
        world.do(words)
    run_for(world, 20.0)


# --- single steps -----------------------------------------------------------------------------------------

NOW = 100.0
BOOT = Boot("n1", "uid-1", "boot-1")
DOWN = Judgement(Verdict.DOWN, "n1 is down: votes")
ALIVE = Judgement(Verdict.HEALTHY, "n1 is alive")
ON, OFF = PowerState.ON, PowerState.OFF
DB = VmRecord("vms", "db", "vm-1", "vmi-1", "pod-1")
LAUNCHER = PodLook(PodRef("vms", "launcher", "pod-1"), PodRole.LAUNCHER, "vmi-1", protected=True)
LOOK = Look(
    now=NOW,
    wall=NOW,
    leader="c-1",
    epoch=3,
    judgement=DOWN,
    limit=None,
    limit_when_found_off=None,
    hold_over=True,
    life_at=NOW - 60.0,
    life_sign="a gossip packet",
    node_exists=True,
    current_boot_id="boot-1",
    node_ready=False,
    suspect_taint=True,
    out_of_service_taint=False,
    levels=(),
    proofs_required=1,
    pods=(LAUNCHER,),
    vms=(VmLook("vms", "db", "vm-1", True, "Always", False, None),),
    affected=(DB,),
    confirmation=None,
    power_on=True,
    power_on_due=True,
)
HOLDING = open_failover("f-1", BOOT, NOW - 3.0, LOOK, ("n2", "n3"))
FENCING = replace(HOLDING, phase=Phase.FENCING)
PROOF = PoweredOff(BOOT, "bmc", PowerOffHow.ORDERED, NOW - 1.0)
ORDER = Order("bmc", 1, NOW - 2.0, NOW - 2.0 + timing.ORDER_EFFECT)
ORDER_OVER = replace(ORDER, effective_until=NOW)
RECOVERING = replace(
    FENCING,
    phase=Phase.RECOVERING,
    proofs=(PROOF,),
    orders=(ORDER,),
    pods=(LAUNCHER.ref,),
    timings=(("proof", 3.0),),
)


def device(name: str, *readings: tuple[PowerState, float]) -> DeviceLook:
    return DeviceLook(name, readings=tuple(Reading(s, at, at) for s, at in readings))


def orders(record: Record, look: Look) -> list[OrderOff]:
    return [c for c in step(record, look).commands if isinstance(c, OrderOff)]


DOG = WatchdogLook("dogs", promise=Promise(10.0, 60.0, frozenset({Leg.GOSSIP, Leg.API})), assume_after=80.0)
READS_ON = replace(LOOK, levels=((device("bmc", (ON, NOW - 0.1)),),))


def test_an_order_is_on_record_when_it_is_given() -> None:
    after = step(HOLDING, READS_ON)
    assert after.record.orders == (Order.decided("bmc", 1, NOW, timing.ORDER_EFFECT),)
    assert orders(HOLDING, READS_ON) == [OrderOff("bmc", 1)]


def test_no_order_before_the_hold_is_over_or_under_a_limit() -> None:
    assert orders(HOLDING, replace(READS_ON, hold_over=False)) == []
    assert orders(HOLDING, replace(READS_ON, limit="a storm")) == []
    assert step(HOLDING, replace(READS_ON, limit="a storm")).record.held_reason == "a storm"
    assert orders(HOLDING, replace(READS_ON, judgement=ALIVE)) == []


def test_a_proof_is_stored_before_anything_is_done_on_it() -> None:
    found = replace(LOOK, levels=((device("bmc", (OFF, NOW - 0.5), (OFF, NOW - 0.1)),),))
    after = step(HOLDING, found)
    assert after.record.phase is Phase.RECOVERING
    assert after.record.pods == (LAUNCHER.ref,)
    assert after.commands == ()


VIRT_API = PodLook(PodRef("kubevirt", "virt-api-1", "pod-2"), PodRole.VIRT_API)
REHEARSAL = RehearseAdmission("vms", "db")


@pytest.mark.parametrize(
    ("record", "look"),
    [
        (HOLDING, replace(LOOK, hold_over=False)),
        (HOLDING, READS_ON),
        (FENCING, READS_ON),
        (RECOVERING, replace(LOOK, levels=((device("bmc", (OFF, NOW - 0.5), (OFF, NOW - 0.1)),),))),
    ],
    ids=["in the hold", "the hold is over already", "fencing", "found off at once"],
)
def test_a_lost_virt_apis_connections_are_looked_for_as_early_as_can_be(record: Record, look: Look) -> None:
    assert REHEARSAL in step(record, replace(look, pods=(LAUNCHER, VIRT_API))).commands
    assert REHEARSAL not in step(record, look).commands


def test_one_of_two_supplies_off_is_no_proof() -> None:
    look = replace(
        LOOK,
        levels=((device("pdu-a", (OFF, NOW - 0.5), (OFF, NOW - 0.1)), device("pdu-b", (ON, NOW - 0.1))),),
    )
    after = step(FENCING, look)
    assert after.record.phase is Phase.FENCING
    assert after.commands == (OrderOff("pdu-b", 1),)


def test_no_further_device_is_ordered_once_the_node_lives() -> None:
    ordered = replace(FENCING, orders=(replace(ORDER, device="pdu-a"),))
    look = replace(
        LOOK,
        judgement=ALIVE,
        levels=((device("pdu-a", (ON, NOW - 0.1)), device("pdu-b", (ON, NOW - 0.1))),),
    )
    assert orders(ordered, look) == []
    assert step(ordered, look).record.phase is Phase.FENCING, "an order is on its way: not withdrawn yet"
    assert orders(ordered, replace(look, judgement=DOWN)) == [OrderOff("pdu-b", 1)]


def test_the_taint_comes_first_then_the_pods() -> None:
    first = step(RECOVERING, LOOK)
    assert [type(c) for c in first.commands] == [AddOutOfServiceTaint]
    (command,) = step(RECOVERING, replace(LOOK, out_of_service_taint=True)).commands
    assert isinstance(command, RecoverPods)
    assert command.commands == (DeletePod(LAUNCHER.ref, force=True),)


def test_after_a_later_boot_deletions_are_gentle_unless_the_taint_was_on_record() -> None:
    later = replace(LOOK, current_boot_id="boot-2", out_of_service_taint=True)
    late = step(RECOVERING, later)
    assert late.commands == (RemoveTaints("n1", out_of_service=True, suspect=False),), (
        "while it stands Kubernetes force-deletes what is being deleted on a node that isn't ready"
    )
    (gentle,) = step(late.record, replace(later, out_of_service_taint=False)).commands
    assert isinstance(gentle, RecoverPods)
    assert gentle.commands == (DeletePod(LAUNCHER.ref, force=False),)
    (forced,) = step(replace(RECOVERING, tainted=True), later).commands
    assert isinstance(forced, RecoverPods)
    assert forced.commands == (DeletePod(LAUNCHER.ref, force=True),)


def test_a_taint_that_somebody_takes_away_is_put_again_while_the_node_is_off() -> None:
    """Without it volumes stay attached for six minutes, and its next kubelet starts what is bound to it."""
    marked = replace(RECOVERING, tainted=True)
    again = step(marked, LOOK)
    assert [type(c) for c in again.commands] == [AddOutOfServiceTaint]
    assert "somebody has taken that away; marking it again" in again.record.sentence
    (command,) = step(again.record, replace(LOOK, out_of_service_taint=True)).commands
    assert isinstance(command, RecoverPods)
    foreign = step(marked, replace(LOOK, out_of_service_taint=True, foreign_taint=True))
    assert not [c for c in foreign.commands if isinstance(c, AddOutOfServiceTaint)], (
        "written over: left alone"
    )
    assert foreign.record.sentence == (
        "n1 is marked out of service by somebody else, whose taint is left alone; deleting its pods"
    )
    assert not any("marking it again" in moment.sentence for moment in foreign.record.story)
    lagging = step(marked, replace(LOOK, nodes_lag=True))
    assert not [c for c in lagging.commands if isinstance(c, AddOutOfServiceTaint)], "of before it was put"
    assert lagging.record.tainted, "what is on record stands until the Nodes are as new"
    assert lagging.record.sentence == "n1 is marked out of service; deleting its pods"
    often = step(replace(again.record, tainted=True, sentence="deleting"), LOOK).record
    assert [type(c) for c in step(replace(often, tainted=True), LOOK).commands] == [AddOutOfServiceTaint]
    assert often.story == again.record.story, "said once, however often it is done"
    gone = step(marked, replace(LOOK, node_exists=False))
    assert not [c for c in gone.commands if isinstance(c, AddOutOfServiceTaint)], "no object to be tainted"


def test_a_later_boot_without_the_taint_ends_what_is_bound_to_it_itself() -> None:
    """Somebody took it away, and that kubelet may have started a launcher that had never run."""
    later = replace(LOOK, current_boot_id="boot-2")
    after = step(replace(RECOVERING, tainted=True), later)
    (gentle,) = after.commands
    assert isinstance(gentle, RecoverPods)
    assert gentle.commands == (DeletePod(LAUNCHER.ref, force=False),)
    assert after.record.sentence.startswith(
        "n1 has booted again; its kubelet is asked to end what is bound to it"
    )
    by_hand = step(after.record, replace(later, out_of_service_taint=True))
    assert by_hand.commands == (RemoveTaints("n1", out_of_service=True, suspect=False),)
    for look in (
        replace(later, nodes_lag=True),
        replace(later, node_exists=False),
    ):
        (still,) = step(after.record, look).commands
        assert isinstance(still, RecoverPods)
        assert still.commands == gentle.commands, (
            "nothing makes that boot's launcher one of the dead boot's again"
        )
    (lagging,) = step(replace(RECOVERING, tainted=True), replace(later, nodes_lag=True)).commands
    assert isinstance(lagging, RecoverPods)
    assert lagging.commands == gentle.commands, "that nobody knows is no leave"


def test_a_later_boot_that_dies_with_what_it_was_asked_to_end_is_left_to_its_next_incident() -> None:
    """Its kubelet may have started that: it takes a proof about this boot, and nobody would ever ask for one here."""
    dead = replace(LOOK, current_boot_id="boot-2", affected=(DB,))
    asked = replace(RECOVERING, vms=(DB,), orders=(ORDER_OVER,))
    over = step(asked, dead)
    assert (over.record.phase, over.commands) == (Phase.CLOSED, ())
    assert over.record.sentence.startswith(
        "n1 is down again with its boot boot-2, and its next incident sees to it"
    )
    for still in (
        (asked, replace(dead, judgement=ALIVE)),
        (asked, replace(dead, hold_over=False)),
        (asked, replace(dead, nodes_lag=True)),
        (replace(asked, orders=(ORDER,)), dead),
        (asked, replace(dead, out_of_service_taint=True)),
        (asked, replace(dead, affected=())),
    ):
        assert step(*still).record.phase is Phase.RECOVERING
    cut = replace(asked, cuts=("ceph",))
    shut = replace(dead, levels=((cutter((OFF, NOW - 0.6), (OFF, NOW - 0.1)),),))
    lifted = step(cut, shut)
    assert (lifted.record.phase, lifted.commands) == (Phase.RECOVERING, (LiftCut("ceph"),)), (
        "nobody else would"
    )
    let_in = replace(dead, levels=((cutter((ON, NOW - 0.1)),),))
    assert step(cut, let_in).record.phase is Phase.CLOSED


def test_a_void_proof_leads_back_to_the_ladder_with_the_order_still_in_its_window() -> None:
    void = step(RECOVERING, replace(LOOK, life_at=NOW - 0.2))
    assert void.record.phase is Phase.FENCING
    assert void.record.proofs == ()
    assert void.commands == ()
    assert void.record.orders == (ORDER,)
    assert void.record.ladder_pass == 1, "a new pass: its orders are other orders than those of the last"
    assert orders(void.record, READS_ON) == []
    assert orders(void.record, replace(READS_ON, now=NOW + 9.0)) == []


def test_withdrawn_only_when_the_taints_are_gone() -> None:
    living = replace(LOOK, judgement=ALIVE)
    wait = step(FENCING, living)
    assert wait.record.phase is Phase.FENCING
    assert wait.commands == (RemoveTaints("n1", out_of_service=False),)
    assert step(FENCING, replace(living, suspect_taint=False)).record.phase is Phase.WITHDRAWN
    void = replace(FENCING, timings=(("proof", 3.0),))
    tainted = replace(living, suspect_taint=False, out_of_service_taint=True)
    assert step(void, tainted).commands == (RemoveTaints("n1", out_of_service=True),)
    assert step(FENCING, tainted).record.phase is Phase.WITHDRAWN, "an administrator's own taint stays"


def test_a_node_in_quarantine_keeps_the_suspect_taint_beyond_its_incident() -> None:
    living = replace(LOOK, judgement=ALIVE, suspect_taint=True, quarantined=True)
    withdrawn = step(FENCING, living)
    assert withdrawn.record.phase is Phase.WITHDRAWN
    assert withdrawn.commands == ()
    assert "so it stays in quarantine" in withdrawn.record.sentence
    void = replace(FENCING, timings=(("proof", 3.0),))
    tainted = replace(living, out_of_service_taint=True)
    assert step(void, tainted).commands == (RemoveTaints("n1", out_of_service=True, suspect=False),)


def test_nobody_powers_a_node_on_while_an_order_may_take_effect() -> None:
    recovered = replace(RECOVERING, phase=Phase.RECOVERED, tainted=True)
    look = replace(LOOK, out_of_service_taint=True, pods=())
    assert step(recovered, look).commands == ()
    assert step(recovered, replace(look, now=ORDER.effective_until)).commands == (OrderOn("bmc"),)
    assert step(recovered, replace(look, now=NOW + 60.0, power_on=False)).commands == ()
    tired = replace(recovered, power_on_tries=timing.POWER_ON_TRIES)
    assert step(tired, replace(look, now=NOW + 60.0)).commands == ()


TOLD_LATER = Rebooted(BOOT, "boot-2", NOW - 1.9)


@pytest.mark.parametrize("proof", [PROOF, TOLD_LATER], ids=["read as off", "has rebooted"])
@pytest.mark.parametrize("waits", [False, True], ids=["all run", "one waits"])
def test_a_later_boot_that_the_order_has_ended_is_powered_on_again(
    proof: PoweredOff | Rebooted, *, waits: bool
) -> None:
    """It was on its way when that boot was told. Nobody would ever have powered the node on."""
    seen = VmiLook("vmi-db-2", "Pending", "", unschedulable="full")
    ended = replace(
        RECOVERING,
        phase=Phase.RECOVERING if waits else Phase.RECOVERED,
        proofs=(proof,),
        pods=(),
        vms=(replace(DB, state=VmState.WAITING, released_wall=NOW, message="no node takes it: full"),)
        if waits
        else (),
    )
    look = replace(
        LOOK,
        now=ORDER.effective_until,
        current_boot_id="boot-2",
        pods=(),
        affected=(),
        vms=(VmLook("vms", "db", "vm-1", True, "Always", False, seen),) if waits else (),
    )
    assert OrderOn("bmc") not in step(ended, replace(look, now=look.now - 0.1)).commands, (
        "it may yet take effect"
    )
    doubted = replace(look, judgement=Judgement(Verdict.SUSPECT, "n1 is doubted"))
    assert OrderOn("bmc") not in step(ended, doubted).commands, "it may be up"
    ready = replace(look, node_ready=True)
    assert OrderOn("bmc") not in step(ended, ready).commands, "its kubelet says that it is up"
    on = step(ended, look)
    assert on.commands[-1:] == (OrderOn("bmc"),)
    assert on.record.sentence.endswith("; an order off may have ended boot boot-2 of n1 too; powering n1 on")
    waiting = step(on.record, replace(look, power_on_due=False))
    assert OrderOn("bmc") not in waiting.commands
    assert waiting.record.sentence == on.record.sentence
    again = step(waiting.record, replace(look, now=look.now + timing.POWER_ON_SPACING))
    assert again.commands[-1:] == (OrderOn("bmc"),)
    tired = replace(again.record, power_on_tries=timing.POWER_ON_TRIES)
    told = step(tired, look).record
    assert told.sentence.endswith("; n1 was ordered on 5 times and is not back: look at it")
    assert step(told, look).record == told


def test_a_later_boot_that_no_order_of_ours_can_have_ended_is_left_as_it_is() -> None:
    look = replace(LOOK, now=NOW + 60.0, current_boot_id="boot-2", pods=())
    recovered = replace(RECOVERING, phase=Phase.RECOVERED, pods=())
    nobodys = replace(recovered, orders=(), proofs=(TOLD_LATER,))
    assert step(nobodys, look).commands == (), "none was given"
    own = replace(recovered, power_on_tries=1, new_boot_id="boot-2")
    assert step(own, look).commands == (), "it is the boot that we have ordered on"
    cut_off = replace(recovered, proofs=(TOLD_LATER,))
    assert step(cut_off, replace(look, power_on=False)).commands == (), "the zone wants none powered on"


@pytest.mark.parametrize("waits", [False, True], ids=["all run", "one waits"])
def test_a_node_that_does_not_come_back_when_ordered_on_is_told_once(*, waits: bool) -> None:
    """The last word was that it is being powered on, for as long as it stayed away."""
    full = "no node takes it: full"
    tired = replace(
        RECOVERING,
        phase=Phase.RECOVERING if waits else Phase.RECOVERED,
        tainted=True,
        orders=(),
        power_on_tries=timing.POWER_ON_TRIES,
        sentence="recovered: nothing was left to move; powering n1 on",
        vms=(replace(DB, state=VmState.WAITING, released_wall=NOW, message=full),) if waits else (),
    )
    seen = VmiLook("vmi-db-2", "Pending", "", unschedulable="full")
    vms = (VmLook("vms", "db", "vm-1", True, "Always", False, seen),) if waits else ()
    look = replace(LOOK, now=NOW + 60.0, out_of_service_taint=True, pods=(), vms=vms)
    assert "ordered on" not in step(tired, replace(look, power_on_due=False)).record.sentence
    told = step(tired, look)
    assert told.record.phase is tired.phase
    assert told.record.sentence.endswith("; n1 was ordered on 5 times and is not back: look at it")
    assert "powering" not in told.record.sentence
    assert step(told.record, replace(look, now=NOW + 70.0)).record == told.record


def test_a_hedged_level_is_on_record_before_its_order_is_given() -> None:
    hangs = replace(device("bmc"), busy=True)
    look = replace(LOOK, levels=((hangs,), (device("pdu", (ON, NOW - 0.1)),)), hedges=(5.0, None))
    first = step(HOLDING, look)
    assert first.record.begun == (Begun(1, NOW),)
    later = replace(look, now=NOW + 5.0, levels=((hangs,), (device("pdu", (ON, NOW + 4.9)),)))
    second = step(first.record, later)
    assert second.record.begun == (Begun(1, NOW), Begun(2, NOW + 5.0, slow=1))
    assert [o.device for o in second.record.orders] == ["pdu"]
    assert second.commands == (OrderOff("pdu", 1),)


def test_after_a_limit_levels_begin_anew() -> None:
    begun = replace(FENCING, begun=(Begun(1, NOW - 60.0),))
    look = replace(LOOK, levels=((replace(device("bmc"), busy=True),), (device("pdu", (ON, NOW - 0.1)),)))
    held = step(begun, replace(look, hedges=(5.0, None), limit="a storm"))
    assert held.record.begun == ()
    again = step(held.record, replace(look, hedges=(5.0, None)))
    assert again.record.begun == (Begun(1, NOW),)


def test_the_zones_delay_holds_back_the_first_order_only() -> None:
    delayed = replace(READS_ON, order_delay=4.0)
    waiting = step(HOLDING, delayed)
    assert waiting.record.orders == ()
    fresh = replace(delayed, now=NOW + 4.0, levels=((device("bmc", (ON, NOW + 3.9)),),))
    assert orders(waiting.record, fresh) == [OrderOff("bmc", 1)]
    assert orders(replace(FENCING, ladder_pass=1), delayed) == [OrderOff("bmc", 1)]


def test_a_node_is_powered_on_by_every_device_that_may_have_cut_it() -> None:
    """The PDU has proved it off; the BMC, which was ordered before, may have obeyed as well."""
    pdu = replace(PROOF, device="pdu")
    cut = replace(RECOVERING, phase=Phase.RECOVERED, tainted=True, proofs=(pdu,))
    sent = (ORDER, replace(ORDER, device="pdu", effective_until=NOW - 1.0))
    look = replace(LOOK, out_of_service_taint=True, pods=())
    assert step(replace(cut, orders=sent), look).commands == (), "the BMC's order may yet take effect"
    after = step(replace(cut, orders=sent), replace(look, now=ORDER.effective_until))
    assert after.commands == (OrderOn("bmc"), OrderOn("pdu"))
    assert [(o.device, o.action) for o in after.record.orders[2:]] == [("bmc", Action.ON), ("pdu", Action.ON)]


def test_powering_on_waits_for_a_place_at_the_chassis_too() -> None:
    recovered = replace(RECOVERING, phase=Phase.RECOVERED, tainted=True)
    full = replace(device("bmc"), chassis=Chassis("10.0.8.9", 1, ("n2",)))
    look = replace(LOOK, now=NOW + 60.0, out_of_service_taint=True, pods=(), levels=((full,),))
    waiting = step(recovered, look)
    assert waiting.commands == ()
    assert waiting.record.power_on_tries == 0
    assert waiting.record.sentence.endswith("powering n1 on waits for other orders to its chassis")
    free = replace(look, levels=((replace(full, chassis=Chassis("10.0.8.9", 1)),),))
    assert step(waiting.record, free).commands == (OrderOn("bmc"),)


@pytest.mark.parametrize("phase", [Phase.HOLDING, Phase.HELD, Phase.FENCING, Phase.AWAITING_CONFIRMATION])
@pytest.mark.parametrize("ordered", [(), (ORDER,), (replace(ORDER, effective_until=NOW - 1.0),)])
def test_no_order_is_built_for_the_node_that_the_acting_controller_runs_on(
    phase: Phase, ordered: tuple[Order, ...]
) -> None:
    """Whatever its predecessor has begun there; and no proof about it is taken, since it lives."""
    own = "the acting controller runs on n1 itself"
    levels = ((device("bmc", (ON, NOW - 0.1)),), (device("pdu", (ON, NOW - 0.1)),), (DOG,))
    look = replace(LOOK, limit=own, limit_when_found_off=own, life_at=NOW, levels=levels, retry_due=True)
    after = step(replace(FENCING, phase=phase, orders=ordered), look)
    assert not any(isinstance(c, OrderOff | RevokeAgentLease | TellFenced) for c in after.commands)
    assert len(after.record.orders) <= len(ordered)
    off = replace(look, levels=((device("bmc", (OFF, NOW - 0.5), (OFF, NOW - 0.1)),),))
    assert step(replace(FENCING, phase=phase, orders=ordered), off).record.proofs == ()


def test_a_persons_word_is_void_by_newer_life() -> None:
    awaiting = replace(FENCING, phase=Phase.AWAITING_CONFIRMATION)
    said = replace(LOOK, confirmation=Confirmation("I pulled the plug", "kim", NOW - 5.0))
    assert step(awaiting, said).record.phase is Phase.RECOVERING
    refused = step(awaiting, replace(said, life_at=NOW - 4.0)).record
    assert refused.phase is Phase.AWAITING_CONFIRMATION
    assert "the word of kim does not count: a sign of life came after it" in refused.sentence
    assert step(refused, replace(said, life_at=NOW - 3.0)).record.story == refused.story
    again = replace(said, confirmation=Confirmation("I looked again", "kim", NOW - 1.0), life_at=NOW - 4.0)
    assert step(refused, again).record.phase is Phase.RECOVERING


def test_a_persons_word_counts_only_while_the_node_is_down() -> None:
    """A controller that has just started knows of no life yet: silence has to be found, not assumed."""
    working = replace(FENCING, phase=Phase.AWAITING_CONFIRMATION, orders=(ORDER,))
    doubtful = Judgement(Verdict.SUSPECT, "n1 was not heard of yet", known=False)
    said = replace(LOOK, judgement=doubtful, confirmation=Confirmation("I pulled the plug", "kim", NOW))
    assert step(working, said).record.phase is Phase.AWAITING_CONFIRMATION
    assert step(replace(working, orders=()), said).record.phase is Phase.AWAITING_CONFIRMATION
    assert step(working, replace(said, judgement=LOOK.judgement)).record.phase is Phase.RECOVERING


@pytest.mark.parametrize(
    "record",
    [replace(FENCING, phase=phase) for phase in (Phase.HOLDING, Phase.HELD, Phase.FENCING, Phase.AWAITING_CONFIRMATION)]
    + [replace(FENCING, orders=(replace(ORDER, effective_until=NOW - 1.0),))],
    ids=lambda r: f"{r.phase}-{len(r.orders)}",
)  # fmt: skip
def test_who_is_only_doubted_is_neither_let_go_nor_acted_upon(record: Record) -> None:
    """So it is for a leader that a cut leaves on a small side: it counts too few votes for `Down`, and hears nothing of the node."""
    doubtful = Judgement(Verdict.SUSPECT, "n1 is doubted by its peers: votes are being taken", known=False)
    doubted = replace(
        LOOK,
        judgement=doubtful,
        hold_over=False,
        retry_due=True,
        suspect_taint=False,
        renewed_after=FENCING.started_wall - 0.1,
    )
    stays = step(record, doubted)
    assert stays.record.phase is record.phase
    assert not [c for c in stays.commands if isinstance(c, OrderOff | RevokeAgentLease | RecoverPods)]
    assert step(stays.record, doubted).record == stays.record, "and it is said once"

    lives = step(stays.record, replace(doubted, renewed_after=record.started_wall + 0.1))
    assert lives.record.phase is Phase.WITHDRAWN
    heard = replace(doubted, life_at=NOW)
    assert step(stays.record, heard).record.phase is record.phase, "agents' ages may be too small"
    read_late = replace(doubted, renewed_after=record.started_wall + 0.1, down_at=record.started_wall + 0.2)
    assert step(stays.record, read_late).record.phase is record.phase, (
        "it was found down since: no news of it"
    )
    gone = step(stays.record, replace(doubted, node_exists=False))
    assert gone.record.phase is Phase.WITHDRAWN, "of a node without its object nothing would ever be heard"
    down = step(stays.record, replace(LOOK, retry_due=True))
    assert down.record.phase in (Phase.FENCING, Phase.AWAITING_CONFIRMATION)


def test_who_reads_a_hold_that_does_not_end_is_told_why() -> None:
    holding = replace(FENCING, phase=Phase.HOLDING, sentence="n1 is down: 2 of 2 peers; holding")
    doubtful = Judgement(Verdict.SUSPECT, "n1 is doubted by its peers: votes are being taken", known=False)
    doubted = step(holding, replace(LOOK, judgement=doubtful, hold_over=False)).record
    assert doubted.sentence == (
        "n1 is not found down any more, and not heard either: nothing is ordered before it is down again, and only a sign of life ends this"
    )
    again = step(doubted, replace(LOOK, hold_over=False)).record
    assert again.sentence == f"{LOOK.judgement.sentence}; holding"
    late = replace(LOOK, judgement=doubtful, hold_over=False, down_at=NOW - 1.0, life_at=NOW - 0.5)
    seen_late = step(holding, replace(late, life_sign="its kubelet's Lease")).record
    assert seen_late.sentence == (
        "n1 is not found down any more: its kubelet's Lease was seen since, but may be older than its silence; nothing is ordered before it is"
        " down again, and only a sign of life that is surely newer ends this"
    )
    assert step(seen_late, replace(LOOK, hold_over=False)).record.sentence == again.sentence


@pytest.mark.parametrize(
    ("bmc", "read"),
    [
        (device("bmc", (ON, NOW - 4.9)), False),
        (device("bmc", (ON, NOW - 5.0)), True),
        (device("bmc", (ON, NOW - 5.0), (OFF, NOW - 0.5)), True),
        (device("bmc"), True),
        (replace(device("bmc", (ON, NOW - 60.0)), error="no answer"), False),
        (replace(device("bmc", (ON, NOW - 60.0)), busy=True), False),
    ],
    ids=["a moment ago", "seconds ago", "off once", "not read yet", "in trouble", "being asked"],
)
def test_who_is_switched_off_by_hand_while_a_person_is_waited_for_is_seen_within_seconds(
    bmc: DeviceLook, *, read: bool
) -> None:
    awaiting = replace(FENCING, phase=Phase.AWAITING_CONFIRMATION)
    assert (ReadPower("bmc") in step(awaiting, replace(LOOK, levels=((bmc,),))).commands) == read


def test_who_is_called_is_told_the_command() -> None:
    asked = step(FENCING, replace(LOOK, levels=())).record
    assert asked.phase is Phase.AWAITING_CONFIRMATION
    assert asked.sentence.endswith("ringfence fence confirm n1 --i-have-checked-that-it-is-off")


def test_the_taints_go_when_nothing_of_the_dead_boot_is_attached() -> None:
    recovered = replace(RECOVERING, phase=Phase.RECOVERED, tainted=True, orders=())
    left = AttachmentLook("csi-1", "pv-db", wanted=False)
    back = replace(LOOK, current_boot_id="boot-2", node_ready=True, out_of_service_taint=True, pods=())
    waits = step(recovered, replace(back, attachments=(left,)))
    assert waits.commands == ()
    assert waits.record.sentence.endswith("its taints stay until the storage driver has detached pv-db")
    remove = (RemoveTaints("n1", out_of_service=True),)
    assert step(waits.record, replace(back, attachments=(replace(left, wanted=True),))).commands == remove
    assert step(waits.record, back).commands == remove
    by_hand = replace(back, out_of_service_taint=False, attachments=(left,))
    assert step(waits.record, by_hand).commands == remove, (
        "without that taint there is nothing to keep it for"
    )


def test_a_slow_detach_is_named_and_nothing_is_done_about_it() -> None:
    released = replace(DB, released_wall=NOW - timing.DETACH_TOLD_AFTER)
    waiting = replace(RECOVERING, tainted=True, vms=(released,))
    left = AttachmentLook("csi-1", "pv-db", wanted=False)
    look = replace(LOOK, out_of_service_taint=True, pods=(), attachments=(left,))
    after = step(waiting, look)
    assert after.record.sentence.endswith("still attached to n1: pv-db")
    assert after.commands == step(waiting, replace(look, attachments=())).commands
    early = replace(waiting, vms=(replace(released, released_wall=NOW - 0.1),))
    assert "attached" not in step(early, look).record.sentence


def test_a_slow_detach_is_named_under_a_cut_too() -> None:
    """There is no out-of-service taint then, so Kubernetes waits for its six minutes."""
    released = replace(DB, released_wall=NOW - timing.DETACH_TOLD_AFTER)
    left = AttachmentLook("csi-1", "pv-db", wanted=False)
    look = replace(AFTER, pods=(), attachments=(left,))
    after = step(replace(CUT_RECORD, vms=(released,)), look)
    assert after.record.sentence.endswith("; still attached to n1: pv-db")
    assert not any(isinstance(c, AddOutOfServiceTaint) for c in after.commands)
    early = replace(CUT_RECORD, vms=(replace(released, released_wall=NOW - 0.1),))
    assert "attached" not in step(early, look).record.sentence


def test_another_pass_begins_after_the_back_off() -> None:
    awaiting = replace(FENCING, phase=Phase.AWAITING_CONFIRMATION, orders=(ORDER,))
    later = replace(READS_ON, now=NOW, retry_due=True)
    assert orders(awaiting, later) == [], "an order may still take effect"
    over = replace(awaiting, orders=(replace(ORDER, effective_until=NOW),))
    assert orders(over, later) == [OrderOff("bmc", 1)]
    assert step(over, later).record.ladder_pass == 1


@pytest.mark.parametrize("phase", sorted(ENDED))
def test_what_has_ended_stays_as_it_is(phase: Phase) -> None:
    ended = replace(RECOVERING, phase=phase)
    assert step(ended, LOOK).record is ended
    assert step(ended, LOOK).commands == ()


def test_no_way_to_recovery_but_with_a_proof() -> None:
    assert {p for p in Phase if may_follow(p, Phase.RECOVERED)} == {Phase.RECOVERING, Phase.RECOVERED}
    assert all(FOLLOWS[p] == frozenset() for p in ENDED)
    assert Phase.WITHDRAWN not in FOLLOWS[Phase.RECOVERING], "a void proof goes through the ladder first"


def test_a_recovery_without_a_proof_goes_back() -> None:
    assert step(replace(RECOVERING, proofs=()), LOOK).record.phase is Phase.FENCING
    other = replace(PROOF, boot=Boot("n1", "uid-1", "boot-0"))
    assert step(replace(RECOVERING, proofs=(other,)), LOOK).record.phase is Phase.FENCING


# --- the storage slot -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.HOLDING, Phase.HELD, Phase.FENCING, Phase.AWAITING_CONFIRMATION])
def test_no_device_and_no_person_proves_off_whose_slot_may_move_again(phase: Phase) -> None:
    """The gap between two writes: found off by a device that lies, while the node lives on."""
    record = replace(HOLDING, phase=phase)
    off = replace(LOOK, levels=((device("bmc", (OFF, NOW - 0.5), (OFF, NOW - 0.1)),),), hold_over=False)
    said = replace(off, confirmation=Confirmation("I pulled the plug", "kim", NOW - 0.1))
    assert step(record, replace(said, slot_due=NOW + 0.1)).record.phase is not Phase.RECOVERING
    assert step(record, replace(said, slot_due=NOW)).record.phase is Phase.RECOVERING
    assert step(record, replace(off, slot_due=NOW)).record.phase is Phase.RECOVERING


def test_a_later_boot_proves_whatever_the_slot_does() -> None:
    look = replace(LOOK, slot_due=NOW + 9.0, current_boot_id="boot-2")
    assert step(HOLDING, look).record.phase is Phase.RECOVERING


@pytest.mark.parametrize("known", ["boot-1", ""], ids=["the boot before", "nothing"])
@pytest.mark.parametrize("on_record", ["its proof", "its return"])
def test_a_later_boot_that_is_on_record_is_known_to_a_leader_whose_nodes_lag_behind(
    known: str, on_record: str
) -> None:
    """It would mark a living node out of service, and then force-delete what that boot's kubelet may have started."""
    rebooted = replace(RECOVERING, proofs=(Rebooted(BOOT, "boot-2", NOW - 9.0),), orders=())
    back = replace(RECOVERING, orders=(), power_on_tries=1, new_boot_id="boot-2")
    look = replace(LOOK, current_boot_id=known, pods=(LAUNCHER,))
    lagging = step(rebooted if on_record == "its proof" else back, look)
    assert not [c for c in lagging.commands if isinstance(c, AddOutOfServiceTaint)]
    deleted = [one for c in lagging.commands if isinstance(c, RecoverPods) for one in c.commands]
    assert deleted == [DeletePod(LAUNCHER.ref, force=False)]
    marked = step(lagging.record, replace(look, out_of_service_taint=True))
    assert not marked.record.tainted, "somebody's taint of before came too late for that boot"


@pytest.mark.parametrize(
    ("unstarted", "now", "moved"),
    [
        (True, VmiLook("vmi-1", "Running", "n1"), False),
        (False, VmiLook("vmi-1", "Running", "n1"), True),
        (True, VmiLook("vmi-1", "Scheduled", "n1"), True),
        (True, VmiLook("vmi-1", "Running", "n1", deleting=True), True),
        (True, VmiLook("vmi-2", "Running", "n1"), True),
        (True, None, True),
    ],
    ids=["started by the later boot", "ran before", "not started yet", "on its way out", "another", "gone"],
)
def test_a_launcher_that_the_later_boot_has_started_is_left_alone(
    unstarted: bool, now: VmiLook | None, moved: bool
) -> None:
    """Found by the whole-system simulator (seed 44): its VM was restarted, and had just come up."""
    vm = VmLook("vms", "db", "vm-1", exists=True, run_strategy="Always", stopped_by_user=False, vmi=now)
    record = replace(HOLDING, vms=(replace(DB, unstarted=unstarted),))
    proved = step(record, replace(LOOK, current_boot_id="boot-2", vms=(vm,)))
    assert proved.record.phase is Phase.RECOVERING
    assert ([p.uid for p in proved.record.pods], [v.name for v in proved.record.vms]) == (
        (["pod-1"], ["db"]) if moved else ([], [])
    )
    if not moved:
        after = step(proved.record, replace(LOOK, current_boot_id="boot-2", vms=(vm,)))
        assert not [c for c in after.commands if isinstance(c, RecoverPods)]
        assert after.record.sentence == "recovered: nothing was left to move"


# --- somebody deletes the Node object ------------------------------------------------------------------------

GONE = replace(LOOK, node_exists=False, current_boot_id="", suspect_taint=False)
AGAIN = replace(GONE, namesake=Namesake("boot-2", down=False))


def deleted(record: Record, look: Look) -> list[object]:
    return [one for c in step(record, look).commands if isinstance(c, RecoverPods) for one in c.commands]


def test_without_its_node_object_a_node_has_no_taint_and_its_pods_go_all_the_same() -> None:
    after = step(RECOVERING, GONE)
    assert deleted(RECOVERING, GONE) == [DeletePod(LAUNCHER.ref, force=True)]
    assert not after.record.tainted
    assert after.record.sentence == "n1 was deleted; deleting its pods"


@pytest.mark.parametrize(
    "before", [RECOVERING, replace(RECOVERING, tainted=True)], ids=["untainted", "tainted"]
)
def test_what_a_node_that_registers_again_may_have_started_is_not_force_deleted(before: Record) -> None:
    """Our taint went with the old Node object, if it was there at all: the next boot's kubelet starts what is bound to the name."""
    held_up = step(before, GONE).record  # its pods are still there
    again = step(held_up, AGAIN)
    assert deleted(held_up, AGAIN) == [DeletePod(LAUNCHER.ref, force=False)]
    assert again.record.sentence == "n1 was deleted and registered again; deleting its pods"
    assert not [c for c in again.commands if isinstance(c, AddOutOfServiceTaint)]
    assert deleted(again.record, GONE) == [DeletePod(LAUNCHER.ref, force=False)], "and went once more"


def test_a_node_that_registers_again_in_the_boot_that_was_proved_off_voids_the_proof() -> None:
    alive = replace(GONE, namesake=Namesake("boot-1", down=False), life_at=NOW)
    after = step(step(RECOVERING, GONE).record, alive)
    assert after.record.phase is Phase.FENCING
    assert not [c for c in after.commands if isinstance(c, RecoverPods)]


@pytest.mark.parametrize(
    ("down", "affected", "phase"),
    [(True, (DB,), Phase.CLOSED), (True, (), Phase.RECOVERING), (False, (DB,), Phase.RECOVERING)],
    ids=["all is taken over", "not all of it", "it lives"],
)
def test_a_node_that_registers_again_and_dies_has_an_incident_of_its_own(
    *, down: bool, affected: tuple[VmRecord, ...], phase: Phase
) -> None:
    """A node has one open incident at most, and what its next kubelet was to delete it will not."""
    look = replace(AGAIN, namesake=Namesake("boot-2", down=down), affected=affected)
    assert step(RECOVERING, look).record.phase is phase


@pytest.mark.parametrize(
    ("boot", "life_at", "told"),
    [("boot-1", NOW, True), ("boot-1", NOW - 60.0, False), ("boot-2", NOW, False)],
    ids=["heard after the proof", "not since", "another boot"],
)
def test_the_end_of_an_incident_tells_that_a_deleted_node_was_never_off(
    boot: str, life_at: float, *, told: bool
) -> None:
    done = replace(RECOVERING, phase=Phase.RECOVERED)
    after = step(done, replace(GONE, namesake=Namesake(boot, down=False), life_at=life_at)).record
    assert after.phase is Phase.CLOSED
    assert (
        "it was never off, or has hibernated: make sure that no old guest runs there, and reboot it"
        in after.sentence
    ) == told


@pytest.mark.parametrize(
    ("proofs", "boot", "told"),
    [
        ((PROOF,), Boot("n1", "uid-again", "boot-1"), True),
        ((PROOF,), Boot("n1", "uid-again", "boot-2"), False),
        ((PROOF,), BOOT, False),
        ((), Boot("n1", "uid-again", "boot-1"), False),
    ],
    ids=["the boot that was off", "a later boot", "its own object", "nothing was proved"],
)
def test_a_node_that_was_proved_off_and_registers_again_when_the_incident_is_over_is_told(
    proofs: tuple[FencingProof, ...], boot: Boot, *, told: bool
) -> None:
    closed = replace(RECOVERING, phase=Phase.CLOSED, proofs=proofs)
    assert registered_since(replace(closed, phase=Phase.RECOVERED), boot) is None, "it says so itself"
    sentence = registered_since(closed, boot)
    assert (sentence is not None) == told
    if sentence is not None:
        assert sentence.startswith(
            "n1 is registered again in the boot that f-1 had proved off: it was never off"
        )


@pytest.mark.parametrize(
    ("pods", "stopped", "boot", "told"),
    [
        ((), False, "boot-1", True),
        ((LAUNCHER,), False, "boot-1", False),
        ((), True, "boot-1", False),
    ],
    ids=["its launcher is gone", "it is there", "its user stopped it"],
)
def test_a_launcher_that_was_deleted_in_the_step_before_its_proof_was_void_is_told(
    pods: tuple[PodLook, ...], boot: str, *, stopped: bool, told: bool
) -> None:
    """The record knows of no VM that was let go: the next step would have noted it."""
    tainted = replace(LOOK, out_of_service_taint=True)
    sent = step(replace(RECOVERING, tainted=True, timings=(("proof", 3.0),)), tainted)
    assert [c for c in sent.commands if isinstance(c, RecoverPods)]
    void = step(sent.record, replace(tainted, life_at=NOW)).record
    assert void.phase is Phase.FENCING
    vms = tuple(replace(vm, stopped_by_user=stopped) for vm in LOOK.vms)
    alive = replace(LOOK, judgement=ALIVE, pods=pods, vms=vms, suspect_taint=False)
    over = step(replace(void, orders=()), replace(alive, current_boot_id=boot)).record
    assert over.phase is Phase.WITHDRAWN
    assert ("db may run elsewhere, and n1 was never off" in over.sentence) == told


VOID = replace(
    FENCING,
    timings=(("proof", 3.0),),
    vms=(replace(DB, released_wall=NOW - 2.0),),
    called_off=(CalledOff("bmc", NOW + 60.0),),
)
NAMELESS = replace(
    LOOK,
    judgement=Judgement(Verdict.AGENT_DOWN, "n1's kernel answers"),
    life_at=NOW,
    life_sign="an answer of its kernel",
    pods=(),
    suspect_taint=False,
    hold_over=False,
)


def test_a_node_that_was_read_as_off_and_answers_by_its_kernel_is_waited_for_until_it_tells_its_boot() -> (
    None
):
    """A node whose power was away for some seconds was called one that was never off, and its VMs were followed no more."""
    untaint = step(VOID, replace(NAMELESS, out_of_service_taint=True))
    assert untaint.commands == (RemoveTaints("n1", out_of_service=True, suspect=False),)
    waits = step(VOID, NAMELESS)
    assert (waits.record.phase, waits.commands) == (Phase.FENCING, ())
    assert waits.record.sentence == (
        "n1 was read as off, and db may run elsewhere; its kernel answers again, and it is waited for at most 120 s until it tells "
        "whether that is its next boot"
    )
    assert step(waits.record, replace(NAMELESS, now=NOW + 1.0)).record == waits.record, "said once"
    booted = step(waits.record, replace(NAMELESS, current_boot_id="boot-2", judgement=ALIVE)).record
    assert booted.phase is Phase.RECOVERING
    assert [type(proof) for proof in booted.proofs] == [Rebooted]


@pytest.mark.parametrize(
    ("record", "look"),
    [
        (VOID, replace(NAMELESS, now=NOW + 60.0)),
        (VOID, replace(NAMELESS, judgement=ALIVE)),
        (VOID, replace(NAMELESS, node_exists=False)),
        (replace(VOID, called_off=()), NAMELESS),
    ],
    ids=["it has told nothing", "it is heard", "its Node object is gone", "no device has called it off"],
)
def test_it_is_not_waited_for_where_no_next_boot_can_be_meant(record: Record, look: Look) -> None:
    over = step(record, look).record
    assert over.phase is Phase.WITHDRAWN
    assert "db may run elsewhere, and n1 was never off" in over.sentence


def test_a_node_that_no_proof_has_stood_for_is_not_waited_for() -> None:
    assert step(replace(VOID, timings=(), vms=(DB,)), NAMELESS).record.phase is Phase.WITHDRAWN


def test_a_node_that_was_ordered_off_and_deleted_is_not_forgotten_without_a_word() -> None:
    """Without its object it is in no zone, so its devices are not read again."""
    unknown = Judgement(Verdict.SUSPECT, "nothing is known of n1", known=False)
    gone = replace(GONE, judgement=unknown, now=NOW + 60.0, levels=())
    over = step(replace(FENCING, orders=(ORDER,)), gone).record
    assert over.phase is Phase.WITHDRAWN
    assert over.sentence.endswith(
        "; bmc was ordered to cut it off before, and nobody reads any more whether it has: look at it"
    )


@pytest.mark.parametrize(
    ("judgement", "namesake", "proved"),
    [
        (ALIVE, None, False),
        (Judgement(Verdict.AGENT_DOWN, "n1's kernel answers"), None, False),
        (Judgement(Verdict.CONTROL_PATH_LOST, "n1 is alive for its peers"), None, False),
        (Judgement(Verdict.SUSPECT, "n1 is reached by some peers only"), None, False),
        (Judgement(Verdict.SUSPECT, "n1 is doubted", known=False), None, True),
        (DOWN, Namesake("boot-1", down=False), False),
        (DOWN, Namesake("boot-1", down=True), True),
        (DOWN, Namesake("boot-2", down=False), True),
    ],
    ids=[
        "is heard",
        "its kernel is",
        "by its peers",
        "by some of them",
        "is doubted",
        "registered again",
        "registered again and down",
        "another boot",
    ],
)
def test_a_boot_that_is_heard_is_not_off_between_two_of_its_packets(
    judgement: Judgement, namesake: Namesake | None, *, proved: bool
) -> None:
    """Its last packet is older than the readings of a BMC that lies; the next would void the proof, after the deletion."""
    look = replace(
        LOOK,
        judgement=judgement,
        namesake=namesake,
        node_exists=namesake is None,
        current_boot_id="boot-1" if namesake is None else "",
        life_at=NOW - 0.5,
        levels=((device("bmc", (OFF, NOW - 0.4), (OFF, NOW - 0.1)),),),
    )
    fencing = replace(FENCING, orders=(replace(ORDER, sent_at=NOW - 1.0, effective_until=NOW + 9.0),))
    assert (step(fencing, look).record.phase is Phase.RECOVERING) == proved


# --- the word to the node -----------------------------------------------------------------------------------

WORD = TellFenced(BOOT, "f-1", stop_guests=True)
UNTOLD = replace(READS_ON, told_fenced=False, stop_guests=True)


def test_the_node_is_told_with_the_first_order() -> None:
    assert WORD in step(HOLDING, UNTOLD).commands
    assert WORD in step(replace(FENCING, orders=(ORDER,)), UNTOLD).commands


@pytest.mark.parametrize(
    "look",
    [
        replace(UNTOLD, hold_over=False),
        replace(UNTOLD, limit="a storm"),
        replace(UNTOLD, judgement=ALIVE),
        replace(UNTOLD, told_fenced=True),
        replace(UNTOLD, told_fenced=None),
        replace(UNTOLD, levels=((device("bmc"),),)),
    ],
    ids=["in the hold", "limited", "alive", "told already", "nobody can say", "nothing ordered yet"],
)
@pytest.mark.parametrize("record", [HOLDING, FENCING], ids=["holding", "fencing"])
def test_nobody_is_told_who_may_not_be_ordered(record: Record, look: Look) -> None:
    if record is FENCING and look.hold_over is False:
        return  # a fence that runs does not look at the hold again
    assert not any(isinstance(c, TellFenced) for c in step(record, look).commands)


def test_who_has_no_device_is_told_all_the_same() -> None:
    after = step(HOLDING, replace(UNTOLD, levels=()))
    assert after.record.phase is Phase.AWAITING_CONFIRMATION
    assert WORD in after.commands
    assert WORD in step(after.record, replace(UNTOLD, levels=())).commands
    assert WORD not in step(after.record, replace(UNTOLD, levels=(), limit="a storm")).commands


def test_the_word_stands_while_the_old_boot_may_come_back() -> None:
    assert WORD in step(RECOVERING, UNTOLD).commands
    recovered = replace(RECOVERING, phase=Phase.RECOVERED, tainted=True)
    assert WORD in step(recovered, replace(UNTOLD, out_of_service_taint=True, power_on=False)).commands
    later = replace(UNTOLD, current_boot_id="boot-2")
    assert WORD not in step(RECOVERING, later).commands


# --- cut from the storage -------------------------------------------------------------------------------------

WEB = VmRecord("vms", "web", "vm-2", "vmi-2", "pod-3")
WEB_LAUNCHER = PodLook(PodRef("vms", "web-launcher", "pod-3"), PodRole.LAUNCHER, "vmi-2", protected=True)
CUT_DB = CutVm("vms", "db", "vmi-1", ("pod-1",), ("vms/db",))
CUT_WEB = CutVm("vms", "web", "vmi-2", ("pod-3",), ("vms/web",))
WEB_VM = VmLook("vms", "web", "vm-2", True, "Always", False, None)
CEPH_ON = replace(device("ceph", (ON, NOW - 0.1)), cuts=frozenset({"vms/db"}))
CEPH_CUT = replace(device("ceph", (OFF, NOW - 0.5), (OFF, NOW - 0.1)), cuts=frozenset({"vms/db"}))
BEFORE = replace(
    LOOK,
    levels=((CEPH_ON,),),
    pods=(LAUNCHER, WEB_LAUNCHER, VIRT_API),
    affected=(DB, WEB),
    vms=(*LOOK.vms, WEB_VM),
    vm_volumes=(CUT_DB, CUT_WEB),
)
AFTER = replace(BEFORE, levels=((CEPH_CUT,),))
CUT = StorageCut(BOOT, "ceph", (CUT_DB, CUT_WEB), ("vms/db",), NOW - 0.5)
CUT_RECORD = replace(
    FENCING,
    phase=Phase.RECOVERING,
    proofs=(CUT,),
    cuts=("ceph",),
    pods=(LAUNCHER.ref,),
    vms=(DB, WEB),
    orders=(replace(ORDER, device="ceph"),),
    timings=(("proof", 3.0),),
)
DB_RUNS = VmLook("vms", "db", "vm-1", True, "Always", False, VmiLook("vmi-9", "Running", "n2"))
MOVED = replace(DB, state=VmState.RUNNING, released_wall=NOW - 9.0, running_wall=NOW - 5.0, new_node="n2")
MOVED_RECORD = replace(CUT_RECORD, phase=Phase.RECOVERED, vms=(MOVED,), orders=())
GONE_AFTER = replace(AFTER, pods=(), affected=(), vms=(DB_RUNS,), suspect_taint=True)


def test_what_a_storage_is_ordered_is_on_record_until_it_is_lifted() -> None:
    after = step(HOLDING, BEFORE)
    assert after.record.cuts == ("ceph",)
    assert after.record.orders[0].device == "ceph"
    assert step(HOLDING, READS_ON).record.cuts == ()


def test_a_cut_covers_the_pods_of_its_vms_and_no_others() -> None:
    after = step(replace(FENCING, cuts=("ceph",), orders=()), AFTER)
    assert after.record.phase is Phase.RECOVERING
    assert after.record.pods == (LAUNCHER.ref,), "neither virt-api nor a VM that writes elsewhere"
    assert "is cut from its storage" in after.record.sentence
    assert after.commands == ()


IMPORTER = PodLook(PodRef("vms", "importer-db", "pod-7"), PodRole.HOLDER, protected=True)


@pytest.mark.parametrize(
    ("look", "covered"),
    [
        (replace(LOOK, levels=((device("bmc", (OFF, NOW - 0.5), (OFF, NOW - 0.1)),),)), True),
        (AFTER, False),
        (replace(LOOK, current_boot_id="boot-2"), False),
    ],
    ids=["off", "cut from its storage", "rebooted"],
)
def test_who_else_has_a_vms_volume_goes_if_the_whole_node_is_off(look: Look, *, covered: bool) -> None:
    """A cut is about the VMs that it names, and a later boot's kubelet sees to its pods itself."""
    fencing = replace(FENCING, cuts=("ceph",) if look is AFTER else (), orders=())
    after = step(fencing, replace(look, pods=(LAUNCHER, IMPORTER)))
    assert after.record.phase is Phase.RECOVERING
    assert (IMPORTER.ref in after.record.pods) is covered
    assert LAUNCHER.ref in after.record.pods


def test_nobody_waits_for_a_strangers_pod_that_a_finalizer_keeps() -> None:
    """A Job's pod stays until Kubernetes' own controller has counted it; whose owner is gone, for ever."""
    record = replace(RECOVERING, tainted=True, orders=(), pods=(IMPORTER.ref, LAUNCHER.ref), vms=(DB,))
    look = replace(LOOK, out_of_service_taint=True, suspect_taint=True, pods=(LAUNCHER, IMPORTER))
    gone, delete_it = replace(look, pods=(IMPORTER,)), DeletePod(IMPORTER.ref, force=True)
    (first,) = (c for c in step(record, look).commands if isinstance(c, RecoverPods))
    assert DeletePod(LAUNCHER.ref, force=True) in first.commands
    (after,) = (c for c in step(record, gone).commands if isinstance(c, RecoverPods))
    assert after.commands == (delete_it,), "what keeps it may end yet"
    assert step(record, gone).record.vms[0].state is VmState.RELEASED
    done = step(record, replace(gone, vms=(DB_RUNS,))).record
    assert done.phase is Phase.RECOVERED
    back = replace(gone, vms=(DB_RUNS,), affected=(), current_boot_id="boot-2", node_ready=True)
    assert step(done, back).commands == (RemoveTaints("n1", out_of_service=True),)


def test_under_a_cut_there_is_no_taint_and_only_its_vms_move() -> None:
    after = step(CUT_RECORD, AFTER)
    assert not any(isinstance(c, AddOutOfServiceTaint | RehearseAdmission | OrderOn) for c in after.commands)
    (recover,) = (c for c in after.commands if isinstance(c, RecoverPods))
    assert recover.commands == (DeletePod(LAUNCHER.ref, force=True),)


def test_a_vm_that_is_not_cut_waits_and_says_for_what() -> None:
    moved = replace(AFTER, pods=(WEB_LAUNCHER, VIRT_API), vms=(DB_RUNS, WEB_VM))
    after = step(CUT_RECORD, moved)
    assert after.record.phase is Phase.RECOVERING
    assert after.record.vms[0].state is VmState.RUNNING
    assert after.record.vms[1].state is VmState.PENDING
    assert "web pending (waits for a proof about n1: vms/web is not cut)" in after.record.sentence
    done = step(replace(CUT_RECORD, vms=(DB,)), replace(moved, affected=(DB,), vms=(DB_RUNS,)))
    assert done.record.phase is Phase.RECOVERED


BMC_ON = device("bmc", (ON, NOW - 0.1))
ONE_LEFT = replace(
    AFTER,
    levels=((BMC_ON,), (CEPH_CUT,)),
    pods=(WEB_LAUNCHER, VIRT_API),
    vms=(DB_RUNS, WEB_VM),
    vm_volumes=(replace(CUT_DB, pods=()), CUT_WEB),
)


def test_the_ladder_goes_on_for_a_vm_that_is_not_cut() -> None:
    after = step(CUT_RECORD, ONE_LEFT)
    assert after.record.phase is Phase.RECOVERING
    assert [(o.device, o.attempt) for o in after.record.orders] == [("ceph", 1), ("bmc", 1)]
    assert orders(CUT_RECORD, ONE_LEFT) == [OrderOff("bmc", 1)]
    assert "vms/web is not cut; bmc is ordered off (order 1)" in after.record.sentence
    assert may_be_off_soon(after.record, NOW)
    assert not may_be_off_soon(CUT_RECORD, NOW), "an order to cut is none to the node"
    again = step(after.record, ONE_LEFT)
    assert again.record == after.record, "on record before it is given, and given once"


def test_nothing_is_ordered_for_it_once_every_vm_is_cut() -> None:
    all_cut = replace(CUT, volumes=("vms/db", "vms/web"))
    assert orders(replace(CUT_RECORD, proofs=(all_cut,)), ONE_LEFT) == []


@pytest.mark.parametrize(
    "look",
    [
        replace(ONE_LEFT, judgement=ALIVE),
        replace(ONE_LEFT, limit="HACluster mode is Paused: nothing is fenced"),
        replace(ONE_LEFT, node_lease=NodeLeaseLook(used=True, settled=False)),
    ],
    ids=["alive", "limit", "lease"],
)
def test_what_forbids_an_order_forbids_it_beside_a_recovery_too(look: Look) -> None:
    working = replace(CUT_RECORD, orders=(replace(ORDER, device="ceph"),))
    after = step(working, look)
    assert orders(working, look) == []
    assert after.record.phase is Phase.RECOVERING
    stale = replace(look, levels=((device("bmc", (ON, NOW - 9.0)),), (CEPH_CUT,)))
    assert ReadPower("bmc") in step(working, stale).commands, "it is read all the same"


def test_another_pass_for_it_begins_after_the_longest_back_off() -> None:
    end = NOW - timing.LADDER_BACKOFF[-1]
    tries = tuple(Order("bmc", n, end - 30.0 + 10.0 * n, end - 20.0 + 10.0 * n) for n in (1, 2))
    spent = replace(CUT_RECORD, orders=tries)
    early = replace(spent, orders=(tries[0], replace(tries[1], effective_until=end + 1.0)))
    assert step(early, ONE_LEFT).record.ladder_pass == 0
    assert orders(early, ONE_LEFT) == []
    after = step(spent, ONE_LEFT)
    assert after.record.ladder_pass == 1
    assert after.record.proofs == (CUT,), "what is proved stands"
    assert orders(after.record, ONE_LEFT) == [OrderOff("bmc", 1)]


def test_after_the_last_level_it_is_read_on_now_and_then() -> None:
    tries = tuple(Order("bmc", n, NOW - 60.0 + 10.0 * n, NOW - 50.0 + 10.0 * n) for n in (1, 2))
    spent = replace(CUT_RECORD, orders=tries)
    for age, read in ((2.0, False), (11.0, True)):
        look = replace(ONE_LEFT, levels=((device("bmc", (ON, NOW - age)),), (CEPH_CUT,)))
        assert (ReadPower("bmc") in step(spent, look).commands) is read
    off = replace(ONE_LEFT, levels=((device("bmc", (OFF, NOW - 0.4)),), (CEPH_CUT,)))
    assert ReadPower("bmc") in step(spent, off).commands, "the second reading makes the proof"


def test_another_storage_frees_what_the_first_does_not_reach() -> None:
    both = frozenset({"vms/db", "vms/web"})
    nfs = replace(device("nfs", (OFF, NOW - 0.5), (OFF, NOW - 0.1)), cuts=both - {"vms/db"})
    after = step(CUT_RECORD, replace(ONE_LEFT, levels=((CEPH_CUT,), (nfs,))))
    assert {p.device for p in after.record.proofs if isinstance(p, StorageCut)} == {"ceph", "nfs"}
    assert after.record.pods == (WEB_LAUNCHER.ref,)
    assert after.commands == (), "first on record, then done"


def test_a_node_that_lives_keeps_what_was_not_moved_and_gets_its_storage_back() -> None:
    alive = replace(ONE_LEFT, judgement=ALIVE, guests=frozenset({"vms_web"}))
    over = replace(CUT_RECORD, orders=())
    after = step(over, alive)
    assert after.record.phase is Phase.FENCING
    assert after.record.proofs == ()
    lifted = step(after.record, alive)
    assert LiftCut("ceph") in lifted.commands
    assert not any(isinstance(c, OrderOff | RecoverPods) for c in lifted.commands)
    stays = step(after.record, replace(alive, guests=None))
    assert "it stays cut from its storage until it has rebooted" in stays.record.sentence


def test_a_reading_from_before_an_order_does_not_end_an_incident() -> None:
    """The storage lets the node in, but it was asked before it was ordered to cut: that may take effect yet."""
    back = replace(
        BEFORE,
        pods=(),
        current_boot_id="boot-2",
        node_ready=True,
        suspect_taint=False,
        levels=((replace(device("ceph", (ON, NOW - 1.0)), cuts=frozenset({"vms/db"})),),),
    )
    sent = replace(ORDER, device="ceph", sent_at=NOW - 0.5, effective_until=NOW + 9.5)
    moved = replace(CUT_RECORD, phase=Phase.RECOVERED, vms=(MOVED,), orders=(sent,))
    assert step(moved, back).record.phase is Phase.RECOVERED
    assert step(moved, back).commands == (ReadPower("ceph"),)
    assert step(replace(moved, orders=()), back).record.phase is Phase.CLOSED


def test_a_storage_that_left_the_ladder_is_not_powered_on() -> None:
    record = replace(
        RECOVERING,
        phase=Phase.RECOVERED,
        cuts=("ceph",),
        orders=(replace(ORDER, device="ceph", effective_until=NOW - 1.0),),
    )
    after = step(record, replace(LOOK, out_of_service_taint=True))
    assert [c.device for c in after.commands if isinstance(c, OrderOn)] == ["bmc"]


@pytest.mark.parametrize(
    "look",
    [
        replace(AFTER, confirmation=Confirmation("I pulled the plug", "kim", NOW)),
        replace(AFTER, current_boot_id="boot-2"),
        replace(AFTER, levels=((device("bmc", (OFF, NOW - 0.5), (OFF, NOW - 0.1)),), (CEPH_CUT,))),
    ],
    ids=["a person's word", "a later boot", "found off"],
)
def test_a_proof_about_the_node_takes_over_from_the_cut(look: Look) -> None:
    after = step(CUT_RECORD, look)
    assert after.record.phase is Phase.RECOVERING
    later = look.current_boot_id != "boot-1"
    # After a reboot KubeVirt's own pods may be the later boot's, whose kubelet has them either way.
    assert {ref.uid for ref in after.record.pods} == {"pod-1", "pod-3"} | (set() if later else {"pod-2"})
    assert "n1 is off" in after.record.sentence


def test_life_on_the_network_does_not_stop_what_was_begun_under_a_cut() -> None:
    alive = replace(AFTER, judgement=ALIVE, life_at=NOW, life_sign="a gossip packet")
    assert step(CUT_RECORD, alive).record.phase is Phase.RECOVERING
    assert any(isinstance(c, RecoverPods) for c in step(CUT_RECORD, alive).commands)


@pytest.mark.parametrize(
    "look",
    [replace(AFTER, slot_moved_at=NOW - 0.2), replace(AFTER, levels=((CEPH_ON,),))],
    ids=["its slot moved", "somebody lifted it"],
)
def test_a_write_or_a_lifted_fence_voids_a_cut(look: Look) -> None:
    after = step(CUT_RECORD, look)
    assert after.record.phase is Phase.FENCING
    assert after.record.proofs == ()
    assert after.record.cuts == ("ceph",)
    assert after.commands == ()


@pytest.mark.parametrize(
    "beside",
    [
        PoweredOff(BOOT, "bmc", PowerOffHow.ORDERED, NOW - 0.5),
        SelfFenced(BOOT, "watchdogs", NOW - 90.0),
    ],
)
def test_what_stands_beside_a_cut_is_void_by_life(beside: PoweredOff | SelfFenced) -> None:
    """Two methods are demanded. Life on the network leaves the cut as it is, but not the other one."""
    record = replace(CUT_RECORD, proofs=(beside, CUT))
    two = replace(AFTER, proofs_required=2, life_at=NOW - 100.0)
    assert any(isinstance(c, RecoverPods) for c in step(record, two).commands)
    after = step(record, replace(two, life_at=NOW - 0.2, life_sign="a gossip packet"))
    assert after.record.phase is Phase.FENCING
    assert after.record.proofs == ()
    assert after.commands == ()
    assert "a gossip packet was seen" in after.record.sentence


def test_the_cut_is_watched_while_it_is_relied_upon() -> None:
    old = replace(device("ceph", (OFF, NOW - 3.0), (OFF, NOW - 2.0)), cuts=frozenset({"vms/db"}))
    assert ReadPower("ceph") in step(CUT_RECORD, replace(AFTER, levels=((old,),))).commands
    assert ReadPower("ceph") in step(MOVED_RECORD, replace(GONE_AFTER, levels=((old,),))).commands


@pytest.mark.parametrize(
    ("guests", "lifted"),
    [(None, False), (frozenset({"vms_db"}), False), (frozenset({"vms_web"}), True), (frozenset(), True)],
)
@pytest.mark.parametrize("judgement", [DOWN, ALIVE], ids=["down", "alive"])
def test_a_cut_is_lifted_only_when_no_old_guest_of_its_vms_is_left(
    guests: frozenset[str] | None, lifted: bool, judgement: Judgement
) -> None:
    after = step(MOVED_RECORD, replace(GONE_AFTER, guests=guests, judgement=judgement))
    assert (LiftCut("ceph") in after.commands) is lifted
    assert after.record.phase is Phase.RECOVERED


def test_after_a_later_boot_the_cut_is_lifted_and_then_it_is_closed() -> None:
    back = replace(GONE_AFTER, current_boot_id="boot-2", node_ready=True)
    assert LiftCut("ceph") in step(MOVED_RECORD, back).commands
    reads_on = replace(back, levels=((CEPH_ON,),), suspect_taint=False)
    assert step(MOVED_RECORD, reads_on).record.phase is Phase.CLOSED
    stale = replace(device("ceph", (ON, NOW - 60.0)), cuts=frozenset({"vms/db"}))
    waits = step(MOVED_RECORD, replace(back, levels=((stale,),)))
    assert waits.record.phase is Phase.RECOVERED
    assert waits.commands == (ReadPower("ceph"),)


def test_on_the_same_boot_it_ends_with_the_storage_back_and_no_taint() -> None:
    lifted = replace(GONE_AFTER, levels=((CEPH_ON,),), guests=frozenset())
    first = step(MOVED_RECORD, lifted)
    assert first.commands == (RemoveTaints("n1", out_of_service=False),)
    assert step(MOVED_RECORD, replace(lifted, suspect_taint=False)).record.phase is Phase.CLOSED


def test_a_withdrawn_incident_leaves_no_cut_behind() -> None:
    ordered = replace(FENCING, cuts=("ceph",), vms=(DB,))
    living = replace(AFTER, judgement=ALIVE, suspect_taint=False)
    assert LiftCut("ceph") in step(ordered, living).commands
    assert step(ordered, living).record.phase is Phase.FENCING
    assert step(ordered, replace(living, levels=((CEPH_ON,),))).record.phase is Phase.WITHDRAWN


def test_once_a_vm_was_moved_under_it_not_even_a_withdrawal_lifts_the_cut() -> None:
    """A void cut, the node alive again, and a guest that may still be there with its old disk open."""
    void = replace(FENCING, cuts=("ceph",), vms=(MOVED,))
    living = replace(AFTER, judgement=ALIVE, suspect_taint=False)
    stays = step(void, living)
    assert stays.record.phase is Phase.FENCING
    assert not any(isinstance(c, LiftCut) for c in stays.commands)
    assert "stays cut from its storage" in stays.record.sentence
    assert LiftCut("ceph") in step(void, replace(living, guests=frozenset())).commands


def test_a_node_proved_off_keeps_its_cut_until_it_is_back() -> None:
    both = replace(MOVED_RECORD, proofs=(PROOF, CUT), tainted=True)
    look = replace(GONE_AFTER, out_of_service_taint=True, power_on=False, guests=frozenset())
    assert not any(isinstance(c, LiftCut) for c in step(both, look).commands)
    assert LiftCut("ceph") in step(both, replace(look, current_boot_id="boot-2", node_ready=True)).commands


# --- others that mend nodes -----------------------------------------------------------------------------------------

UNASKED = NodeLeaseLook(used=True, settled=False)
OURS = NodeLeaseLook(used=True, ours=True)
NHC = NodeLeaseLook(used=True, foreign="NHC acts on n1")
TAKE, RELEASE = TakeNodeLease(BOOT), ReleaseNodeLease(BOOT)


def test_the_lease_is_taken_while_the_hold_runs_and_before_any_order() -> None:
    early = step(HOLDING, replace(READS_ON, hold_over=False, node_lease=UNASKED))
    assert TAKE in early.commands
    waits = step(HOLDING, replace(READS_ON, node_lease=UNASKED))
    assert waits.record.phase is Phase.HOLDING
    assert TAKE in waits.commands
    assert orders(HOLDING, replace(READS_ON, node_lease=UNASKED)) == []
    assert orders(HOLDING, replace(READS_ON, node_lease=OURS)) == [OrderOff("bmc", 1)]
    late = replace(UNASKED, settled=True)  # no answer, or no right: a fence doesn't wait for manners
    assert orders(HOLDING, replace(READS_ON, node_lease=late)) == [OrderOff("bmc", 1)]
    unused = step(HOLDING, READS_ON)
    assert not any(isinstance(c, TakeNodeLease | ReleaseNodeLease) for c in unused.commands)


@pytest.mark.parametrize("phase", [Phase.HOLDING, Phase.HELD, Phase.FENCING, Phase.AWAITING_CONFIRMATION])
def test_nothing_is_ordered_while_somebody_else_acts_on_the_node(phase: Phase) -> None:
    look = replace(READS_ON, node_lease=NHC, limit=NHC.foreign, retry_due=True)
    held = step(replace(HOLDING, phase=phase), look)
    assert held.record.phase is Phase.HELD
    assert held.record.held_reason == NHC.foreign
    assert orders(replace(HOLDING, phase=phase), look) == []
    off = replace(look, levels=((device("bmc", (OFF, NOW - 0.5), (OFF, NOW - 0.1)),),))
    assert step(held.record, off).record.phase is Phase.RECOVERING
    assert TAKE in step(held.record, look).commands  # so that its end is seen


def test_a_word_or_a_limit_is_waited_for_without_the_lease() -> None:
    awaiting = replace(FENCING, phase=Phase.AWAITING_CONFIRMATION)
    assert RELEASE in step(awaiting, replace(LOOK, node_lease=OURS)).commands
    assert (
        RELEASE
        in step(replace(HOLDING, phase=Phase.HELD), replace(LOOK, node_lease=OURS, limit="storm")).commands
    )
    assert (
        RELEASE
        in step(
            replace(FENCING), replace(LOOK, node_lease=OURS, judgement=ALIVE, suspect_taint=False)
        ).commands
    )
    kept = step(
        replace(RECOVERING, phase=Phase.RECOVERED, tainted=True), replace(LOOK, node_lease=OURS, pods=())
    )
    assert RELEASE not in kept.commands
    due = replace(OURS, renewal_due=True)
    assert TAKE in step(RECOVERING, replace(LOOK, node_lease=due)).commands


def test_nobody_is_powered_on_under_anothers_hands() -> None:
    recovered = replace(RECOVERING, phase=Phase.RECOVERED, tainted=True)
    look = replace(LOOK, now=NOW + 60.0, out_of_service_taint=True, pods=())
    assert OrderOn("bmc") in step(recovered, replace(look, node_lease=OURS)).commands
    assert OrderOn("bmc") not in step(recovered, replace(look, node_lease=NHC)).commands


FOREIGN = replace(LOOK, out_of_service_taint=True, foreign_taint=True)


def test_somebody_elses_taint_is_no_proof_and_is_not_written_over() -> None:
    assert step(HOLDING, replace(FOREIGN, levels=())).record.phase is Phase.AWAITING_CONFIRMATION
    recovering = step(RECOVERING, FOREIGN)
    (asked,) = recovering.commands
    assert isinstance(asked, RecoverPods)
    assert asked.commands == (DeletePod(LAUNCHER.ref, force=True),)
    assert not recovering.record.tainted
    assert "by somebody else, whose taint is left alone" in recovering.record.sentence
    gone = step(recovering.record, LOOK)
    assert any(isinstance(c, AddOutOfServiceTaint) for c in gone.commands)


def test_after_a_later_boot_only_our_own_taint_lets_delete_by_force() -> None:
    """Theirs may have gone, and come again, before that boot."""
    (asked,) = step(RECOVERING, replace(FOREIGN, current_boot_id="boot-2")).commands
    assert isinstance(asked, RecoverPods)
    assert asked.commands == (DeletePod(LAUNCHER.ref, force=False),)


def test_somebody_elses_taint_stays_at_the_end_and_is_told() -> None:
    recovered = replace(RECOVERING, phase=Phase.RECOVERED, tainted=True, orders=())
    back = replace(FOREIGN, current_boot_id="boot-2", node_ready=True, pods=(), suspect_taint=False)
    closed = step(recovered, replace(back, attachments=(AttachmentLook("csi-1", "pv-db", wanted=False),)))
    assert closed.record.phase is Phase.CLOSED
    assert closed.record.sentence.endswith("its out-of-service taint is somebody else's and stays")
    assert closed.commands == ()


def cutter(*readings: tuple[PowerState, float]) -> DeviceLook:
    return replace(device("ceph", *readings), cuts=frozenset({"vms/db"}))


@pytest.mark.parametrize("state", [PowerState.TRANSITION, PowerState.UNKNOWN])
def test_a_fence_that_somebody_has_touched_voids_the_cut(state: PowerState) -> None:
    """Set to ``Unfenced`` and left there it never reads ``on``: all the same the node writes again."""
    touched = cutter((OFF, NOW - 0.5), (OFF, NOW - 0.3), (state, NOW - 0.1))
    after = step(CUT_RECORD, replace(AFTER, levels=((touched,),)))
    assert after.record.phase is Phase.FENCING
    assert after.record.proofs == ()
    assert not any(isinstance(c, RecoverPods) for c in after.commands)


@pytest.mark.parametrize(
    "levels",
    [((cutter(),),), ((cutter((OFF, NOW - 60.5), (OFF, NOW - 60.0)),),), ()],
    ids=["not read yet", "read long ago", "its device is gone"],
)
@pytest.mark.parametrize("vm", [LOOK.vms[0], DB_RUNS], ids=["old", "new"])
def test_whoever_takes_over_reads_that_the_cut_stands_before_anything_is_deleted(
    levels: tuple[tuple[DeviceLook, ...], ...], vm: VmLook
) -> None:
    """Life of the node voids no cut: between the proof and the new leader's first look it may have been lifted."""
    after = step(CUT_RECORD, replace(AFTER, levels=levels, vms=(vm, WEB_VM)))
    assert after.record.phase is Phase.RECOVERING
    assert not any(isinstance(c, RecoverPods) for c in after.commands)
    assert (ReadPower("ceph") in after.commands) is bool(levels)
    assert "reading whether" in after.record.sentence


def test_a_volume_that_came_after_the_cut_voids_it() -> None:
    """Hotplugged to the old guest meanwhile: nobody has read that the node is cut off from it."""
    more = replace(CUT_DB, volumes=("vms/db", "vms/later"))
    after = step(CUT_RECORD, replace(AFTER, vm_volumes=(more, CUT_WEB)))
    assert after.record.phase is Phase.FENCING
    assert not any(isinstance(c, RecoverPods) for c in after.commands)
    assert "vms/later" in after.record.sentence
    elsewhere = replace(more, vmi_uid="vmi-1", pods=())
    moved = replace(AFTER, pods=(), vms=(DB_RUNS, WEB_VM), vm_volumes=(elsewhere, CUT_WEB))
    assert step(CUT_RECORD, moved).record.phase is Phase.RECOVERING, "what the next instance gets is its own"


def test_a_pod_whose_deletion_may_be_on_its_way_counts_as_moved() -> None:
    """Void between the deletion and its showing, the node alive: the cut must not be lifted under the next guest."""
    sent = step(CUT_RECORD, AFTER)
    assert any(isinstance(c, RecoverPods) for c in sent.commands)
    void = step(sent.record, replace(AFTER, slot_moved_at=NOW - 0.2)).record
    assert void.phase is Phase.FENCING
    fresh = ((cutter((OFF, NOW + 59.9)),),)
    living = replace(AFTER, judgement=ALIVE, now=NOW + 60.0, slot_moved_at=NOW, levels=fresh)
    after = step(void, living)
    assert not any(isinstance(c, LiftCut) for c in after.commands)
    assert "stays cut from its storage" in after.record.sentence
    shown = step(sent.record, replace(AFTER, pods=(WEB_LAUNCHER, VIRT_API))).record
    assert (shown.vms[0].state, shown.vms[0].message) == (VmState.RELEASED, "the old launcher is gone")


def test_so_does_whatever_the_taint_may_have_deleted() -> None:
    """A device that lies beside a storage that has cut: the lie is found out when Kubernetes has evicted already."""
    record = replace(CUT_RECORD, proofs=(PROOF,), pods=(LAUNCHER.ref,))
    tainting = step(record, BEFORE)
    assert any(isinstance(c, AddOutOfServiceTaint) for c in tainting.commands)
    void = step(tainting.record, replace(BEFORE, life_at=NOW, out_of_service_taint=True)).record
    assert void.phase is Phase.FENCING
    living = replace(BEFORE, judgement=ALIVE, now=NOW + 60.0, levels=((cutter((OFF, NOW + 59.9)),),))
    assert not any(isinstance(c, LiftCut) for c in step(void, living).commands)


ORDERED = replace(FENCING, cuts=("ceph",), vms=(DB,), orders=())
LIVING = replace(AFTER, judgement=ALIVE, suspect_taint=False)


def test_what_was_read_before_a_lift_proves_nothing_after_it() -> None:
    """The node is heard, the lift goes out, and it is silent again: the fence that was read is not there any more."""
    lifting = step(ORDERED, LIVING)
    assert LiftCut("ceph") in lifting.commands
    assert lifting.record.lifting, "it is on record before it is sent: the next leader must know"
    assert "let at its storage again first" in lifting.record.sentence
    again = step(lifting.record, replace(AFTER, now=NOW + 0.1))
    assert again.record.phase is not Phase.RECOVERING
    assert not any(isinstance(c, OrderOff) for c in again.commands)
    late = cutter((OFF, NOW - 0.1), (PowerState.TRANSITION, NOW + 0.9))
    goes_on = step(again.record, replace(AFTER, now=NOW + 1.0, levels=((late,),)))
    assert LiftCut("ceph") in goes_on.commands, "what was begun is finished, whatever the verdict"
    over = replace(AFTER, now=NOW + 3.0, levels=((cutter((ON, NOW + 2.9)),),))
    lifted = step(goes_on.record, over)
    assert lifted.record.cuts == ()
    assert lifted.record.ladder_pass > ORDERED.ladder_pass, "an order is sent once under its pass and number"
    ordered = step(lifted.record, replace(over, retry_due=True))
    assert OrderOff("ceph", 1) in ordered.commands


def test_a_lift_that_hangs_holds_up_no_other_device() -> None:
    lifting = step(ORDERED, LIVING).record
    stuck = replace(
        cutter((PowerState.TRANSITION, NOW + 59.9)), error="the storage said no", next_try_at=NOW + 99.0
    )
    bmc = device("bmc", (ON, NOW + 59.9))
    after = step(lifting, replace(AFTER, now=NOW + 60.0, levels=((stuck,), (bmc,))))
    assert OrderOff("bmc", 1) in after.commands


def test_a_lift_that_was_decided_is_finished_by_the_next_leader() -> None:
    """The agent's word was heard by the former leader; this one has not seen any report change yet."""
    begun = step(MOVED_RECORD, replace(GONE_AFTER, guests=frozenset())).record
    between = replace(GONE_AFTER, guests=None, levels=((cutter((PowerState.TRANSITION, NOW - 0.1)),),))
    after = step(begun, between)
    assert LiftCut("ceph") in after.commands
    assert "make sure" not in after.record.sentence
    done = step(after.record, replace(GONE_AFTER, guests=None, levels=((CEPH_ON,),), suspect_taint=False))
    assert done.record.phase is Phase.CLOSED


def test_a_cut_that_is_found_needs_the_hold_and_a_dead_node() -> None:
    """``off`` of a storage says nothing of the node: what stands there since an earlier day moves nobody."""
    assert step(HOLDING, replace(AFTER, hold_over=False)).record.phase is Phase.HOLDING
    assert step(HOLDING, replace(AFTER, judgement=ALIVE)).record.phase is not Phase.RECOVERING
    assert step(HOLDING, replace(AFTER, limit="a storm")).record.phase is Phase.HELD
    assert step(HOLDING, AFTER).record.phase is Phase.RECOVERING
    awaiting = replace(HOLDING, phase=Phase.AWAITING_CONFIRMATION)
    assert step(awaiting, replace(AFTER, judgement=ALIVE)).record.phase is not Phase.RECOVERING
    assert step(awaiting, AFTER).record.phase is Phase.RECOVERING


def test_a_fence_that_can_not_be_read_is_lifted_all_the_same() -> None:
    """The node came back with another address: its fence fits it no more, and shuts out whoever has the old one next."""
    misfit = replace(cutter(), error="was made for other addresses")
    back = replace(GONE_AFTER, current_boot_id="boot-2", node_ready=True, levels=((misfit,),))
    assert step(MOVED_RECORD, back).commands == (LiftCut("ceph"),)
    waits = replace(back, levels=((replace(misfit, next_try_at=NOW + 1.0),),))
    assert step(MOVED_RECORD, waits).commands == ()


@pytest.mark.parametrize(
    "look",
    [
        replace(GONE_AFTER, node_exists=False),
        replace(GONE_AFTER, current_boot_id="boot-2", node_ready=True, levels=(), suspect_taint=False),
        replace(GONE_AFTER, guests=frozenset(), levels=(), suspect_taint=False),
    ],
    ids=["the node was deleted", "back, the device is not its own any more", "without old guests"],
)
def test_no_incident_ends_silently_with_a_cut_that_stands(look: Look) -> None:
    after = step(MOVED_RECORD, look)
    assert after.record.phase is Phase.CLOSED
    assert "may still be cut from its storage by ceph" in after.record.sentence
    assert "has its storage again" not in after.record.sentence


def test_a_cut_is_about_the_instances_that_are_there_when_it_is_read() -> None:
    """Restarted on its node after the incident was opened: the cut would name a pod that is long gone."""
    restarted = replace(DB, vmi_uid="vmi-7", pod_uid="")
    assert merged((DB, WEB), (restarted,)) == (restarted,)
    assert merged((MOVED, WEB), (restarted, WEB)) == (MOVED, WEB), (
        "what may run elsewhere already keeps its state"
    )
    assert merged((DB,), ()) == (DB,)


def test_so_is_one_of_a_withdrawn_incident() -> None:
    void = replace(FENCING, cuts=("ceph",), vms=(MOVED,))
    begun = step(void, replace(LIVING, guests=frozenset())).record
    assert begun.lifting
    between = replace(LIVING, guests=None, levels=((cutter((PowerState.TRANSITION, NOW - 0.1)),),))
    assert LiftCut("ceph") in step(begun, between).commands
    assert LiftCut("ceph") in step(begun, replace(between, judgement=DOWN)).commands
    over = replace(between, levels=((CEPH_ON,),))
    assert step(step(begun, over).record, over).record.phase is Phase.WITHDRAWN


def test_the_guest_of_a_vm_that_its_user_stopped_has_to_be_gone_too() -> None:
    """It may be started again, elsewhere, while the old one has its disk open and would be let at it."""
    left = replace(MOVED_RECORD, vms=(MOVED, replace(WEB, state=VmState.LEFT)))
    assert not step(left, replace(GONE_AFTER, guests=frozenset({"vms_web"}))).record.lifting
    assert not step(replace(left, vms=left.vms[1:]), replace(GONE_AFTER, guests=None)).record.lifting
    assert step(left, replace(GONE_AFTER, guests=frozenset())).record.lifting


# --- the cluster's store was set back ----------------------------------------------------------------------------

BACK = SetBack(501, 480, 900)
SET_BACK = replace(LOOK, set_back=BACK)
MADE_ANEW = replace(LOOK, set_back=replace(BACK, settled=True))
CONFIRMED = Confirmation("pulled both cords", "ann", NOW - 1.0)


@pytest.mark.parametrize(
    "record",
    [
        HOLDING,
        FENCING,
        replace(FENCING, phase=Phase.AWAITING_CONFIRMATION),
        RECOVERING,
        replace(RECOVERING, phase=Phase.RECOVERED, vms=(MOVED,), tainted=True),
        CUT_RECORD,
        MOVED_RECORD,
        replace(CUT_RECORD, phase=Phase.FENCING, proofs=(), lifting=True),
    ],
)
@pytest.mark.parametrize("look", [SET_BACK, replace(SET_BACK, judgement=ALIVE), MADE_ANEW])
def test_on_old_words_nothing_is_done_whatever_the_phase(record: Record, look: Look) -> None:
    void = step(record, look)
    assert void.commands == ()
    assert void.record.phase is Phase.HELD
    assert (void.record.proofs, void.record.pods) == ((), ())
    assert not void.record.tainted
    assert not void.record.lifting
    assert "agents hold roster 501" in void.record.sentence
    assert ("the proof on record is void" in void.record.sentence) == bool(record.proofs)
    if look is not MADE_ANEW:
        assert step(void.record, look) == void, "said and stored once"


def test_after_it_was_written_anew_the_incident_climbs_its_ladder_again() -> None:
    void = step(RECOVERING, SET_BACK).record
    again = step(void, replace(READS_ON, set_back=MADE_ANEW.set_back, now=NOW + timing.ORDER_EFFECT))
    assert again.record.phase is Phase.FENCING
    assert again.record.proofs == ()
    lives = replace(MADE_ANEW, judgement=ALIVE, suspect_taint=False, hold_over=False)
    assert step(replace(void, orders=()), lives).record.phase is Phase.WITHDRAWN


def test_what_is_opened_after_it_was_set_back_is_void_no_more() -> None:
    fresh = open_failover("f-2", BOOT, NOW - 3.0, MADE_ANEW, ("n2", "n3"))
    assert step(fresh, replace(READS_ON, set_back=MADE_ANEW.set_back)).record.phase is Phase.FENCING
    meanwhile = step(open_failover("f-2", BOOT, NOW - 3.0, SET_BACK, ("n2", "n3")), SET_BACK)
    assert meanwhile.record.phase is Phase.HELD
    assert meanwhile.commands == ()


def test_set_back_again_all_is_void_again() -> None:
    proved = replace(RECOVERING, set_back=501)
    assert step(proved, MADE_ANEW).record.phase is Phase.RECOVERING
    assert step(proved, replace(LOOK, set_back=SetBack(777, 600, 990))).record.proofs == ()


def test_a_cut_of_before_stays_on_record_with_all_its_vms_as_moved() -> None:
    void = step(CUT_RECORD, SET_BACK).record
    assert void.cuts == ("ceph",)
    assert all(v.released_wall is not None for v in void.vms), (
        "the store has forgotten which of them were moved"
    )
    alive = replace(AFTER, set_back=MADE_ANEW.set_back, judgement=ALIVE, hold_over=False)
    later = replace(alive, now=NOW + timing.ORDER_EFFECT)
    stays = step(void, later)
    assert "it stays cut from its storage until it has rebooted" in stays.record.sentence
    assert not any(isinstance(c, LiftCut) for c in stays.commands)
    lifted = step(stays.record, replace(later, guests=frozenset()))
    assert lifted.record.lifting
    assert any(isinstance(c, LiftCut | ReadPower) for c in step(lifted.record, later).commands)


def test_a_persons_word_of_before_does_not_count() -> None:
    asked = replace(FENCING, phase=Phase.AWAITING_CONFIRMATION)
    void = step(asked, replace(SET_BACK, confirmation=CONFIRMED)).record
    old = step(void, replace(MADE_ANEW, confirmation=CONFIRMED)).record
    assert old.phase is Phase.AWAITING_CONFIRMATION
    assert (
        "the word of ann does not count: it was given before the cluster's store was set back" in old.sentence
    )
    new = replace(CONFIRMED, statement="stood before it: no light")
    assert step(old, replace(MADE_ANEW, confirmation=new)).record.phase is Phase.RECOVERING


@pytest.mark.parametrize(
    "record", [RECOVERING, CUT_RECORD, replace(CUT_RECORD, phase=Phase.FENCING, proofs=())]
)
def test_what_is_on_record_waits_until_it_was_compared_with_what_agents_hold(record: Record) -> None:
    waits = step(record, replace(LOOK, compared=False))
    assert waits.commands == ()
    assert (waits.record.phase, waits.record.proofs) == (record.phase, record.proofs)
    assert "waits until an agent has told" in waits.record.sentence
    assert step(waits.record, replace(LOOK, compared=False)) == waits
    assert step(waits.record, LOOK).record.sentence == record.sentence, "then it says what it had said"


def test_who_has_nothing_on_record_waits_for_no_comparison() -> None:
    assert step(HOLDING, replace(READS_ON, compared=False)).record.phase is Phase.FENCING


# --- the node's later boot --------------------------------------------------------------------------------------


BACK_AGAIN = replace(LOOK, current_boot_id="boot-2", node_ready=True, pods=(), affected=())
ON_ITS_NODE = VmLook("vms", "db", "vm-1", True, "Always", False, VmiLook("vmi-9", "Running", "n1"))


def test_a_vm_that_its_own_nodes_later_boot_runs_again_is_recovered() -> None:
    record = replace(RECOVERING, vms=(DB,))
    after = step(record, replace(BACK_AGAIN, vms=(ON_ITS_NODE,)))
    assert after.record.phase is Phase.RECOVERED
    assert after.record.sentence == "recovered: db runs on n1 again, under its later boot"
    same = replace(ON_ITS_NODE, vmi=VmiLook("vmi-1", "Running", "n1"))
    assert step(record, replace(BACK_AGAIN, vms=(same,))).record.phase is Phase.RECOVERING, "the old instance"
    assert (
        step(
            record,
            replace(BACK_AGAIN, current_boot_id="boot-1", vms=(ON_ITS_NODE,), out_of_service_taint=True),
        ).record.phase
        is Phase.RECOVERING
    ), "no later boot is known"


def test_the_taints_do_not_wait_for_a_vm_that_waits_for_the_node() -> None:
    record = replace(RECOVERING, vms=(DB,), tainted=True, orders=(ORDER_OVER,))
    waits = replace(BACK_AGAIN, out_of_service_taint=True)
    assert RemoveTaints("n1", out_of_service=True) in step(record, waits).commands
    attached = replace(waits, attachments=(AttachmentLook("csi-1", "pv-db", wanted=False),))
    for look in (attached, replace(waits, node_ready=False), replace(waits, pods=(LAUNCHER,))):
        assert not any(isinstance(c, RemoveTaints) for c in step(record, look).commands)


def test_a_later_boot_that_an_order_off_may_end_yet_is_not_let_in() -> None:
    """It would be shot with what has come to it, and nobody would order it on again."""
    back = replace(BACK_AGAIN, out_of_service_taint=True)
    recovered = replace(RECOVERING, phase=Phase.RECOVERED, tainted=True)
    under = step(recovered, back)
    assert (under.record.phase, under.commands) == (Phase.RECOVERED, ())
    assert under.record.sentence.endswith("its taints stay until no order off can take effect any more")
    over = replace(under.record, orders=(ORDER_OVER,))
    assert step(over, back).commands == (RemoveTaints("n1", out_of_service=True),)
    assert step(over, replace(BACK_AGAIN, suspect_taint=False)).record.phase is Phase.CLOSED
    waiting = replace(RECOVERING, vms=(DB,), tainted=True)
    assert not [c for c in step(waiting, back).commands if isinstance(c, RemoveTaints)]


def test_a_later_boot_that_dies_too_is_not_kept_waiting_by_what_waits_for_a_person() -> None:
    """A node has one open incident at most: this one ends, and the next is about the later boot, and about what waits as well."""
    web = VmRecord(
        "vms", "web", "vm-2", "vmi-2", "", VmState.RUNNING, "n1", "runs on n1 again, under its later boot"
    )
    db = replace(DB, state=VmState.WAITING, message="no node takes it", released_wall=1.0)
    record = replace(RECOVERING, vms=(db, web), new_boot_id="boot-2", tainted=True)
    waits = VmLook(
        "vms", "db", "vm-1", True, "Always", False, VmiLook("vmi-9", "Pending", "", unschedulable="full")
    )
    runs = VmLook("vms", "web", "vm-2", True, "Always", False, VmiLook("vmi-3", "Running", "n1"))
    on_it = VmRecord("vms", "web", "vm-2", "vmi-3")
    dead = replace(
        BACK_AGAIN,
        node_ready=False,
        suspect_taint=False,
        judgement=DOWN,
        vms=(waits, runs),
        affected=(on_it,),
    )
    over = step(record, dead)
    assert over.record.phase is Phase.CLOSED
    assert over.commands == ()
    assert over.record.sentence == (
        "n1 is down again with its boot boot-2, and its next incident sees to it; db waiting (no node takes it: full)"
    )
    lives = replace(dead, judgement=ALIVE, node_ready=True)
    starts = replace(dead, vms=(replace(waits, vmi=VmiLook("vmi-9", "Scheduled", "n2")), runs))
    unknown = replace(record, new_boot_id="")
    tainted = replace(dead, out_of_service_taint=True)
    empty = replace(dead, affected=())
    for before, look in (
        (record, lives),
        (record, starts),
        (unknown, dead),
        (record, tainted),
        (record, empty),
    ):
        assert step(before, look).record.phase is Phase.RECOVERING


# --- held, and the node lives -----------------------------------------------------------------------------------


def test_a_node_that_lives_gets_its_storage_back_from_a_held_incident_too() -> None:
    held = replace(
        CUT_RECORD,
        phase=Phase.HELD,
        proofs=(),
        orders=(),
        held_reason="paused",
        sentence="not fencing: paused",
    )
    alive = replace(AFTER, judgement=ALIVE, limit="paused", hold_over=False)
    lifting = step(held, alive)
    assert lifting.record.lifting
    assert any(isinstance(c, LiftCut | ReadPower) for c in step(lifting.record, alive).commands)


def test_a_node_that_is_heard_after_the_recovery_from_its_death_is_told_of() -> None:
    record = replace(RECOVERING, phase=Phase.RECOVERED, vms=(MOVED,), tainted=True, orders=())
    heard = replace(LOOK, pods=(), judgement=ALIVE, life_at=NOW - 0.1, out_of_service_taint=True)
    told = step(record, heard)
    assert told.record.phase is Phase.RECOVERED
    assert (
        "n1 was never off, or has hibernated: make sure that no old guest runs there, and reboot it"
        in told.record.sentence
    )
    assert not any(isinstance(c, OrderOn | RemoveTaints) for c in told.commands), "nothing new comes to it"
    assert step(told.record, replace(heard, life_at=NOW)) == told, "said once"
    booting = replace(heard, judgement=DOWN)
    assert "never off" not in step(record, booting).record.sentence, (
        "a kernel that answers may be the next boot's"
    )


def test_what_the_later_boot_runs_is_none_of_the_earlier_ones() -> None:
    """The incident was held for a while, and the node has long been at work again when its reboot is taken for the proof."""
    new = PodLook(PodRef("vms", "launcher-9", "pod-9"), PodRole.LAUNCHER, "vmi-9", protected=True)
    web = VmRecord("vms", "web", "vm-2", "vmi-9", "pod-9")
    back = replace(BACK_AGAIN, pods=(LAUNCHER, new, VIRT_API), affected=(web,), judgement=ALIVE)
    proved = step(HOLDING, back).record
    assert proved.phase is Phase.RECOVERING
    assert proved.pods == (LAUNCHER.ref,)
    assert [v.name for v in proved.vms] == ["db"]
