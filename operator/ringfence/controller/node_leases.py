"""The Leases ``node-<name>`` in the cluster: taken before a node is fenced, honoured, given back.

Read and written only in an incident, by the leader. Where nobody has made their namespace, or we have no right in it, there are none:
that is found out by asking, told once, and asked again only after a while. ``core/failover/node_lease.py`` says what follows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from ringfence.controller.rfc3339 import parse, stamp
from ringfence.core import timing
from ringfence.core.failover.node_lease import HOLDER, UNUSED, Held, NodeLeaseLook, foreign
from ringfence.core.model import Boot
from ringfence.ports import AlreadyExists, Clock, Cluster, Conflict, Forbidden, LeaseRecord, NotFound

logger = logging.getLogger(__name__)

ABSENT_FOR = 60.0
"""Seconds for which a cluster without such Leases is not asked again."""


@dataclass(slots=True)
class _Known:
    """What was last seen of one node's Lease."""

    asked_at: float
    """Since when we wait for it: the first question, or when somebody else was last seen to hold it."""
    held: Held | None = None


class NodeLeases:
    """The Leases of the nodes with an incident. An empty namespace: they are not used."""

    def __init__(self, cluster: Cluster, clock: Clock, namespace: str) -> None:
        self._cluster = cluster
        self._clock = clock
        self._namespace = namespace
        self._known: dict[str, _Known] = {}
        self._absent_until = float("-inf")

    def look(self, node: str) -> NodeLeaseLook:
        """What is known of the node's Lease now."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        if not self._namespace or now < self._absent_until:
            return UNUSED
        known = self._known.get(node)
        if known is None:
            return NodeLeaseLook(used=True, settled=False)
        held = known.held if known.held is not None and known.held.valid(wall) else None
        if held is not None and held.holder == HOLDER:
            renewed = held.renewed if held.renewed is not None else wall
            return NodeLeaseLook(used=True, ours=True, renewal_due=wall - renewed >= timing.NODE_LEASE_RENEW)
        if held is not None:
            known.asked_at = now
            return NodeLeaseLook(used=True, foreign=foreign(node, held.holder, self._path(node)))
        return NodeLeaseLook(used=True, settled=now - known.asked_at >= timing.NODE_LEASE_WAIT)

    async def take(self, boot: Boot, deadline: float) -> None:
        """Take the Lease or renew it, unless somebody else holds it; that is in the next :meth:`look`. Raises PortError."""
        node, wall = boot.node, self._clock.wall()
        known = self._known.setdefault(node, _Known(self._clock.monotonic()))
        try:
            lease = await self._cluster.get_lease(_name(node), self._namespace)
            if lease is None:
                lease = await self._cluster.create_lease(self._ours(node, wall), deadline=deadline)
            elif lease.holder == HOLDER or not _held(lease).valid(wall):
                lease = await self._cluster.replace_lease(self._taken(lease, wall), deadline=deadline)
            known.held = _held(lease)
        except (AlreadyExists, Conflict) as error:
            logger.info("%s: somebody was faster, looking again: %s", self._path(node), error)
        except (NotFound, Forbidden) as error:
            self._absent(error)

    async def release(self, boot: Boot, deadline: float) -> None:
        """Give the Lease back, if it is ours: others find none, as they leave it themselves. Raises PortError."""
        self._known.pop(boot.node, None)
        try:
            lease = await self._cluster.get_lease(_name(boot.node), self._namespace)
            if lease is not None and lease.holder == HOLDER:
                await self._cluster.delete_lease(lease, deadline=deadline)
        except Conflict as error:
            logger.info("%s: it is somebody else's by now: %s", self._path(boot.node), error)
        except Forbidden as error:
            self._absent(error)

    def _absent(self, error: Exception) -> None:
        logger.info("no Leases of nodes in %s: %s", self._namespace, error)
        self._absent_until = self._clock.monotonic() + ABSENT_FOR

    def _path(self, node: str) -> str:
        return f"{self._namespace}/{_name(node)}"

    def _ours(self, node: str, wall: float) -> LeaseRecord:
        return LeaseRecord(
            self._namespace,
            _name(node),
            holder=HOLDER,
            duration_seconds=int(timing.NODE_LEASE_DURATION),
            acquire_time=stamp(wall),
            renew_time=stamp(wall),
        )

    def _taken(self, lease: LeaseRecord, wall: float) -> LeaseRecord:
        renewed = replace(
            lease, duration_seconds=int(timing.NODE_LEASE_DURATION), renew_time=stamp(wall), holder=HOLDER
        )
        if lease.holder == HOLDER and lease.acquire_time:
            return renewed
        return replace(renewed, acquire_time=stamp(wall), transitions=lease.transitions + 1)


def _name(node: str) -> str:
    return f"node-{node}".lower()


def _held(lease: LeaseRecord) -> Held:
    return Held(
        lease.holder,
        _instant(lease.renew_time),
        float(lease.duration_seconds) if lease.duration_seconds else None,
    )


def _instant(text: str) -> float | None:
    """Anybody may have written it: one that can't be read counts as none, and holds nobody up."""
    try:
        return parse(text)
    except ValueError:  # such as the years 0 and 10000, which an API server keeps
        return None
