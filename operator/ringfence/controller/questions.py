"""Ask the agent of a node that the ring calls unreachable: whoever answers this controller lives.

Votes are signed, but signatures don't grow old: a thief of one agent's key may show those of an earlier silence. So the
replica looks itself as well. It asks for what nobody between can give: a view, over a stream whose end has proved that
it holds the group key (a service mesh completes TCP for anybody, living or dead). No answer means nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

from ringfence.controller.evidence import Witness
from ringfence.controller.streams import Agents
from ringfence.core import timing
from ringfence.net.stream import StreamError
from ringfence.ports import Clock

logger = logging.getLogger(__name__)

MOST = 16
"""Agents that are asked at a time: where more are silent at once, the storm limit holds anyway."""


class Questions:
    """The questions of one replica that are under way."""

    def __init__(
        self, client: Agents, witness: Witness, clock: Clock, port: int, poke: Callable[[], None]
    ) -> None:
        self._client = client
        self._witness = witness
        self._clock = clock
        self._port = port
        self._poke = poke
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._asked_at: dict[str, float] = {}

    def ask(self, node: str) -> None:
        """Ask it, unless it is being asked or was half a second ago. Call it as often as you like."""
        member = self._witness.roster.by_name.get(node) if self._witness.roster else None
        waiting = self._clock.monotonic() - self._asked_at.get(node, float("-inf")) < timing.LOOK_EVERY
        if (
            member is None
            or not member.addresses
            or node in self._asking
            or waiting
            or len(self._asking) >= MOST
        ):
            return
        self._asking[node] = asyncio.create_task(self._hear(node, member.addresses[0]))
        self._asking[node].add_done_callback(lambda _: self._ended(node))

    async def close(self) -> None:
        """Ask no more."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, node: str) -> None:
        del self._asking[node]
        self._asked_at[node] = self._clock.monotonic()

    async def _hear(self, node: str, address: str) -> None:
        try:
            async with aclosing(self._client.views(address, self._port)) as views:
                async for view in views:
                    self._witness.answered(view, self._clock.monotonic())
                    self._poke()
                    return
        except (StreamError, OSError, TimeoutError) as error:
            logger.debug("no answer from the agent of %s: %s", node, error or "time-out")
