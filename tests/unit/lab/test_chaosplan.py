"""Plans of chaos are a function of seed and number, deal out everything, and call their ends by what was said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.bmc import MODES as ALL_MODES
from lab.chaosplan import (
    LONGEST_LATE,
    MODES,
    STANDS,
    Deed,
    End,
    Incident,
    Kind,
    Place,
    Plan,
    Result,
    Sight,
    acts,
    draw,
    judge,
    summed,
)
from ringfence.core.failover.phase import Phase
from ringfence.fencing.redfish import CARRYING_OUT

seeds = st.integers(min_value=0, max_value=2**32)
numbers = st.integers(min_value=0, max_value=10_000)


@given(seeds, numbers)
def test_the_same_seed_and_number_are_the_same_plan(seed: int, number: int) -> None:
    assert draw(seed, number) == draw(seed, number)
    assert str(draw(seed, number)) == str(draw(seed, number))


def test_another_seed_is_another_run() -> None:
    assert [draw(1, n).faults for n in range(14)] != [draw(2, n).faults for n in range(14)]


@given(seeds)
@settings(max_examples=20)
def test_everything_is_drawn_within_a_hundred_cycles(seed: int) -> None:
    plans = [draw(seed, number) for number in range(100)]
    assert {plan.kind for plan in plans} == set(Kind)
    assert {fault.mode for plan in plans if plan.kind is Kind.BMC for fault in plan.faults} >= set(MODES)
    assert {fault.deed for plan in plans for fault in plan.faults} == set(Deed)
    assert [plan.storage for plan in plans].count("block") == 50


@given(seeds, numbers)
def test_any_seven_cycles_of_a_round_have_every_kind(seed: int, turn: int) -> None:
    first = turn * len(Kind)
    assert {draw(seed, n).kind for n in range(first, first + len(Kind))} == set(Kind)


@given(seeds, numbers)
def test_a_plan_can_be_played(seed: int, number: int) -> None:
    plan = draw(seed, number)
    assert plan.faults[0].at == 0
    assert len(plan.faults) == (2 if plan.kind in (Kind.TWO, Kind.BMC) else len(plan.faults)) <= 2
    assert acts(plan)[-1].at <= 30, "a cycle is short"
    for fault in plan.faults:
        assert (fault.mode != "") == (fault.deed is Deed.BMC)
        if fault.deed is Deed.FREEZE:
            assert fault.lasts is not None
    if plan.kind is Kind.TWO:
        assert len({fault.deed for fault in plan.faults}) == 2


@given(seeds, numbers)
def test_a_fault_ends_after_it_began(seed: int, number: int) -> None:
    plan = draw(seed, number)
    told = [(act.fault, act.begins) for act in acts(plan)]
    for fault in plan.faults:
        begun = told.index((fault, True))
        assert ((fault, False) in told) == (fault.lasts is not None)
        if fault.lasts is not None:
            assert told.index((fault, False)) > begun


def test_no_bmc_lies_and_none_is_later_than_an_order_may_last() -> None:
    assert set(MODES) == set(ALL_MODES) - {"ok", "lie"}
    assert LONGEST_LATE <= CARRYING_OUT


def test_a_plan_says_what_it_does() -> None:
    plan = next(p for n in range(100) if (p := draw(1, n)).kind is Kind.BMC and "slow" in str(p))
    assert str(plan).startswith(f"seed 1 cycle {plan.number}: {plan.storage} volume, BMC mode: ")
    assert "bmc slow " in str(plan)


# --- ends -------------------------------------------------------------------------------------------------

CALM = Sight((), frozenset(), stricken=False, watched=True, said="n1 is Healthy")


def seen(phase: str, since: float = 30.0, **more: Any) -> Sight:
    return replace(CALM, incidents=(Incident("n1", phase, f"says {phase}", since, **more),))


@pytest.mark.parametrize(
    ("phase", "end"),
    [
        (Phase.RECOVERED, End.RECOVERED),
        (Phase.CLOSED, End.RECOVERED),
        (Phase.AWAITING_CONFIRMATION, End.WAITING),
        (Phase.HELD, End.REFUSED),
        (Phase.WITHDRAWN, End.REFUSED),
        (Phase.FENCING, End.WAITING),
    ],
)
def test_an_end_is_called_by_the_phase_and_told_by_its_sentence(phase: Phase, end: End) -> None:
    assert judge(seen(phase)) == (end, f"says {phase}")


@pytest.mark.parametrize("phase", ["", Phase.HOLDING, Phase.RECOVERING])
def test_what_is_under_way_is_no_end(phase: str) -> None:
    assert judge(seen(phase)) is None


def test_a_hold_between_two_leaders_is_no_end() -> None:
    assert judge(seen(Phase.HELD, since=STANDS / 2)) is None
    assert judge(seen(Phase.AWAITING_CONFIRMATION, since=STANDS / 2)) is None


def test_a_fence_that_was_ordered_is_under_way() -> None:
    assert judge(seen(Phase.FENCING, orders=1)) is None


def test_a_wait_without_a_sentence_is_none() -> None:
    mute = replace(CALM, incidents=(Incident("n1", Phase.AWAITING_CONFIRMATION, "", 30),))
    assert judge(mute) is None


def test_a_launcher_on_a_broken_node_waits() -> None:
    end = judge(seen(Phase.RECOVERING, home_broken=True))
    assert end is not None
    assert end[0] is End.WAITING


def test_whoever_waits_tells_for_all() -> None:
    both = replace(
        CALM,
        incidents=(
            Incident("n1", Phase.RECOVERED, "a", 9),
            Incident("n2", Phase.AWAITING_CONFIRMATION, "b", 9),
        ),
    )
    assert judge(both) == (End.WAITING, "b")


def test_nothing_happens_to_a_node_that_lives() -> None:
    assert judge(CALM) == (End.REFUSED, "nothing called for it: n1 is Healthy")
    assert judge(replace(CALM, watched=False)) is None, "it is early yet"


def test_a_withdrawn_failover_is_watched_before_it_is_the_end() -> None:
    assert judge(replace(seen(Phase.WITHDRAWN), watched=False)) is None


def test_silence_about_a_node_that_is_down_is_no_end() -> None:
    assert judge(replace(CALM, stricken=True, out=frozenset({"n1"}))) is None


def test_the_minority_acts_on_nothing() -> None:
    end = judge(replace(CALM, stricken=True, out=frozenset({"n1", "n2"})))
    assert end is not None
    assert end[0] is End.REFUSED
    assert "n1, n2" in end[1]


def test_a_failover_that_nobody_leads_any_more_is_refused_too() -> None:
    """The second node went while the first one's hold ran: who is left may not lead, so nothing is written any more."""
    two = replace(CALM, stricken=True, out=frozenset({"n1", "n2"}))
    assert judge(replace(two, incidents=seen(Phase.HOLDING, since=5).incidents)) is None
    end = judge(replace(two, incidents=seen(Phase.HOLDING).incidents))
    assert end is not None
    assert end[0] is End.REFUSED


# --- the sum ----------------------------------------------------------------------------------------------

PLAN = draw(7, 0)


def test_the_last_line() -> None:
    results = [
        Result(PLAN, End.RECOVERED, "a"),
        Result(PLAN, End.RECOVERED, "a", broken=("two writers", "and a taint")),
        Result(PLAN, End.WAITING, "b"),
        Result(PLAN, End.STUCK, "c"),
        Result(PLAN, End.REFUSED, "d"),
    ]
    assert summed(results) == "chaos: cycles=5 overlaps=1 stuck=1 recovered=2 waiting=1 refused=1"
    assert [result.failed for result in results] == [False, True, False, True, False]


@given(st.lists(st.sampled_from(End)))
def test_every_cycle_is_in_the_sum_once(ends: list[End]) -> None:
    line = summed([Result(PLAN, end, "") for end in ends])
    words = dict(word.split("=") for word in line.removeprefix("chaos: ").split())
    assert int(words["cycles"]) == len(ends) == sum(int(words[end]) for end in End)
    assert words["overlaps"] == "0"


def test_a_plan_that_spares_the_vms_node_must_leave_the_vm_alone() -> None:
    plans: list[Plan] = [draw(3, number) for number in range(100)]
    spared = [plan for plan in plans if plan.spares_vm]
    assert {plan.kind for plan in spared} >= {Kind.FREEZE, Kind.KUBELET, Kind.LEADER, Kind.CUT}
    assert not any(plan.spares_vm for plan in plans if plan.kind is Kind.BMC)
    assert {fault.place for plan in plans for fault in plan.faults} == set(Place)
    for plan in spared:
        assert not any(f.is_outage and f.place is Place.VM for f in plan.faults)
