"""A device that is caught lying proves nothing about that node before a drill; and what is no lie."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.api.v1alpha1.failover import Failover
from ringfence.controller.records import record_of, spec_of, status_of
from ringfence.core import timing
from ringfence.core.detection.verdict import Judgement
from ringfence.core.failover import lies
from ringfence.core.failover.look import Look, Namesake
from ringfence.core.failover.machine import open_failover, step
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import Lie, Record
from ringfence.core.fencing.orders import Order, OrderOff
from ringfence.core.fencing.proof import Reading, off_since
from ringfence.core.fencing.rungs import DeviceLook
from ringfence.core.model import PowerState, Verdict
from unit.core.failover.test_machine import ALIVE, BOOT, DOWN, FENCING, LOOK, NOW

ON, OFF = PowerState.ON, PowerState.OFF
ORDERED = replace(FENCING, orders=(Order("bmc", 1, NOW - 5.0, NOW + 7.0),))
SAYS_OFF = DeviceLook(
    "bmc",
    readings=(Reading(OFF, NOW - 0.5, NOW - 0.4), Reading(OFF, NOW - 0.1, NOW)),
    off_since=NOW - 4.0,
    address="10.0.8.1",
)
HEARD = replace(
    LOOK,
    judgement=ALIVE,
    life_at=NOW - 0.05,
    heard_at=NOW - 0.05,
    heard_since=NOW - 3.5,
    levels=((SAYS_OFF,),),
)
"""Its packets have come for 3.5 s, and all the while its BMC has said `off`."""
READS_ON = DeviceLook("pdu", readings=(Reading(ON, NOW + 2.4, NOW + 2.5),))


def silent_again(look: Look = HEARD, *more: DeviceLook) -> Look:
    """Three seconds later: it is down, and its BMC says as before."""
    now = NOW + 3.0
    readings = (Reading(OFF, now - 0.5, now - 0.4), Reading(OFF, now - 0.1, now))
    return replace(
        look,
        now=now,
        wall=now,
        judgement=DOWN,
        levels=((replace(SAYS_OFF, readings=readings),), *((one,) for one in more)),
    )


def the_next_leaders(record: Record) -> Record:
    status = status_of(record, [], 0.0)
    found = record_of(
        Failover.model_validate(
            {"metadata": {"name": record.name}, "spec": spec_of(record), "status": status}
        ),
        *(NOW, NOW, NOW, NOW),
    )
    assert found is not None
    return found


def test_who_is_caught_lying_proves_nothing_when_the_node_is_silent_again() -> None:
    caught = step(ORDERED, HEARD).record
    assert caught.lies == (Lie("bmc", NOW),)
    assert caught.phase is Phase.FENCING
    assert caught.sentence == (
        "bmc called n1 off while it was heard: what is read there proves nothing before a drill;"
        " see to it, and when n1 is well and empty: ringfence fence drill bmc n1"
    )
    after = step(caught, silent_again()).record
    assert (after.phase, after.proofs) == (Phase.AWAITING_CONFIRMATION, ())
    assert "bmc: it called n1 off while that was heard" in after.sentence
    assert "ringfence fence confirm n1" in after.sentence
    not_caught = step(ORDERED, silent_again()).record
    assert not_caught.phase is Phase.RECOVERING, "what is at stake: two readings make a proof"


def test_the_next_level_is_tried_at_once() -> None:
    caught = step(ORDERED, HEARD).record
    assert OrderOff("pdu", 1) in step(caught, silent_again(HEARD, READS_ON)).commands


def test_the_next_leader_knows_and_so_does_each_pass() -> None:
    caught = step(ORDERED, HEARD).record
    taken_over = the_next_leaders(caught)
    assert taken_over.lies == caught.lies
    assert step(taken_over, silent_again()).record.phase is Phase.AWAITING_CONFIRMATION
    later = replace(silent_again(), now=NOW + 80.0, retry_due=True)
    off = replace(
        SAYS_OFF, readings=(Reading(OFF, NOW + 79.0, NOW + 79.1), Reading(OFF, NOW + 79.8, NOW + 80.0))
    )
    waits = step(caught, silent_again()).record
    again = step(waits, replace(later, levels=((off,),))).record
    assert (again.phase, again.proofs) == (Phase.AWAITING_CONFIRMATION, ())


def test_who_is_behind_the_same_address_is_the_same_witness() -> None:
    ipmi = replace(READS_ON, name="ipmi", address="10.0.8.1")
    caught = step(ORDERED, replace(HEARD, levels=((SAYS_OFF,), (ipmi,)))).record
    assert [lie.device for lie in caught.lies] == ["bmc", "ipmi"]


def test_the_end_of_the_incident_tells_of_it() -> None:
    caught = replace(step(ORDERED, HEARD).record, orders=())
    over = step(caught, replace(HEARD, suspect_taint=False)).record
    assert over.phase is Phase.WITHDRAWN
    assert over.sentence.endswith(
        "; bmc called it off while it was heard: see to it, and when n1 is well and empty: ringfence fence drill bmc n1"
    )


SUPPLY = replace(SAYS_OFF, name="pdu-a", address="")
OTHER = replace(SAYS_OFF, name="pdu-b", address="")


@pytest.mark.parametrize(
    "look",
    [
        replace(HEARD, judgement=DOWN),
        replace(HEARD, judgement=Judgement(Verdict.SUSPECT, "n1 is doubted", known=False)),
        replace(HEARD, heard_since=NOW - 3.0),
        replace(HEARD, heard_at=NOW - 2.0),
        replace(HEARD, heard_at=float("-inf"), heard_since=float("-inf")),
        replace(HEARD, levels=((replace(SAYS_OFF, off_since=NOW - 3.0),),)),
        replace(HEARD, levels=((replace(SAYS_OFF, off_since=None),),)),
        replace(HEARD, levels=((replace(SAYS_OFF, readings=SAYS_OFF.readings[:1]),),), heard_since=NOW - 3.4),
        replace(HEARD, levels=((replace(SAYS_OFF, cuts=frozenset({"shop/db"})),),)),
        replace(HEARD, levels=((replace(SAYS_OFF, unusable="another machine's"),),)),
        replace(HEARD, levels=((SUPPLY, replace(OTHER, off_since=None)),)),
        replace(HEARD, levels=((SUPPLY, replace(OTHER, off_since=NOW - 1.0)),)),
        replace(HEARD, current_boot_id="boot-2"),
        replace(HEARD, judgement=DOWN, namesake=Namesake("boot-2", down=False)),
    ],
    ids=[
        "its last packets, read before it died",
        "no votes, and nothing that was heard",
        "not for long enough yet",
        "its last packet is older than most of the readings",
        "never heard",
        "called off a moment ago only",
        "reads on",
        "not asked for so long",
        "cut from its storage",
        "not believed anyway",
        "one of two supplies",
        "both supplies, but not for long",
        "another boot is heard",
        "another machine of that name",
    ],
)
def test_what_is_no_lie(look: Look) -> None:
    assert step(ORDERED, look).record.lies == ()


def test_two_supplies_that_both_say_off_are_no_proof_together_any_more() -> None:
    ordered = replace(
        ORDERED, orders=tuple(replace(ORDERED.orders[0], device=d.name) for d in (SUPPLY, OTHER))
    )
    caught = step(ordered, replace(HEARD, levels=((SUPPLY, OTHER),))).record
    assert [lie.device for lie in caught.lies] == ["pdu-a", "pdu-b"]
    silent = silent_again()
    ((bmc,),) = silent.levels
    assert isinstance(bmc, DeviceLook)
    both = replace(
        silent, levels=((replace(SUPPLY, readings=bmc.readings), replace(OTHER, readings=bmc.readings)),)
    )
    assert step(ordered, both).record.phase is Phase.RECOVERING
    assert step(caught, both).record.phase is Phase.AWAITING_CONFIRMATION


def test_since_when_a_device_says_nothing_but_off() -> None:
    first = Reading(OFF, 10.0, 10.2)
    assert off_since(None, None, first) == 10.2, "from the answer on: it may have been on when it was asked"
    second = Reading(OFF, 10.5, 10.7)
    assert off_since(10.2, first, second) == 10.2
    assert off_since(10.2, second, Reading(ON, 11.0, 11.2)) is None
    assert off_since(None, Reading(ON, 11.0, 11.2), Reading(OFF, 12.0, 12.2)) == 12.2
    late = Reading(OFF, 10.6 + timing.READ_FRESH, 10.8 + timing.READ_FRESH)
    assert off_since(10.2, second, late) == late.seen_at, "nobody knows what it was between"


def test_the_next_incident_of_the_node_begins_with_what_is_known_of_its_devices() -> None:
    known = (Lie("bmc", NOW - 60.0),)
    opened = open_failover("f-2", BOOT, NOW - 3.0, replace(silent_again(), lies=known), ("n2", "n3"))
    assert opened.lies == known
    assert opened.state_version == 3
    down = replace(silent_again(), hold_over=True)
    after = step(the_next_leaders(opened), down).record
    assert (after.phase, after.proofs) == (Phase.AWAITING_CONFIRMATION, ())
    believed = step(open_failover("f-2", BOOT, NOW - 3.0, silent_again(), ("n2", "n3")), down).record
    assert believed.proofs, "nobody has caught it"


@pytest.mark.parametrize(
    ("drilled", "left"),
    [
        ({}, (Lie("bmc", 60.0), Lie("pdu", 5.0))),
        ({"bmc": 50.0}, (Lie("bmc", 60.0), Lie("pdu", 5.0))),
        ({"bmc": 61.0, "pdu": 4.0}, (Lie("pdu", 5.0),)),
    ],
    ids=["none", "before the last lie", "since"],
)
def test_a_drill_answers_what_was_told_before_it(drilled: dict[str, float], left: tuple[Lie, ...]) -> None:
    told = (Lie("bmc", 60.0), Lie("pdu", 5.0), Lie("bmc", 10.0))
    assert lies.standing(told, drilled) == left
