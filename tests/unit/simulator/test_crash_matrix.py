"""The leader is killed right before and right after each command of the machine; the next one goes on (DESIGN §6, 9).

The matrix is made from the command types themselves: a new one fails here until a story gives it. In each play the
invariants hold on every tick, and at its end all is as it would have been without the death: no second fence, no VM
lost, no finished move done again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, get_args

import pytest

from ringfence.core.failover.commands import Command
from ringfence.core.failover.node_lease import ReleaseNodeLease
from ringfence.core.failover.phase import ENDED, Phase
from ringfence.core.failover.record import Record
from ringfence.core.failover.recovery import RecoveryCommand
from ringfence.core.fencing.orders import OrderOff
from simulator.system import power
from simulator.system.controller import Controller
from simulator.system.executor import Deadly
from simulator.system.invariants import Invariants
from simulator.system.mortal import mortal
from simulator.system.replicas import WARM_UP, Replicas
from simulator.system.rules import Broken
from simulator.system.watchdogs import kennel
from simulator.system.world import World

KINDS: tuple[type, ...] = (*get_args(Command), *get_args(RecoveryCommand))
NODES = ["n1", "n2", "n3", "n4"]
LEADERS = ["n2", "n3"]
VMS = {"db": "n1", "web": "n1", "other": "n4"}
LATEST = 150.0
MOST = 4
"""Stories in which a command is tried that many of them give: the whole matrix takes half a minute of one core."""
Script = tuple[tuple[float, str], ...]


NONE: dict[str, str | None] = dict.fromkeys(NODES)
TIMES = {"isolationSeconds": 2.0, "timeoutSeconds": 5.0, "assumeSeconds": 15.0}
STRATEGIES = {"manual": "Manual", "once": "Once", "rerun": "RerunOnFailure"}
RUN_STRATEGIES = {**dict.fromkeys(STRATEGIES, "n1"), "other": "n4"}
KUBEVIRT = {"virt-api": "n1", "virt-controller": "n1"}

STORIES: dict[str, tuple[Callable[..., World], Script]] = {
    "bmc": (partial(World, NODES, VMS, {}, "Active", {"db": "rwx"}), ((6.0, "cut n1"),)),
    "slot": (partial(World, NODES, VMS, {}, "Active", heartbeat={"stopGuests": False}), ((6.0, "freeze n1"),)),
    "leases": (partial(World, NODES, VMS, {}, "Active", node_leases=True), ((6.0, "cut n1"),)),
    "given back": (
        partial(World, NODES, VMS, {}, "Active", node_leases=True),
        ((6.0, "cut n1"), (7.6, "mode Paused"), (20.0, "mode Active")),
    ),
    "strategies": (
        partial(World, NODES, RUN_STRATEGIES, {}, "Active", strategies=STRATEGIES),
        ((6.0, "force-delete-launcher rerun"), (10.0, "cut n1")),
    ),
    "storage": (
        partial(World, NODES, VMS, NONE, "Active", storage_fence=list(VMS)),
        ((6.0, "cut n1"), (22.0, "heal n1")),
    ),
    "watchdog": (
        lambda **led: World(NODES, VMS, NONE, "Active", None, kennel({"nodes": NODES, **TIMES}), **led),
        ((6.0, "isolate n1"), (50.0, "rejoin n1")),
    ),
    "kubevirt": (partial(World, NODES, VMS, {}, "Active", kubevirt_pods=KUBEVIRT), ((6.0, "power-cut n1"),)),
}  # fmt: skip
STAND_IN: dict[str, Any] = {"controllers": LEADERS, "spread": True}
OWN_LOOPS: dict[str, Any] = {
    **STAND_IN,
    "control": lambda plant, memory: Replicas(plant, memory, tuple(LEADERS), seed=1),
    "warm_up": WARM_UP,
}


@dataclass
class Notes(Invariants):
    """The invariants, and what was commanded and ordered."""

    commanded_: Counter[type] = field(default_factory=Counter)

    def commanded(self, command: Command | RecoveryCommand) -> None:
        self.commanded_[type(command)] += 1

    def ordered(self, record: Record, order: OrderOff) -> None:
        super().ordered(record, order)
        if self.world.plant.box(order.device).ordered_in and not power.gives(self.world.plant, order.device):
            raise Broken(
                f"9: {self.world.now:.2f}: a second fence: {order.device} has cut {record.boot.node}"
            )


@dataclass(frozen=True)
class End:
    """How it came out."""

    ended: dict[str, Phase]
    moves: dict[str, int]
    """VM: the instances that it has had."""
    running: frozenset[str]
    orders: dict[str, int]
    commanded: Counter[type]
    log: str

    def same_as(self, other: End) -> bool:
        return (self.ended, self.moves, self.running, self.orders) == (
            other.ended,
            other.moves,
            other.running,
            other.orders,
        )


def _play(story: str, deadly: Deadly | None, *, real: bool = False) -> End:
    make, script = STORIES[story]
    world = make(**(OWN_LOOPS if real else STAND_IN))
    notes = Notes(world, real=real)
    world.controller.watched_by(notes)
    try:
        with _led(world, notes, deadly):
            _through(world, notes, list(script))
    except Broken as error:
        pytest.fail(f"{story}, {deadly}: {error}\n" + "\n".join(world.log))
    plant = world.plant
    assert not any(n.suspect or n.out_of_service for n in plant.nodes.values()), (
        f"{story}, {deadly}\n" + "\n".join(world.log)
    )
    return End(
        {r.boot.node: r.phase for r in world.memory.stored.values()},
        {vm.name: vm.vmi for vm in plant.vms.values()},
        frozenset(vm.name for vm in plant.vms.values() if vm.phase == "Running" and len(vm.qemu) == 1),
        {name: box.orders for name, box in plant.bmcs.items()},
        notes.commanded_,
        "\n".join(world.log),
    )


@contextmanager
def _led(world: World, notes: Notes, deadly: Deadly | None) -> Iterator[None]:
    """By the stand-in, or by replicas that are the product's own."""
    match world.controller:
        case Controller() as stand_in:
            if deadly is not None:
                stand_in.die_at(deadly)
            yield
        case Replicas() as replicas:
            with mortal(deadly, notes.commanded, replicas.dies):
                yield
            replicas.close()


def _through(world: World, notes: Notes, lines: list[tuple[float, str]]) -> None:
    while world.now < LATEST:
        while lines and world.now >= lines[0][0]:
            world.do(lines.pop(0)[1].split())
        world.tick()
        notes.tick()
        stored = world.memory.stored.values()
        if not lines and stored and all(r.phase in ENDED for r in stored):
            break
    notes.end()


@cache
def _undisturbed(story: str, *, real: bool = False) -> End:
    return _play(story, None, real=real)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_next_leader_goes_on(kind: type, after: bool) -> None:
    stories = [name for name in STORIES if _undisturbed(name).commanded[kind]]
    assert stories, f"no story here gives {kind.__name__}: add one to STORIES"
    for story in stories[:MOST]:
        wanted = _undisturbed(story)
        for spared in sorted({0, wanted.commanded[kind] - 1 if story == stories[0] else 0}):
            end = _play(story, Deadly(kind, after, spared))
            assert "process is dead" in end.log, f"{story}: {kind.__name__} was never given"
            assert end.same_as(wanted), (
                f"{story}, killed at {kind.__name__} {spared}:\n{end.log}\n\n{wanted.log}"
            )


def test_the_stories_end_well() -> None:
    for name in STORIES:
        end = _undisturbed(name)
        assert set(end.ended.values()) == {Phase.CLOSED}, end.log
        assert end.running == frozenset(end.moves), end.log


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_lease_that_nobody_lives_to_give_back_expires(after: bool) -> None:
    """The incident ends with the same write: no later leader takes it up again."""
    last = _undisturbed("leases").commanded[ReleaseNodeLease] - 1
    end = _play("leases", Deadly(ReleaseNodeLease, after, last))
    assert set(end.ended.values()) == {Phase.CLOSED}


OWN_LOOPS_IN = ("bmc", "slot", "given back", "strategies", "storage", "watchdog", "kubevirt")
"""A play of these costs some seconds, twenty times as much as under the stand-in: each command in one story."""


@pytest.mark.long
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_next_process_of_the_product_goes_on(kind: type, after: bool) -> None:
    """The same with the controller's own loops and executor: their process is killed, and another of them takes over."""
    story = next((name for name in OWN_LOOPS_IN if _undisturbed(name, real=True).commanded[kind]), "")
    assert story, f"no story of OWN_LOOPS_IN gives {kind.__name__}"
    wanted = _undisturbed(story, real=True)
    end = _play(story, Deadly(kind, after), real=True)
    assert "process is dead" in end.log, f"{story}: {kind.__name__} was never given"
    assert end.same_as(wanted), f"{story}, killed at {kind.__name__}:\n{end.log}\n\n{wanted.log}"
    assert end.running == frozenset(end.moves), end.log
