"""What a zone is told of its storage heartbeat."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.core.detection.evidence import SlotEvidence
from ringfence.core.fencing.slotreport import OwnSlot, SlotReport
from ringfence.core.fencing.slottrouble import HeartbeatWanted, heartbeat_trouble
from ringfence.core.fencing.slotwatch import SlotState
from ringfence.core.model import Boot

WANTED = HeartbeatWanted("heartbeat", 1.0, stop_guests=True)
SLOTS = {"n1": SlotEvidence(SlotState.MOVING, 1.0)}


def report(node: str, *, guests: int | None, volume: str = "heartbeat") -> SlotReport:
    return SlotReport(Boot(node, f"uid-{node}", "boot-1"), volume, OwnSlot(guests=guests))


SEES = report("n1", guests=0)


def test_nothing_to_say() -> None:
    assert heartbeat_trouble(WANTED, ["n1", "n2"], [SEES, report("n2", guests=3)], SLOTS) is None


@pytest.mark.parametrize(
    ("reports", "slots", "reason", "words"),
    [
        ([], SLOTS, "HeartbeatNotSeen", "the volume heartbeat, none answers"),
        ([replace(SEES, volume="other")], SLOTS, "HeartbeatNotSeen", "they report other: set slots.enabled"),
        (
            [SEES],
            {"n1": SlotEvidence(SlotState.MOVING, 2.0)},
            "HeartbeatTooSlow",
            "n1 write more rarely than every 1 s",
        ),
        (
            [SEES, report("n2", guests=0)],
            {"n1": SlotEvidence(SlotState.UNREAD, 1.0), "n2": SlotEvidence(SlotState.SILENT, 1.0)},
            "StorageGone",
            "none of n1, n2 writes its slot any more: the storage is gone for all, and nobody is fenced for it",
        ),
        (
            [SEES, report("n2", guests=None)],
            SLOTS,
            "GuestsNotStopped",
            (
                "the heartbeat processes of n2 see no guests, so a fenced node would not stop its own: set slots.stopGuests in the"
                " chart (hostPID and CAP_KILL), or take spec.storage.heartbeat.stopGuests away"
            ),
        ),
    ],
)
def test_each_trouble_has_its_reason_and_its_mend(
    reports: list[SlotReport], slots: dict[str, SlotEvidence], reason: str, words: str
) -> None:
    found = heartbeat_trouble(WANTED, ["n1", "n2"], reports, slots)
    assert found is not None
    assert found[0] == reason
    assert words in found[1]


def test_one_that_sees_nothing_move_may_have_lost_its_own_way_there() -> None:
    gone = {"n1": SlotEvidence(SlotState.UNREAD, 1.0), "n2": SlotEvidence(SlotState.UNREAD, 1.0)}
    assert heartbeat_trouble(WANTED, ["n1", "n2"], [SEES], gone) is None


def test_who_is_not_to_stop_guests_need_not_see_them() -> None:
    blind = [report("n1", guests=None)]
    assert heartbeat_trouble(replace(WANTED, stop_guests=False), ["n1"], blind, SLOTS) is None
    assert heartbeat_trouble(WANTED, ["n2"], blind, SLOTS) is None, "another zone's node"
