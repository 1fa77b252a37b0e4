"""The whole-system simulator: schedules are drawn and read alike, and every invariant can fail in a world that is broken."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from ringfence.core import timing
from ringfence.core.failover import cut, limits
from ringfence.core.failover.commands import RemoveTaints
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import PodRef, Record, VmRecord, VmState
from ringfence.core.failover.recovery import DeletePod, DeleteVmi, RequestStart
from ringfence.core.fencing.orders import Action, CalledOff, Order, OrderOff
from ringfence.core.fencing.proof import PoweredOff, PowerOffHow, StorageCut
from ringfence.core.model import Mode, OnHung, Verdict
from simulator.system import looks, power, rules, triples
from simulator.system.__main__ import main
from simulator.system.control import Control
from simulator.system.controller import taken_over
from simulator.system.executor import Executor
from simulator.system.invariants import STORES_A_SECOND, Invariants
from simulator.system.ledger import Entry, Ledger, differing
from simulator.system.node import BOOT_NEEDS
from simulator.system.play import Outcome, build, play, shorten
from simulator.system.report import Piece, append
from simulator.system.rules import Broken
from simulator.system.schedule import Act, Schedule, ScheduleError, draw, read
from simulator.system.warrants import IN_FLIGHT, Warrants
from simulator.system.world import World


def calm(ladder: str = "bmc") -> Schedule:
    """A schedule without faults, on a cluster with that ladder."""
    return next(s for seed in range(200) if (s := Schedule(seed, ())).cluster.ladder == ladder)


@pytest.fixture
def world() -> World:
    return build(calm())


@pytest.fixture
def invariants(world: World) -> Invariants:
    return Invariants(world)


def incident(world: World, phase: Phase = Phase.FENCING) -> Record:
    boot = world.plant.nodes["n4"].identity
    record = Record("n4-1", boot, phase, "said so", 0.0, 0.0)
    world.memory.stored[record.name] = record
    return record


def off(record: Record) -> PoweredOff:
    return PoweredOff(record.boot, "bmc-n4", PowerOffHow.ORDERED, 0.0, "read as off")


def run(world: World, invariants: Invariants, seconds: float) -> None:
    end = world.now + seconds
    while world.now < end:
        world.tick()
        invariants.tick()


@pytest.mark.parametrize("sentence", ["withdrawn: n4 is alive", "withdrawn: nothing is known of n4"])
@pytest.mark.parametrize("deleted", [False, True], ids=["object there", "object deleted"])
def test_an_incident_of_a_node_that_is_off_ends_with_its_object_or_not_at_all(
    world: World, invariants: Invariants, sentence: str, deleted: bool
) -> None:
    record = incident(world)
    world.plant.nodes["n4"].powered = False
    run(world, invariants, 6.0)
    if deleted:
        world.do(["delete-node", "n4"])
    ended = replace(record, phase=Phase.WITHDRAWN, sentence=sentence)
    if deleted and "nothing is known" in sentence:
        invariants.stored(record, ended)
        return
    with pytest.raises(Broken, match=r"^9: .*n4-1 is withdrawn, and n4 has been off for|^0: "):
        invariants.stored(record, ended)


# --- schedules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(50))
def test_a_schedule_is_its_seeds_and_survives_its_text(seed: int) -> None:
    schedule = draw(seed)
    assert draw(seed) == schedule
    assert read(str(schedule)) == schedule
    assert schedule.acts[-1].words == ("end",)


def test_what_is_drawn_beside_a_schedule() -> None:
    """Nodes that hang, where a storage heartbeat shows it, for long enough; and Node objects that are deleted and made anew."""
    drawn = [draw(seed) for seed in range(600)]
    hanging = [
        s for s in drawn if any(act.words[0] == "hang" and act.at < 20.0 for act in s.acts) and long(s)
    ]
    assert {s.cluster.ladder for s in hanging} == {"slot"}
    assert {s.cluster.on_hung for s in hanging} == set(OnHung)
    assert {s.cluster.on_hung for s in drawn if s not in hanging} == {OnHung.ALERT}
    anew = [s for s in drawn if any(act.words[0] == "delete-node" for act in s.acts)]
    assert 30 < len(anew) < 90
    assert any(act.words[0] == "register-node" for s in anew for act in s.acts)
    assert not any(act.words == ("restore",) for s in anew for act in s.acts)


def long(schedule: Schedule) -> bool:
    """Whether things go wrong for as long as a policy looks at a node that hangs."""
    mend = next(act.at for act in schedule.acts if act.words == ("mend",))
    return mend > timing.HUNG_HEARTBEAT_AGE + timing.HUNG_HOLD


@pytest.mark.parametrize(
    ("text", "says"),
    [("1.0 isolate n1", "no line `seed"), ("seed 3\nsoon isolate n1", "line 2"), ("seed 3\n4.0", "line 2")],
)
def test_a_text_that_is_no_schedule_says_which_line(text: str, says: str) -> None:
    with pytest.raises(ScheduleError, match=says):
        read(text)


def test_what_fails_is_made_as_short_as_it_will_go() -> None:
    acts = (Act(1.0, ("doubt", "n1")), Act(1.5, ("nonsense",)), Act(2.0, ("trust", "n1")), Act(3.0, ("end",)))
    outcome = play(replace(calm(), acts=acts))
    assert outcome.number == "raised"
    assert shorten(outcome).schedule.acts == (acts[1], acts[3])


def test_a_dead_nodes_vms_run_elsewhere_and_nothing_breaks() -> None:
    acts = (Act(1.0, ("isolate", "n4")), Act(40.0, ("mend",)), Act(90.0, ("end",)))
    outcome: Outcome = play(replace(calm(), acts=acts))
    assert outcome.broken == ""
    assert (outcome.incidents, outcome.recovered) == (1, 1)


@pytest.mark.parametrize("device", ["bmc", "pdu"])
def test_power_that_comes_back_starts_no_machine_that_a_device_keeps_off(device: str) -> None:
    world = build(calm("pdu"))
    world.do(["power-gap", "n4", "1"])
    power.off(world.plant, f"{device}-n4", "n4")
    while world.now < 2.0:
        world.tick()
    assert not world.plant.nodes["n4"].powered


def test_power_that_comes_back_leaves_alone_who_was_switched_on_before(world: World) -> None:
    node = world.plant.nodes["n4"]
    world.do(["power-gap", "n4", "1"])
    world.do(["power-on", "n4"])
    booted = node.identity
    while world.now < 2.0:
        world.tick()
    assert node.powered
    assert node.identity == booted


def test_a_record_is_the_same_for_the_next_leader(world: World) -> None:
    record = incident(world)
    vm = VmRecord(
        "default", "vm01", "vm-vm01", "vmi-vm01-1", "pod-vm01-1", VmState.STARTING, released_wall=3.0
    )
    record = replace(
        record, proofs=(off(record),), vms=(vm,), pods=(PodRef("default", "p", "p"),), tainted=True
    )
    read_again = taken_over(record, 10.0, 8.0)
    assert read_again == replace(record, proofs=(replace(off(record), seen_at=7.0),))


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "sim.jsonl"
    seen = frozenset({(Verdict.DOWN, triples.NO_LIMIT, Phase.FENCING)})
    entries = [Entry(7, "", 2, 1, 1, seen), Entry(8, "9: lost", 1, 0, 0, frozenset())]
    ledger = Ledger(path)
    for entry in entries:
        ledger.enter(entry)
    with path.open("a") as file:
        file.write('{"seed":9,"bro')
    assert list(Ledger(path).entries.values()) == entries
    assert Ledger(path, "another program's").entries == {}


def test_two_ledgers_tell_which_schedules_went_another_way(tmp_path: Path) -> None:
    seen = frozenset({(Verdict.DOWN, triples.NO_LIMIT, Phase.FENCING)})
    entry = Entry(7, "", 2, 1, 1, seen, cpu=1.0, story="abc")
    before, after = Ledger(tmp_path / "before", "old"), Ledger(tmp_path / "after", "new")
    for seed in (7, 8, 9):
        before.enter(replace(entry, seed=seed))
    after.enter(replace(entry, cpu=0.2))
    assert main(["same", str(tmp_path / "before"), str(tmp_path / "after")]) == 0, "faster, and the same"
    after.enter(replace(entry, seed=8, story="abd"))
    after.enter(replace(entry, seed=10))
    assert differing(tmp_path / "before", tmp_path / "after") == ([7, 8], [8])
    assert main(["same", str(tmp_path / "before"), str(tmp_path / "after")]) == 1


def test_a_story_that_is_told_otherwise_has_another_mark() -> None:
    outcome = play(replace(calm(), acts=(Act(1.0, ("isolate", "n4")), Act(4.0, ("end",)))))
    again = Entry.of(replace(outcome, log=(*outcome.log[:-1], outcome.log[-1] + ".")))
    assert Entry.of(outcome).story != again.story


def test_each_piece_of_a_long_run_is_a_row_of_its_report(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "sim-runs.md"
    for seeds in ("1-300", "301-600"):
        append(path, Piece("abc1234", seeds, 15, 0, 338, 22, 163, 81, 550, 150.0, 300))
    head, rule, *rows = path.read_text().splitlines()
    assert head.count("|") == rule.count("|") == rows[0].count("|")
    assert [row.split("|")[3].strip() for row in rows] == ["1-300", "301-600"]
    assert rows[0].endswith("| 15 | 0 | 338 | 22 | 163 | 81 of 550 | 150 | 2.00 |")


# --- each invariant can fail --------------------------------------------------------------------------------------


def test_1_two_writers(world: World) -> None:
    world.plant.vms["vm01"].qemu = {"n1", "n2"}
    with pytest.raises(Broken, match="runs on n1, n2 at once"):
        world.tick()


def test_2_a_force_delete_that_no_proof_covers(world: World, invariants: Invariants) -> None:
    record = incident(world)
    with pytest.raises(Broken, match=r"^2: .*no proof covers it"):
        invariants.asked(record.boot, DeletePod(PodRef("default", "pod-vm04-1", "pod-vm04-1"), force=True))
    with pytest.raises(Broken, match=r"^2: .*without a stored proof"):
        invariants.asked(record.boot, DeleteVmi("default", "vm04", "vmi-vm04-1"))
    with pytest.raises(Broken, match="the out-of-service taint without a stored proof"):
        rules.proved(world.plant, world.memory, record.boot, "the out-of-service taint")


def test_2_what_was_sent_under_a_proof_arrives_within_a_requests_time_after_its_end(world: World) -> None:
    warrants, record = Warrants(), incident(world, Phase.RECOVERING)
    boot, uid = record.boot, record.boot.node_uid
    warrants.stored(record, 1.0)
    assert not warrants.covers(boot, 1.0)
    proved = replace(record, proofs=(off(record),))
    warrants.stored(proved, 2.0)
    assert warrants.covers(boot, 900.0)
    assert warrants.covers_taint(uid, 900.0)
    for end in (record, replace(proved, phase=Phase.CLOSED)):
        warrants.stored(proved, 2.0)
        warrants.stored(end, 5.0)
        warrants.stored(end, 9.0)  # said again, it lasts no longer
        assert warrants.covers(boot, 5.0 + IN_FLIGHT)
        assert not warrants.covers(boot, 5.1 + IN_FLIGHT)
        assert not warrants.covers_taint(uid, 5.1 + IN_FLIGHT)


def test_2_a_cut_from_the_storage_covers_pods_and_no_taint(world: World) -> None:
    warrants, record = Warrants(), incident(world, Phase.RECOVERING)
    cut = StorageCut(record.boot, "ceph", (), (), 1.0)
    warrants.stored(replace(record, proofs=(cut,)), 2.0)
    assert warrants.covers(record.boot, 3.0)
    assert not warrants.covers_taint(record.boot.node_uid, 3.0)


def test_3_two_leaders(world: World) -> None:
    assert world.memory.election is not None
    run(world, Invariants(world), 1.5)
    elections = world.memory.election._elections
    elections["n2"] = replace(elections["n1"])
    with pytest.raises(AssertionError, match="lead at once"):
        world.tick()


def test_4_an_order_by_a_side_that_hears_a_minority(world: World, invariants: Invariants) -> None:
    record = incident(world)
    for name in ("n2", "n3", "n4", "n5"):
        world.plant.nodes[name].linked = False
    with pytest.raises(Broken, match=r"^4: .*a side that hears n1 only"):
        invariants.ordered(record, OrderOff("bmc-n4", 1))


def test_5_a_proof_about_a_boot_that_runs(world: World, invariants: Invariants) -> None:
    record = incident(world)
    with pytest.raises(Broken, match=r"^5: PoweredOff|^5: .*that boot runs"):
        invariants.stored(record, replace(record, proofs=(off(record),)))


def test_6_a_healthy_node_is_shot(world: World, invariants: Invariants) -> None:
    record = incident(world)
    run(world, invariants, 4.0)
    with pytest.raises(Broken, match=r"^6: .*its kernel has answered"):
        invariants.ordered(record, OrderOff("bmc-n4", 1))


def test_6_a_boot_that_somebody_has_heard_of_is_shot(world: World, invariants: Invariants) -> None:
    """A node that reboots within its isolation may be ordered off for its earlier boot: no other is known."""
    world.memory.mode = Mode.PAUSED
    run(world, invariants, 1.0)
    node, record = world.plant.nodes["n4"], incident(world)
    world.do(["bmc", "n4", "hang"])  # nobody reads that it was off
    world.do(["isolate", "n4"])
    world.do(["power-gap", "n4", "1"])
    run(world, invariants, 1.0 + BOOT_NEEDS + 1.0)
    assert node.identity != record.boot
    rules.is_down(world.plant, "n4", record)
    said_off = replace(record, called_off=(CalledOff("bmc-n4", world.now + 100),))
    with pytest.raises(Broken, match="for an earlier boot"):
        rules.is_down(world.plant, "n4", said_off)
    world.plant.bmcs["n4"].called_off_at = world.now - 1.0
    with pytest.raises(Broken, match="for an earlier boot"):
        rules.is_down(world.plant, "n4", record)
    world.do(["rejoin", "n4"])
    run(world, invariants, 0.2)
    world.do(["isolate", "n4"])
    run(world, invariants, 2.0)
    with pytest.raises(Broken, match="for an earlier boot"):
        rules.is_down(world.plant, "n4", record)


@pytest.mark.parametrize("foreign", [False, True], ids=["ours", "somebody else's"])
def test_our_taint_stays_while_a_node_that_is_back_has_volumes_that_nobody_there_wants(foreign: bool) -> None:
    """Only a taint that goes leaves them attached: one of somebody else's stays, whatever we send."""
    world = next(w for seed in range(200) if (w := build(Schedule(seed, ()))).plant.volumes)
    plant = world.plant
    name = next(iter(plant.volumes))
    node = plant.nodes[plant.vms[name].node]
    record = replace(incident(world, Phase.RECOVERING), boot=node.identity, tainted=True)
    node.boot += 1
    plant.vms[name].launcher_on = ""
    node.suspect, node.out_of_service, node.foreign_taint = True, True, foreign
    untaint = RemoveTaints(node.name, out_of_service=True)
    executor = Executor(plant, world.memory)
    if foreign:
        executor.run(record, untaint)
        assert (node.suspect, node.out_of_service) == (False, True)
        return
    with pytest.raises(Broken, match=rf"the taints of {node.name} go while pv-{name} is attached"):
        executor.run(record, untaint)
    executor.run(replace(record, tainted=False), RemoveTaints(node.name, out_of_service=True, suspect=False))
    assert not node.out_of_service, "it came too late for that boot, and deletes what that may run"
    node.suspect, node.out_of_service = True, True
    plant.volumes[name].attached.discard(node.name)
    executor.run(record, untaint)
    assert (node.suspect, node.out_of_service) == (False, False)


def test_no_launcher_that_a_later_boot_has_started_is_force_deleted(world: World) -> None:
    vm = next(v for v in world.plant.vms.values() if v.qemu)
    node = world.plant.nodes[vm.node]
    before = node.identity
    rules.of_no_later_boot(world.plant, before, vm.pod)
    node.boot += 1
    node.known_boot = node.identity.boot_id
    with pytest.raises(Broken, match=f"{vm.pod} is force-deleted, and the later boot of {node.name} runs it"):
        rules.of_no_later_boot(world.plant, before, vm.pod)
    vm.qemu.discard(node.name)
    rules.of_no_later_boot(world.plant, before, vm.pod)


def test_a_later_boot_is_let_in_when_no_order_off_can_take_effect_any_more(world: World) -> None:
    record = incident(world, Phase.RECOVERED)
    node = world.plant.nodes[record.boot.node]
    world.plant.bmcs[node.name].effective_until = world.plant.now + 1.0
    rules.let_in_due(world.plant, record)
    node.boot += 1
    node.known_boot = node.identity.boot_id
    with pytest.raises(Broken, match=f"the taints of {node.name} go while an order off may take effect"):
        rules.let_in_due(world.plant, record)
    world.plant.bmcs[node.name].effective_until = world.plant.now
    rules.let_in_due(world.plant, record)


def test_2_two_orders_to_one_device_are_ten_seconds_apart_from_sending_to_sending(world: World) -> None:
    """Seed 20220: n2's BMC hung for five of them before it set to work."""
    order = Order("bmc-n4", 1, 10.0, 1000.0)
    record = replace(incident(world), orders=(order, replace(order, action=Action.ON)))
    world.memory.stored[record.name] = record
    fits = partial(rules.order_fits, world.plant, world.memory, "bmc-n4", record)
    world.plant.time.now = 15.0
    fits(sent_at=10.0)
    for now in (15.0, 19.9):
        world.plant.time.now = now
        with pytest.raises(Broken, match="powered on while an order off may take effect"):
            rules.power_on_due(world.plant, world.memory, "bmc-n4", record)
    world.plant.time.now = 25.0
    with pytest.raises(Broken, match="ordered off twice within"):
        fits(sent_at=19.9)
    world.plant.time.now = 20.0
    rules.power_on_due(world.plant, world.memory, "bmc-n4", record)
    fits(sent_at=20.0)


def test_2_a_device_at_work_for_longer_than_any_may_be_is_waited_for(world: World) -> None:
    order = Order("bmc-n4", 1, 10.0, 1000.0)
    record = replace(incident(world), orders=(order,))
    world.memory.stored[record.name] = record
    world.plant.box("bmc-n4").mode = "slow"
    world.plant.time.now = 15.0
    rules.order_fits(world.plant, world.memory, "bmc-n4", record, sent_at=10.0)
    world.plant.time.now = 15.0 + power.SLOW - 0.1
    with pytest.raises(Broken, match="powered on while an order off may take effect"):
        rules.power_on_due(world.plant, world.memory, "bmc-n4", record)


@pytest.mark.parametrize(
    ("zone", "sentence", "phase", "breaks"),
    [
        (False, cut.left_standing(("ceph",), ()), Phase.CLOSED, False),
        (True, cut.left_standing(("ceph",), ()), Phase.CLOSED, True),
        (False, "", Phase.CLOSED, True),
    ],
    ids=["said, and nobody could", "said, and who leads could lift it", "not said"],
)
def test_1_a_cut_that_no_open_incident_knows_of_was_left_to_people_in_so_many_words(
    world: World, zone: bool, sentence: str, phase: Phase, breaks: bool
) -> None:
    """Seed 15468: somebody had deleted the zone."""
    record = replace(incident(world, phase), cuts=("ceph",), sentence=f"recovered{sentence}")
    world.memory.stored[record.name] = record
    world.plant.nodes["n4"].shut_out, world.plant.zone = True, zone
    if breaks:
        with pytest.raises(Broken, match="cut from its storage without an open incident"):
            rules.every_tick(world.plant, world.memory)
        return
    rules.every_tick(world.plant, world.memory)
    world.plant.zone = True  # made anew: the incident is over, and has said whom it leaves the cut to
    rules.every_tick(world.plant, world.memory)
    later = replace(record, name="n4-2", started_wall=1.0, sentence="recovered")
    world.memory.stored[later.name] = later
    with pytest.raises(Broken, match="cut from its storage without an open incident"):
        rules.every_tick(world.plant, world.memory)


def test_7_the_administrators_and_users_will(world: World, invariants: Invariants) -> None:
    record = incident(world, Phase.HOLDING)
    world.memory.mode = Mode.PAUSED
    with pytest.raises(Broken, match=r"^7: .*in mode Paused"):
        invariants.stored(record, replace(record, phase=Phase.FENCING))
    world.plant.vms["vm04"].stopped = True
    with pytest.raises(Broken, match=r"^7: .*its user has stopped it"):
        invariants.asked(record.boot, RequestStart("default", "vm04", "vm-vm04"))


def test_8_success_that_nobody_has_seen(world: World, invariants: Invariants) -> None:
    record = incident(world, Phase.RECOVERING)
    said = VmRecord("default", "vm04", "vm-vm04", "vmi-vm04-1", state=VmState.RUNNING, new_node="n1")
    with pytest.raises(Broken, match=r"^8: .*is called running elsewhere"):
        invariants.stored(record, replace(record, vms=(said,)))


def test_9_a_second_fence_and_a_lost_vm(world: World, invariants: Invariants) -> None:
    record = incident(world)
    world.plant.nodes["n4"].powered = False
    invariants.ordered(record, OrderOff("bmc-n4", 1))
    with pytest.raises(Broken, match=r"^9: .*twice under one number"):
        invariants.ordered(record, OrderOff("bmc-n4", 1))
    world.memory.stored.clear()
    vm = next(v for v in world.plant.vms.values() if v.strategy == "Always")
    vm.phase, vm.qemu = "Running", set()
    with pytest.raises(Broken, match=rf"^9: .*{vm.name} .*is lost"):
        invariants.end()


@pytest.mark.parametrize(("state", "lost"), [(VmState.RELEASED, True), (VmState.RUNNING, False)])
def test_9_a_vm_that_its_user_has_to_start_is_lost_until_it_has_run_elsewhere(
    world: World, invariants: Invariants, state: VmState, lost: bool
) -> None:
    """Whatever ends it after that is no part of the incident, though the node be the same."""
    vm = next(v for v in world.plant.vms.values() if v.node == "n4")
    vm.strategy, vm.phase, vm.kept, vm.qemu = "Manual", "Failed", True, set()
    said = VmRecord("default", vm.name, f"vm-{vm.name}", vm.uid, state=state, released_wall=1.0)
    record = replace(incident(world, Phase.CLOSED), vms=(said,))
    world.memory.stored[record.name] = record
    run(world, invariants, 25.0)
    if not lost:
        invariants.end()
        return
    with pytest.raises(Broken, match=rf"^9: .*{vm.name} .*is lost"):
        invariants.end()


def test_10_a_record_that_is_written_on_every_tick(world: World, invariants: Invariants) -> None:
    record = incident(world, Phase.HELD)
    with pytest.raises(Broken, match=r"^10: .*on every tick"):
        for _ in range(STORES_A_SECOND + 1):
            invariants.stored(record, record)


def test_11_an_incident_that_waits_for_nothing(world: World, invariants: Invariants) -> None:
    run(world, invariants, 4.0)
    record = incident(world, Phase.HELD)
    world.memory.phase_since[record.name] = -60.0
    with pytest.raises(Broken, match=r"^11: .*no limit forbids|^11: "):
        invariants.end()


@pytest.mark.parametrize("after", [BOOT_NEEDS - 1.0, BOOT_NEEDS + 1.0], ids=["cut short", "up"])
def test_a_boot_is_told_of_if_it_came_as_far_as_its_kubelet(world: World, after: float) -> None:
    node = world.plant.nodes["n4"]
    first, record = node.identity, incident(world, Phase.RECOVERED)
    world.memory.mode = Mode.PAUSED
    world.do(["power-cut", "n4"])
    world.do(["power-on", "n4"])
    second, end = node.identity, world.now + after
    while world.now < end:
        world.tick()
    world.do(["power-cut", "n4"])
    while world.now < end + BOOT_NEEDS:
        world.tick()
    told = looks.look(world.plant, world.memory, first, record).current_boot_id
    assert told == (first if after < BOOT_NEEDS else second).boot_id


def test_11_a_node_that_we_have_switched_off_and_leave_off(world: World, invariants: Invariants) -> None:
    """Also where somebody has switched it on beside us, and the power went before that boot came up."""
    record = replace(incident(world, Phase.RECOVERED), proofs=(off(incident(world)),))
    world.memory.stored[record.name] = record
    world.memory.mode = Mode.PAUSED
    world.do(["power-cut", "n4"])
    world.do(["power-on", "n4"])
    world.do(["power-cut", "n4"])
    world.memory.phase_since[record.name] = world.now - timing.POWER_ON_SPACING
    invariants.end()
    world.memory.phase_since[record.name] = world.now - timing.POWER_ON_SPACING * 2
    with pytest.raises(Broken, match=r"^11: .*n4 has not been powered on for 60 s"):
        invariants.end()


def test_a_triple_that_is_called_impossible(world: World, invariants: Invariants) -> None:
    assert triples.impossible((Verdict.ISOLATED, triples.NO_LIMIT, Phase.HELD)) is not None
    assert triples.impossible((Verdict.DOWN, "not_writable", Phase.HELD)) is not None
    assert triples.impossible((Verdict.DOWN, triples.NO_LIMIT, Phase.WITHDRAWN)) is not None
    record = incident(world)
    with pytest.raises(Broken, match=r"^0: .*only a node that is not Down is let go"):
        world.plant.nodes["n4"].powered = False
        run(world, invariants, 3.0)
        invariants.stored(record, replace(record, phase=Phase.WITHDRAWN))


def test_a_triple_that_can_t_be_of_one_instant(world: World, invariants: Invariants) -> None:
    names = [limit.__name__ for limit in limits.LIMITS]
    torn = {t for t in itertools.product(Verdict, names, Phase) if triples.torn(t)}
    assert {(verdict, limit) for verdict, limit, _ in torn if limit == "whole_zone"} == {
        (verdict, "whole_zone")
        for verdict in (Verdict.HEALTHY, Verdict.STORAGE_LOST, Verdict.CONTROL_PATH_LOST)
    }
    assert {(limit, phase) for _, limit, phase in torn if limit != "whole_zone"} == {
        ("storage_gone", Phase.FENCING)
    }
    run(world, invariants, 1.0)
    sees = SimpleNamespace(seen_of=lambda _node: (Verdict.HEALTHY, "whole_zone"))
    world.controller = cast("Control", sees)
    record = incident(world, Phase.HELD)
    with pytest.raises(Broken, match=r"^0: .*a zone of which one is heard is not gone as a whole"):
        invariants.stored(None, record)
    world.plant.nodes["n4"].peers = False  # within this tick: that it was heard is of an instant before
    invariants.stored(None, record)
    assert invariants.triples == set()
    Invariants(world, real=True).stored(None, record)


def test_an_incident_of_a_node_that_is_back_without_its_storage() -> None:
    acts = ("1.0 cut-storage n4", "12.5 isolate n4", "14.8 rejoin n4", "40.0 heal-storage n4", "60.0 end")
    schedule = replace(calm("slot"), acts=read("\n".join(["seed 0", *acts])).acts)
    outcome = play(schedule)
    assert (outcome.broken, outcome.incidents, outcome.recovered) == ("", 1, 0)
    lost = {phase for verdict, _, phase in outcome.triples if verdict is Verdict.STORAGE_LOST}
    assert lost == {Phase.WITHDRAWN}


# --- the controller's own loops -----------------------------------------------------------------------------------


def led(*acts: str, ladder: str = "bmc", end: float = 30.0) -> Outcome:
    """What comes of these acts where the controller's own loops lead."""
    drawn = "\n".join(["seed 0", *acts, f"{end} end"])
    return play(replace(calm(ladder), acts=read(drawn).acts), real=True)


def test_the_controllers_own_loops_bring_a_dead_nodes_vms_back_and_play_alike_each_time() -> None:
    first, again = led("1.0 isolate n4"), led("1.0 isolate n4")
    assert (first.broken, first.incidents, first.recovered) == ("", 1, 1)
    assert first.log == again.log
    assert any("order: bmc-n4 off" in line for line in first.log)
    assert any("n1 leads" in line for line in first.log)


def test_a_leader_that_is_killed_after_it_stored_an_order_is_followed_by_one_that_goes_on() -> None:
    outcome = led("0.5 kill-leader-when Fencing", "1.0 isolate n4", end=40.0)
    assert (outcome.broken, outcome.recovered) == ("", 1)
    assert any("process is dead" in line for line in outcome.log)
    assert sum(line.endswith(" leads") for line in outcome.log) == 2


def test_a_leader_that_is_frozen_after_it_stored_an_order_sends_nothing_when_it_thaws() -> None:
    outcome = led("0.5 freeze-leader-when Fencing", "1.0 isolate n4", "20.0 thaw-leader", end=40.0)
    assert (outcome.broken, outcome.recovered) == ("", 1)
    (ordered,) = [line for line in outcome.log if "order: bmc-n4 off" in line]
    assert float(ordered.split()[0]) < 20.0, "the next leader has ordered"


@pytest.mark.parametrize(
    ("ladder", "phase"),
    [("storage", "Fencing"), ("watchdog", "Fencing"), ("leases", "Recovering"), ("leases", "Recovered")],
)
def test_whatever_a_frozen_leader_had_decided_is_not_done_when_it_thaws(ladder: str, phase: str) -> None:
    """Each write has a deadline, which `Connection` demands and keeps; what it would break stands in the invariants."""
    acts = (f"0.5 freeze-leader-when {phase}", "1.0 isolate n4", "40.0 thaw-leader", "50.0 mend")
    outcome = led(*acts, ladder=ladder, end=120.0)
    assert outcome.broken == ""
    assert any("is stopped" in line for line in outcome.log), outcome.log


def test_incidents_go_on_within_a_second_when_an_admission_webhook_is_ready_again() -> None:
    """That nobody insists meanwhile is invariant 10, which `Replicas` looks after."""
    acts = ("0.5 admission bad", "1.0 isolate n4", "1.0 isolate n5", "20.0 admission ok")
    outcome = led(*acts, end=50.0)
    assert (outcome.broken, outcome.incidents, outcome.recovered) == ("", 2, 2)
    held = [float(line.split()[0]) for line in outcome.log if " Holding: n" in line]
    assert len(held) == 2
    assert all(20.0 < at < 21.0 for at in held)


def test_an_admission_webhook_that_stays_away_is_told_once_for_each_incident(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "ringfence")
    drawn = "seed 0\n1.0 admission bad\n1.0 isolate n4\n31.0 admission ok\n60.0 end"
    outcome = play(replace(calm(), acts=read(drawn).acts), real=True, tell=logging.getLogger("ringfence"))
    assert (outcome.broken, outcome.recovered) == ("", 1)
    about = [line.partition(": ")[2] for line in outcome.log if "Failover of n4" in line]
    why = "admission webhook denied the request: policy not ready"
    assert about[:2] == [
        f"Node n4: the API server does not take the Failover of n4: {why}; it is tried again",
        f"HACluster default: the API server does not take the Failover of n4: {why}; it is tried again",
    ]
    assert about[2].startswith("Node n4: the API server has taken the Failover of n4, at try ")
    assert len(about) == 3


def test_a_device_that_lies_to_the_own_loops_breaks_the_invariant_about_proofs() -> None:
    """One proof is all that this zone asks for: whoever lies there does harm, and the simulator sees it."""
    outcome = led("1.0 isolate n4", "3.0 bmc n4 says-off", end=30.0)
    assert outcome.number == "5", outcome.broken


def test_the_real_ring_finds_a_dead_node_and_the_own_loops_bring_its_vms_back() -> None:
    acts = (Act(1.0, ("power-cut", "n4")), Act(25.0, ("end",)))
    outcome = play(replace(calm(), acts=acts), real=True, ring=True)
    assert (outcome.broken, outcome.incidents, outcome.recovered) == ("", 1, 1)
    held = next(line for line in outcome.log if "Holding: n4 is down: 4 of 4 peers" in line)
    assert float(held.split()[0]) < 3.0
