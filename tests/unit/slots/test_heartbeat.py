"""A node's own slot: found, written, lost and found again; and what a fenced node does."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.core.fencing.slots import BLANK, BLOCK, Flag, Header, Slot, SlotError, encode_slot
from ringfence.slots.heartbeat import RECLAIM, Heartbeat, prepare
from ringfence.slots.leg import LastWord
from unit.slots.shelf import CLUSTER, Numbers, Pen, Shelf, boot, check, fenced

NOW = 1000.0


class Node:
    """One node's heartbeat on a shelf."""

    def __init__(
        self,
        shelf: Shelf,
        number: int,
        *,
        life: int = 1,
        pen: Pen | None = None,
        numbers: Numbers | None = None,
    ) -> None:
        self.shelf = shelf
        self.boot = boot(number, life)
        self.pen = pen or Pen()
        self.header = prepare(shelf, CLUSTER, 4)
        self.held: list[float] = []
        self.numbers = numbers or Numbers()
        self.beat = Heartbeat(self.boot, self.header, 1.0, check, self.pen, self.held.append, self.numbers)

    def turn(self, now: float) -> None:
        self.beat.turn(self.shelf, now)

    @property
    def index(self) -> int:
        index = self.beat.standing.index
        assert index is not None
        return index

    @property
    def flags(self) -> Flag:
        slot = self.shelf.slot(self.header, self.index)
        assert slot is not None
        return slot.flags

    def sequence(self) -> int:
        slot = self.shelf.slot(self.header, self.index)
        assert slot is not None
        return slot.sequence


def test_a_blank_volume_is_made_ready() -> None:
    shelf = Shelf()
    assert prepare(shelf, CLUSTER, 4) == Header(CLUSTER, 4)
    assert shelf.size() == Header(CLUSTER, 4).size
    assert prepare(shelf, CLUSTER, 99) == Header(CLUSTER, 4), "what stands there counts, not what was wished"


@pytest.mark.parametrize("at", [0, BLOCK, 5 * BLOCK])
def test_what_somebody_else_keeps_there_is_not_touched(at: int) -> None:
    shelf = Shelf(bytearray(Header(CLUSTER, 4).size))
    shelf.data[at + 7] = 1
    before = bytes(shelf.data)
    with pytest.raises(SlotError, match="not touched"):
        prepare(shelf, CLUSTER, 4)
    assert bytes(shelf.data) == before


def test_a_device_that_is_too_small_is_refused() -> None:
    with pytest.raises(OSError, match="too small"):
        prepare(Shelf(bytearray(2 * BLOCK), fixed=True), CLUSTER, 4)


def test_each_turn_is_one_read_and_one_write() -> None:
    node = Node(Shelf(), 1)
    node.turn(NOW)
    node.shelf.reads = node.shelf.writes = 0
    for step in range(1, 11):
        node.turn(NOW + step)
    assert (node.shelf.reads, node.shelf.writes) == (10, 10)
    assert node.held == [NOW + step for step in range(11)]


def test_the_sequence_grows_from_process_to_process() -> None:
    first = Node(Shelf(), 1)
    first.turn(NOW)
    first.turn(NOW + 0.0001)
    second = Node(first.shelf, 1)
    second.turn(NOW + 0.0002)
    assert second.index == first.index
    assert second.sequence() > int(NOW * 1000) + 1


def test_the_last_number_that_fits_ends_nobody() -> None:
    """Whoever writes to the volume can put it there; the next process of that boot goes on from it."""
    node = Node(Shelf(), 1)
    node.turn(NOW)
    at = node.header.offset(node.index)
    node.shelf.data[at : at + BLOCK] = encode_slot(Slot(node.boot, (1 << 64) - 1, 1.0), CLUSTER)
    again = Node(node.shelf, 1)
    again.turn(NOW + 1)
    again.turn(NOW + 2)
    assert again.sequence() == int((NOW + 2) * 1000)


def test_two_nodes_part_and_stay() -> None:
    shelf = Shelf()
    nodes = [Node(shelf, number) for number in (1, 2, 3, 4)]
    for step in range(3):
        for node in nodes:
            node.turn(NOW + step)
    assert {node.index for node in nodes} == {0, 1, 2, 3}
    assert all(node.held[-3:] == [NOW, NOW + 1, NOW + 2] for node in nodes)


def test_who_was_overwritten_goes_on_elsewhere_and_holds_no_leg_by_the_others_slot() -> None:
    shelf = Shelf()
    mine, other = Node(shelf, 1), Node(shelf, 2)
    mine.turn(NOW)
    other.turn(NOW)
    at, theirs = mine.header.offset(mine.index), other.header.offset(other.index)
    shelf.data[at : at + BLOCK] = shelf.data[theirs : theirs + BLOCK]
    taken = mine.index
    mine.turn(NOW + 1)
    assert mine.index != taken
    assert shelf.slot(mine.header, taken) == shelf.slot(mine.header, other.index), (
        "the other's slot is not touched"
    )


@pytest.mark.parametrize("damage", [BLANK, b"\7" * BLOCK])
def test_a_damaged_slot_is_written_anew(damage: bytes) -> None:
    node = Node(Shelf(), 1)
    node.turn(NOW)
    at = node.header.offset(node.index)
    node.shelf.data[at : at + BLOCK] = damage
    node.turn(NOW + 1)
    assert node.sequence() == int((NOW + 1) * 1000)


def test_a_full_volume_is_said_and_a_silent_slot_is_taken_over_in_the_end() -> None:
    shelf = Shelf()
    old = [Node(shelf, number) for number in (1, 2, 3, 4)]
    for node in old:
        node.turn(NOW)
    new = Node(shelf, 5)
    for step in range(int(RECLAIM)):
        for node in old[1:]:
            node.turn(NOW + step)
        with pytest.raises(SlotError, match="all 4 slots are taken"):
            new.turn(NOW + step)
    new.turn(NOW + RECLAIM + 1)
    assert new.index == old[0].index


def test_a_failing_write_holds_no_leg() -> None:
    node = Node(Shelf(), 1)
    node.turn(NOW)
    node.shelf.broken = OSError("the path is gone")
    with pytest.raises(OSError, match="the path is gone"):
        node.turn(NOW + 1)
    assert node.held == [NOW]
    assert node.beat.standing.written_at == NOW
    node.shelf.broken = None
    node.turn(NOW + 2)
    assert node.held == [NOW, NOW + 2]


# --- a fenced node ----------------------------------------------------------------------------------------------


def told(node: Node, block: bytes) -> None:
    node.shelf.word(node.header, node.index, block)


def test_a_fenced_node_kills_its_guests_says_so_and_falls_silent() -> None:
    node = Node(Shelf(), 1)
    node.turn(NOW)
    told(node, fenced(node.boot))
    node.turn(NOW + 1)
    assert node.pen.count == 0
    assert node.flags == Flag.FENCED | Flag.GUESTS_GONE
    last = node.sequence()
    for step in range(2, 10):
        node.turn(NOW + step)
    assert node.sequence() == last
    assert node.held == [NOW], "the leg of a fenced node is lost"
    assert node.beat.standing.guests == 0


def test_while_a_guest_lives_its_node_goes_on_writing() -> None:
    """A guest in an I/O that does not come back dies late: a moving slot is the truth until then."""
    node = Node(Shelf(), 1, pen=Pen(2, stubborn=True))
    node.turn(NOW)
    told(node, fenced(node.boot))
    for step in range(1, 4):
        node.turn(NOW + step)
        assert node.sequence() == int((NOW + step) * 1000)
        assert node.flags == Flag.FENCED
    assert node.held == [NOW]
    node.pen.stubborn = False
    node.turn(NOW + 4)
    assert node.flags == Flag.FENCED | Flag.GUESTS_GONE


@pytest.mark.parametrize(
    ("pen", "stop_guests"), [(Pen(None), True), (Pen(2), False)], ids=["unseen", "not allowed"]
)
def test_who_may_not_kill_says_that_it_lives(pen: Pen, stop_guests: bool) -> None:
    node = Node(Shelf(), 1, pen=pen)
    before = pen.count
    node.turn(NOW)
    told(node, fenced(node.boot, stop_guests=stop_guests))
    node.turn(NOW + 1)
    node.turn(NOW + 2)
    assert pen.count == before
    assert node.flags == Flag.FENCED
    assert node.sequence() == int((NOW + 2) * 1000)
    assert node.held == [NOW]


def test_the_word_is_read_before_anything_is_written() -> None:
    """A node that thaws or gets its storage back: its first turn kills, and writes nothing that says that it lives."""
    node = Node(Shelf(), 1)
    node.turn(NOW)
    told(node, fenced(node.boot))
    again = Node(node.shelf, 1)
    again.turn(NOW + 60)
    assert again.pen.count == 0
    assert again.flags == Flag.FENCED | Flag.GUESTS_GONE
    assert again.held == []


def test_a_process_that_starts_anew_on_a_fenced_silent_node_stays_silent() -> None:
    node = Node(Shelf(), 1)
    node.turn(NOW)
    told(node, fenced(node.boot))
    node.turn(NOW + 1)
    last = node.sequence()
    again = Node(node.shelf, 1, pen=Pen(0))
    again.turn(NOW + 60)
    assert again.sequence() == last


def test_words_to_others_and_to_earlier_boots_are_not_for_this_one() -> None:
    for target in (boot(2), boot(1, life=9)):
        node = Node(Shelf(), 1)
        node.turn(NOW)
        told(node, fenced(target))
        node.turn(NOW + 1)
        assert node.pen.count == 2
        assert node.held == [NOW, NOW + 1]


def test_a_forged_word_is_not_obeyed() -> None:
    node = Node(Shelf(), 1)
    node.turn(NOW)
    forged = bytearray(fenced(node.boot))
    forged[60] ^= 1
    told(node, bytes(forged))
    node.turn(NOW + 1)
    assert node.pen.count == 2


def test_when_the_word_is_taken_back_the_node_writes_again_and_an_old_word_says_nothing() -> None:
    node = Node(Shelf(), 1)
    node.turn(NOW)
    told(node, fenced(node.boot, issued=5))
    node.turn(NOW + 1)
    told(node, fenced(node.boot, issued=6, taken_back=True))
    node.turn(NOW + 2)
    assert node.held == [NOW, NOW + 2]
    assert node.flags == Flag.NONE
    node.pen.count = 2
    told(node, fenced(node.boot, issued=5))
    node.turn(NOW + 3)
    assert node.pen.count == 2
    assert node.held == [NOW, NOW + 2, NOW + 3]


def test_nor_does_it_to_the_next_process() -> None:
    """The volume is not sealed: whoever writes to it may put the old word back when the process starts anew."""
    node = Node(Shelf(), 1)
    node.turn(NOW)
    for issued, back in ((5, False), (6, True)):
        told(node, fenced(node.boot, issued=issued, taken_back=back))
        node.turn(NOW + issued)
    told(node, fenced(node.boot, issued=5))
    again = Node(node.shelf, 1, numbers=node.numbers)
    again.turn(NOW + 9)
    assert again.pen.count == 2
    assert again.flags == Flag.NONE
    told(again, fenced(node.boot, issued=7))
    again.turn(NOW + 10)
    third = Node(node.shelf, 1, pen=Pen(2), numbers=node.numbers)
    third.turn(NOW + 11)
    assert third.pen.count == 0, "the newest one is obeyed by whichever process"


def test_the_last_words_number_is_of_one_boot(tmp_path: Path) -> None:
    kept = LastWord(tmp_path / "run" / "leg", "boot-1")
    assert kept.read() == 0
    kept.keep(7)
    assert LastWord(tmp_path / "run" / "leg", "boot-1").read() == 7
    assert LastWord(tmp_path / "run" / "leg", "boot-2").read() == 0
    (tmp_path / "run" / "leg.word").write_text("boot-1 seven")
    assert kept.read() == 0
    none = LastWord(None, "boot-1")
    none.keep(7)
    assert none.read() == 0


def test_signing_off() -> None:
    node = Node(Shelf(), 1)
    node.turn(NOW)
    node.beat.leave(node.shelf, NOW + 1)
    assert node.flags == Flag.LEFT
    told(node, fenced(node.boot))
    node.turn(NOW + 2)
    node.beat.leave(node.shelf, NOW + 3)
    assert node.flags == Flag.FENCED | Flag.GUESTS_GONE, "a fenced node's last words stay"
