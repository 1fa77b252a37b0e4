"""Who may restart now, told by small incidents."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.core import timing
from ringfence.core.detection.verdict import Judgement
from ringfence.core.failover import planner
from ringfence.core.failover.look import Look
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import PodRef, Record, VmRecord, VmState
from ringfence.core.failover.recovery import DeletePod, PodLook, PodRole, VmiLook, VmLook
from ringfence.core.model import Boot, Verdict

PROVED_AT = 10.0


def vm(name: str, state: VmState = VmState.PENDING, released: float | None = None) -> VmRecord:
    return VmRecord(
        "default", name, f"vm-{name}", f"vmi-{name}", f"pod-{name}", state, released_wall=released
    )


def wish(name: str, priority: int = 100, *after: str, node: str = "", stopped: bool = False) -> VmLook:
    vmi = VmiLook("new", "Scheduled", node) if node else VmiLook(f"vmi-{name}", "Running", "n1")
    return VmLook(
        "default",
        name,
        f"vm-{name}",
        exists=True,
        run_strategy="Always",
        stopped_by_user=stopped,
        vmi=vmi,
        priority=priority,
        after=tuple(("default", other) for other in after),
    )


def record_of(*vms: VmRecord) -> Record:
    boot = Boot("n1", "uid", "boot")
    return Record(
        "n1-1",
        boot,
        Phase.RECOVERING,
        "",
        doubted_wall=0.0,
        started_wall=0.0,
        vms=vms,
        timings=(("proof", PROVED_AT),),
    )


def look_of(
    *looks: VmLook,
    gone: tuple[str, ...] = (),
    room: int = 8,
    wall: float = PROVED_AT,
    unready: tuple[str, ...] = (),
) -> Look:
    pods = tuple(
        PodLook(PodRef("default", f"pod-{v.name}", f"pod-{v.name}"), PodRole.LAUNCHER, f"vmi-{v.name}")
        for v in looks
        if v.name not in gone
    )
    return Look(
        now=wall, wall=wall, leader="a", epoch=1, judgement=Judgement(Verdict.DOWN, ""), limit=None,
        limit_when_found_off=None, hold_over=True, life_at=0.0, life_sign="", node_exists=True, current_boot_id="boot",
        node_ready=False, suspect_taint=True, out_of_service_taint=True, levels=(), proofs_required=1, pods=pods, vms=looks,
        affected=(), confirmation=None, power_on=True, room=room, unready=frozenset(("default", name) for name in unready),
    )  # fmt: skip


def waiting(record: Record, look: Look) -> dict[str, str]:
    return {name: why for (_, name), why in planner.waits(record, look).items()}


def test_equals_go_together() -> None:
    record = record_of(vm("a"), vm("b"), vm("c"))
    assert waiting(record, look_of(wish("a"), wish("b"), wish("c"))) == {}


def test_no_more_than_there_is_room_for_and_the_first_by_name_go_first() -> None:
    record = record_of(*(vm(f"v{n}") for n in range(5)))
    told = waiting(record, look_of(*(wish(f"v{n}") for n in range(5)), room=2))
    assert set(told) == {"v2", "v3", "v4"}
    assert "waits its turn" in told["v2"]


def test_one_that_runs_or_takes_too_long_gives_its_place_back() -> None:
    looks = (wish("a", node="n2"), wish("b"), wish("c"))
    lately, long_ago = PROVED_AT + 50 - 1, PROVED_AT + 50 - timing.START_COUNTS
    for state, released, waits in (
        (VmState.STARTING, lately, {"b", "c"}),
        (VmState.STARTING, long_ago, {"c"}),
        (VmState.RUNNING, lately, {"c"}),
        (VmState.WAITING, lately, {"c"}),
    ):
        record = record_of(vm("a", state, released), vm("b"), vm("c"))
        look = look_of(*looks, gone=("a",), room=1, wall=PROVED_AT + 50)
        assert set(waiting(record, look)) == waits, state


def test_the_lower_waits_until_the_higher_has_a_node_or_none_takes_it() -> None:
    low, high = wish("low", 10), wish("high", 900)
    assert set(waiting(record_of(vm("low"), vm("high")), look_of(low, high))) == {"low"}
    let_go = vm("high", VmState.RELEASED, PROVED_AT)
    assert set(waiting(record_of(vm("low"), let_go), look_of(low, high, gone=("high",)))) == {"low"}
    placed = replace(let_go, state=VmState.STARTING)
    assert (
        waiting(record_of(vm("low"), placed), look_of(low, wish("high", 900, node="n2"), gone=("high",)))
        == {}
    )
    unplaceable = replace(let_go, state=VmState.WAITING)
    assert waiting(record_of(vm("low"), unplaceable), look_of(low, high, gone=("high",))) == {}
    late = look_of(low, high, gone=("high",), wall=PROVED_AT + timing.PLACED_WITHIN)
    assert waiting(record_of(vm("low"), let_go), late) == {}


def test_a_launcher_that_is_bound_has_a_node_long_before_kubevirt_says_so() -> None:
    """It says ``nodeName`` when the launcher has started: the room is taken some three seconds before."""
    low, high = wish("low", 10), wish("high", 900)
    let_go = vm("high", VmState.STARTING, PROVED_AT)
    record = record_of(vm("low"), let_go)
    begun = replace(high, vmi=VmiLook("new", "Scheduling", ""))
    assert set(waiting(record, look_of(low, begun, gone=("high",)))) == {"low"}
    bound = replace(high, vmi=VmiLook("new", "Scheduling", "", bound=True))
    assert waiting(record, look_of(low, bound, gone=("high",))) == {}
    of_before = replace(high, vmi=VmiLook("vmi-high", "Running", "n1", bound=True))
    assert set(waiting(record, look_of(low, of_before, gone=("high",)))) == {"low"}, (
        "the old launcher's node says nothing"
    )


def test_a_launcher_that_is_gone_this_moment_counts_as_let_go() -> None:
    """Between two looks: nobody is let go because the one before is neither here nor there."""
    low, high = wish("low", 10), wish("high", 900)
    assert set(waiting(record_of(vm("low"), vm("high")), look_of(low, high, gone=("high",)))) == {"low"}


@pytest.mark.parametrize(
    ("state", "unready", "waits"),
    [
        (VmState.PENDING, (), True),
        (VmState.STARTING, (), True),
        (VmState.RUNNING, ("db",), True),
        (VmState.RUNNING, (), False),
        (VmState.LEFT, ("db",), False),
        (VmState.FAILED, ("db",), False),
        (VmState.WAITING, ("db",), False),
    ],
)
def test_what_depends_on_another_waits_until_that_is_ready(
    state: VmState, unready: tuple[str, ...], waits: bool
) -> None:
    released = None if state is VmState.PENDING else PROVED_AT
    record = record_of(vm("app"), vm("db", state, released))
    gone = () if state is VmState.PENDING else ("db",)
    look = look_of(
        wish("app", 100, "db"), wish("db", node="" if gone == () else "n2"), gone=gone, unready=unready
    )
    assert ("app" in waiting(record, look)) is waits


def test_a_dependency_outside_the_incident_is_waited_for_too_but_not_for_ever() -> None:
    record = record_of(vm("app"))
    looks = wish("app", 100, "db")
    assert waiting(record, look_of(looks, unready=("db",))) == {"app": "waits for db to be ready"}
    assert waiting(record, look_of(looks)) == {}
    late = PROVED_AT + timing.DEPENDENCY_WAIT
    assert waiting(record, look_of(looks, unready=("db",), wall=late)) == {}


def test_what_an_important_vm_depends_on_goes_before_what_is_less_important_than_that() -> None:
    record = record_of(vm("app"), vm("db"), vm("mail"))
    looks = (wish("app", 900, "db"), wish("db", 10), wish("mail", 100))
    assert waiting(record, look_of(*looks)) == {
        "app": "waits for db to be ready",
        "mail": "waits until app has a node, which goes before it",
    }


def test_two_that_depend_on_each_other_wait_no_longer_than_any() -> None:
    record = record_of(vm("a"), vm("b"))
    looks = (wish("a", 100, "b"), wish("b", 100, "a"))
    assert set(waiting(record, look_of(*looks))) == {"a", "b"}
    assert waiting(record, look_of(*looks, wall=PROVED_AT + timing.DEPENDENCY_WAIT)) == {}


def test_nobody_waits_for_one_that_its_user_has_stopped() -> None:
    record = record_of(vm("low"), vm("high"))
    assert waiting(record, look_of(wish("low", 10), wish("high", 900, stopped=True))) == {}


def test_a_clock_that_was_set_back_makes_nobody_wait() -> None:
    high = vm("high", VmState.RELEASED, PROVED_AT)
    looks = (wish("low", 10), wish("high", 900), wish("app", 10, "db"))
    record = record_of(vm("low"), vm("app"), high)
    look = look_of(*looks, gone=("high",), wall=PROVED_AT - 3600, unready=("db",), room=2)
    assert waiting(record, look) == {}


def test_only_the_launchers_of_those_who_wait_stay() -> None:
    record = record_of(vm("a"), vm("b"))
    pods = [
        DeletePod(PodRef("default", f"pod-{name}", f"pod-{name}"), force=True) for name in ("a", "b", "x")
    ]
    due = planner.due_now(tuple(pods), record, {("default", "b"): "waits"})
    assert due == (pods[0], pods[2])


def test_one_may_always_go_whatever_starts_under_other_incidents() -> None:
    assert planner.room(3, 0) == 3 * timing.STARTS_PER_NODE
    assert planner.room(3, 20) == 3 * timing.STARTS_PER_NODE - 20
    assert planner.room(3, 200) == 1
    assert planner.room(0, 0) == timing.STARTS_PER_NODE
