"""The ladder: reads before orders, orders apart, whole levels."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.core import timing
from ringfence.core.fencing.chassis import Chassis
from ringfence.core.fencing.ladder import Ladder
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
    PoweredOff,
    PowerOffHow,
    Reading,
    SelfFenced,
    StorageCut,
)
from ringfence.core.fencing.rungs import DeviceLook
from ringfence.core.fencing.selffence import Leg, Promise, Roll, WatchdogLook
from ringfence.core.model import Boot, PowerState

NOW = 100.0
BOOT = Boot("n1", "uid-1", "boot-1")
ON, OFF = PowerState.ON, PowerState.OFF


def look(name: str = "bmc", *readings: tuple[PowerState, float]) -> DeviceLook:
    return DeviceLook(name, readings=tuple(Reading(s, at, at + 0.05) for s, at in readings))


def ladder(*levels: tuple[DeviceLook, ...], orders: tuple[Order, ...] = ()) -> Ladder:
    return Ladder(BOOT, levels, orders)


def order(at: float, attempt: int = 1, device: str = "bmc") -> Order:
    return Order(device, attempt, at, at + timing.ORDER_EFFECT)


READ_ON = look("bmc", (ON, NOW - 0.1))
FOUND = ((OFF, NOW - 0.5), (OFF, NOW - 0.1))


def test_a_device_is_read_before_it_is_ordered() -> None:
    assert ladder((look(),)).climb(NOW, 1).commands == (ReadPower("bmc"),)
    assert ladder((READ_ON,)).climb(NOW, 1).commands == (OrderOff("bmc", 1),)


def test_whom_it_reads_as_off_while_the_kernel_answers_is_not_believed() -> None:
    off, pdu = look("bmc", *FOUND), look("pdu", (ON, NOW - 0.1))
    answers = replace(ladder((off,)), answers=True, life_at=NOW)
    rung = answers.climb(NOW, 1)
    assert rung.exhausted
    assert rung.sentence == "bmc reads off, but the node's kernel answers"
    assert not replace(answers, life_at=NOW - 9.0, answers=False).climb(NOW, 1).exhausted

    one_supply = replace(answers, levels=((off, pdu),)).climb(NOW, 1)
    assert not one_supply.exhausted, "one of two supplies that is off says nothing of the node"
    obeyed = replace(answers, orders=(order(NOW - 1.0),)).climb(NOW, 1)
    assert not obeyed.exhausted, "it may have obeyed just now"


def test_whom_nobody_believes_keeps_no_other_from_ordering() -> None:
    """It says so with each reading, so its word would never be old enough. One that has been off in truth doesn't read off any more."""
    off = replace(look("bmc", *FOUND), called_off_at=NOW - 0.1)
    pdu = look("pdu", (ON, NOW - 0.1))
    known = (CalledOff("bmc", NOW + 119.0),)
    answers = replace(ladder((off,), (pdu,)), answers=True, life_at=NOW, called_off=known)
    assert OrderOff("pdu", 1) in answers.climb(NOW, 1).commands
    back = replace(off, readings=(*off.readings, Reading(ON, NOW - 0.05, NOW - 0.05)), back_on_at=NOW - 0.05)
    booting = replace(answers, levels=((back,), (pdu,)), begun=(Begun(1, NOW - 9.0), Begun(2, NOW - 9.0)))
    assert not [c for c in booting.climb(NOW, 1).commands if isinstance(c, OrderOff)]
    silent = replace(answers, answers=False, begun=booting.begun)
    assert not [c for c in silent.climb(NOW, 1).commands if isinstance(c, OrderOff)]


def test_an_old_on_is_read_again_first() -> None:
    old = look("bmc", (ON, NOW - timing.READ_FRESH - 0.1))
    assert ladder((old,)).climb(NOW, 1).commands == (ReadPower("bmc"),)


@pytest.mark.parametrize("state", [OFF, PowerState.TRANSITION])
def test_one_that_may_be_off_already_is_not_ordered(state: PowerState) -> None:
    rung = ladder((look("bmc", (state, NOW - 0.4)),)).climb(NOW, 1)
    assert rung.commands == (ReadPower("bmc"),)


@pytest.mark.parametrize("ordered", [False, True])
def test_one_that_stays_between_on_and_off_is_waited_for_as_long_as_a_boot_and_no_longer(
    *, ordered: bool
) -> None:
    """A BMC that has said `PoweringOff` for minutes: nobody is ordered by it, the next level has its turn, a person is called."""
    stuck = look("bmc", (PowerState.TRANSITION, NOW - 0.4))
    begun_at = NOW - timing.FOUND_OFF_BLACKOUT - (timing.ORDER_EFFECT if ordered else 0.0)
    orders = (order(begun_at),) if ordered else ()
    alone = replace(ladder((stuck,), orders=orders), begun=(Begun(1, begun_at),))
    assert alone.climb(NOW - 0.1, 1).commands == (ReadPower("bmc"),)
    over = alone.climb(NOW, 1)
    assert over.exhausted
    assert over.sentence == "bmc: stays in transition, neither on nor off"
    beside = replace(
        ladder((stuck,), (look("pdu", (ON, NOW - 0.1)),), orders=orders), begun=(Begun(1, begun_at),)
    )
    assert not any(isinstance(c, OrderOff) for c in beside.climb(NOW - 0.1, 1).commands)
    assert beside.climb(NOW, 1).commands == (ReadPower("bmc"), OrderOff("pdu", 1))


def test_looking_gives_no_orders() -> None:
    assert ladder((READ_ON,)).look(NOW).commands == ()
    assert ladder((look(),)).look(NOW).commands == (ReadPower("bmc"),)
    assert ladder((look("bmc", *FOUND),)).look(NOW).proofs != ()


def test_no_second_order_while_one_may_take_effect() -> None:
    sent = order(NOW - timing.ORDER_EFFECT + 0.1)
    rung = ladder((READ_ON,), orders=(sent,)).climb(NOW, 1)
    assert not any(isinstance(c, OrderOff) for c in rung.commands)
    assert not rung.exhausted
    later = ladder((READ_ON,), orders=(order(NOW - timing.ORDER_EFFECT),)).climb(NOW, 1)
    assert later.commands == (OrderOff("bmc", 2),)


def test_exhausted_after_all_tries() -> None:
    sent = tuple(order(NOW - 20.0 - 10.0 * n, n) for n in range(timing.ORDER_TRIES))
    rung = ladder((READ_ON,), orders=sent).climb(NOW, 1)
    assert rung.exhausted
    assert rung.commands == ()
    assert rung.sentence == "bmc: 2 orders to power off, still reads on"


def test_the_next_level_follows_a_level_tried_in_vain() -> None:
    sent = tuple(order(NOW - 20.0 - 10.0 * n, n) for n in range(timing.ORDER_TRIES))
    rung = ladder((READ_ON,), (look("pdu", (ON, NOW - 0.1)),), orders=sent).climb(NOW, 1)
    assert rung.commands == (OrderOff("pdu", 1),)


def test_nothing_to_climb() -> None:
    assert ladder().climb(NOW, 1).exhausted
    assert ladder(()).climb(NOW, 1).sentence == "no fence device reaches this node"


def test_called_off_is_a_blackout_for_orders() -> None:
    called = replace(READ_ON, called_off_at=NOW - timing.FOUND_OFF_BLACKOUT + 0.1)
    rung = ladder((called,)).climb(NOW, 1)
    assert not any(isinstance(c, OrderOff) for c in rung.commands)
    over = replace(READ_ON, called_off_at=NOW - timing.FOUND_OFF_BLACKOUT)
    assert ladder((over,)).climb(NOW, 1).commands == (OrderOff("bmc", 1),)


def test_an_unusable_device_is_never_used_and_spoils_its_level() -> None:
    bad = replace(look("bmc", *FOUND), unusable="identity mismatch")
    assert ladder((bad,)).look(NOW).commands == ()
    assert ladder((bad,)).look(NOW).proofs == ()
    rung = ladder((bad, look("pdu", (ON, NOW - 0.1)))).climb(NOW, 1)
    assert rung.commands == ()
    assert rung.exhausted
    assert rung.sentence == "bmc: identity mismatch"


def test_life_newer_than_the_readings_voids_them() -> None:
    dead = ladder((look("bmc", *FOUND),))
    assert dead.climb(NOW, 1).proofs != ()
    assert replace(dead, life_at=NOW - 0.3).climb(NOW, 1).proofs == ()
    assert replace(dead, life_at=NOW - 0.3).look(NOW).proofs == ()


def test_how_it_was_found() -> None:
    def how(*orders: Order) -> PowerOffHow:
        (proof,) = ladder((look("bmc", *FOUND),), orders=orders).climb(NOW, 1).proofs
        assert isinstance(proof, PoweredOff)
        return proof.how

    assert how() is PowerOffHow.FOUND
    assert how(order(NOW - 1.0)) is PowerOffHow.ORDERED
    assert how(order(NOW - 0.3)) is PowerOffHow.FOUND


def test_half_a_level_is_no_proof() -> None:
    """A node with two supplies is not off while one of them feeds it."""
    first, second = look("pdu-a", *FOUND), look("pdu-b", (ON, NOW - 0.1))
    rung = ladder((first, second)).climb(NOW, 1)
    assert rung.proofs == ()
    assert rung.commands == (OrderOff("pdu-b", 1),)
    sent = tuple(order(NOW - 20.0 - 10.0 * n, n, "pdu-b") for n in range(timing.ORDER_TRIES))
    failed = ladder((first, second), orders=sent).climb(NOW, 1)
    assert failed.exhausted
    assert failed.proofs == ()
    whole = ladder((first, look("pdu-b", *FOUND))).climb(NOW, 1)
    assert len(whole.proofs) == 2
    assert ladder((first, second)).look(NOW).proofs == ()


def test_two_methods_climb_on_to_the_next_level() -> None:
    done, next_ = look("bmc", *FOUND), look("pdu", (ON, NOW - 0.1))
    assert ladder((done,), (next_,)).climb(NOW, 2).commands == (OrderOff("pdu", 1),)
    assert ladder((done,), (look("pdu", *FOUND),)).climb(NOW, 2).sentence == "proved off by bmc, pdu"
    assert ladder((done,)).climb(NOW, 2).exhausted


def test_a_busy_device_gets_no_command() -> None:
    assert ladder((replace(READ_ON, busy=True),)).climb(NOW, 1).commands == ()
    assert ladder((replace(look(), busy=True),)).look(NOW).commands == ()


def test_a_device_that_fails_holds_nothing_up() -> None:
    failing = replace(look(), error="wrong password", next_try_at=NOW + 1.0)
    rung = ladder((failing,)).climb(NOW, 1)
    assert rung.exhausted
    assert rung.sentence == "bmc: wrong password"
    working = ladder((failing,), orders=(order(NOW - 1.0),)).climb(NOW, 1)
    assert not working.exhausted


# --- hedging ---------------------------------------------------------------------------------------------------

HANGS = replace(look("bmc"), busy=True)
PDU_ON = look("pdu", (ON, NOW - 0.1))


def hedged(*levels: tuple[DeviceLook | WatchdogLook, ...], since: float, after: float | None = 5.0) -> Ladder:
    return Ladder(BOOT, levels, hedges=(after, None), begun=(Begun(1, NOW - since),))


def test_the_next_level_is_begun_when_the_first_is_slow() -> None:
    early = hedged((HANGS,), (PDU_ON,), since=4.9).climb(NOW, 1)
    assert early.commands == ()
    assert early.begun == (Begun(1, NOW - 4.9),)
    late = hedged((HANGS,), (PDU_ON,), since=5.0).climb(NOW, 1)
    assert late.commands == (OrderOff("pdu", 1),)
    assert late.begun == (Begun(1, NOW - 5.0), Begun(2, NOW, slow=1))
    assert late.sentence.startswith("fencing, level 2 beside level 1: pdu is ordered off")


def test_who_names_no_time_waits_until_the_first_level_has_failed() -> None:
    assert hedged((HANGS,), (PDU_ON,), since=500.0, after=None).climb(NOW, 1).commands == ()
    assert ladder((HANGS,), (PDU_ON,)).climb(NOW, 1).commands == ()


def test_with_a_hedge_of_nothing_both_begin_at_once() -> None:
    rung = hedged((READ_ON,), (PDU_ON,), since=0.0, after=0.0).climb(NOW, 1)
    assert rung.commands == (OrderOff("bmc", 1), OrderOff("pdu", 1))


def test_a_level_that_was_begun_goes_on_beside_one_that_answers_again() -> None:
    begun = (Begun(1, NOW - 9.0), Begun(2, NOW - 3.0))
    both = Ladder(BOOT, ((READ_ON,), (PDU_ON,)), begun=begun).climb(NOW, 1)
    assert both.commands == (OrderOff("bmc", 1), OrderOff("pdu", 1))
    assert both.begun == begun


@pytest.mark.parametrize("first", ["bmc", "pdu"])
def test_the_first_proof_that_is_enough_wins(first: str) -> None:
    other = "pdu" if first == "bmc" else "bmc"
    devices = {first: look(first, *FOUND), other: replace(look(other), busy=True)}
    begun = (Begun(1, NOW - 9.0), Begun(2, NOW - 3.0, slow=1))
    rung = Ladder(BOOT, ((devices["bmc"],), (devices["pdu"],)), begun=begun).climb(NOW, 1)
    assert [p.device for p in rung.proofs if isinstance(p, PoweredOff)] == [first]
    assert rung.commands == ()
    assert rung.sentence == f"proved off by {first}"


def test_half_a_level_that_was_begun_beside_is_no_proof() -> None:
    begun = (Begun(1, NOW - 9.0), Begun(2, NOW - 3.0, slow=1))
    halves = (look("pdu-a", *FOUND), look("pdu-b", (ON, NOW - 0.1)))
    rung = Ladder(BOOT, ((HANGS,), halves), begun=begun).climb(NOW, 1)
    assert rung.proofs == ()
    assert rung.commands == (OrderOff("pdu-b", 1),)


def test_a_third_level_waits_for_the_second_and_not_for_the_first() -> None:
    third = look("last", (ON, NOW - 0.1))
    begun = (Begun(1, NOW - 60.0), Begun(2, NOW - 1.0, slow=1))
    slow = Ladder(
        BOOT, ((HANGS,), (replace(PDU_ON, busy=True),), (third,)), hedges=(5.0, 5.0, None), begun=begun
    )
    assert slow.climb(NOW, 1).commands == ()
    assert slow.climb(NOW + 4.0, 1).commands == (OrderOff("last", 1),)
    refused = replace(PDU_ON, error="wrong password", next_try_at=NOW + 1.0)
    failed = replace(slow, levels=((HANGS,), (refused,), (third,)))
    assert failed.climb(NOW, 1).commands == (OrderOff("last", 1),)


def test_a_level_tried_in_vain_is_read_on_while_another_is_at_work() -> None:
    sent = tuple(order(NOW - 20.0 - 10.0 * n, n) for n in range(timing.ORDER_TRIES))
    read_on = look("bmc", (ON, NOW - 1.1))
    beside = ladder(
        (read_on,), (look("pdu", (ON, NOW - 0.1)),), orders=(*sent, order(NOW - 1.0, device="pdu"))
    )
    assert ReadPower("bmc") in beside.climb(NOW, 1).commands
    late = replace(beside, levels=((look("bmc", *FOUND),), (replace(PDU_ON, busy=True),)))
    assert late.climb(NOW, 1).sentence == "proved off by bmc"
    assert ladder((read_on,), orders=sent).climb(NOW, 1).commands == ()


def test_the_sentence_stays_while_a_device_that_waits_is_read_again() -> None:
    waiting = behind(READ_ON, "n2", "n3")
    told = ladder((waiting,)).climb(NOW, 1).sentence
    assert ladder((replace(waiting, busy=True),)).climb(NOW + 1.0, 1).sentence == told
    assert ladder((waiting,)).climb(NOW + 2.0, 1).commands == (ReadPower("bmc"),)


def test_a_watchdogs_clock_starts_by_a_hedge_like_any_level() -> None:
    rung = hedged((HANGS,), (DOG,), since=5.0).climb(NOW, 1)
    assert rung.commands == (RevokeAgentLease("dogs"),)
    assert hedged((HANGS,), (DOG,), since=4.0).climb(NOW, 1).commands == ()


def test_no_other_device_shoots_a_node_that_may_be_booting() -> None:
    """Its BMC has called it off, unordered, and now says on: it has its power back."""
    booting = replace(READ_ON, called_off_at=NOW - 20.0)
    rung = hedged((booting,), (PDU_ON,), since=10.0).climb(NOW, 1)
    assert not any(isinstance(c, OrderOff) for c in rung.commands)
    assert "bmc called the node off without an order" in rung.sentence
    by_us = replace(hedged((booting,), (PDU_ON,), since=30.0), orders=(order(NOW - 25.0),))
    assert OrderOff("pdu", 1) in by_us.climb(NOW, 1).commands, "it was off because we had ordered it"
    restarted = replace(READ_ON, called_off_at=NOW - 24.0, back_on_at=NOW - 23.0)
    spared = replace(by_us, levels=((restarted,), (PDU_ON,))).climb(NOW, 1)
    assert not any(isinstance(c, OrderOff) for c in spared.commands), "it was, and it has its power back"
    assert "bmc read off after an order and on again, no order for 120 s" in spared.sentence
    long_ago = replace(restarted, back_on_at=NOW - timing.FOUND_OFF_BLACKOUT, called_off_at=None)
    again = replace(by_us, levels=((long_ago,), (PDU_ON,)), orders=(order(NOW - 121.0),))
    assert OrderOff("bmc", 2) in again.climb(NOW, 1).commands
    supplies = (replace(look("pdu-a", *FOUND), called_off_at=NOW - 0.5), look("pdu-b", (ON, NOW - 0.1)))
    assert OrderOff("pdu-b", 1) in ladder(supplies).climb(NOW, 1).commands, "one supply is not the node"


# --- the delay -------------------------------------------------------------------------------------------------


def test_no_order_before_the_delay_is_over_and_readings_all_the_same() -> None:
    waiting = replace(ladder((READ_ON,)), begun=(Begun(1, NOW - 2.9),), order_delay=3.0)
    rung = waiting.climb(NOW, 1)
    assert rung.commands == ()
    assert rung.sentence == "fencing, level 1: bmc reads on, no order before the zone's delay of 3 s is over"
    assert waiting.climb(NOW + 0.1, 1).commands == (OrderOff("bmc", 1),)
    assert replace(waiting, levels=((look("bmc", *FOUND),),)).climb(NOW, 1).proofs != ()
    assert replace(waiting, levels=((DOG,),)).climb(NOW, 1).commands == (RevokeAgentLease("dogs"),)


def test_a_hedge_is_counted_from_when_orders_were_allowed() -> None:
    delayed = replace(hedged((HANGS,), (PDU_ON,), since=7.9), order_delay=3.0)
    assert delayed.climb(NOW, 1).commands == ()
    assert delayed.climb(NOW + 0.1, 1).commands == (OrderOff("pdu", 1),)


# --- places at a chassis -----------------------------------------------------------------------------------------


def behind(device: DeviceLook, *others: str, most: int = 2, address: str = "10.0.8.9") -> DeviceLook:
    return replace(device, chassis=Chassis(address, most, others))


def test_no_order_while_the_chassis_has_as_many_as_it_takes() -> None:
    full = ladder((behind(READ_ON, "n2", "n3"),)).climb(NOW, 1)
    assert full.commands == ()
    assert not full.exhausted
    assert full.sentence == "fencing, level 1: bmc waits: 10.0.8.9 takes 2 at once, in work there: n2, n3"
    assert ladder((behind(READ_ON, "n2"),)).climb(NOW, 1).commands == (OrderOff("bmc", 1),)


def test_one_step_gives_no_more_orders_than_there_is_room_for() -> None:
    a, b = look("a", (ON, NOW - 0.1)), look("b", (ON, NOW - 0.1))
    level = (behind(a, most=1), behind(b, most=1))
    assert ladder(level).climb(NOW, 1).commands == (OrderOff("a", 1),)
    two_levels = Ladder(BOOT, ((level[0],), (level[1],)), hedges=(0.0, None)).climb(NOW, 1)
    assert two_levels.commands == (OrderOff("a", 1),)
    apart = (level[0], behind(b, most=1, address="10.0.8.10"))
    assert ladder(apart).climb(NOW, 1).commands == (OrderOff("a", 1), OrderOff("b", 1))


def test_a_place_is_free_when_the_device_reads_off_or_the_order_takes_no_effect_any_more() -> None:
    b = behind(look("b", (ON, NOW - 0.1)), most=1)
    sent = order(NOW - 1.0, device="a")
    working = ladder((behind(look("a", (ON, NOW - 0.2)), most=1), b), orders=(sent,)).climb(NOW, 1)
    assert working.commands == ()
    done = ladder((behind(look("a", (ON, NOW - 1.5), (OFF, NOW - 0.2)), most=1), b), orders=(sent,))
    assert OrderOff("b", 1) in done.climb(NOW, 1).commands
    over = ladder((behind(replace(look("a"), busy=True), most=1), b), orders=(order(NOW - 10.0, device="a"),))
    assert over.climb(NOW, 1).commands == (OrderOff("b", 1),)


def test_what_a_level_that_has_failed_would_have_ordered_takes_no_place() -> None:
    failing = replace(look("a"), error="wrong password", next_try_at=NOW + 1.0)
    b, c = look("b", (ON, NOW - 0.1)), look("c", (ON, NOW - 0.1))
    rung = ladder((behind(b, most=1), failing), (behind(c, most=1),)).climb(NOW, 1)
    assert rung.commands == (OrderOff("c", 1),)


random_readings = st.lists(
    st.tuples(st.sampled_from(PowerState), st.floats(NOW - 12.0, NOW)), max_size=5
).map(lambda rows: sorted(rows, key=lambda row: row[1]))
devices = st.builds(
    DeviceLook,
    st.just(""),
    # What hides the rest is drawn seldom, or most ladders would have nothing to climb.
    unusable=st.sampled_from([*[None] * 9, "mismatch"]),
    readings=st.one_of(st.just([(ON, NOW - 0.1)]), st.just(FOUND), random_readings).map(
        lambda rows: tuple(Reading(s, at, at) for s, at in rows)
    ),
    error=st.sampled_from([None, None, None, "no answer"]),
    busy=st.sampled_from([False, False, False, True]),
    next_try_at=st.floats(NOW - 1.0, NOW + 1.0),
    called_off_at=st.sampled_from([*[None] * 6, NOW - timing.FOUND_OFF_BLACKOUT, NOW - 20.0]),
    chassis=st.none()
    | st.builds(
        Chassis,
        st.sampled_from(["east", "west"]),
        st.just(1) | st.just(2),
        st.lists(st.sampled_from(["n2", "n3"]), max_size=2).map(tuple),
    ),
)


def named(levels: list[list[DeviceLook]]) -> tuple[tuple[DeviceLook, ...], ...]:
    """The devices are a, b, c and so on from the foot up: a zone with one on two levels is refused."""
    names = iter("abcdef")
    return tuple(tuple(replace(device, name=next(names)) for device in level) for level in levels)


levels = st.lists(st.lists(devices, max_size=2), max_size=3).map(named)
orders = st.lists(
    st.builds(order, st.floats(NOW - 30.0, NOW), st.just(1), st.sampled_from(["a", "b", "c", "d"])),
    max_size=3,
).map(lambda found: tuple(sorted(found, key=lambda o: o.sent_at)))


hedges = st.lists(st.none() | st.floats(0.0, 20.0) | st.just(0.0), max_size=3).map(tuple)
begun_levels = st.lists(
    st.builds(Begun, st.sampled_from([1, 2, 3]), st.floats(NOW - 30.0, NOW)),
    max_size=3,
    unique_by=lambda b: b.level,
).map(tuple)


def begun_at(every: Ladder, level: int) -> float | None:
    """When the level was begun, as on record: the order of an earlier pass that may still take effect says it too."""
    noted = [b.at for b in every.begun if b.level == level]
    return min(
        noted or [o.sent_at for d in every.levels[level - 1] for o in every.ordered(d.name)], default=None
    )


def may_follow(every: Ladder, level: int) -> int | None:
    """The level that is slow, so that the next may be begun beside this one; 0: this one has been tried in vain; None: neither."""
    alone = replace(every, levels=((),) * (level - 1) + (every.levels[level - 1],))
    if alone.climb(NOW, 99).exhausted:  # no proofs are enough for 99
        return 0
    hedge = dict(enumerate(every.hedges, start=1)).get(level)
    orders_from = min((b.at for b in every.begun), default=NOW) + every.order_delay
    since = begun_at(every, level)
    waited = NOW - max(NOW if since is None else since, orders_from)
    return level if hedge is not None and waited >= hedge else None


@given(
    levels,
    orders,
    st.just(NOW - 12.0) | st.floats(NOW - 12.0, NOW),
    st.sampled_from([1, 2]),
    hedges,
    begun_levels,
    st.just(0.0) | st.floats(0.0, 9.0),
)
@settings(max_examples=500)
def test_what_holds_on_every_rung(
    levels: tuple[tuple[DeviceLook, ...], ...],
    orders: tuple[Order, ...],
    life_at: float,
    required: int,
    hedges: tuple[float | None, ...],
    begun: tuple[Begun, ...],
    delay: float,
) -> None:
    every = Ladder(BOOT, levels, orders, life_at, hedges=hedges, begun=begun, order_delay=delay)
    assert not any(isinstance(c, OrderOff) for c in every.look(NOW).commands)
    rung = every.climb(NOW, required)
    assert not (rung.exhausted and rung.commands)
    usable = [
        n for n, level in enumerate(levels, start=1) if level and all(d.unusable is None for d in level)
    ]
    at_work = {n for n in usable if begun_at(every, n) is not None} | {b.level for b in rung.begun}
    for command in rung.commands:
        ((number, device),) = [
            (n, d) for n, level in enumerate(levels, start=1) for d in level if d.name == command.device
        ]
        assert number in usable
        assert number in at_work
        assert not device.busy
        if isinstance(command, OrderOff):
            assert all(o.effective_until <= NOW for o in every.ordered(command.device))
            assert len(every.ordered(command.device)) < timing.ORDER_TRIES
            assert min((b.at for b in begun), default=NOW) + delay <= NOW
            assert device.readings
            assert device.readings[-1].state in (ON, PowerState.UNKNOWN)
            assert NOW - device.readings[-1].seen_at <= timing.READ_FRESH
            assert device.called_off_at is None or NOW - device.called_off_at >= timing.FOUND_OFF_BLACKOUT
    given_off = [c.device for c in rung.commands if isinstance(c, OrderOff)]
    assert set(every.begun) <= set(rung.begun) or rung.exhausted
    for mark in set(rung.begun) - set(every.begun):
        before = [n for n in usable if n < mark.level]
        assert at_work.issuperset(before), "no level is passed over"
        assert begun_at(every, mark.level) is None
        assert (mark.at, mark.slow) == (NOW, may_follow(every, before[-1]) if before else 0)
    for address in ("east", "west"):
        there = [
            d for level in levels for d in level if d.chassis is not None and d.chassis.address == address
        ]
        working = sum(o.works_until_read(d.readings, NOW) for d in there for o in every.ordered(d.name))
        for place in [d.chassis for d in there if d.name in given_off and d.chassis is not None]:
            assert len(place.others) + working < place.most
        most = [d.chassis.most for d in there if d.name in given_off and d.chassis is not None]
        assert len(most) <= max(most, default=0)
    for proof in rung.proofs:
        assert isinstance(proof, PoweredOff)
        assert proof.boot == BOOT
        assert proof.seen_at > life_at
        whole = [level for level in levels if proof.device in {d.name for d in level}]
        proved = {p.device for p in rung.proofs if isinstance(p, PoweredOff)}
        assert any({d.name for d in level} <= proved for level in whole)


# --- storages --------------------------------------------------------------------------------------------------

DB = CutVm("shop", "db", "vmi-db", ("pod-db",), ("shop/db",))
WEB = CutVm("shop", "web", "vmi-web", ("pod-web",), ("shop/web", "hostDisk/scratch"))


def storage(
    *readings: tuple[PowerState, float], cuts: frozenset[str] = frozenset({"shop/db", "shop/web"})
) -> DeviceLook:
    return replace(look("ceph", *readings), cuts=cuts)


def with_vms(*levels: tuple[DeviceLook | WatchdogLook, ...], vms: tuple[CutVm, ...] = (DB, WEB)) -> Ladder:
    return Ladder(BOOT, levels, vms=vms)


def test_a_storage_is_ordered_and_read_back_like_any_device() -> None:
    assert with_vms((storage(),)).climb(NOW, 1).commands == (ReadPower("ceph"),)
    rung = with_vms((storage((ON, NOW - 0.1)),)).climb(NOW, 1)
    assert rung.commands == (OrderOff("ceph", 1),)
    assert "ordered to cut it from its storage" in rung.sentence


def test_a_fence_without_a_result_is_ordered_again_and_then_given_up() -> None:
    """csi-addons doesn't run, perhaps it was on this very node: the levels behind it must have their turn."""
    stuck = storage((PowerState.TRANSITION, NOW - 0.1))
    bmc = look("bmc", (ON, NOW - 0.1))
    assert with_vms((stuck,), (bmc,)).climb(NOW, 1).commands == (OrderOff("ceph", 1),)
    first = order(NOW - timing.ORDER_EFFECT, device="ceph")
    tried = replace(with_vms((stuck,), (bmc,)), orders=(first,))
    assert tried.climb(NOW, 1).commands == (OrderOff("ceph", 2),)
    second = order(NOW - timing.ORDER_EFFECT, attempt=2, device="ceph")
    given_up = replace(tried, orders=(first, second))
    assert given_up.climb(NOW, 1).commands == (OrderOff("bmc", 1),)


def test_a_cut_that_would_free_no_vm_is_not_ordered() -> None:
    """The node may live on, cut off from its peers only: its VMs would lose their disks, and none could be moved."""
    web = replace(DB, volumes=("shop/db", "shop/local"))
    vain = with_vms((storage((ON, NOW - 0.1)),), (look("bmc", (ON, NOW - 0.1)),), vms=(web,))
    assert vain.climb(NOW, 1).commands == (OrderOff("bmc", 1),)
    alone = with_vms((storage((ON, NOW - 0.1)),), vms=(web,)).climb(NOW, 1)
    assert alone.exhausted
    assert (
        "ceph: not ordered, it would free no VM (not from all that these write to: db (shop/local))"
        in alone.sentence
    )
    assert with_vms((storage((ON, NOW - 0.1)),), vms=()).climb(NOW, 1).exhausted
    nfs = replace(look("nfs"), cuts=frozenset({"shop/local"}))
    both = with_vms((storage((ON, NOW - 0.1)),), (nfs,), vms=(web,))
    assert both.climb(NOW, 1).commands == (OrderOff("ceph", 1),), "two storages together free it"


def test_a_cut_that_was_read_long_ago_is_read_again() -> None:
    """Nothing else would tell that somebody has lifted it: a node that lives voids no cut."""
    old = storage((OFF, NOW - 60.5), (OFF, NOW - 60.0))
    rung = with_vms((old,)).climb(NOW, 1)
    assert rung.proofs == ()
    assert rung.commands == (ReadPower("ceph"),)


def test_what_it_shows_is_a_cut_and_never_a_power_off() -> None:
    rung = with_vms((storage(*FOUND),)).climb(NOW, 1)
    (proof,) = rung.proofs
    assert isinstance(proof, StorageCut)
    assert (proof.vms, proof.volumes) == ((DB, WEB), ("shop/db", "shop/web"))
    assert rung.sentence == "cut from its storage by ceph"
    (looked,) = with_vms((storage(*FOUND),)).look(NOW).proofs
    assert isinstance(looked, StorageCut)


def test_life_on_the_network_does_not_void_it_a_write_does() -> None:
    cut = with_vms((storage(*FOUND),))
    assert replace(cut, life_at=NOW).climb(NOW, 1).proofs != ()
    assert replace(cut, slot_moved_at=NOW - 0.3).climb(NOW, 1).proofs == ()


def test_a_cut_that_covers_no_vm_is_said() -> None:
    rung = with_vms((storage(*FOUND),), vms=(WEB,)).climb(NOW, 1)
    assert rung.exhausted
    assert rung.sentence == "ceph: cut, but not from all that these write to: web (hostDisk/scratch)"
    none = with_vms((storage(*FOUND),), vms=(replace(DB, volumes=()),)).climb(NOW, 1)
    assert none.sentence == "ceph: cut, but no VM has a volume behind it"


def test_a_storage_beside_a_bmc_on_one_level() -> None:
    """All devices of a level must succeed: the power is off and the storage cut, and the node's proof is the power's."""
    rung = with_vms((look("bmc", *FOUND), storage((ON, NOW - 0.1)))).climb(NOW, 1)
    assert rung.commands == (OrderOff("ceph", 1),)
    both = with_vms((look("bmc", *FOUND), storage(*FOUND))).climb(NOW, 1)
    assert {type(p) for p in both.proofs} == {PoweredOff, StorageCut}
    assert both.sentence == "proved off by bmc"


def test_two_methods_of_which_one_is_a_storage() -> None:
    bmc, ceph = look("bmc", *FOUND), storage((ON, NOW - 0.1))
    assert with_vms((bmc,), (ceph,)).climb(NOW, 2).commands == (OrderOff("ceph", 1),)
    assert with_vms((bmc,), (storage(*FOUND),)).climb(NOW, 2).sentence == "cut from its storage by ceph"


DOG = WatchdogLook("dogs", promise=Promise(10.0, 60.0, frozenset({Leg.GOSSIP, Leg.API})), assume_after=80.0)
COUNTED = replace(
    DOG, revoked_at=NOW - 81.0, roll=Roll(NOW - 0.5, frozenset({"n2", "n3"}), NOW - 90.0, needed=2)
)


def test_a_watchdog_is_counted_out_where_no_vm_is_wholly_behind_a_cut() -> None:
    rung = with_vms((storage(*FOUND),), (DOG,), vms=(WEB,)).climb(NOW, 1)
    assert rung.commands == (RevokeAgentLease("dogs"),)
    proved = with_vms((storage(*FOUND),), (COUNTED,), vms=(WEB,)).climb(NOW, 1)
    assert proved.sentence == "proved off by dogs"
    assert {type(p) for p in proved.proofs} == {StorageCut, SelfFenced}


@pytest.mark.parametrize(("vms", "enough"), [((DB, WEB), True), ((WEB,), False)])
def test_a_watchdog_that_is_counted_out_beside_is_no_second_method_for_what_is_not_cut(
    vms: tuple[CutVm, ...], enough: bool
) -> None:
    """Two methods are demanded: the cut is one for the VMs that are behind it, and none for the others."""
    bmc = look("bmc", (ON, NOW - 0.4))
    climbing = replace(
        with_vms((storage(*FOUND),), (bmc,), (COUNTED,), vms=vms),
        orders=(order(NOW - 1.0), Order("dogs", 1, NOW - 81.0, NOW - 81.0, Action.REVOKE)),
    )
    rung = climbing.climb(NOW, 2)
    assert {type(p) for p in rung.proofs} == {StorageCut, SelfFenced}
    assert (rung.sentence == "cut from its storage by ceph") is enough
    assert (rung.commands == ()) is enough, "what is not proved is worked on"
