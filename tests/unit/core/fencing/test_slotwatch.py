"""From looks at the volume to evidence: who moves, who is silent, and of whom that can't be said."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.fencing.slotreport import rows_of
from ringfence.core.fencing.slots import BLANK, Flag, Header, Slot, Word, cluster_id, encode_slot, encode_word
from ringfence.core.fencing.slotwatch import LEAST_SILENCE, NEVER, Sighting, SlotState, SlotWatch, silence_of
from ringfence.core.model import Boot

OURS = cluster_id(b"\1" * 32)
HEADER = Header(OURS, 2)
BOOT = Boot("n1", "uid-1", "00000000-0000-4000-8000-000000000001")
LATER = replace(BOOT, boot_id="00000000-0000-4000-8000-000000000002")
OTHER = Boot("n2", "uid-2", "00000000-0000-4000-8000-000000000009")
SIGNATURE = b"\1" * 64
TORN = b"rf-slot\0" + b"\1" * 4088


def watch() -> SlotWatch:
    return SlotWatch(HEADER, lambda _payload, signature: signature == SIGNATURE)


def pair(sequence: int, boot: Boot = BOOT, word: bytes = BLANK, interval: float = 1.0) -> bytes:
    return encode_slot(Slot(boot, sequence, interval), OURS) + word


def only(seen: SlotWatch, boot: Boot = BOOT) -> Sighting:
    (found,) = (s for s in seen.sightings if s.boot == boot)
    return found


def test_the_first_look_is_no_life() -> None:
    seen = watch()
    seen.see(pair(5), 10.0, 10.0)
    assert only(seen).moved_at == NEVER
    assert only(seen).state(10.0) is SlotState.UNREAD
    assert seen.sightings[0].first_at == 10.0


def test_a_new_sequence_is_life_between_two_looks() -> None:
    seen = watch()
    seen.see(pair(5), 10.0, 10.0)
    seen.see(pair(6), 10.5, 10.5)
    one = only(seen)
    assert (one.moved_after, one.moved_at) == (10.0, 10.5)
    assert one.state(10.6) is SlotState.MOVING


def test_what_a_look_that_hung_has_shown_may_have_been_written_when_it_came_back() -> None:
    """A device that was read as off in between, and lies, must not have the last word."""
    seen = watch()
    seen.see(pair(5), 10.0, 10.1)
    seen.see(pair(6), 10.5, 40.0)
    one = only(seen)
    assert (one.moved_after, one.moved_at) == (10.0, 40.0)
    seen.see(pair(6), 41.0, 41.1)
    assert only(seen).state(41.1) is SlotState.MOVING


def test_silence_counts_from_the_end_of_the_first_look() -> None:
    seen = watch()
    seen.see(pair(5), 10.0, 12.0)
    seen.see(pair(5), 13.0, 13.1)
    assert only(seen).state(13.1) is SlotState.UNREAD


def test_a_lower_sequence_is_life_too() -> None:
    """A process that starts anew may begin lower: it has written all the same."""
    seen = watch()
    seen.see(pair(5), 10.0, 10.0)
    seen.see(pair(2), 10.5, 10.5)
    assert only(seen).moved_at == 10.5


def test_silence_is_what_good_looks_saw() -> None:
    seen = watch()
    seen.see(pair(5), 10.0, 10.0)
    seen.see(pair(6), 10.5, 10.5)
    for step in range(1, 9):
        seen.see(pair(6), 10.5 + step * 0.5, 10.5 + step * 0.5)
    assert only(seen).state(13.4) is SlotState.MOVING
    assert only(seen).state(14.5) is SlotState.SILENT


def test_a_look_that_hangs_shows_no_silence() -> None:
    seen = watch()
    seen.see(pair(5), 10.0, 10.0)
    seen.see(pair(6), 10.5, 10.5)
    assert only(seen).state(60.0) is SlotState.UNREAD


def test_a_torn_block_is_neither_moving_nor_silent() -> None:
    seen = watch()
    seen.see(pair(5), 10.0, 10.0)
    for step in range(1, 100):
        seen.see(TORN + BLANK, 10.0 + step * 0.5, 10.0 + step * 0.5)
    assert only(seen).moved_at == NEVER
    assert only(seen).looked_at == 10.0
    assert only(seen).state(60.0) is SlotState.UNREAD


def test_after_a_torn_look_the_write_is_still_after_the_last_good_one() -> None:
    seen = watch()
    seen.see(pair(5), 10.0, 10.0)
    seen.see(TORN + BLANK, 10.5, 10.5)
    seen.see(pair(6), 11.0, 11.0)
    assert (only(seen).moved_after, only(seen).moved_at) == (10.0, 11.0)


def test_a_later_boot_is_another_slot() -> None:
    seen = watch()
    seen.see(pair(5), 10.0, 10.0)
    seen.see(pair(9, LATER), 10.5, 10.5)
    assert only(seen, LATER).moved_at == 10.5
    assert [s.boot for s in seen.sightings] == [LATER]


def test_another_node_in_the_place_is_no_move() -> None:
    seen = watch()
    seen.see(pair(5), 10.0, 10.0)
    seen.see(pair(9, OTHER), 10.5, 10.5)
    assert only(seen, OTHER).moved_at == NEVER


def test_a_node_that_changed_its_place_stands_there_once() -> None:
    seen = watch()
    seen.see(pair(5) + BLANK + BLANK, 10.0, 10.0)
    seen.see(pair(5) + pair(6), 10.5, 10.5)
    seen.see(pair(5) + pair(7), 11.0, 11.0)
    assert only(seen).moved_at == 11.0
    assert only(seen).index == 1


def test_a_place_that_was_given_up_is_forgotten() -> None:
    seen = watch()
    seen.see(pair(5), 10.0, 10.0)
    seen.see(BLANK + BLANK, 10.5, 10.5)
    assert seen.sightings == ()


def test_the_word_beside_a_slot_is_told() -> None:
    seen = watch()
    word = encode_word(Word(BOOT.node_uid, BOOT.boot_id, "n1-1", True), OURS, lambda _payload: SIGNATURE)
    seen.see(pair(5, word=word), 10.0, 10.0)
    assert only(seen).told == BOOT.boot_id
    forged = encode_word(Word(BOOT.node_uid, BOOT.boot_id, "n1-1", True), OURS, lambda _payload: b"\2" * 64)
    seen.see(pair(6, word=forged), 10.5, 10.5)
    assert only(seen).told == ""


def test_how_long_silence_takes() -> None:
    assert silence_of(0.1) == LEAST_SILENCE
    assert silence_of(1.0) == 3.0
    assert silence_of(10.0) == 30.0


looks = st.lists(
    st.tuples(
        st.sampled_from(["same", "next", "torn", "blank", "boot", "other"]),
        st.floats(0.05, 4.0, allow_nan=False),
    ),
    max_size=30,
)


@given(looks)
def test_what_holds_for_every_history(history: list[tuple[str, float]]) -> None:
    """A change lies between the two looks that it is said to lie between."""
    seen, now, sequence, boot = watch(), 0.0, 1, BOOT
    for what, pause in history:
        now += pause
        sequence += what == "next"
        boot = (LATER if boot == BOOT else BOOT) if what == "boot" else boot
        odd = {"torn": TORN + BLANK, "blank": BLANK + BLANK, "other": pair(1, OTHER)}
        seen.see(odd.get(what, pair(sequence, boot)), now, now)
        for one in seen.sightings:
            assert one.moved_after <= one.moved_at <= one.looked_at <= now
            assert one.first_at <= one.looked_at
            assert one.boot == (OTHER if what == "other" else boot) or what == "torn"


@given(st.lists(st.tuples(st.floats(0.01, 6.0), st.booleans()), max_size=40), st.floats(0.0, 6.0))
def test_who_writes_every_interval_is_never_called_silent(at: list[tuple[float, bool]], later: float) -> None:
    """However rarely it is looked at, and however many of the looks are torn."""
    seen, now = watch(), 0.0
    for pause, torn in at:
        now += pause
        seen.see(TORN + BLANK if torn else pair(int(now)), now, now)
        assert all(one.state(now + later) is not SlotState.SILENT for one in seen.sightings)


def test_a_report_keeps_the_instants() -> None:
    seen = watch()
    seen.see(pair(5), 10.0, 10.0)
    seen.see(pair(6) + pair(1, OTHER), 10.5, 10.5)
    rows = rows_of(seen.sightings, 11.0)
    back = {row.sighting(1011.0).boot: row.sighting(1011.0) for row in rows}
    for one in seen.sightings:
        copy = back[one.boot]
        assert copy.moved_at == (one.moved_at if one.moved_at == NEVER else one.moved_at + 1000.0)
        assert copy.looked_at == one.looked_at + 1000.0
        assert copy.flags is Flag.NONE
