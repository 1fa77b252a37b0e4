"""What a heartbeat process' answer proves about a node's slot, on a clock that is not its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.fencing.selffence import SlotLook
from ringfence.core.fencing.slotlook import look_of, together
from ringfence.core.fencing.slotreport import OwnSlot, SlotReport, SlotRow
from ringfence.core.model import Boot
from ringfence.core.timing import CLOCK_RATE_BOUND

BOOT = Boot("n1", "uid-1", "boot-1")
OBSERVER = Boot("n2", "uid-2", "boot-2")
ROW = SlotRow(BOOT, 3, 7, 1.0, 0, first_age=500.0, looked_age=0.4, moved_age=90.0, moved_after_age=91.0)
REPORT = SlotReport(OBSERVER, "shared", OwnSlot(index=1), (ROW,), at=5000.0)


def look(report: SlotReport, *, first_said: float = 5000.0, asked_at: float = 1000.0) -> SlotLook | None:
    return look_of(report, BOOT, asked_at=asked_at, first_said=first_said, heard_at=asked_at + 1.0)


def test_a_look_from_before_the_question_counts_as_that() -> None:
    found = look(REPORT)
    assert found is not None
    assert found.looked_at == pytest.approx(999.6, abs=0.01)
    assert found.moved_at == pytest.approx(911.0, abs=0.1)
    assert found.observers == {"n2"}


def test_a_look_from_after_the_first_answer_came_after_the_question() -> None:
    found = look(replace(REPORT, at=5000.9), first_said=5000.0)
    assert found is not None
    assert found.looked_at >= 1000.0


@pytest.mark.parametrize(
    "report",
    [
        replace(REPORT, rows=()),
        replace(REPORT, rows=(replace(ROW, boot=replace(BOOT, boot_id="boot-9")),)),
        replace(REPORT, rows=(replace(ROW, moved_age=None),)),
        replace(REPORT, rows=(ROW, replace(ROW, index=4, moved_age=None))),
        replace(REPORT, reporter=BOOT),
    ],
    ids=["no slot", "another boot", "never seen to move", "another place", "the node itself"],
)
def test_who_can_say_nothing_proves_nothing(report: SlotReport) -> None:
    assert look(report) is None


def test_one_fresh_look_is_enough_and_the_latest_write_counts() -> None:
    fresh, stale = SlotLook(10.0, 1.0, frozenset({"n2"})), SlotLook(5.0, 4.0, frozenset({"n3"}))
    assert together([fresh, stale]) == SlotLook(10.0, 4.0, frozenset({"n2"}))
    assert together([]) is None


rates = st.floats(1 - CLOCK_RATE_BOUND, 1 + CLOCK_RATE_BOUND)
spans = st.floats(0.0, 500.0)


@given(rates, spans, spans, spans, spans, spans)
def test_nothing_is_later_or_earlier_than_it_was(
    rate: float, way: float, thinking: float, to_look: float, moved: float, back: float
) -> None:
    """Whatever the way, the other clock's rate and the time that an answer waits in a process that stands still."""
    asked = 1000.0
    said = asked + way  # real time is ours
    later = said + thinking
    looked, moved_at = later - to_look, later - to_look - moved
    row = replace(ROW, looked_age=to_look * rate, moved_age=(to_look + moved) * rate)
    report = replace(REPORT, rows=(row,), at=later * rate)
    found = look_of(report, BOOT, asked_at=asked, first_said=said * rate, heard_at=later + back)
    assert found is not None
    assert found.looked_at <= looked + 1e-6
    assert found.moved_at >= moved_at - 1e-6
