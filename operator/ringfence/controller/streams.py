"""Keep a verdict stream open to this replica's own node's agent and to four others (after DESIGN §3, "Bootstrap").

Two agents must show a verdict, so the second fastest stream tells how late it is. Where packets are lost each of them may stand still
for a second, and some are of nodes that have just died: of five, two are most likely left that don't.

Which others is drawn from the roster by the replica's name, so that replicas spread. One that can't be reached, or that two
agents call unreachable, is passed over for the next. One whose stream is lost after a while is dialled again: it has kept what it was
told, another would have to become known as a window first.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from typing import Protocol

from ringfence.controller.evidence import Witness
from ringfence.core.detection.lateness import Lateness
from ringfence.core.gossip.keys import KeySet
from ringfence.core.gossip.members import Member, Roster
from ringfence.core.gossip.report import AgentView, Hearing
from ringfence.metrics import ControllerMetrics
from ringfence.net.stream import StreamError
from ringfence.ports import Clock

logger = logging.getLogger(__name__)

STREAMS = 5
"""Agents that a replica reads; DESIGN has three."""
REDIAL = 0.5
PASS_OVER = 10.0
LASTED = 5.0
"""Seconds after which a stream that is lost speaks of the path rather than of the agent."""


class Agents(Protocol):
    """Through whom agents are asked: :class:`ringfence.net.stream.StreamClient`, and whoever stands in for it.

    Methods raise StreamError, OSError or TimeoutError.
    """

    def rekey(self, keys: KeySet) -> None:
        """Go by these keys from the next connection on."""

    def views(self, address: str, port: int) -> AsyncGenerator[AgentView, None]:
        """The views of the agent there, until the stream is lost."""

    async def hearing(self, address: str, port: int, uid: str) -> Hearing:
        """When the agent there last heard the member of that UID."""

    async def roster(self, address: str, port: int, epoch: int, digests: bytes) -> bytes:
        """What the roster of the agent there has beyond this one, where it is of a later epoch; else nothing."""


class Streams:
    """See the module."""

    COUNT = STREAMS

    def __init__(
        self,
        client: Agents,
        witness: Witness,
        clock: Clock,
        identity: str,
        own_node: str,
        port: int,
        poke: Callable[[], None],
        metrics: ControllerMetrics,
    ) -> None:
        self._metrics = metrics
        self._client = client
        self._witness = witness
        self._clock = clock
        self._identity = identity
        self._own_node = own_node
        self._port = port
        self._poke = poke
        self._open: dict[str, asyncio.Task[None]] = {}
        self._failed_at: dict[str, float] = {}

    async def run(self) -> None:
        """Follow the roster, for ever."""
        try:
            while True:
                wanted = {m.name: m for m in self._wanted(self._clock.monotonic())}
                for name in self._open.keys() - wanted.keys():
                    self._open.pop(name).cancel()
                for name, member in wanted.items():
                    if name not in self._open or self._open[name].done():
                        self._open[name] = asyncio.create_task(self._follow(member))
                self._count(sum(not task.done() for task in self._open.values()))
                await asyncio.sleep(REDIAL)
        finally:
            for task in self._open.values():
                task.cancel()
            await asyncio.gather(*self._open.values(), return_exceptions=True)

    def _count(self, streams: int) -> None:
        self._metrics.streams(streams)

    def _wanted(self, now: float) -> list[Member]:
        if self._witness.roster is None:
            return []
        silent = self._witness.called_unreachable(now)
        failed_at = self._failed_at
        return chosen(
            self._witness.roster, self._identity, self._own_node, failed_at, now, self.COUNT, silent
        )

    async def _follow(self, member: Member) -> None:
        lateness, began = Lateness(), self._clock.monotonic()
        try:
            async for view in self._client.views(member.addresses[0], self._port):
                self._failed_at.pop(member.name, None)
                now = self._clock.monotonic()
                if self._witness.view_seen(view, now, lateness.of(view.sent_at, now)):
                    self._poke()
        except (StreamError, OSError, TimeoutError) as error:
            if member.name not in self._failed_at:
                logger.info("no stream from the agent of %s: %s", member.name, error or "time-out")
        now = self._clock.monotonic()
        if now - began < LASTED:
            self._failed_at[member.name] = now


def chosen(
    roster: Roster,
    identity: str,
    own_node: str,
    failed_at: Mapping[str, float],
    now: float,
    count: int = STREAMS,
    silent: Collection[str] = (),
) -> list[Member]:
    """The agents that this replica reads: its own node's, then others; who has just failed, or is silent, stands behind the rest."""
    members = [m for m in roster.members if m.addresses]
    own = [m for m in members if m.name == own_node]
    others = sorted(
        (m for m in members if m.name != own_node),
        key=lambda m: (
            m.name in silent,
            now - failed_at.get(m.name, float("-inf")) < PASS_OVER,
            hashlib.sha256(f"{identity}/{m.name}".encode()).digest(),
        ),
    )
    return (own + others)[:count]
