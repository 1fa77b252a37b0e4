"""Looking at the others, and writing words beside their slots."""

from __future__ import annotations

import pytest

from ringfence.core.fencing.slots import BLOCK
from ringfence.slots.heartbeat import Heartbeat, prepare
from ringfence.slots.lookout import Lookout, WordOrder
from unit.slots.shelf import CLUSTER, Numbers, Pen, Shelf, boot, check, fenced

NOW = 1000.0


class Scene:
    """Two nodes that write, one that looks."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.header = prepare(self.shelf, CLUSTER, 4)
        self.pen = Pen()
        self.beats = [
            Heartbeat(boot(n), self.header, 1.0, check, self.pen, lambda _at: None, Numbers()) for n in (1, 2)
        ]
        self.now = NOW
        self.lookout = Lookout(self.header, check, lambda: self.now)
        self.beat(NOW)

    def beat(self, now: float) -> None:
        for beat in self.beats:
            beat.turn(self.shelf, now)

    def index(self, number: int) -> int:
        index = self.beats[number - 1].standing.index
        assert index is not None
        return index

    def word(self, index: int) -> bytes:
        at = self.header.offset(index) + BLOCK
        return bytes(self.shelf.data[at : at + BLOCK])


def test_nothing_is_read_while_nobody_listens() -> None:
    scene = Scene()
    scene.shelf.reads = 0
    scene.lookout.turn(scene.shelf, NOW)
    assert scene.shelf.reads == 0


def test_one_look_is_one_read_however_many_slots() -> None:
    scene = Scene()
    scene.lookout.readers = 1
    scene.shelf.reads = 0
    scene.lookout.turn(scene.shelf, NOW)
    assert scene.shelf.reads == 1
    assert {s.boot for s in scene.lookout.sightings} == {boot(1), boot(2)}
    scene.beat(NOW + 1)
    scene.now = NOW + 1.2
    scene.lookout.turn(scene.shelf, NOW + 1.1)
    assert {s.moved_at for s in scene.lookout.sightings} == {NOW + 1.2}


def test_a_large_volume_is_read_piece_by_piece() -> None:
    shelf = Shelf()
    header = prepare(shelf, CLUSTER, 300)
    beat = Heartbeat(boot(1), header, 1.0, check, Pen(), lambda _at: None, Numbers())
    beat.turn(shelf, NOW)
    lookout = Lookout(header, check, lambda: NOW)
    lookout.readers = 1
    shelf.reads = 0
    lookout.turn(shelf, NOW)
    assert shelf.reads == 3
    assert [s.boot for s in lookout.sightings] == [boot(1)]


def test_a_word_is_written_and_seen() -> None:
    scene = Scene()
    scene.lookout.readers = 1
    scene.lookout.ask(WordOrder(scene.index(1), fenced(boot(1), issued=7), NOW + 4))
    scene.lookout.turn(scene.shelf, NOW + 1)
    (seen,) = (s for s in scene.lookout.sightings if s.boot == boot(1))
    assert (seen.told, seen.issued) == (boot(1).boot_id, 7)
    scene.beat(NOW + 2)
    assert scene.pen.count == 0


@pytest.mark.parametrize(
    ("block", "deadline", "index"),
    [
        (fenced(boot(1)), NOW, 1),
        (fenced(boot(2)), NOW + 9, 1),
        (bytes(BLOCK), NOW + 9, 1),
        (b"\7" * BLOCK, NOW + 9, 1),
        (fenced(boot(1)), NOW + 9, 99),
    ],
    ids=["too late", "not its slot", "blank", "garbage", "no such slot"],
)
def test_what_is_not_a_word_to_that_node_in_time_is_not_written(
    block: bytes, deadline: float, index: int
) -> None:
    scene = Scene()
    before = bytes(scene.shelf.data)
    scene.lookout.ask(WordOrder(scene.index(1) if index == 1 else index, block, deadline))
    scene.lookout.turn(scene.shelf, NOW)
    assert bytes(scene.shelf.data) == before


def test_a_word_whose_read_has_hung_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The storage comes back after a minute, and with it the node that the word was about."""
    scene = Scene()
    read = scene.shelf.read

    def hangs(offset: int, length: int) -> bytes:
        scene.now += 60.0
        return read(offset, length)

    monkeypatch.setattr(scene.shelf, "read", hangs)
    before = bytes(scene.shelf.data)
    scene.lookout.ask(WordOrder(scene.index(1), fenced(boot(1)), NOW + 4))
    scene.lookout.turn(scene.shelf, NOW)
    assert bytes(scene.shelf.data) == before


def test_an_older_word_does_not_replace_a_newer_one() -> None:
    scene = Scene()
    for issued in (5, 6, 5):
        back = issued == 6
        scene.lookout.ask(WordOrder(scene.index(1), fenced(boot(1), issued, taken_back=back), NOW + 9))
        scene.lookout.turn(scene.shelf, NOW)
    assert scene.word(scene.index(1)) == fenced(boot(1), 6, taken_back=True)


def test_orders_are_bounded() -> None:
    scene = Scene()
    for issued in range(1000):
        scene.lookout.ask(WordOrder(scene.index(1), fenced(boot(1), issued), NOW + 9))
    scene.shelf.writes = 0
    scene.lookout.turn(scene.shelf, NOW)
    assert scene.shelf.writes <= 64
