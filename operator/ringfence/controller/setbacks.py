"""Whether the cluster's store was set back: what agents hold is compared with what it has, at each word of theirs.

A replica that was there before notices by its own memory (the roster that it reads is older than the one that it has read),
and ends: all its caches are of a store that is no more. One that has just started asks the agents. Whoever claims a later
roster than the store's is asked to show it; the signature says that it was ours, and a consistent read *after* that, that the
store doesn't have it. The leader then publishes that roster anew under a later epoch, with the note
(:class:`~ringfence.core.setback.SetBack`) beside it, and nothing is done until :data:`~ringfence.core.timing.STORE_SETTLES` later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from ringfence.controller.evidence import Witness
from ringfence.controller.streams import Agents
from ringfence.core import timing
from ringfence.core.gossip.anti_entropy import apply, digests
from ringfence.core.gossip.members import Roster, RosterError, SealedRoster
from ringfence.core.setback import SetBack
from ringfence.net.stream import StreamError
from ringfence.ports import Clock, PortError

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.5
SHOWN_WITHIN = 10.0
"""Seconds within which an agent has to show the roster that it claims to hold; after that its claim is passed over."""
COMPARED_WITHIN = 60.0
"""Seconds of hearing agents after which a replica goes on whatever is still claimed: whoever could show it has had the time."""


class StoreSetBack(Exception):
    """The store is older than what this process has read of it: it has to begin anew."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A roster of ours that the store does not have."""

    roster: Roster
    stored: int


class Setbacks:
    """What one replica knows of it."""

    def __init__(
        self,
        clock: Clock,
        witness: Witness,
        client: Agents,
        port: int,
        verify: Callable[[bytes, bytes], bool],
    ) -> None:
        """``verify(payload, signature)`` checks a roster's signature."""
        self._clock = clock
        self._witness = witness
        self._client = client
        self._port = port
        self._verify = verify
        self._claims: dict[tuple[str, int], float] = {}
        """Who claims to hold which later epoch, and since when."""
        self._told: set[tuple[str, int]] = set()
        """Of which of them it was said that they are not shown."""
        self._unsettled_since: float | None = None
        self._noted: SetBack | None = None
        self._read = False
        self._compared = False
        self.shown: Shown | None = None
        """What the leader has to publish anew."""

    # --- what it comes to ----------------------------------------------------------------------------------------

    @property
    def last(self) -> SetBack | None:
        """The last time that the store was set back."""
        if self.shown is not None:
            return SetBack(self.shown.roster.epoch, self.shown.stored)
        return self._noted

    @property
    def unsettled(self) -> bool:
        """Whether what the store says may be false yet."""
        return self.last is not None and not self.last.settled

    @property
    def compared(self) -> bool:
        """Whether this replica would know if the store had been set back before it started."""
        return self._compared

    @property
    def held(self) -> int:
        """The epoch up to which nothing in the store is believed; 0: it was never set back."""
        return self.last.held if self.last is not None else 0

    def due(self) -> bool:
        """Whether the store has had its time."""
        since = self._unsettled_since
        return since is not None and self._clock.monotonic() - since >= timing.STORE_SETTLES

    # --- what is told ---------------------------------------------------------------------------------------------

    def settled_for(self, seconds: float) -> None:
        """For so long this replica has heard agents without a break. A claim that nobody has looked into yet waits."""
        if seconds >= COMPARED_WITHIN or (seconds >= timing.SETTLE and self._claim() is None):
            self._compared = True

    def read(self, noted: SetBack | None) -> None:
        """The note that stands beside the roster. Raises StoreSetBack where another has noticed what this replica has not."""
        if self._read and noted is not None and noted.held > self.held:
            raise StoreSetBack(f"another controller has found: {noted.sentence}")
        self._read = True
        if noted is not None:  # a leader of the version before writes the roster alone
            self.wrote(noted)

    def wrote(self, noted: SetBack | None) -> None:
        """This note stands in the store."""
        self._noted = noted or self._noted
        if noted is None or noted.settled:
            self._unsettled_since = None
        elif self._unsettled_since is None:
            self._unsettled_since = self._clock.monotonic()
        if self.shown is not None and noted is not None and noted.held >= self.shown.roster.epoch:
            self.shown = None

    # --- looking --------------------------------------------------------------------------------------------------

    async def run(self, stored: Callable[[], Awaitable[int]]) -> None:
        """Look into every claim, for ever. ``stored()`` reads consistently which epoch the store has."""
        while True:
            await self.look(stored)
            await asyncio.sleep(LOOK_EVERY)

    async def look(self, stored: Callable[[], Awaitable[int]]) -> None:
        """Look into one claim, if there is one."""
        claim = self._claim()
        roster = self._witness.roster
        if claim is None or roster is None:
            return
        node, epoch = claim
        member = roster.by_name.get(node)
        try:
            if epoch <= await stored():
                return  # it was only faster than this replica
            if member is None or not member.addresses:
                return
            data = await self._client.roster(
                member.addresses[0], self._port, roster.epoch, digests(roster.members)
            )
            sealed = self._put_together(roster, data)
            # Read after it was shown: the store had it at that moment, or has lost it.
            if sealed is not None and sealed.roster.epoch > (has := await stored()):
                self._notice(node, Shown(sealed.roster, has))
        except (StreamError, OSError, TimeoutError, RosterError, PortError) as error:
            if claim not in self._told:
                logger.warning("%s says that it holds roster %d, and has not shown it: %s", *claim, error)
            self._told.add(claim)

    def _put_together(self, roster: Roster, data: bytes) -> SealedRoster | None:
        return apply(roster.members, data, self._verify) if data else None

    def _notice(self, node: str, shown: Shown) -> None:
        if shown.roster.epoch <= self.held:
            return
        self.shown, self._unsettled_since = shown, None
        self._compared = True
        logger.error("%s shows: %s", node, SetBack(shown.roster.epoch, shown.stored).sentence)

    def _claim(self) -> tuple[str, int] | None:
        """The highest claim to a later roster than ours that was not passed over yet."""
        now, roster = self._clock.monotonic(), self._witness.roster
        ours = max(roster.epoch if roster is not None else 0, self.held)
        views = self._witness.fresh_views(now)
        claims = {(v.reporter.node, v.roster_epoch) for v in views if v.roster_epoch > ours}
        self._claims = {claim: self._claims.get(claim, now) for claim in claims}
        self._told &= claims
        young = [claim for claim, since in self._claims.items() if now - since < SHOWN_WITHIN]
        return max(young, key=lambda claim: claim[1], default=None)


def settled(noted: SetBack, version: int) -> SetBack:
    """The note of a store that has had its time; ``version`` is where the note was first written."""
    return replace(noted, version=noted.version or version, settled=True)
