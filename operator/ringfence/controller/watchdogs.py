"""The nodes' watchdogs, seen from the controller: what they promise, the revocation, and the last look.

The count itself is :func:`ringfence.core.fencing.selffence.assume`; here are its inputs. Every replica keeps them, so that a
standby which has seen the revocation need not count anew. Instants are this replica's own: the revocation is known from
when *we* saw its marker, later than it was written and therefore safe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from ringfence.api.v1alpha1.hazone import ZoneWatchdog
from ringfence.api.v1alpha1.nodereport import NodeReport, NodeReportStatus
from ringfence.controller.evidence import Witness
from ringfence.controller.setbacks import Setbacks
from ringfence.controller.streams import Agents
from ringfence.controller.world import AGENT_LEASE, World
from ringfence.core import timing
from ringfence.core.fencing.selffence import (
    NEVER,
    REVOKED,
    Leg,
    Promise,
    Roll,
    SlotLook,
    WatchdogLook,
    lease_holder,
    revocation,
    trouble_with,
    words_needed,
)
from ringfence.core.gossip.members import Member
from ringfence.core.model import Boot
from ringfence.kube import kinds
from ringfence.net.stream import StreamError
from ringfence.ports import Clock, Cluster, ClusterError, LeaseRecord, PortError

logger = logging.getLogger(__name__)

ASKED_AT_A_TIME = 16


@dataclass(slots=True)
class _Boot:
    """What is known of one boot's watchdog beyond its report."""

    boot: Boot
    revoked_at: float | None = None
    version: str = ""
    """Of the Lease as it was revoked: anybody's write after that starts the count anew."""
    undone: int = 0
    """Version of the Lease that was read without the marker: a cache may still show an older one with it."""
    times: ZoneWatchdog | None = None
    roll: Roll | None = None
    slot: SlotLook | None = None
    error: str | None = None
    failures: int = 0
    next_try_at: float = NEVER
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Watchdogs:
    """See the module."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        world: World,
        witness: Witness,
        client: Agents,
        port: int,
        poke: Callable[[], None],
        setbacks: Setbacks,
        look_at_slot: Callable[[Boot], Awaitable[SlotLook | None]] | None = None,
    ) -> None:
        """``look_at_slot``: the last look at a node's slot, where there is a heartbeat volume."""
        self._setbacks = setbacks
        self._look_at_slot = look_at_slot
        self._cluster = cluster
        self._clock = clock
        self._world = world
        self._witness = witness
        self._client = client
        self._port = port
        self._poke = poke
        self._boots: dict[str, _Boot] = {}
        self._members: frozenset[str] = frozenset()
        self._members_since = NEVER

    def watch_roster(self, now: float) -> None:
        """Notice when the members change; to be called often."""
        roster = self._witness.roster
        members = frozenset(member.uid for member in roster.members) if roster is not None else frozenset()
        if members != self._members:
            self._members, self._members_since = members, now

    # --- what the ladder and the conditions see -------------------------------------------------------------------

    def look(self, device: str, boot: Boot, times: ZoneWatchdog | None) -> WatchdogLook:
        """What is known of this boot's watchdog, as a rung of the ladder."""
        known = self._known(boot)
        known.times = times
        self._see_revocation(known)
        promise, unusable = self._judge(boot, times)
        return WatchdogLook(
            device,
            unusable=unusable,
            promise=promise,
            assume_after=times.assume_seconds if times is not None else 0.0,
            revoked_at=known.revoked_at,
            roll=known.roll,
            slot=known.slot,
            error=known.error,
            busy=known.lock.locked(),
            next_try_at=known.next_try_at,
        )

    def trouble(self, node: str, times: ZoneWatchdog | None) -> str | None:
        """Why this node's watchdog can't be counted on now; None if it can."""
        boot = self._witness.boot(node)
        if boot is None:
            return f"{node} is not known yet"
        return self._judge(boot, times)[1]

    def forget(self, node: str) -> None:
        """The incident is over: its last look is of no use to another."""
        self._boots.pop(node, None)

    def _judge(self, boot: Boot, times: ZoneWatchdog | None) -> tuple[Promise | None, str | None]:
        report = self._world.own.all(NodeReport).get(("", boot.node))
        last = self._setbacks.last
        if (
            report is not None
            and last is not None
            and last.of_before(_number(report.metadata.resource_version or ""))
        ):
            return None, (
                f"{boot.node} has not reported since the cluster's store was set back: what it last promised may be over, restart"
                " its agent"
            )
        return judge_report(report.status if report is not None else None, boot, times)

    def _known(self, boot: Boot) -> _Boot:
        known = self._boots.get(boot.node)
        if known is None or known.boot != boot:
            known = self._boots[boot.node] = _Boot(boot)
        return known

    def _see_revocation(self, known: _Boot) -> None:
        """Another replica may have revoked the Lease, or somebody undone it: the watch shows it."""
        lease = self._world.agent_leases.store.get((self._world.namespace, AGENT_LEASE + known.boot.node))
        if lease is None:
            return
        version = _number(lease.resource_version)
        if lease.holder != revocation(lease_holder(known.boot)):
            if known.revoked_at is not None and version > _number(known.version):
                self._undone(known, version)
        elif known.revoked_at is None and version > known.undone:
            known.revoked_at, known.version = self._clock.monotonic(), lease.resource_version

    @staticmethod
    def _undone(known: _Boot, version: int) -> None:
        known.revoked_at = known.roll = known.slot = None
        known.undone = version

    # --- commands ---------------------------------------------------------------------------------------------------

    async def revoke(self, boot: Boot, deadline: float) -> None:
        """Put the revocation's marker in the holder's place, by compare-and-swap; done before, it only looks.

        Never raises: what failed is in the next :meth:`look`. A later boot's Lease is left alone.
        """
        known = self._known(boot)
        if known.lock.locked():
            return
        async with known.lock:
            try:
                lease = await self._revoked(boot, deadline)
            except PortError as error:
                self._failed(known, f"the agent's Lease could not be revoked: {error}")
            else:
                known.revoked_at, known.version = self._clock.monotonic(), lease.resource_version
                known.error, known.failures, known.next_try_at = None, 0, NEVER
                logger.info("the Lease of the agent of %s is revoked", boot)
        self._poke()

    async def _revoked(self, boot: Boot, deadline: float) -> LeaseRecord:
        name, marker = AGENT_LEASE + boot.node, revocation(lease_holder(boot))
        lease = await self._cluster.get_lease(name)
        if lease is None:
            return await self._cluster.create_lease(
                LeaseRecord(self._world.namespace, name, holder=marker, duration_seconds=1), deadline=deadline
            )
        if lease.holder == marker:
            return lease
        if not self._may_revoke(lease.holder, boot):
            raise ClusterError(f"it is held by {lease.holder}, a boot that is not this incident's")
        return await self._cluster.replace_lease(replace(lease, holder=marker), deadline=deadline)

    def _may_revoke(self, holder: str, boot: Boot) -> bool:
        """Held by nobody, by this boot, or by an earlier one or its marker."""
        boots = self._witness.boots(boot.node)
        until_now = boots[: boots.index(boot.boot_id) + 1] if boot.boot_id in boots else (boot.boot_id,)
        ours = {lease_holder(replace(boot, boot_id=one)) for one in until_now}
        return holder.removeprefix(REVOKED) in {"", *ours}

    async def look_once_more(self, boot: Boot) -> None:
        """The last look: the Lease and the report by consistent reads, then the agents' word. Never raises."""
        known = self._known(boot)
        if known.lock.locked():
            return
        async with known.lock:
            asked_at = self._clock.monotonic()
            try:
                lease = await self._cluster.get_lease(AGENT_LEASE + boot.node)
                raw = await self._cluster.get(kinds.NODE_REPORT, boot.node)
            except ClusterError as error:
                self._failed(known, f"the last look failed: {error}")
            else:
                known.error, known.failures, known.next_try_at = None, 0, NEVER
                self._world.own.seen("nodereports", raw)
                if lease is None or lease.holder != revocation(lease_holder(boot)):
                    # Somebody has undone it: it is revoked again, and counted anew.
                    self._undone(known, _number(lease.resource_version) if lease is not None else 0)
                elif known.version != lease.resource_version:
                    known.revoked_at, known.version = self._clock.monotonic(), lease.resource_version
                else:
                    promise, trouble = self._judge(boot, known.times)
                    if promise is not None and trouble is None:
                        await self._ask_all(known, promise, asked_at)
        self._poke()

    def _failed(self, known: _Boot, sentence: str) -> None:
        backoff = timing.COMMAND_BACKOFF[min(known.failures, len(timing.COMMAND_BACKOFF) - 1)]
        known.failures += 1
        known.error, known.next_try_at = sentence, self._clock.monotonic() + backoff
        logger.warning("%s: %s", known.boot, sentence)

    async def _ask_all(self, known: _Boot, promise: Promise, asked_at: float) -> None:
        if Leg.STORAGE not in promise.legs or self._look_at_slot is None:
            known.roll = await self._call_roll(known.boot, asked_at)
            return
        known.roll, known.slot = await asyncio.gather(
            self._call_roll(known.boot, asked_at), self._look_at_slot(known.boot)
        )

    async def _call_roll(self, boot: Boot, asked_at: float) -> Roll:
        """Ask every other member when it last heard the node. Who can't be reached has said nothing."""
        roster = self._witness.roster
        members = roster.members if roster is not None else ()
        gate = asyncio.Semaphore(ASKED_AT_A_TIME)

        async def ask(member: Member) -> tuple[str, float] | None:
            async with gate:
                try:
                    hearing = await self._client.hearing(member.addresses[0], self._port, boot.node_uid)
                except (StreamError, OSError, TimeoutError) as error:
                    logger.debug(
                        "the agent of %s did not say whether it hears %s: %r", member.name, boot, error
                    )
                    return None
                if (hearing.reporter, hearing.subject) != (member.name, boot):
                    return None  # it knows the node by another boot, and can't tell of this one
                return member.name, self._clock.monotonic() - hearing.latest_age

        others = [member for member in members if member.name != boot.node and member.addresses]
        words = [word for word in await asyncio.gather(*map(ask, others)) if word is not None]
        settled = self._witness.life(boot.node).packet >= self._members_since + timing.ROSTER_SETTLES
        return Roll(
            asked_at,
            frozenset(name for name, _ in words),
            max((at for _, at in words), default=NEVER),
            words_needed(len(members), settled=settled),
        )


def _number(version: str) -> int:
    """Versions of one object grow; Kubernetes >= 1.35 promises that they compare as numbers."""
    return int(version or 0)


def promise_of(status: NodeReportStatus) -> Promise | None:
    """What the report promises; None: its watchdog is not armed."""
    dog = status.watchdog
    if dog is None or not dog.armed or dog.timeout_seconds is None or dog.isolation_seconds is None:
        return None
    return Promise(dog.isolation_seconds, dog.timeout_seconds, frozenset(dog.legs))


def judge_report(
    status: NodeReportStatus | None, boot: Boot, times: ZoneWatchdog | None
) -> tuple[Promise | None, str | None]:
    """What the report promises, and why it can't be counted on (None: it can)."""
    node = boot.node
    if times is None:
        return None, f"{node}'s zone has no spec.fencing.watchdog: say there how long to wait"
    if status is None or (status.node_uid, status.boot_id) != (boot.node_uid, boot.boot_id):
        return None, f"{node} has not reported about this boot yet"
    dog = status.watchdog
    if dog is None:
        return None, f"{node}'s agent feeds no watchdog: install with agent.watchdog.enabled"
    if (promise := promise_of(status)) is None:
        return None, f"{node}'s watchdog is not armed: {dog.reason or 'its agent says no more'}"
    trouble = trouble_with(
        promise, times.isolation_seconds, times.timeout_seconds, times.assume_seconds, frozenset(times.legs)
    )
    return promise, None if trouble is None else f"{node}'s watchdog: {trouble}"
