"""Worlds with several networks: what the watch sees there, and what the ring makes of them."""

from __future__ import annotations

import pytest

from ringfence.core.gossip.events import KernelProbe
from simulator import faults
from simulator.figures import quiet, storage
from simulator.invariants import Watch
from simulator.node import Node
from simulator.script import Fault, ScriptError, random_script, read
from simulator.story import play
from simulator.world import World


class DeadWire(World):
    """Nothing comes through on the storage network, though nobody has cut it."""

    def send(self, node: Node, datagram: bytes, address: str) -> None:
        if address not in {other.networks.get("storage") for other in self.nodes}:
            super().send(node, datagram, address)

    def _kernel_asked(self, question: tuple[Node, int, Node, KernelProbe]) -> None:
        if question[3].network != "storage":
            super()._kernel_asked(question)


def broken_in(world: World, *fault: Fault, seconds: float = 8.0) -> set[int]:
    watch = Watch(world)
    world.run(3)
    for one in fault:
        world.later(one.at, lambda one: faults.begin(world, one), one)
    world.run(seconds)
    return {one.number for one in watch.broken}


CUT = Fault(0.0, "split", ("n2",), ("n1", "n3", "n4", "n5"), network="management")


def test_the_watch_sees_a_verdict_about_a_node_whose_other_network_carries_packets() -> None:
    assert 1 in broken_in(DeadWire(5, networks=("storage",)), CUT)
    assert not broken_in(World(5, networks=("storage",)), CUT)


def test_the_watch_sees_a_network_called_dead_that_carries_packets() -> None:
    assert 14 in broken_in(DeadWire(5, networks=("storage",)))
    on_storage = Fault(0.0, "split", ("n2",), ("n1", "n3", "n4", "n5"), network="storage")
    assert not broken_in(World(5, networks=("storage",)), on_storage)


def test_a_fault_on_one_network_leaves_the_others() -> None:
    world = World(5, networks=("storage", "migration"))
    Watch(world)
    world.run(3)
    faults.begin(world, CUT)
    links = world.links
    assert links.past(0, 1, world.now).loss == 1
    assert links.past(0, 1, world.now, "storage").clean
    assert links.cut_since(0, 1, world.now)
    assert not links.cut_since(0, 1, world.now, "migration")
    assert links.delays(0, 1, 100) == ()
    assert links.delays(0, 1, 100, "storage") != ()


def test_the_text_of_a_script_says_networks() -> None:
    text = "nodes 5 zones 1 seed 7 networks 2\n1.000 split n1 > n2 for 2.000 on storage\n2.000 crash n3"
    script = read(text)
    assert str(script) == text
    assert script.further == ("storage",)
    assert [fault.network for fault in script.faults] == ["storage", None]
    assert str(read("nodes 5 zones 1 seed 7")) == "nodes 5 zones 1 seed 7"
    with pytest.raises(ScriptError):
        read("nodes 5 zones 1 seed 7\n1.0 cut n1 > n2 at storage")
    for seed in range(40):
        assert (random_script(seed, 20).networks > 1) is (seed % 4 == 3)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_storage_network_of_one_node_is_known_dead_to_all_its_observers_within_four_seconds(
    seed: int,
) -> None:
    row = storage(60, seed=seed, seconds=4.0, lost=1)
    assert row["known"] == 1
    assert row["false_verdicts"] == 0


def test_where_all_lose_it_nobody_is_called_unreachable_and_load_is_bounded() -> None:
    row = storage(30, seed=1, seconds=12.0, lost=0)
    assert row["known"] == 30
    assert row["false_verdicts"] == 0
    assert isinstance(row["most_bytes_s"], float)
    assert row["most_bytes_s"] < 15_000


def test_each_further_network_costs_a_quarter() -> None:
    one, two, three = (quiet(30, seed=1, seconds=8.0, networks=number)["bytes_s"] for number in (1, 2, 3))
    assert isinstance(one, float)
    assert isinstance(two, float)
    assert isinstance(three, float)
    assert 1.15 * one < two < 1.3 * one
    assert 1.15 * one < three - two + one < 1.3 * one


def test_random_scripts_of_worlds_with_networks() -> None:
    for seed in (1003, 1011, 1015, 1019):
        outcome = play(random_script(seed, 20))
        assert not outcome.broken, f"{outcome.broken}\n{outcome.script}"


def test_a_network_that_answers_again_is_nowhere_called_dead_any_more() -> None:
    """n11 has lost its storage network for some seconds, while two agents stood still.

    Who didn't hear of the look that withdrew it went on showing the votes of the last one for 40 s, though n11 had long
    answered him there himself.
    """
    others = ",".join(f"n{number}" for number in range(1, 31) if number != 11)
    script = f"""
        nodes 30 zones 3 seed 111 networks 2
        4.361 pause n5,n21 for 4.331
        5.841 split n11 > {others} for 4.423 on storage
    """
    assert not play(read(script)).broken
