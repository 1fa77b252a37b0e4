"""Probes: a ping at its time, one retry with relays after the first miss, and what follows when all of that is in vain."""

from __future__ import annotations

from collections.abc import Callable

from ringfence.core.gossip.awareness import LATE
from ringfence.core.gossip.deafness import Deafness
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.events import PathLost
from ringfence.core.gossip.pings import Pings
from ringfence.core.gossip.probe import next_slot
from ringfence.core.gossip.sender import Sender
from ringfence.core.gossip.states import States
from ringfence.core.gossip.subject import Subject
from ringfence.core.gossip.wire import Relay
from ringfence.core.model import RingState

RELAYS = 2
_SILENT_CYCLES = 3
"""Probe cycles that only relays answered before the path is called partial."""


class Prober:
    """One agent's. ``silent`` is told of a member that we observe and that neither we nor the relays have reached."""

    def __init__(
        self,
        desk: Desk,
        *,
        wall_offset: float,
        states: States,
        sender: Sender,
        pings: Pings,
        silent: Callable[[Subject, float], None],
    ) -> None:
        self._desk = desk
        self._directory = desk.directory
        self._timers = desk.timers
        self._journal = desk.journal
        self._wall_offset = wall_offset
        self._states = states
        self._sender = sender
        self._pings = pings
        self._deafness = Deafness(desk, pings.ping)
        self._silent = silent

    def arm(self, subject: Subject, now: float) -> None:
        """Probe it from now on, in its phase, as long as we observe it."""
        when = next_slot(now, self._wall_offset, subject.phase, self._directory.every)

        def probe(now: float, _late: float) -> None:
            if self._directory.subjects.get(subject.member.uid) is subject and subject.observed:
                self.probe(subject, now)
                self.arm(subject, now)

        self._timers.at(when, probe)

    def probe(self, subject: Subject, now: float) -> None:
        """Ping it, and unless a cycle is already under way wait for the answer."""
        self._pings.ping(subject, now)
        if subject.cycle_at is None:
            subject.cycle_at = now
            subject.path.probed(self._directory.every)
            self._await_answer(subject, now, now, self._miss)

    def answered(self, subject: Subject, sent_at: float, trip: float, came: float) -> None:
        """It has answered a ping that left then and took so many seconds for the way there and back; its answer came at ``came``."""
        subject.two_way_at = max(came, subject.two_way_at or came)
        subject.answered_at = max(sent_at, subject.answered_at or sent_at)
        self._deafness.answered(came)
        subject.path.observe(trip)
        subject.cycle_at = None
        subject.misses = 0
        self._journal.stats["answered"] += 1

    def _await_answer(
        self,
        subject: Subject,
        cycle: float,
        now: float,
        missed: Callable[[Subject, float], None],
        factor: float = 1,
    ) -> None:
        """Call ``missed`` unless the cycle has been answered in time; once more time if we ourselves were late."""
        wait = subject.path.timeout(self._directory.every, self._desk.awareness.stretch) * factor

        def judge(now: float, late: float) -> None:
            if subject.cycle_at != cycle:
                return
            if late > LATE / 2:
                self._timers.at(
                    now + wait, lambda now, _late: missed(subject, now) if subject.cycle_at == cycle else None
                )
            else:
                missed(subject, now)

        self._timers.at(now + wait, judge, wanted=lambda: subject.cycle_at == cycle)

    def _miss(self, subject: Subject, now: float) -> None:
        self._journal.stats["missed"] += 1
        subject.path.missed()
        self._journal.step("missed", subject.tag)
        self._deafness.missed(subject, now)
        cycle = subject.cycle_at
        assert cycle is not None
        nonce = self._pings.ping(subject, now)
        others = self._directory.subjects.values()
        peers = [one for one in others if one is not subject and one.state is RingState.ALIVE]
        for peer in self._desk.dice.sample(peers, min(RELAYS, len(peers))):
            self._sender.tell(Relay(nonce, subject.tag), peer.member)
        self._await_answer(subject, cycle, now, self._miss_again, factor=2)

    def _miss_again(self, subject: Subject, now: float) -> None:
        cycle, subject.cycle_at = subject.cycle_at, None
        assert cycle is not None
        subject.misses += 1
        self._journal.step("missed again", subject.tag)
        if subject.relayed_at is not None and subject.relayed_at >= cycle:
            if not subject.observed:
                self._journal.tell(PathLost(subject.boot))
            elif subject.misses >= _SILENT_CYCLES and subject.state in {RingState.ALIVE, RingState.UNKNOWN}:
                self._states.enter(subject, RingState.PARTIAL, "only others reach it", now)
            return
        if subject.observed:  # else its observers will know
            self._silent(subject, now)
