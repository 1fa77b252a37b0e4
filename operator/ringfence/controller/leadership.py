"""Keep or win the leader's Lease. The decisions are :mod:`ringfence.core.election`'s; here are the requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ringfence.controller.rfc3339 import stamp
from ringfence.core import timing
from ringfence.core.election import Election, LeaseAction, LeaseView
from ringfence.ports import Clock, Cluster, ClusterError, Conflict, LeaseRecord

logger = logging.getLogger(__name__)

LEASE = "ringfence-controller"


class Leadership:
    """One candidate's dealings with the Lease.

    ``on_change`` is called with True or False when this replica begins or ceases to lead.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        identity: str,
        namespace: str,
        on_change: Callable[[bool], None],
        able: Callable[[], bool],
        accused: Callable[[], bool],
        stand_down: Callable[[], Awaitable[None]],
    ) -> None:
        """``able`` says whether this replica sees a majority of the nodes alive, or has no ring to ask yet; ``accused``
        whether it finds its own node Down. ``stand_down`` ends what was decided here and not sent yet, within
        :data:`~ringfence.core.timing.STANDS_DOWN`; it is awaited before the Lease is given back.
        """
        self._cluster = cluster
        self._clock = clock
        self._on_change = on_change
        self._namespace = namespace
        self._able = able
        self._accused = accused
        self._stand_down = stand_down
        self._led = False
        self._lease: LeaseRecord | None = None
        self._ready = asyncio.Event()
        self.election = Election(identity)

    @property
    def leads(self) -> bool:
        return self.election.leads(self._clock.monotonic())

    @property
    def deadline(self) -> float:
        """Until when (CLOCK_BOOTTIME) a write or an order of this replica may still be sent."""
        return self.election.deadline()

    def ready(self) -> None:
        """This replica's caches are complete: it may stand for election."""
        self._ready.set()

    async def run(self) -> None:
        """Read, decide, write, for ever. A holder renews every second; a standby reads as often."""
        await self._ready.wait()
        while True:
            now = self._clock.monotonic()
            await self._turn(now)
            self._tell()
            now = self._clock.monotonic()
            # A standby polls: it must count the holder's silence from what it saw itself.
            pause = min(max(self.election.next_wake(now) - now, 0.05), timing.LEASE_RETRY)
            await asyncio.sleep(pause)

    async def _turn(self, now: float) -> None:
        try:
            async with asyncio.timeout(timing.LEASE_RENEW):
                holds = self.election.view is not None and self.election.holder == self.election.identity
                if self._lease is None or not holds:
                    self._take_in(await self._cluster.get_lease(LEASE, self._namespace))
                now = self._clock.monotonic()
                self.election = self.election.able(self._able(), now, accused=self._accused())
                action = self.election.action(now)
                if action is LeaseAction.NOTHING:
                    return
                self.election = self.election.tried(now)
                if action is LeaseAction.GIVE_WAY:
                    why = (
                        "this replica's own node is found Down: it hands over, so that another judges it"
                        if self.election.accused
                        else "this replica sees no majority of the nodes: another may lead"
                    )
                    logger.warning(why)
                    await self._give_back()
                    self.election = self.election.gives_way()
                    return
                await self._write(action, now)
        except Conflict:
            self._lease = None
        except (ClusterError, TimeoutError) as error:
            logger.debug("leader's Lease: %s", error or "time-out")
            self._lease = None

    def _take_in(self, lease: LeaseRecord | None) -> None:
        self._lease = lease
        view = LeaseView(lease.holder, lease.transitions, lease.resource_version) if lease else None
        self.election = self.election.observe(view, self._clock.monotonic())

    async def _write(self, action: LeaseAction, sent_at: float) -> None:
        wall = stamp(self._clock.wall())
        if action is LeaseAction.CREATE:
            lease = await self._cluster.create_lease(
                LeaseRecord(
                    namespace=self._namespace,
                    name=LEASE,
                    holder=self.election.identity,
                    duration_seconds=int(timing.LEASE_DURATION),
                    acquire_time=wall,
                    renew_time=wall,
                    transitions=1,
                )
            )
        else:
            assert self._lease is not None
            wanted = replace(self._lease, renew_time=wall)
            if action is LeaseAction.ACQUIRE:
                wanted = replace(
                    wanted,
                    holder=self.election.identity,
                    acquire_time=wall,
                    transitions=self._lease.transitions + 1,
                    duration_seconds=int(timing.LEASE_DURATION),
                )
            lease = await self._cluster.replace_lease(wanted)
        self._lease = lease
        view = LeaseView(lease.holder, lease.transitions, lease.resource_version)
        self.election = self.election.succeeded(view, sent_at, self._clock.monotonic())

    async def _give_back(self) -> None:
        """From here on this replica does not lead, whatever becomes of the request."""
        assert self._lease is not None
        lease, self._lease = self._lease, None
        self.election = replace(self.election, view=None)
        # An order that waits for a connection carries a deadline that was right while the Lease was ours.
        await self._stand_down()
        await self._cluster.replace_lease(replace(lease, holder=""))

    def _tell(self) -> None:
        leads = self.leads
        if leads != self._led:
            self._led = leads
            logger.info(
                "%s %s (epoch %d)",
                self.election.identity,
                "leads" if leads else "does not lead any more",
                self.election.epoch,
            )
            self._on_change(leads)

    async def release(self) -> None:
        """Give the Lease back at an orderly end, so that the next leader needn't wait for its age."""
        if self._lease is None or self.election.holder != self.election.identity:
            return
        try:
            async with asyncio.timeout(timing.LEASE_RENEW):
                await self._give_back()
        except (ClusterError, TimeoutError) as error:
            logger.info("the Lease could not be given back: %s", error or "time-out")
