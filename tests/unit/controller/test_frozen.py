"""A leader that is frozen between its decision and the command, and leads anew when it thaws: it sends nothing of before.

Whatever a command is, it carries the deadline of the moment in which it was decided. Had it asked for one when it was sent, a second
term of the same process would carry out what the first has decided by what was seen a minute ago.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from ringfence.controller import rehearsal
from ringfence.controller.devices import DeviceBook
from ringfence.controller.failovers import VIRT_CONTROLLER, Executor
from ringfence.controller.narrator import Narrator
from ringfence.controller.node_leases import NodeLeases
from ringfence.controller.refusals import Refusals
from ringfence.controller.watchdogs import Watchdogs
from ringfence.core import timing
from ringfence.core.failover.commands import (
    AddOutOfServiceTaint,
    AddSuspectTaint,
    Command,
    OrderOn,
    RecoverPods,
    RehearseAdmission,
    RemoveTaints,
    TellFenced,
)
from ringfence.core.failover.cut import LiftCut
from ringfence.core.failover.node_lease import HOLDER, ReleaseNodeLease, TakeNodeLease
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import PodRef, Record
from ringfence.core.failover.recovery import DeletePod, DeleteVmi, FreeLeadership, RequestStart
from ringfence.core.failover.step import Step
from ringfence.core.fencing.orders import (
    Action,
    LookOnceMore,
    Order,
    OrderOff,
    ReadPower,
    RevokeAgentLease,
)
from ringfence.core.fencing.proof import PoweredOff, PowerOffHow, permit
from ringfence.core.model import Boot
from ringfence.metrics import ControllerMetrics
from ringfence.ports import Cluster, Json, Kind, LeaseRecord, Scribe, TooLate, Unavailable

N1 = Boot("n1", "uid-n1", "boot-n1")
RECORD = Record(
    *("n1-1", N1, Phase.RECOVERING, "s", 0.0, 0.0),
    orders=tuple(Order.decided("bmc", 1, 1002.0, 10.0, action) for action in (Action.OFF, Action.ON)),
)
RECOVER = permit(N1, (PoweredOff(N1, "bmc", PowerOffHow.ORDERED, 0.0),), 1)
assert RECOVER is not None
DECIDED_UNTIL, LATER_UNTIL = 1003.0, 1063.0

COMMANDS: Mapping[str, tuple[Command, int]] = {
    "off": (OrderOff("bmc", 1), 1),
    "on": (OrderOn("bmc"), 1),
    "lift": (LiftCut("bmc"), 1),
    "revoke": (RevokeAgentLease("dogs"), 1),
    "suspect": (AddSuspectTaint("n1"), 1),
    "out-of-service": (AddOutOfServiceTaint(RECOVER), 1),
    "untaint": (RemoveTaints("n1", out_of_service=True), 2),
    "take lease": (TakeNodeLease(N1), 1),
    "release lease": (ReleaseNodeLease(N1), 1),
    "word": (TellFenced(N1, "n1-1", stop_guests=True), 1),
    "delete pod": (RecoverPods(RECOVER, (DeletePod(PodRef("shop", "p", "uid-p"), force=True),)), 1),
    "delete vmi": (RecoverPods(RECOVER, (DeleteVmi("shop", "db", "uid-vmi"),)), 1),
    "start": (RecoverPods(RECOVER, (RequestStart("shop", "db", "uid-vm", "uid-vmi"),)), 1),
    "free": (RecoverPods(RECOVER, (FreeLeadership("kubevirt", "virt-controller-1"),)), 1),
}
READS = (ReadPower, LookOnceMore, RehearseAdmission)
"""They change nothing, so they have no deadline of their decision."""


class Everything:
    """Cluster, devices, watchdogs and pen in one: whatever is asked of it, it notes until when it might have been sent."""

    replace_status: Callable[..., Any]
    """Where a test stores something."""

    def __init__(self) -> None:
        self.until: list[float | None] = []
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def get_lease(self, name: str, namespace: str = "") -> LeaseRecord:
        await asyncio.sleep(0)
        holder = "virt-controller-1_x" if name == VIRT_CONTROLLER else HOLDER
        return LeaseRecord(namespace, name, holder)

    async def get(self, *_what: Any) -> Json:
        await asyncio.sleep(0)
        return {}

    async def record_event(self, *_what: Any) -> None: ...

    async def order_off(self, _order: Order, _node: str, _incident: str, deadline: float) -> None:
        self.until.append(deadline)

    async def order_on(self, _device: str, _node: str, deadline: float) -> None:
        self.until.append(deadline)

    async def revoke(self, _boot: Boot, deadline: float) -> None:
        self.until.append(deadline)

    async def _write(self, *_what: Any, deadline: float | None = None, **_how: Any) -> Any:
        await asyncio.sleep(0)
        self.until.append(deadline)
        return LeaseRecord("", "", HOLDER)

    add_taint = remove_taint = create_lease = replace_lease = delete_lease = tell = _write
    delete_pod = delete_vmi = request_start = patch = patch_status = create = _write


def executor_of(world: Everything) -> tuple[Executor, list[float]]:
    """One whose right to send ends at the instant in the list."""
    right = [DECIDED_UNTIL]
    cluster = cast("Cluster", world)
    narrator = Narrator(cluster)
    executor = Executor(
        *(cluster, world, cast("DeviceBook", world), cast("Watchdogs", world)),
        *(NodeLeases(cluster, world, "nhc"), narrator),
        Refusals(world, narrator, ControllerMetrics(), lambda: 0.5),
        lambda: right[0],
        lambda: None,
        cast("Scribe", world),
    )
    return executor, right


@pytest.mark.parametrize("name", COMMANDS)
async def test_what_was_decided_before_it_was_frozen_is_not_sent_in_its_next_term(name: str) -> None:
    command, writes = COMMANDS[name]
    world = Everything()
    executor, right = executor_of(world)
    await executor.carry_out(RECORD, Step(RECORD, (command,)), {"metadata": {"uid": "uid"}})
    # Here it is frozen for a minute. Another has led and has given the Lease back, and this one takes it.
    world.now, right[0] = 1060.0, LATER_UNTIL
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
    assert len(world.until) >= writes
    assert set(world.until) == {DECIDED_UNTIL}, "it may be sent until then, and no adapter sends it now"


async def test_what_took_seconds_to_be_stored_is_sent_no_later_than_when_it_was_decided_allows() -> None:
    """An API server that lets the write of a Failover wait in its queue, but not the renewals of the leader's Lease."""
    world = Everything()
    executor, right = executor_of(world)

    async def store(_kind: Kind, obj: Json, *, deadline: float | None = None) -> Json:
        await asyncio.sleep(0)
        assert deadline == DECIDED_UNTIL
        world.now, right[0] = 1004.5, LATER_UNTIL
        return obj

    world.replace_status = store
    ordered = replace(RECORD, phase=Phase.FENCING, sentence="ordered")
    raw = {"metadata": {"uid": "uid", "resourceVersion": "1"}}
    await executor.carry_out(RECORD, Step(ordered, (OrderOff("bmc", 1),)), raw)
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
    assert world.until == [DECIDED_UNTIL]


@pytest.mark.parametrize("command", [OrderOff("bmc", 1), OrderOn("bmc")])
async def test_an_order_is_sent_within_seconds_of_its_decision_however_long_the_lease_lasts(
    command: OrderOff | OrderOn,
) -> None:
    """On record is until when it may take effect, and that is counted from the last instant at which it may be sent."""
    world = Everything()
    executor, _ = executor_of(world)
    orders = tuple(Order.decided("bmc", 1, 1000.5, 10.0, action) for action in (Action.OFF, Action.ON))
    record = replace(RECORD, orders=orders)
    await executor.carry_out(record, Step(record, (command,)), {"metadata": {"uid": "uid"}})
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
    assert world.until == [1000.5 + timing.ORDER_SENT_WITHIN]
    assert {o.effective_until - 10.0 for o in orders} == set(world.until)


class Silent(Everything):
    """No dry run is answered."""

    async def get(self, *_what: Any) -> Json:
        return {"spec": {}}

    async def _write(self, *_what: Any, deadline: float | None = None, **_how: Any) -> Any:
        await asyncio.sleep(0)
        assert deadline is not None
        if self.now >= deadline:
            raise TooLate("not sent")
        self.until.append(deadline)
        raise Unavailable("no answer")

    patch = patch_status = create = _write


async def test_dry_runs_go_on_for_longer_than_one_deadline_where_that_helps() -> None:
    """Each round finds some of the API server's dead connections to a lost virt-api; a silent one takes its whole patience."""
    world = Silent()
    executor, right = executor_of(world)
    command = RehearseAdmission("shop", "db")
    await executor.carry_out(RECORD, Step(RECORD, (command,)), {"metadata": {"uid": "uid"}})
    (running,) = asyncio.all_tasks() - {asyncio.current_task()}
    while not running.done():
        await asyncio.sleep(0)
        world.now += rehearsal.PATIENCE
        right[0] = world.now + 3.0
    assert len(world.until) == rehearsal.ROUNDS * 3 * rehearsal.AT_ONCE


def test_no_command_is_forgotten_here() -> None:
    kinds = {type(command) for command, _ in COMMANDS.values()} | set(READS)
    assert kinds == set(cast("Any", Command).__args__)
