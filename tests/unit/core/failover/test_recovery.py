"""Deletions in their order, and each VM followed to its end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.api.v1alpha1.failover import FailoverVM
from ringfence.core import timing
from ringfence.core.failover.record import PodRef, VmRecord, VmState
from ringfence.core.failover.recovery import (
    DeletePod,
    DeleteVmi,
    FreeLeadership,
    PodLook,
    PodRole,
    RecoveryCommand,
    RequestStart,
    VmiLook,
    VmLook,
    covered,
    deletions,
    follow,
)

WAS = VmRecord("vms", "db", "vm-1", "vmi-1", "pod-1")
RELEASED = replace(WAS, state=VmState.RELEASED, released_wall=50.0)
STUCK = replace(RELEASED, state=VmState.STUCK)
SEEN = VmLook("vms", "db", "vm-1", True, "Always", False, None)
START = RequestStart("vms", "db", "vm-1")


def vmi(uid: str = "vmi-2", phase: str = "Scheduled", node: str = "n2", **more: object) -> VmiLook:
    return replace(VmiLook(uid, phase, node), **more)  # type: ignore[arg-type]


def go(
    record: VmRecord, look: VmLook | None, *, gone: bool = True
) -> tuple[VmState, tuple[RecoveryCommand, ...]]:
    after, asks = follow(record, look, "n1", gone, 60.0)
    return after.state, asks


def pod(name: str, role: PodRole, *, protected: bool = False) -> PodLook:
    return PodLook(PodRef("ns", name, f"uid-{name}"), role, protected=protected)


PODS = (
    pod("launcher", PodRole.LAUNCHER, protected=True),
    pod("other-launcher", PodRole.LAUNCHER),
    pod("hotplug", PodRole.HOTPLUG, protected=True),
    pod("importer", PodRole.HOLDER, protected=True),
    pod("handler", PodRole.INFRASTRUCTURE),
    pod("web", PodRole.OTHER),
    pod("vc", PodRole.VIRT_CONTROLLER),
    pod("api", PodRole.VIRT_API),
)


def test_a_proof_covers_infrastructure_and_the_incidents_vms_only() -> None:
    assert [ref.name for ref in covered(PODS)] == [
        "api",
        "vc",
        "handler",
        "hotplug",
        "importer",
        "launcher",
    ]


def test_one_class_of_pods_after_the_other() -> None:
    cover, left, order = covered(PODS), list(PODS), []
    while due := deletions(tuple(left), cover, force=True):
        deleted = [d for d in due if isinstance(d, DeletePod)]
        assert all(d.force for d in deleted)
        order.append([d.ref.name for d in deleted])
        left = [p for p in left if p.ref not in {d.ref for d in deleted}]
    assert order == [["api"], ["vc"], ["handler"], ["hotplug"], ["importer", "launcher"]]
    assert [p.ref.name for p in left] == ["other-launcher", "web"]


def test_a_dead_controllers_leadership_is_freed_but_not_that_of_one_that_may_run_again() -> None:
    only = (pod("vc", PodRole.VIRT_CONTROLLER),)
    delete = DeletePod(only[0].ref, force=True)
    assert deletions(only, covered(only), force=True) == (delete, FreeLeadership("ns", "vc"))
    assert deletions(only, covered(only), force=False) == (replace(delete, force=False),)


def test_a_pod_of_the_same_name_but_another_uid_is_not_covered() -> None:
    again = replace(PODS[0], ref=PodRef("ns", "launcher", "uid-new"))
    assert deletions((again,), covered(PODS), force=True) == ()
    assert deletions(PODS[:1], covered(PODS), force=False) == (DeletePod(PODS[0].ref, force=False),)


def test_nothing_is_asked_while_the_old_launcher_stands() -> None:
    assert go(WAS, SEEN, gone=False) == (VmState.PENDING, ())
    assert go(WAS, replace(SEEN, vmi=vmi("vmi-1", "Failed", "n1")), gone=False) == (VmState.PENDING, ())


@pytest.mark.parametrize("record", [WAS, RELEASED, STUCK])
@pytest.mark.parametrize(
    "look",
    [None, replace(SEEN, exists=False), replace(SEEN, stopped_by_user=True)],
    ids=["none", "gone", "stop"],
)
def test_a_vm_that_its_user_stopped_or_deleted_is_left_alone(record: VmRecord, look: VmLook | None) -> None:
    assert go(record, look) == (VmState.LEFT, ())
    assert go(record, look, gone=False) == (VmState.LEFT, ())


@pytest.mark.parametrize(
    ("instance", "state"),
    [
        (None, VmState.RELEASED),
        (vmi("vmi-1", "Running", "n1"), VmState.RELEASED),
        (vmi("vmi-1", "Failed", "n1"), VmState.RELEASED),
        (vmi(phase="Pending", node=""), VmState.STARTING),
        (vmi(phase="Scheduled"), VmState.STARTING),
        (vmi(phase="Running", node=""), VmState.STARTING),
        (vmi(phase="Running", node="n1"), VmState.STARTING),
        (vmi(phase="Running"), VmState.RUNNING),
        (vmi(phase="Running", deleting=True), VmState.STARTING),
        (vmi("vmi-1", "Running", "n2"), VmState.RUNNING),
    ],
)
def test_success_is_an_instance_running_on_another_node(instance: VmiLook | None, state: VmState) -> None:
    assert go(WAS, replace(SEEN, vmi=instance)) == (state, ())


def test_what_happens_after_success_is_not_this_incidents_business() -> None:
    ran, _ = follow(WAS, replace(SEEN, vmi=vmi(phase="Running")), "n1", True, 60.0)
    assert (ran.new_node, ran.running_wall, ran.released_wall) == ("n2", 60.0, 60.0)
    again, asks = follow(ran, replace(SEEN, vmi=vmi("vmi-3", "Failed")), "n1", True, 70.0)
    assert (again, asks) == (ran, ())


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
@pytest.mark.parametrize(
    ("strategy", "asks"),
    [
        ("Always", ()),
        ("RerunOnFailure", ()),
        ("Manual", (replace(START, stop_uid="vmi-1"),)),
        ("Once", (DeleteVmi("vms", "db", "vmi-1"),)),
    ],
)
def test_the_old_instance_by_run_strategy(
    phase: str, strategy: str, asks: tuple[RecoveryCommand, ...]
) -> None:
    look = replace(SEEN, run_strategy=strategy, vmi=vmi("vmi-1", phase, "n1"))
    assert go(RELEASED, look) == (VmState.RELEASED, asks)


def test_nothing_is_asked_twice() -> None:
    manual = replace(SEEN, run_strategy="Manual", start_requested=True, vmi=vmi("vmi-1", "Failed", "n1"))
    assert go(RELEASED, manual) == (VmState.RELEASED, ())
    once = replace(SEEN, run_strategy="Once", vmi=vmi("vmi-1", "Failed", "n1", deleting=True))
    assert go(RELEASED, once) == (VmState.RELEASED, ())


def test_an_instance_that_failed_on_the_old_ones_lock_is_deleted_by_uid_once() -> None:
    refused = vmi(lock_refused_for=timing.STUCK_AFTER)
    assert go(RELEASED, replace(SEEN, vmi=refused)) == (VmState.STUCK, (DeleteVmi("vms", "db", "vmi-2"),))
    assert go(RELEASED, replace(SEEN, vmi=replace(refused, deleting=True))) == (VmState.STUCK, ())
    late = replace(refused, phase="Running", lock_refused_for=None, deleting=True)
    assert go(STUCK, replace(SEEN, vmi=late)) == (VmState.STUCK, ())
    young = vmi(lock_refused_for=timing.STUCK_AFTER - 0.1)
    assert go(RELEASED, replace(SEEN, vmi=young)) == (VmState.STARTING, ())


@pytest.mark.parametrize(
    ("strategy", "asks"),
    [("Always", ()), ("Once", ()), ("RerunOnFailure", (START,)), ("Manual", (START,))],
)
def test_who_needs_a_start_after_a_stuck_instance_is_gone(
    strategy: str, asks: tuple[RecoveryCommand, ...]
) -> None:
    look = replace(SEEN, run_strategy=strategy)
    assert go(STUCK, look) == (VmState.STUCK, asks)
    assert go(STUCK, replace(look, start_requested=True)) == (VmState.STUCK, ())
    assert go(STUCK, replace(look, stopped_by_user=True)) == (VmState.LEFT, ())


def test_one_that_no_node_takes_waits_with_the_schedulers_reason() -> None:
    look = replace(SEEN, vmi=vmi(phase="Scheduling", node="", unschedulable="0/3 nodes are available"))
    after, asks = follow(RELEASED, look, "n1", True, 60.0)
    assert (after.state, after.message, asks) == (
        VmState.WAITING,
        "no node takes it: 0/3 nodes are available",
        (),
    )


def test_the_dead_nodes_next_boot_may_take_it_but_nothing_old_counts_as_running_there() -> None:
    waiting = replace(RELEASED, state=VmState.WAITING)
    back = replace(SEEN, vmi=vmi(phase="Running", node="n1"))
    assert follow(waiting, back, "n1", True, 60.0, later_boot=True)[0].state is VmState.RUNNING
    assert follow(waiting, back, "n1", True, 60.0)[0].state is not VmState.RUNNING
    old = replace(SEEN, vmi=vmi("vmi-1", "Running", "n1"))
    assert follow(waiting, old, "n1", True, 60.0, later_boot=True)[0].state is not VmState.RUNNING


def test_what_is_said_to_run_on_another_lost_node_does_not_count() -> None:
    look = replace(SEEN, vmi=vmi("vmi-1", "Running", "n2", on_lost_node=True))
    assert go(RELEASED, look)[0] is not VmState.RUNNING


def test_a_vm_that_kubevirt_leaves_to_a_person_waits_and_says_so() -> None:
    look = replace(SEEN, vmi=vmi("vmi-1", "Failed", "n1"), blocked="a person has to recover it")
    after, asks = follow(RELEASED, look, "n1", True, 60.0)
    assert (after.state, after.message, asks) == (VmState.WAITING, "a person has to recover it", ())


def test_one_that_was_stuck_when_it_began_to_wait_for_a_person_is_started_afterwards() -> None:
    """Its stuck instance is deleted, and KubeVirt starts what only reruns on failure no more by itself."""
    look = replace(SEEN, run_strategy="RerunOnFailure", blocked="a person has to recover it")
    waits, asks = follow(STUCK, look, "n1", True, 60.0)
    assert (waits.message, asks) == ("a person has to recover it", ())
    assert follow(waits, replace(look, blocked=""), "n1", True, 60.0)[1] == (START,)


def test_a_snapshot_that_was_under_way_holds_nobody_up_and_is_told_to_the_end() -> None:
    taken = replace(SEEN, snapshot="nightly")
    waits, asks = follow(WAS, taken, "n1", False, 60.0)
    assert (waits.state, asks) == (VmState.PENDING, ())
    assert waits.leftover.startswith("snapshot nightly was under way meanwhile: ")
    runs, _ = follow(waits, replace(SEEN, vmi=vmi(phase="Running")), "n1", True, 60.0)
    assert (runs.state, runs.leftover) == (VmState.RUNNING, waits.leftover), "it has ended since"
    again, _ = follow(runs, replace(SEEN, vmi=vmi(phase="Running"), snapshot="noon"), "n1", True, 60.0)
    assert again == runs, "one that was begun while it runs is as good as any"


def test_of_a_vm_that_waits_for_weeks_not_every_snapshot_is_told() -> None:
    """The record has to be stored: the API server refuses a longer text, and then nothing of the incident is stored any more."""
    waits = replace(WAS, state=VmState.WAITING)
    for hour in range(1000):
        waits, _ = follow(waits, replace(SEEN, snapshot=f"hourly-{hour}".ljust(253, "x")), "n1", True, 60.0)
    longest = FailoverVM.model_json_schema(by_alias=True)["properties"]["leftover"]["anyOf"][0]["maxLength"]
    assert len(waits.leftover) <= longest
    assert waits.leftover.startswith("snapshot hourly-0xxx")
    assert waits.leftover.endswith("; and more since")


def test_no_start_is_asked_for_while_disks_are_put_back_to_a_snapshot() -> None:
    look = replace(SEEN, run_strategy="RerunOnFailure", restore="to-monday")
    waits, asks = follow(STUCK, look, "n1", True, 60.0)
    assert asks == ()
    assert waits.message.startswith("restore to-monday is putting its disks back")
    assert follow(waits, replace(look, restore=""), "n1", True, 60.0)[1] == (START,)
    assert go(RELEASED, replace(SEEN, restore="to-monday")) == (VmState.WAITING, ())


@pytest.mark.parametrize(
    "look",
    [replace(SEEN, restore="to-monday"), replace(SEEN, blocked="a person has to see to it")],
    ids=["a restore", "a person"],
)
def test_what_a_vm_has_waited_for_is_not_told_when_it_is_over(look: VmLook) -> None:
    waits, _ = follow(RELEASED, look, "n1", True, 60.0)
    over = SEEN
    assert waits.state is VmState.WAITING
    goes_on, asks = follow(waits, over, "n1", True, 61.0)
    assert (goes_on.state, goes_on.message, asks) == (VmState.RELEASED, "the old launcher is gone", ())
    held, _ = follow(waits, replace(over, held_up="its DataVolumes are not there yet"), "n1", True, 61.0)
    assert held.message == "the old launcher is gone; its DataVolumes are not there yet"
    stuck, _ = follow(STUCK, look, "n1", True, 60.0)
    told, _ = follow(stuck, over, "n1", True, 61.0)
    assert (told.state, told.message) == (
        VmState.STUCK,
        "the new instance failed on the old one's image lock",
    )
    requested = replace(over, run_strategy="Manual", start_requested=True)
    assert follow(stuck, requested, "n1", True, 61.0)[0].message == "a start is requested"


def test_a_restore_that_waits_for_the_dead_instance_to_go_does_not_keep_it() -> None:
    """It begins only when there is no instance: if each waited for the other, nothing would ever happen."""
    ended = replace(SEEN, run_strategy="Once", restore="to-monday", vmi=vmi("vmi-1", "Failed", "n1"))
    after, asks = follow(RELEASED, ended, "n1", True, 60.0)
    assert asks == (DeleteVmi("vms", "db", "vmi-1"),)
    runs, _ = follow(after, replace(ended, vmi=vmi(phase="Running")), "n1", True, 60.0)
    assert runs.leftover.startswith("restore to-monday has begun and waits for it to be stopped: ")


def test_what_a_start_waits_for_is_told() -> None:
    held = replace(SEEN, held_up="its claim db is in use by pod virt-export-db on n3")
    released, _ = follow(RELEASED, held, "n1", True, 60.0)
    assert released.message == f"the old launcher is gone; {held.held_up}"
    starts, _ = follow(released, replace(held, vmi=vmi(phase="Scheduling", node="")), "n1", True, 60.0)
    assert (starts.state, starts.message) == (
        VmState.STARTING,
        f"its new instance is Scheduling; {held.held_up}",
    )


@pytest.mark.parametrize(
    ("strategy", "ask"),
    [
        ("Always", ()),
        ("RerunOnFailure", ()),
        ("Manual", (replace(START, stop_uid="vmi-2"),)),
        ("Once", (DeleteVmi("vms", "db", "vmi-2"),)),
    ],
)
def test_a_failed_start_is_tried_again_with_a_pause_where_kubevirt_does_not(
    strategy: str, ask: tuple[RecoveryCommand, ...]
) -> None:
    look = replace(SEEN, run_strategy=strategy, vmi=vmi(phase="Failed"))
    failed, asks = follow(RELEASED, look, "n1", True, 60.0)
    assert (failed.state, failed.failures, asks) == (VmState.STARTING, 1, ())
    again, asks = follow(failed, look, "n1", True, 60.0 + timing.START_BACKOFF[0])
    assert (again.failures, asks) == (1, ask), "one instance fails once"


def test_a_vm_that_fails_too_often_is_given_up_until_it_runs_after_all() -> None:
    record = RELEASED
    for number in range(timing.START_TRIES):
        look = replace(SEEN, run_strategy="Manual", vmi=vmi(f"vmi-{number + 2}", "Failed"))
        record, asks = follow(record, look, "n1", True, 60.0)
    assert (record.state, record.state.settled, asks) == (VmState.FAILED, True, ())
    assert "5 starts have failed" in record.message
    assert follow(RELEASED, replace(look, failures=5), "n1", True, 60.0)[0].state is VmState.FAILED
    assert go(record, replace(SEEN, vmi=vmi("vmi-9", "Running")))[0] is VmState.RUNNING


def test_a_stuck_instance_that_we_deleted_is_no_failed_start() -> None:
    look = replace(SEEN, vmi=vmi(phase="Failed", deleting=True))
    assert follow(RELEASED, look, "n1", True, 60.0)[0].failures == 0
    stuck = follow(RELEASED, replace(SEEN, vmi=vmi(lock_refused_for=9.0)), "n1", True, 60.0)[0]
    assert stuck.state is VmState.STUCK
    assert follow(stuck, replace(SEEN, vmi=vmi(phase="Failed")), "n1", True, 60.0)[0].failures == 0
