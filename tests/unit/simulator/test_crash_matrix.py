"""The leader is killed right before and right after each command of the machine; the next one goes on (DESIGN §6, 9).

The matrix is made from the command types themselves: a new one fails here until a story gives it. In each play the
invariants hold on every tick, and at its end all is as it would have been without the death: no second fence, no VM
lost, no finished move done again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import get_args

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


def _bmc() -> World:
    return World(NODES, VMS, {}, "Active", {"db": "rwx"}, controllers=LEADERS, spread=True)


def _slot() -> World:
    return World(NODES, VMS, {}, "Active", heartbeat={"stopGuests": False}, controllers=LEADERS, spread=True)


def _leases() -> World:
    return World(NODES, VMS, {}, "Active", node_leases=True, controllers=LEADERS, spread=True)


def _strategies() -> World:
    vms = {"manual": "n1", "once": "n1", "rerun": "n1", "other": "n4"}
    kinds = {"manual": "Manual", "once": "Once", "rerun": "RerunOnFailure"}
    return World(NODES, vms, {}, "Active", strategies=kinds, controllers=LEADERS, spread=True)


def _storage() -> World:
    bmcs: dict[str, str | None] = dict.fromkeys(NODES)
    return World(NODES, VMS, bmcs, "Active", storage_fence=list(VMS), controllers=LEADERS, spread=True)


def _watchdog() -> World:
    bmcs: dict[str, str | None] = dict.fromkeys(NODES)
    times = {"isolationSeconds": 2.0, "timeoutSeconds": 5.0, "assumeSeconds": 15.0}
    return World(
        NODES, VMS, bmcs, "Active", None, kennel({"nodes": NODES, **times}), controllers=LEADERS, spread=True
    )


def _kubevirt() -> World:
    pods = {"virt-api": "n1", "virt-controller": "n1"}
    return World(NODES, VMS, {}, "Active", kubevirt_pods=pods, controllers=LEADERS, spread=True)


STORIES: dict[str, tuple[Callable[[], World], Script]] = {
    "bmc": (_bmc, ((6.0, "cut n1"),)),
    "slot": (_slot, ((6.0, "freeze n1"),)),
    "leases": (_leases, ((6.0, "cut n1"),)),
    "given back": (_leases, ((6.0, "cut n1"), (7.6, "mode Paused"), (20.0, "mode Active"))),
    "strategies": (_strategies, ((6.0, "force-delete-launcher rerun"), (10.0, "cut n1"))),
    "storage": (_storage, ((6.0, "cut n1"), (22.0, "heal n1"))),
    "watchdog": (_watchdog, ((6.0, "isolate n1"), (50.0, "rejoin n1"))),
    "kubevirt": (_kubevirt, ((6.0, "power-cut n1"),)),
}  # fmt: skip


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


def _play(story: str, deadly: Deadly | None) -> End:
    make, script = STORIES[story]
    world = make()
    notes = Notes(world)
    world.controller.watched_by(notes)
    if deadly is not None:
        assert isinstance(world.controller, Controller)
        world.controller.die_at(deadly)
    lines = list(script)
    try:
        while world.now < LATEST:
            while lines and world.now >= lines[0][0]:
                world.do(lines.pop(0)[1].split())
            world.tick()
            notes.tick()
            stored = world.memory.stored.values()
            if not lines and stored and all(r.phase in ENDED for r in stored):
                break
        notes.end()
    except Broken as error:
        pytest.fail(f"{story}, {deadly}: {error}\n" + "\n".join(world.log))
    plant = world.plant
    assert not any(n.suspect or n.out_of_service for n in plant.nodes.values()), f"{story}, {deadly}"
    return End(
        {r.boot.node: r.phase for r in world.memory.stored.values()},
        {vm.name: vm.vmi for vm in plant.vms.values()},
        frozenset(vm.name for vm in plant.vms.values() if vm.phase == "Running" and len(vm.qemu) == 1),
        {name: box.orders for name, box in plant.bmcs.items()},
        notes.commanded_,
        "\n".join(world.log),
    )


@cache
def _undisturbed(story: str) -> End:
    return _play(story, None)


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
