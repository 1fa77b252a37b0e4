"""Our appointments: whom the rings make us observe, in which phase, and on which networks."""

from __future__ import annotations

from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.looks import Looks
from ringfence.core.gossip.probe import phase
from ringfence.core.gossip.prober import Prober
from ringfence.core.gossip.states import NO_ANSWER, States
from ringfence.core.gossip.subject import Subject
from ringfence.core.model import RingState


class Appointments:
    """One agent's."""

    def __init__(self, desk: Desk, *, states: States, prober: Prober, looks: Looks) -> None:
        self._directory = desk.directory
        self._states = states
        self._prober = prober
        self._looks = looks
        self._lacking: frozenset[str] = frozenset()
        """Networks on which the roster has us and we don't stand."""

    def draw(self, now: float) -> None:
        """The roster is another one: leave to others whom they observe now, and begin to probe those that are new to us."""
        directory, me = self._directory, self._directory.me
        rings = directory.present_rings
        mine = rings.subjects(me.uid) if me else ()
        uids = {member.uid for member in mine}
        for uid, subject in directory.subjects.items():
            if uid not in uids and subject.observed:
                subject.observed = False
                subject.cycle_at = subject.ask_at = subject.examination = None
                self._looks.forget(subject)
                if subject.state in NO_ANSWER:
                    self._states.lapse(subject, now)
                else:
                    self._states.enter(subject, RingState.UNKNOWN, "others observe it now", now)
        directory.watched = [one for member in mine if (one := directory.subject(member.uid)) is not None]
        for subject in directory.watched:
            rank, observers = self._rank(subject)
            subject.phase = phase(subject.member.uid, rank, observers, directory.every)
            if not subject.observed:
                subject.observed = True
                self._prober.arm(subject, now)
        self._follow_networks(now)

    def lack(self, networks: frozenset[str], now: float) -> None:
        """On these networks the roster has us, and we don't stand there."""
        if networks != self._lacking:
            self._lacking = networks
            self._follow_networks(now)

    def _follow_networks(self, now: float) -> None:
        me = self._directory.me
        if me is None:
            return
        self._looks.stand(network for network, _ in me.networks if network not in self._lacking)
        for subject in self._directory.watched:
            rank, observers = self._rank(subject)
            self._looks.follow(subject, rank, observers, now)

    def _rank(self, subject: Subject) -> tuple[int, int]:
        """Which of its observers we are, and of how many."""
        me = self._directory.me
        observers = [one.uid for one in self._directory.present_rings.observers(subject.member.uid)]
        return observers.index(me.uid) if me and me.uid in observers else 0, len(observers)
