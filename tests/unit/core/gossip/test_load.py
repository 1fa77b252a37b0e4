"""What an agent doesn't say, so that load stays bounded when very many are doubted or a paused agent wakes."""

from __future__ import annotations

import tracemalloc

import pytest

from ringfence.core.gossip.budget import BURST, OVERSPENT, RATE, Budget
from ringfence.core.gossip.rounds import ASKED_ANEW, CLOSE, KEEP, Round, spent
from ringfence.core.gossip.subject import Subject, raw_boot
from ringfence.core.gossip.wire import Message
from ringfence.core.model import RingState
from unit.core.gossip.test_refused import ASK, NOW, THIEF, datagram, machine, small, vote

T0 = 50.0


@pytest.mark.parametrize("message", [ASK, vote("n2")], ids=["question", "vote"])
@pytest.mark.parametrize(
    ("waited", "joined"), [(0.0, 1), (ASKED_ANEW - 0.01, 1), (ASKED_ANEW + 0.01, 0), (10.0, 0)]
)
def test_who_wakes_takes_no_part_in_rounds_that_are_long_over(
    message: Message, waited: float, joined: int
) -> None:
    swim = machine(small())
    swim.receive(datagram(message), THIEF, NOW, at=NOW - waited)
    assert sum(len(one.rounds) for one in swim.subjects) == joined
    assert not [count for reason, count in swim.stats.items() if reason.startswith("drop")]


def test_a_budget_is_exhausted_before_it_is_overspent_and_recovers_as_it_leaks() -> None:
    budget = Budget()
    assert not budget.exhausted(T0)
    budget.spend(int(BURST), T0)
    assert (budget.exhausted(T0), budget.overspent(T0)) == (True, False)
    budget.spend(int(OVERSPENT), T0)
    assert budget.overspent(T0)
    until_leaked = (BURST + 0.5) / RATE
    assert (budget.exhausted(T0 + until_leaked), budget.overspent(T0 + until_leaked)) == (True, False)
    assert not budget.exhausted(T0 + until_leaked + (OVERSPENT - BURST) / RATE)


def test_rounds_that_are_over_give_room_and_those_that_are_open_stay() -> None:
    boot = small().members[0].boot
    old, over, latest, open_yet = (
        Round(bytes(8), boot, T0 - age) for age in (KEEP + 1, 2 * CLOSE, 1.5 * CLOSE, CLOSE / 2)
    )
    assert spent([open_yet, latest, over, old], 8, T0) == [old]
    assert spent([open_yet, latest, over], 3, T0) == [over]
    assert spent([open_yet, latest, over], 2, T0) == [over, latest]
    assert spent([open_yet], 1, T0) == []


def test_a_member_that_has_only_answered_costs_less_than_a_kilobyte() -> None:
    """In time an agent has met everybody: of 5,000 members that is 4 MB, where it was 14."""
    member = small().members[0]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    met = [Subject(member, member.boot, raw_boot(member.boot_id), RingState.UNKNOWN, T0) for _ in range(1000)]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / len(met) < 1000
