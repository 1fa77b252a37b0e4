"""The gossip leg of the self-fence: answers from more than half of the whole roster (GOSSIP §6, invariant 13)."""

from __future__ import annotations

import pytest

from ringfence.core.gossip.swim import Swim
from unit.core.gossip.ring_world import FakeCrypto, World, boot_id

EVERY = 2.5


def world_of(count: int) -> World:
    world = World(count)
    for node in world.nodes.values():
        node.swim.call_everybody(EVERY, world.now)
        world._settle(node)
    world.run(6.0)
    return world


def age(world: World, name: str) -> float:
    answered = world.nodes[name].swim.answered_by_most()
    assert answered is not None
    return world.now - answered


@pytest.mark.parametrize("count", [2, 3, 8, 30])
def test_a_healthy_node_has_a_fresh_leg(count: int) -> None:
    assert age(world_of(count), "n1") < EVERY + 0.5


@pytest.mark.parametrize("count", [3, 30])
def test_an_isolated_nodes_leg_stands_still(count: int) -> None:
    world = world_of(count)
    world.isolate("n1")
    cut_at = world.now
    world.run(8.0)
    answered = world.nodes["n1"].swim.answered_by_most()
    assert answered is not None
    assert answered <= cut_at
    world.heal()
    world.run(5.0)
    assert age(world, "n1") < EVERY + 0.5


@pytest.mark.parametrize(
    ("count", "reached", "holds"),
    [(5, 2, True), (5, 1, False), (30, 15, True), (30, 14, False), (4, 1, False)],
)
def test_half_of_the_roster_is_not_enough(count: int, reached: int, holds: bool) -> None:
    """The node itself counts: with half of the others it is more than half of an odd roster, not of an even one."""
    world = world_of(count)
    far = [name for name in world.nodes if name != "n1"][reached:]
    world.cut(["n1"], far)
    world.cut(far, ["n1"])
    cut_at = world.now
    world.run(12.0)
    answered = world.nodes["n1"].swim.answered_by_most()
    assert answered is not None
    assert (answered > cut_at) is holds


def test_packets_that_only_arrive_are_no_answers() -> None:
    world = world_of(3)
    world.cut(["n1"], ["n2", "n3"])  # it hears, and is not heard
    cut_at = world.now
    world.run(6.0)
    answered = world.nodes["n1"].swim.answered_by_most()
    assert answered is not None
    assert answered <= cut_at


def test_without_a_roster_there_is_no_leg() -> None:
    swim = Swim(node="n1", boot_id=boot_id("n1"), crypto=FakeCrypto(b"k"), dice=World(1).dice)
    assert swim.answered_by_most() is None
    assert World(1).nodes["n1"].swim.answered_by_most() == float("inf")
