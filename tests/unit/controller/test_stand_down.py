"""A leader that gives its Lease back sends nothing of before: whoever takes the Lease leads at once, and judges for itself.

An order may wait for a connection, a TLS handshake with a slow BMC, for as long as the deadline of its decision lasts. That
deadline counts the Lease as ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from ringfence.core import timing
from ringfence.ports import Clock, DeviceSpec, Json, Kind, OrderReceipt, PowerDevice, SystemClock

from .test_loop import TICK, Bmc, Replica, Site, play, redfish


class Slow(Bmc):
    """A BMC that keeps whoever orders waiting in the handshake."""

    def __init__(self, site: Site, node: str) -> None:
        super().__init__(site, node)
        self.called, self.answers = asyncio.Event(), asyncio.Event()
        self.let_go = self.clings = False

    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        self.called.set()
        try:
            await self.answers.wait()
        except asyncio.CancelledError:
            self.let_go = True
            if self.clings:
                await self.answers.wait()
            raise
        return await super().order_off(deadline=deadline)


class SlowStore(Site):
    """A store that takes its time with what is to be on record before an order, if it is told to."""

    def __init__(self) -> None:
        super().__init__(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}]})
        self.storing, self.stored = asyncio.Event(), asyncio.Event()
        self.stored.set()

    async def replace_status(self, kind: Kind, obj: Json, *, deadline: float | None = None) -> Json:
        if obj["status"].get("orders"):
            self.storing.set()
            await self.stored.wait()
        return await super().replace_status(kind, obj, deadline=deadline)


class Leader(Replica):
    """One that stands before such a BMC. Its turns wait for nobody."""

    site: SlowStore

    def __init__(self, site: SlowStore, name: str, node: str) -> None:
        super().__init__(site, name, node)
        self.slow = Slow(site, "n1")

    async def turn(self) -> None:
        self._watch()
        self._listen()
        await self.leadership._turn(self.site.clock.now)
        await self.loop.turn()
        for _ in range(20):
            await asyncio.sleep(0)

    def open(self, spec: DeviceSpec, _secret: Mapping[str, bytes], _clock: Clock) -> PowerDevice:
        assert spec.name == "bmc-n1"
        return self.slow


async def until(leader: Leader, event: asyncio.Event) -> None:
    """n1 dies, and it has come to that."""
    leader.site.down.add("n1")
    for _ in range(100):
        await play(leader, TICK)
        if event.is_set():
            assert leader.leadership.deadline > leader.site.clock.now, "it may be sent as yet"
            return
    raise AssertionError("it never came to that")


async def leads() -> Leader:
    """A leader that has watched for long enough to act."""
    site = SlowStore()
    site.runs("db", "n1")
    leader = Leader(site, "c-1", "n2")
    await play(leader, timing.SETTLE + 1.0)
    return leader


async def all_ends() -> None:
    """Whatever is under way."""
    async with asyncio.timeout(10):
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)


@pytest.mark.parametrize("why", ["an orderly end", "its own node is found Down"])
async def test_no_order_leaves_after_the_lease_was_given_back(why: str) -> None:
    leader = await leads()
    site = leader.site
    await until(leader, leader.slow.called)
    assert site.failover()["status"]["orders"]
    if why == "an orderly end":
        await leader.leadership.release()
    else:
        leader.accused = True
        site.clock.now += timing.LEASE_RETRY
        await leader.leadership._turn(site.clock.now)
    assert site.lease is not None
    assert site.lease.holder == ""
    leader.slow.answers.set()
    await all_ends()
    assert "bmc-n1 off" not in [deed for _, deed in site.deeds]
    await leader.loop.turn()
    assert leader.slow.let_go
    assert "bmc-n1 off" not in [deed for _, deed in site.deeds], "nor by a turn that comes later"


async def test_a_step_that_is_being_stored_when_the_lease_goes_starts_no_command() -> None:
    """Its deadline was read before the write, and the write may take a second."""
    leader = await leads()
    site = leader.site
    leader.slow.answers.set()
    site.stored.clear()
    await until(leader, site.storing)
    await leader.leadership.release()
    site.stored.set()
    await all_ends()
    assert site.failover()["status"]["orders"], "it is on record, and the next leader counts with it"
    assert "bmc-n1 off" not in [deed for _, deed in site.deeds]


async def test_a_device_that_hangs_while_it_is_let_go_keeps_the_next_leader_waiting_for_no_second() -> None:
    leader = await leads()
    site, clock = leader.site, SystemClock()
    leader.slow.clings = True
    await until(leader, leader.slow.called)
    began = clock.monotonic()
    await leader.leadership.release()
    assert clock.monotonic() - began < timing.LEASE_RENEW
    assert site.lease is not None
    assert site.lease.holder == ""
    leader.slow.answers.set()
    await all_ends()
    assert "bmc-n1 off" not in [deed for _, deed in site.deeds]
