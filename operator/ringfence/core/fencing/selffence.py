"""Self-fence by watchdog: what a node promises, and when a controller may count on it (GOSSIP §6, DESIGN §3).

**The promise** (:class:`Feeder`). A node feeds its watchdog only until ``isolation`` seconds after its last *held leg*:

- gossip: the latest instant such that more than half of the whole roster, the node included, have answered a ping that
  left then or later;
- API: when the last *successful write* of the agent's own Lease was sent;
- storage: when the last write of its slot began that has come back, on a volume that is shown to be shared
  (`ringfence.slots.companion`) and holds no word "you are fenced" to this boot. Only where it is configured.

**The assumption** (:func:`assume`). The controller revokes the agent's Lease by compare-and-swap; from then on no
write of the agent succeeds. It counts ``assume_after`` from the later of the revocation and the last sign of life, and when that
is over it looks once more: the Lease and the node's report by consistent reads, the word of so many agents that they
meet every majority that the node could have reached, and, where the slot feeds it too, a read of that slot by another node that
has seen it move. Only what was *asked* after the time was over counts. A slot that nobody can read counts as written.

**Why they meet.** Let the last look begin at r. Any leg that the node held at or before r is no later than the base that
was counted from: an API write was sent before the revocation; a gossip leg needs a majority, one of whom has been asked
and told when it last heard the node; a write of the slot that had come back by r is seen by a read that begins at r or later, and
then the slot has moved, at the soonest when that write began. So the node's last feeding was before base + isolation on its own clock, and
its watchdog has bitten by base + isolation + timeout (+ drift + margin) < base + assume_after <= r. At r it was dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ringfence.core import timing
from ringfence.core.fencing.proof import SelfFenced
from ringfence.core.model import Boot

NEVER = float("-inf")


class Leg(StrEnum):
    """What shows a node that it is not cut off from everything."""

    GOSSIP = "Gossip"
    API = "Api"
    STORAGE = "Storage"


PROVABLE = frozenset(Leg)
"""Legs of which a controller can know that they are lost."""
REVOKED = "revoked/"


def lease_holder(boot: Boot) -> str:
    """The holder of the agent Lease of this boot."""
    return f"{boot.node_uid}/{boot.boot_id}"


def revocation(holder: str) -> str:
    """The marker that stands in the holder's place once its Lease is revoked: that boot never takes it back."""
    return REVOKED + holder


# --- the node's side ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Word:
    """What the agent last told the feeder. Instants are CLOCK_BOOTTIME of the node."""

    looked_at: float
    """When the agent last looked at its legs."""
    attentive_since: float
    """Since when it has looked without a break; a process that starts, or that was stopped, begins anew."""
    held: Mapping[Leg, float] = field(default_factory=dict)
    """When each configured leg last held; a leg that never has is not in it."""
    leave: bool = False
    """No report of this boot says that the watchdog is armed with less time than it would be now."""
    disarm: bool = False
    """The API server has acknowledged ``watchdog.armed=false``: the watchdog may be stopped."""

    @property
    def held_at(self) -> float:
        return max(self.held.values(), default=NEVER)


@dataclass(frozen=True, slots=True)
class Turn:
    """What the feeder has to do now."""

    feed: bool = False
    """Feed the watchdog; open it, if it isn't open."""
    stop_guests: bool = False
    disarm: bool = False
    why: str = ""
    """Why it is not fed."""


class Feeder:
    """The node's side as a machine: is told what the agent says and what became of its turns, and says what to do.

    A new process neither opens nor feeds before a leg has held since its own start, and not before the agent knows that no
    report of this boot promises less time. An agent that has gone silent
    costs the node its feeding (and its life, after ``timeout``), but not its guests: they are stopped when an agent that
    was attentive for the whole isolation time has seen no leg hold, or right before the watchdog bites.
    """

    def __init__(self, started_at: float, isolation: float, timeout: float, fed_at: float = NEVER) -> None:
        """``fed_at`` is when an earlier process of this boot fed last, without having disarmed."""
        self._started_at = started_at
        self._isolation = isolation
        self._timeout = timeout
        self._guests_before = min(timing.GUESTS_BEFORE, timeout / 4)
        self._word: Word | None = None
        self._held_at = NEVER
        self._opened = False
        # A bite that was due before this process began has not come: whoever fed last, that watchdog does not run.
        self._fed_at = fed_at if started_at < fed_at + timeout else NEVER

    @property
    def running(self) -> bool:
        """Whether the watchdog runs, as far as this machine knows."""
        return self._fed_at > NEVER

    @property
    def fed_at(self) -> float:
        return self._fed_at

    def hear(self, word: Word | None) -> None:
        """The agent's last word; None where there is none, or none that can be read."""
        if word is not None:
            self._word = word
            self._held_at = max(self._held_at, word.held_at)

    def turn(self, now: float) -> Turn:
        """What to do at this instant; whoever feeds must do so at once."""
        word, until = self._word, self._held_at + self._isolation
        if word is not None and word.disarm and word.looked_at >= self._started_at:
            return Turn(disarm=self.running, why="the agent has signed off")
        if self._held_at >= self._started_at and now < until:
            if self._opened or (word is not None and word.leave):
                return Turn(feed=True)
            return Turn(why="the API server has not taken a report of this agent yet")
        if not self.running:
            return Turn(why="no leg has held since the feeder began")
        attentive = (
            word is not None
            and word.looked_at >= until
            and word.looked_at - word.attentive_since >= self._isolation
        )
        if attentive:
            return Turn(stop_guests=True, why=f"no leg has held for {now - self._held_at:.1f} s")
        if now >= self._fed_at + self._timeout - self._guests_before:
            return Turn(stop_guests=True, why="the agent is silent and the watchdog is about to bite")
        return Turn(why="the agent is silent")

    def fed(self, began_at: float, ended_at: float) -> float | None:
        """The watchdog was fed. Returns the seconds that it may still have, if the feeding came too late.

        Between the look at the clock and the feeding a process may be stopped for any time.
        """
        self._fed_at, self._opened = began_at, True
        until = self._held_at + self._isolation
        if ended_at <= until + timing.FEED_LATE:
            return None
        return max(0.0, until + self._timeout - ended_at)

    def disarmed(self) -> None:
        """The watchdog was stopped."""
        self._fed_at, self._opened = NEVER, False


# --- the controller's side ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Promise:
    """What a node's report said of its watchdog while it was armed."""

    isolation: float
    timeout: float
    legs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Roll:
    """One last look: whom this controller asked, beginning at ``asked_at``, and what they said."""

    asked_at: float
    silent: frozenset[str]
    """Members that have said when they last heard the node, of that very boot."""
    heard_at: float
    """The latest of what they said; of one that has not heard it, since when it can tell."""
    needed: int
    """So many of them meet every majority that the node may have reached."""


@dataclass(frozen=True, slots=True)
class SlotLook:
    """One last look at the node's slot, by other nodes' heartbeat processes that have seen that very boot's slot move."""

    looked_at: float
    """Their latest read of it began at this instant or later."""
    moved_at: float
    """No write that any of them has seen was finished later."""
    observers: frozenset[str]


@dataclass(frozen=True, slots=True)
class WatchdogLook:
    """What the controller knows of one node's watchdog."""

    name: str
    """Of the FenceDevice."""
    unusable: str | None = None
    """Why nothing may be assumed of it."""
    promise: Promise | None = None
    assume_after: float = 0.0
    """The zone's ``assumeSeconds``."""
    revoked_at: float | None = None
    """When this controller knew that the agent Lease of this boot is revoked."""
    roll: Roll | None = None
    """The last look that could be made."""
    slot: SlotLook | None = None
    """The same at its slot; None where nobody could."""
    error: str | None = None
    busy: bool = False
    next_try_at: float = NEVER


@dataclass(frozen=True, slots=True)
class Wait:
    """Not proved yet."""

    reason: str
    remaining: float
    """Seconds until it can be, at the soonest."""
    revoke: bool = False
    """The agent's Lease has to be revoked."""
    look: bool = False
    """The last look is due."""


def trouble_with(
    promise: Promise, isolation: float, timeout: float, assume_after: float, legs: frozenset[str]
) -> str | None:
    """Why the zone's times or ``legs`` don't fit what the node's watchdog was armed with; None if they do."""
    if unknown := sorted(promise.legs - PROVABLE):
        return f"it is also fed by what no controller can read ({', '.join(unknown)})"
    if uncounted := sorted(promise.legs - legs):
        return (
            f"it is also fed by {' and '.join(uncounted)}, which its zone doesn't count: name it in the zone's"
            " spec.fencing.watchdog.legs, or take it from the chart's agent.watchdog.legs"
        )
    if Leg.GOSSIP not in promise.legs:
        return "it is not fed by the ring: an outage of the API server would reset it"
    if promise.isolation > isolation or promise.timeout > timeout:
        return (
            f"it is armed with {promise.isolation:g} s + {promise.timeout:g} s, the zone counts on {isolation:g} s + {timeout:g} s:"
            " raise the zone's times, or lower the agents'"
        )
    if not timing.self_fence_seconds(promise.isolation, promise.timeout) < assume_after:
        return (
            f"assumeSeconds {assume_after:g} is too short for {promise.isolation:g} s + {promise.timeout:g} s"
        )
    return None


def words_needed(members: int, *, settled: bool) -> int:
    """How many of the *other* members must have spoken, so that they meet every majority of which the node is a part.

    Args:
        members: of the whole roster, the node included.
        settled: whether the node was heard long enough after the last change of members to go by these; else its roster
            may be another, and everyone must speak.
    """
    # A majority holds members // 2 others at least. Two sets among the members - 1 others meet if they are more together.
    return members - members // 2 if settled else max(1, members - 1)


def assume(boot: Boot, look: WatchdogLook, life_at: float, now: float) -> SelfFenced | Wait:
    """Whether the node has reset itself: the proof, or what is missing.

    Args:
        life_at: the last sign of life of this boot that this controller knows of, whatever its source.
    """
    if look.promise is None or look.unusable is not None:
        return Wait(look.unusable or "its report says nothing of a watchdog", look.assume_after)
    if look.revoked_at is None:
        ready = not look.busy and now >= look.next_try_at
        reason = look.error or "its agent's Lease is being revoked"
        return Wait(reason, look.assume_after, revoke=ready)
    roll = look.roll
    by_slot = Leg.STORAGE in look.promise.legs
    written_at = look.slot.moved_at if by_slot and look.slot else NEVER
    base = max(look.revoked_at, life_at, roll.heard_at if roll else NEVER, written_at)
    due = base + look.assume_after
    if now < due:
        return Wait(
            f"it resets itself {look.promise.isolation:g} s + {look.promise.timeout:g} s after its last leg,"
            f" counted as {look.assume_after:g} s from its last sign of life and the revocation of its agent's Lease",
            due - now,
        )
    can_look = not look.busy and now >= look.next_try_at
    if roll is None or roll.asked_at < due:
        return Wait(look.error or "its time is over, looking once more", 0.0, look=can_look)
    again = can_look and now >= roll.asked_at + timing.ROLL_AGAIN
    if len(roll.silent) < roll.needed:
        return Wait(
            f"its time is over, but only {len(roll.silent)} of the {roll.needed} agents needed have said that they don't hear it",
            0.0,
            look=again,
        )
    if by_slot and (look.slot is None or look.slot.looked_at < due):
        return Wait(
            "its time is over, but its storage slot feeds it too, and no node that has seen it move has read it since: a slot"
            " that nobody can read counts as written",
            0.0,
            look=again,
        )
    slot = (
        f"; its storage slot not written since, as {', '.join(sorted(look.slot.observers))}"
        f" read{'s' if len(look.slot.observers) == 1 else ''} it"
        if by_slot and look.slot
        else ""
    )
    detail = (
        f"armed with {look.promise.isolation:g} s + {look.promise.timeout:g} s, {now - base:.1f} s without a sign of life;"
        f" its agent's Lease revoked {now - look.revoked_at:.1f} s ago; not heard by {', '.join(sorted(roll.silent))}{slot}"
    )
    return SelfFenced(boot, look.name, base, detail)
