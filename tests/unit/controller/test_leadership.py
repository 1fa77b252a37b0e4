"""Handing the leader's Lease over, over a Lease that is kept as the API server keeps it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

from ringfence.controller.leadership import Leadership
from ringfence.ports import Cluster, Conflict, LeaseRecord, SystemClock


async def nothing_waits() -> None:
    """To stand down, where nothing is under way."""


class Leases:
    """One Lease under optimistic locking."""

    def __init__(self) -> None:
        self.lease: LeaseRecord | None = None
        self.changed = asyncio.Condition()

    async def get_lease(self, _name: str, _namespace: str = "") -> LeaseRecord | None:
        return self.lease

    async def create_lease(self, lease: LeaseRecord, *, deadline: float | None = None) -> LeaseRecord:
        assert deadline is None
        return await self._keep(lease)

    async def replace_lease(self, lease: LeaseRecord, *, deadline: float | None = None) -> LeaseRecord:
        assert deadline is None
        if self.lease is None or lease.resource_version != self.lease.resource_version:
            raise Conflict("somebody wrote first")
        return await self._keep(lease)

    async def _keep(self, lease: LeaseRecord) -> LeaseRecord:
        version = int(self.lease.resource_version) + 1 if self.lease is not None else 1
        self.lease = replace(lease, resource_version=str(version))
        async with self.changed:
            self.changed.notify_all()
        return self.lease

    async def held_by(self, holder: str) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.lease is not None and self.lease.holder == holder)


async def test_a_leader_whose_own_node_is_found_down_hands_over_and_may_order_nothing_more() -> None:
    leases, accused = Leases(), {"a": False}
    cluster, clock = cast("Cluster", leases), SystemClock()

    def replica(name: str) -> Leadership:
        return Leadership(
            *(cluster, clock, name, "ringfence", lambda _: None, lambda: True),
            lambda: accused.get(name, False),
            nothing_waits,
        )

    first, second = replica("a"), replica("b")
    async with asyncio.timeout(20), asyncio.TaskGroup() as work:
        first.ready()
        running = [work.create_task(first.run())]
        await leases.held_by("a")
        second.ready()
        running.append(work.create_task(second.run()))
        began = clock.monotonic()
        accused["a"] = True
        await leases.held_by("b")
        took = clock.monotonic() - began
        assert first.deadline == float("-inf")
        assert not first.leads
        assert second.leads
        for task in running:
            task.cancel()
    # A renewal's retry and a standby's look: not the age of the Lease, nor the five seconds of a lost majority.
    assert took < 3.0
