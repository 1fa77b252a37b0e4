"""What is on record of a device that has called the node off without an order: written when, for how long, and what it forbids."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.api.v1alpha1.failover import Failover
from ringfence.controller import records
from ringfence.core import timing
from ringfence.core.failover.blackout import SEEN_LATE, STORED_EVERY, noted
from ringfence.core.failover.climb import ladder_of
from ringfence.core.failover.look import Look
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import Record
from ringfence.core.fencing.orders import Begun, CalledOff, Order, OrderOff
from ringfence.core.fencing.proof import Reading
from ringfence.core.fencing.rungs import DeviceLook
from ringfence.core.model import Boot, PowerState
from simulator.system import looks
from simulator.system.world import World

BOOT = Boot("n1", "uid-n1", "boot-1")
NOW = 1000.0
ON = DeviceLook("bmc", readings=(Reading(PowerState.ON, NOW - 0.1, NOW - 0.1),))
RECORD = Record("n1-1", BOOT, Phase.FENCING, "s", 0.0, 0.0, begun=(Begun(1, NOW - 10.0),))


def look(*devices: DeviceLook, now: float = NOW) -> Look:
    world = World(["n1", "n2", "n3"], {"db": "n1"}, {}, "Active")
    some = looks.look(world.plant, world.memory, BOOT, None)
    return replace(some, now=now, levels=(devices,))


def orders(record: Record, some: Look) -> list[str]:
    rung = ladder_of(record, some).climb(some.now, 1)
    return [c.device for c in rung.commands if isinstance(c, OrderOff)]


def test_it_is_on_record_as_soon_as_it_is_said_and_not_again_with_each_reading() -> None:
    once = noted(RECORD, look(replace(ON, called_off_at=NOW)))
    assert once.called_off == (CalledOff("bmc", NOW + timing.FOUND_OFF_BLACKOUT),)
    a_moment_later = look(replace(ON, called_off_at=NOW + STORED_EVERY - 1.0), now=NOW + STORED_EVERY)
    assert noted(once, a_moment_later) is once
    later = noted(once, look(replace(ON, called_off_at=NOW + STORED_EVERY), now=NOW + STORED_EVERY))
    assert later.called_off == (CalledOff("bmc", NOW + STORED_EVERY + timing.FOUND_OFF_BLACKOUT),)


def test_what_is_said_after_our_order_is_not_on_record() -> None:
    ordered = replace(RECORD, orders=(Order("bmc", 1, NOW - 1.0, NOW + 9.0),))
    assert noted(ordered, look(replace(ON, called_off_at=NOW))) is ordered
    restarted = noted(ordered, look(replace(ON, back_on_at=NOW)))
    assert restarted.called_off == (CalledOff("bmc", NOW + timing.FOUND_OFF_BLACKOUT),), (
        "but that it is back is"
    )
    assert orders(replace(restarted, orders=()), look(ON, now=NOW + 119.0)) == []


def test_a_storage_that_cuts_says_nothing_of_power() -> None:
    cutter = replace(ON, called_off_at=NOW, cuts=frozenset({"shop/db"}))
    assert noted(RECORD, look(cutter)) is RECORD


@pytest.mark.parametrize("devices", [(ON,), (ON, replace(ON, name="pdu"))])
def test_a_leader_that_has_read_nothing_but_on_orders_nobody_until_it_is_over(
    devices: tuple[DeviceLook, ...],
) -> None:
    said = replace(RECORD, called_off=tuple(CalledOff(d.name, NOW + 1.0) for d in devices))
    assert orders(RECORD, look(*devices)) == [d.name for d in devices]
    assert orders(said, look(*devices)) == []
    over = noted(said, look(*devices, now=NOW + 1.0))
    assert over.called_off == ()
    assert orders(over, look(*devices, now=NOW + 1.0)) == [d.name for d in devices]


def test_one_of_two_supplies_that_was_off_says_nothing_of_the_other() -> None:
    supplies = (ON, replace(ON, name="pdu"))
    said = replace(RECORD, called_off=(CalledOff("pdu", NOW + 1.0),))
    assert orders(said, look(*supplies)) == ["bmc"]


def test_whoever_takes_it_over_counts_from_when_it_saw_it() -> None:
    said = replace(RECORD, called_off=(CalledOff("bmc", NOW + 3.0),))
    raw = {
        "metadata": {"name": said.name},
        "spec": records.spec_of(said),
        "status": records.status_of(said, [], 1_800_000_000.0),
    }
    read = records.record_of(Failover.model_validate(raw), 0.0, 0.0, 0.0, 500.0)
    assert read is not None
    assert read.called_off == (CalledOff("bmc", 500.0 + SEEN_LATE),)
    assert SEEN_LATE >= timing.FOUND_OFF_BLACKOUT + STORED_EVERY


def test_a_record_of_before_has_none() -> None:
    status = records.status_of(RECORD, [], 0.0)
    del status["calledOffBy"]
    raw = {"metadata": {"name": "n1-1"}, "spec": records.spec_of(RECORD), "status": status}
    read = records.record_of(Failover.model_validate(raw), 0.0, 0.0, 0.0, 500.0)
    assert read is not None
    assert read.called_off == ()
