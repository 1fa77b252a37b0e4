"""Ask the heartbeat processes afresh whether a node has written its slot: the last look before its watchdog counts as out.

All other members are asked, each over a connection of its own: only who some replica has listened to reads the volume, and which
these are another replica knows. One that can say nothing in its first answer is left at once; one that can is read until it
has begun a look after the question, or for `WITHIN` seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ringfence.controller.slots import HeartbeatProcesses
from ringfence.core.fencing.selffence import SlotLook
from ringfence.core.fencing.slotlook import look_of, together
from ringfence.core.gossip.members import Member, Roster
from ringfence.core.model import Boot
from ringfence.core.timing import SLOT_LOOK
from ringfence.net.stream import StreamError
from ringfence.ports import Clock

logger = logging.getLogger(__name__)

ASKED_AT_A_TIME = 16
WITHIN = 4 * SLOT_LOOK
"""Seconds: several of a process' looks."""


class SlotLooks:
    """See the module."""

    def __init__(
        self, client: HeartbeatProcesses, clock: Clock, port: int, roster: Callable[[], Roster | None]
    ) -> None:
        self._client = client
        self._clock = clock
        self._port = port
        self._roster = roster

    async def look(self, boot: Boot) -> SlotLook | None:
        """What they say together; None where none of them can say anything. Never raises."""
        roster = self._roster()
        members = roster.members if roster is not None else ()
        gate = asyncio.Semaphore(ASKED_AT_A_TIME)

        async def ask(member: Member) -> SlotLook | None:
            async with gate:
                return await self._ask(member, boot)

        others = [member for member in members if member.uid != boot.node_uid and member.addresses]
        looks = await asyncio.gather(*map(ask, others))
        return together(look for look in looks if look is not None)

    async def _ask(self, member: Member, boot: Boot) -> SlotLook | None:
        found: SlotLook | None = None
        asked_at = self._clock.monotonic()
        try:
            async with (
                asyncio.timeout(WITHIN),
                self._client.session(member.addresses[0], self._port) as session,
            ):
                first_said: float | None = None
                while found is None or found.looked_at < asked_at:
                    report = await session.report()
                    if report.reporter.node_uid != member.uid:
                        return None
                    first_said = report.at if first_said is None else first_said
                    heard_at = self._clock.monotonic()
                    found = look_of(report, boot, asked_at=asked_at, first_said=first_said, heard_at=heard_at)
                    if found is None:
                        return None
        except (StreamError, OSError, TimeoutError) as error:
            logger.debug("the heartbeat of %s did not tell of %s: %r", member.name, boot, error)
        return found
