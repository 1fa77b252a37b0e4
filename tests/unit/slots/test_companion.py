"""What tells a shared volume from a folder of the node's own."""

from __future__ import annotations

from ringfence.core.fencing.slots import PAIR, Header
from ringfence.core.fencing.slotwatch import NEVER
from ringfence.slots.companion import Companion
from unit.slots.shelf import CLUSTER, Shelf, boot, check
from unit.slots.test_heartbeat import NOW, Node


class Pair:
    """Two nodes on one shelf, and the first one's look-out for company."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.one, self.other = Node(self.shelf, 1), Node(self.shelf, 2)
        self.companion = Companion(self.one.header, check, boot(1).node_uid)

    def step(self, now: float, *writers: Node, shelf: Shelf | None = None) -> float:
        for node in writers:
            node.turn(now)
        return self.companion.turn(shelf or self.shelf, now)


def test_another_node_that_writes_is_company() -> None:
    pair = Pair()
    assert pair.step(NOW, pair.one, pair.other) == NEVER, (
        "what stands there at the first look is nobody's life"
    )
    assert pair.step(NOW + 1, pair.one, pair.other) == NOW
    assert pair.step(NOW + 2, pair.one, pair.other) == NOW + 1


def test_its_own_slot_is_none() -> None:
    pair = Pair()
    pair.other.turn(NOW)
    for step in range(10):
        assert pair.step(NOW + step, pair.one) == NEVER


def test_a_copy_on_its_own_disk_keeps_nobody_company() -> None:
    """The mount is gone, a new process opens what lies below: the others stand there, and none of them moves."""
    pair = Pair()
    pair.step(NOW, pair.one, pair.other)
    below = Shelf(bytearray(pair.shelf.data))
    alone = Node(below, 1)
    pair.companion = Companion(alone.header, check, boot(1).node_uid)
    for step in range(1, 10):
        pair.other.turn(NOW + step)
        assert pair.step(NOW + step, alone, shelf=below) == NEVER


def test_one_companion_costs_one_read_and_another_takes_its_place() -> None:
    pair = Pair()
    third = Node(pair.shelf, 3)
    for step in range(3):
        pair.step(NOW + step, pair.one, pair.other)
    pair.shelf.reads = 0
    pair.companion.turn(pair.shelf, NOW + 2.5)
    assert pair.shelf.reads == 1
    held = [pair.step(NOW + 3 + step, pair.one, third) for step in range(9)]
    assert held[0] == NOW + 1, "nothing is known of the other since"
    assert held[-1] == NOW + 10, "the third one is company now"


def test_a_slot_that_another_node_takes_over_is_still_company() -> None:
    pair = Pair()
    pair.step(NOW, pair.one, pair.other)
    pair.step(NOW + 1, pair.one, pair.other)
    at = pair.one.header.offset(pair.other.index)
    pair.shelf.data[at : at + PAIR] = bytes(PAIR)
    for step in range(2, 12):
        held = pair.step(NOW + step, pair.one, pair.other)
    assert held == NOW + 10


def test_a_large_volume_is_read_in_pieces() -> None:
    shelf = Shelf()
    one = Node(shelf, 1)
    header = Header(CLUSTER, 300)
    shelf.grow(header.size)
    shelf.reads = 0
    Companion(header, check, one.boot.node_uid).turn(shelf, NOW)
    assert shelf.reads == 3
