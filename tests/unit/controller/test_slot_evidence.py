"""What a controller makes of heartbeat reports: life, silence, and what can't be said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.controller.evidence import Witness
from ringfence.core import timing
from ringfence.core.detection.evidence import NEVER, SlotEvidence
from ringfence.core.fencing.proof import PoweredOff, PowerOffHow, void_because
from ringfence.core.fencing.slotreport import OwnSlot, SlotReport, SlotRow
from ringfence.core.fencing.slots import MAX_INTERVAL, Flag
from ringfence.core.fencing.slotwatch import SlotState
from ringfence.core.model import Boot

NOW = 1000.0
BOOT = Boot("n1", "uid-1", "boot-1")
SEER = Boot("n2", "uid-2", "boot-9")
ROW = SlotRow(BOOT, 3, 70, 1.0, 0, first_age=60.0, looked_age=0.1, moved_age=0.1, moved_after_age=0.6)
SILENT = replace(ROW, moved_age=9.0, moved_after_age=9.5)


def report(*rows: SlotRow, reporter: Boot = SEER) -> SlotReport:
    return SlotReport(reporter, "heartbeat", OwnSlot(), rows)


def witness(*boots: Boot) -> Witness:
    made = Witness(lambda *_: True)
    for boot in boots or (BOOT,):
        made.boot_seen(boot.node, boot.node_uid, boot.boot_id)
    return made


def slot(made: Witness, now: float = NOW) -> SlotEvidence:
    evidence = made.evidence("n1", now, device_proved=True)
    assert evidence is not None
    return evidence.slot


def test_a_node_without_a_slot_has_none() -> None:
    made = witness()
    made.slots_seen(report(), NOW)
    assert slot(made) == SlotEvidence()


def test_a_moving_slot_is_life() -> None:
    made = witness()
    made.slots_seen(report(ROW), NOW)
    assert slot(made) == SlotEvidence(
        SlotState.MOVING, 1.0, moved_after=NOW - 0.6, first_at=NOW - 60.0, written_at=NOW - 0.1
    )
    assert made.life("n1").slot == NOW - 0.1


def test_one_who_sees_it_move_outweighs_all_who_do_not() -> None:
    made = witness()
    made.slots_seen(report(SILENT), NOW)
    made.slots_seen(report(ROW, reporter=replace(SEER, node="n3", node_uid="uid-3")), NOW)
    assert slot(made).state is SlotState.MOVING


def test_silence_counts_from_the_latest_that_anyone_saw() -> None:
    made = witness()
    made.slots_seen(report(SILENT), NOW)
    other = replace(SEER, node="n3", node_uid="uid-3")
    made.slots_seen(report(replace(SILENT, moved_age=20.0, moved_after_age=21.0), reporter=other), NOW)
    assert slot(made) == SlotEvidence(
        SlotState.SILENT,
        1.0,
        moved_after=NOW - 9.5,
        silent_since=NOW - 9.0,
        first_at=NOW - 60.0,
        written_at=NOW - 9.0,
    )


OTHER = replace(ROW, boot=Boot("n3", "uid-3", "boot-7"), index=4)


def test_who_sees_it_silent_tells_whether_the_volume_takes_others_writes() -> None:
    made = witness()
    made.boot_seen("n3", "uid-3", "boot-7")
    made.slots_seen(report(SILENT, OTHER), NOW)
    assert slot(made).others_write
    made.slots_seen(report(SILENT, replace(OTHER, moved_age=9.0, moved_after_age=9.5)), NOW)
    assert not slot(made).others_write, "all are silent: the volume is lost"
    made.slots_seen(report(OTHER, reporter=replace(SEER, node="n4", node_uid="uid-4")), NOW)
    assert not slot(made).others_write, "who doesn't show this node's slot may read another volume"


def test_a_slot_that_this_boot_was_never_seen_to_write_says_nothing_of_its_guests() -> None:
    made = witness()
    stands = replace(ROW, first_age=600.0, moved_age=None, moved_after_age=None)
    made.slots_seen(report(stands), NOW)
    assert slot(made).state is SlotState.SILENT
    assert slot(made).written_at == NEVER
    another = replace(SILENT, boot=replace(BOOT, boot_id="boot-2"))
    made.slots_seen(report(another), NOW)
    assert slot(made).written_at == NEVER, "a boot that nobody has reported is another"


def test_when_nobody_looks_any_more_it_may_move() -> None:
    """Streams lost, or reads that hang: a slot that was there and can't be read is not silent."""
    made = witness()
    made.slots_seen(report(SILENT), NOW)
    assert slot(made, NOW + timing.VIEW_FRESH + 0.1).state is SlotState.UNREAD
    made.slots_seen(report(replace(SILENT, looked_age=30.0, moved_age=31.0)), NOW + 10.0)
    assert slot(made, NOW + 10.0).state is SlotState.UNREAD


def test_a_slot_that_nobody_shows_any_more_may_move() -> None:
    """Its block was given to another: that is no silence."""
    made = witness()
    made.slots_seen(report(ROW), NOW)
    made.slots_seen(report(), NOW + 60.0)
    assert slot(made, NOW + 60.0).state is SlotState.UNREAD


def test_an_earlier_boot_s_slot_says_nothing_of_this_one() -> None:
    made = witness(BOOT, replace(BOOT, boot_id="boot-2"))
    made.slots_seen(report(ROW), NOW)
    assert slot(made) == SlotEvidence()
    assert made.life("n1").slot == NEVER


def test_a_boot_that_nobody_has_reported_yet_is_life_but_no_reboot() -> None:
    """The volume is not signed: what stands there may stay a hand, and never prove that a boot is over."""
    made = witness()
    made.slots_seen(report(replace(ROW, boot=replace(BOOT, boot_id="boot-2"))), NOW)
    assert made.boot("n1") == BOOT
    assert slot(made).state is SlotState.MOVING
    assert made.life("n1").slot == NOW - 0.1


def test_another_node_of_the_same_name_is_another() -> None:
    made = witness()
    made.slots_seen(report(replace(ROW, boot=replace(BOOT, node_uid="uid-9"))), NOW)
    assert made.life("n1").slot == NEVER


def test_a_slot_that_was_signed_off_is_not_silent() -> None:
    made = witness()
    made.slots_seen(report(replace(SILENT, flags=int(Flag.LEFT))), NOW)
    assert slot(made).state is SlotState.UNREAD


def test_a_new_boot_begins_without_a_slot() -> None:
    made = witness()
    made.slots_seen(report(ROW), NOW)
    made.boot_seen("n1", "uid-1", "boot-2")
    assert made.life("n1").slot == NEVER
    assert slot(made) == SlotEvidence()


@pytest.mark.parametrize(("moved_age", "void"), [(0.1, True), (2.0, False)])
def test_a_slot_newer_than_the_reading_voids_power_off(moved_age: float, void: bool) -> None:
    made = witness()
    made.slots_seen(report(replace(ROW, moved_age=moved_age, moved_after_age=moved_age + 0.5)), NOW)
    life = made.life("n1")
    proof = PoweredOff(BOOT, "bmc", PowerOffHow.ORDERED, NOW - 1.0)
    assert (void_because(proof, life.latest, life.latest_sign()) is not None) is void


def test_whom_the_word_beside_the_slot_speaks_to() -> None:
    made = witness()
    assert made.told_fenced(BOOT, NOW) is None
    made.slots_seen(report(ROW), NOW)
    assert made.told_fenced(BOOT, NOW) is False
    made.slots_seen(report(replace(ROW, told="boot-1")), NOW)
    assert made.told_fenced(BOOT, NOW) is True
    assert made.told_fenced(BOOT, NOW + 60.0) is None, "nobody can say"


def test_words_that_stand_beside_slots() -> None:
    made = witness(BOOT, SEER)
    made.slots_seen(report(replace(ROW, told="boot-1"), replace(ROW, boot=SEER, index=4)), NOW)
    assert made.heartbeats.words(NOW) == {"uid-1": "boot-1"}


def test_what_is_invented_on_the_volume_does_not_grow() -> None:
    """It is not sealed: each look could show other nodes, for ever."""
    made = witness()
    for number in range(50):
        stranger = replace(BOOT, node=f"x{number}", node_uid=f"uid-x{number}")
        made.slots_seen(report(ROW, replace(ROW, boot=stranger)), NOW)
    assert made.heartbeats.size == 1
    assert slot(made).state is SlotState.MOVING


def test_no_life_comes_from_the_future_and_no_write_is_waited_for_without_end() -> None:
    """One process' nonsense would keep the node from ever being down, and every proof void."""
    made = witness()
    made.slots_seen(report(replace(ROW, moved_age=-900.0, moved_after_age=-901.0, interval=1e9)), NOW)
    assert made.life("n1").slot == NOW
    assert slot(made) == SlotEvidence(
        SlotState.MOVING, MAX_INTERVAL, moved_after=NOW, first_at=NOW - 60.0, written_at=NOW
    )
