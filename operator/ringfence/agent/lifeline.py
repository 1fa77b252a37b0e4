"""The agent's part of the self-fence: looks at the legs once a second, tells the feeder, and tells the API server of both.

Four rules keep what the API server was told true of what the watchdog does (DESIGN §3, ``SelfFenced``):

- ``armed`` is said only of a watchdog that the feeder has opened and fed;
- the feeder may open it only once no report of this boot promises less time than it would take (*leave*): while a
  watchdog runs with other settings than ours, it is reported as not armed;
- it is disarmed only after the API server has acknowledged ``armed: false``; else it stays armed, and a successor has
  ``timeout`` seconds to come;
- the storage leg counts only once a report that names it has been acknowledged, and is named for as long as what it
  fed may run: a controller that reads a report without it doesn't look at the slot.


All instants that leave this module are CLOCK_BOOTTIME.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ringfence.agent.mailbox import FeederState, Mailbox
from ringfence.core.fencing.selffence import NEVER, Leg, Promise, Word
from ringfence.kube.node_api import LeaseState

if TYPE_CHECKING:
    from ringfence.agent.agent import Agent

logger = logging.getLogger(__name__)

LARGEST_ROSTER = 512
"""Members up to which the gossip leg is looked at: each has to be pinged a few times in the isolation time."""
GAP = 2.5
"""Seconds without a look after which the agent has not been attentive."""
LEGS = frozenset({Leg.GOSSIP, Leg.API})
"""The legs, unless others are configured."""
_SLEPT = 0.05
_DISARMS_WITHIN = 3.0
_ENDING = "the agent is ending"


def boottime() -> float:
    """The clock of everything that is said here."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lifeline:
    """The legs of one agent. `tick` belongs to the loop; `lease_answered`, `reported` and `status` to any thread."""

    def __init__(
        self,
        mailbox: Mailbox,
        isolation: float,
        timeout: float,
        clock: Callable[[], float] = boottime,
        monotonic: Callable[[], float] = time.monotonic,
        legs: frozenset[Leg] = LEGS,
    ) -> None:
        """``legs``: those that feed."""
        self._legs = legs
        self._mailbox = mailbox
        self._isolation = isolation
        self._timeout = timeout
        self._clock = clock
        self._monotonic = monotonic
        self._looked_at = self._attentive_since = clock()
        self._offset = self._offset_before = clock() - monotonic()
        self._slept_at = NEVER
        self._gossip_at = NEVER
        self._api_at = NEVER
        self._revoked = False
        self._ending = self._disarm = False
        self._too_large = 0
        promised = mailbox.promise()
        self._leave = promised is not None and (promised.isolation, promised.timeout) == (isolation, timeout)
        before = promised.legs if promised is not None else frozenset[str]()
        self._storage_told = Leg.STORAGE in before
        # An earlier agent's storage leg may have fed until this one began: what it fed runs on for so long.
        at, runs_on = self._looked_at, isolation + timeout
        if promised is not None:
            runs_on = max(runs_on, promised.isolation + promised.timeout)
        by_slot = self._storage_told or mailbox.storage_held_at(at) > NEVER
        self._until = at + runs_on + GAP if by_slot else at

    def watch(self, agent: Agent) -> None:
        """Look at this agent's ring from its start on."""
        agent.swim.call_everybody(self._isolation / 4, self._monotonic())

        def look(now: float) -> None:
            roster = agent.swim.roster
            self.tick(now, agent.swim.answered_by_most(), len(roster.members) if roster else 0)

        agent.on_tick = look

    def hears(self) -> dict[str, Any]:
        """What the link to the API server has to tell: arguments of `KubernetesLink`."""
        return {"on_write": self.lease_answered, "on_report": self.reported}

    # --- looking ---------------------------------------------------------------------------------------------------

    def tick(self, now: float, answered_by_most: float | None, members: int) -> None:
        """Look at the legs. Both instants are monotonic; ``answered_by_most`` as `Swim` tells it."""
        at = self._clock()
        offset = at - now
        if offset - self._offset > _SLEPT:
            # The host has slept since the last look. What was sent before may have been sent before it slept.
            self._slept_at, self._offset_before = now, self._offset
        self._offset = offset
        if at - self._looked_at > GAP:
            self._attentive_since = at
        self._looked_at = at
        self._too_large = members if members > LARGEST_ROSTER else 0
        if answered_by_most is not None:
            sent = min(answered_by_most, now)
            sent += self._offset if sent >= self._slept_at else self._offset_before
            self._gossip_at = max(self._gossip_at, sent)
        self._tell()

    def lease_answered(self, state: LeaseState, sent_at: float) -> None:
        """The API server has answered a renewal of the agent's Lease."""
        if state is LeaseState.HELD:
            self._api_at = max(self._api_at, sent_at)
        elif not self._revoked:
            self._revoked = True
            logger.warning("the agent's Lease is revoked for this boot: it feeds the watchdog no more")

    def _tell(self) -> None:
        held = {Leg.GOSSIP: self._gossip_at, Leg.API: self._api_at}
        if self._storage_told:
            held[Leg.STORAGE] = self._mailbox.storage_held_at(self._looked_at)
        word = Word(
            looked_at=self._looked_at,
            attentive_since=self._attentive_since,
            held={leg: at for leg, at in held.items() if at > NEVER and leg in self._legs},
            leave=self._leave and not self._too_large and not self._ending,
            disarm=self._disarm,
        )
        try:
            self._mailbox.put_word(word)
        except OSError as error:
            logger.warning("the feeder can't be told: %s", error)

    # --- telling the API server ------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """``NodeReport.status.watchdog``."""
        state = self._mailbox.state()
        reason = _ENDING if self._ending else self._why_not(state)
        told: dict[str, Any] = {
            "armed": reason is None,
            "reason": reason,
            "device": state.device if state is not None else None,
            "timeoutSeconds": self._timeout,
            "nowayout": state.nowayout if state is not None else None,
            "isolationSeconds": self._isolation,
            "legs": self._reported_legs(),
        }
        if state is not None and state.timeout is not None and state.isolation is not None:
            told |= {"timeoutSeconds": state.timeout, "isolationSeconds": state.isolation}
        return told

    def _reported_legs(self) -> list[str]:
        legs = self._legs - {Leg.API} if self._revoked else self._legs
        if self._clock() < self._until:
            legs |= {Leg.STORAGE}
        return sorted(leg.value for leg in legs)

    def _why_not(self, state: FeederState | None) -> str | None:
        if state is None:
            return "no feeder has spoken: is its container running?"
        if not state.armed or state.timeout is None or state.fed_at is None:
            if self._too_large:
                return f"the roster has {self._too_large} members, the gossip leg reaches {LARGEST_ROSTER} at most"
            return state.why or "it is not open yet"
        if (state.isolation, state.asked) != (self._isolation, self._timeout):
            return f"it still runs with the settings of before ({state.isolation} s, {state.asked} s)"
        if self._clock() - state.fed_at > state.timeout + GAP:
            return "it has not been fed for longer than its time-out, and has not bitten: does it really reset this node?"
        return None

    def reported(self, status: Mapping[str, Any]) -> None:
        """The API server has acknowledged this report."""
        told = status.get("watchdog")
        if told is None:
            return
        if told["armed"]:
            try:
                self._mailbox.put_promise(Promise(self._isolation, self._timeout, frozenset(told["legs"])))
            except OSError as error:
                logger.warning("a successor can't be told what was promised: %s", error)
        # Now no report promises less than we would do: this one says "not armed", or says our own times.
        self._leave = True
        self._storage_told = self._storage_told or Leg.STORAGE in told["legs"]

    async def sign_off(self, write: Callable[[], bool]) -> None:
        """Disarm for an orderly end: first the API server has to acknowledge it. ``write`` says whether it has."""
        self._ending = True
        state = self._mailbox.state()
        if state is not None and state.armed and state.nowayout:
            self._ending = self._leave = False
            logger.warning(
                "its driver can't stop the watchdog (nowayout): an agent has to be back in %g s",
                self._timeout,
            )
            return
        if not await asyncio.to_thread(write):
            self._ending = self._leave = False
            if state is not None and state.armed:
                logger.warning("the watchdog stays armed: an agent has to be back in %g s", self._timeout)
            return
        self._disarm = True
        self._tell()
        try:
            async with asyncio.timeout(_DISARMS_WITHIN):
                # Another process' file has no event to wait for.
                while (state := self._mailbox.state()) is not None and state.armed:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            logger.warning("the feeder has not disarmed the watchdog")
        else:
            logger.info("the watchdog is disarmed")
