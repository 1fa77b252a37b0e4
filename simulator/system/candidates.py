"""The controller's replicas of a story of failovers: the real election, over one Lease in virtual time."""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.core.election import Election, LeaseAction, LeaseView
from ringfence.core.failover.commands import Command
from ringfence.core.failover.record import Record


@dataclass(frozen=True)
class Frozen:
    """A leader that was stopped between storing a step and carrying it out."""

    who: str
    record: Record
    commands: tuple[Command, ...]
    deadline: float
    """Until when it may send, as it knew when it was stopped."""


class Candidates:
    """Replicas, each named for the node that it runs on. The first is the first to ask."""

    def __init__(self, names: list[str]) -> None:
        self._elections = {name: Election(name) for name in names}
        self._lease: LeaseView | None = None
        self._version = 0
        self.leader = self.led = ""
        self._term: tuple[str, int] = ("", 0)
        self.frozen: Frozen | None = None
        self.freeze_when = ""
        """The phase after whose storing the leader is stopped."""
        self.back_at: dict[str, float] = {}
        """When a replica that was killed runs again."""

    def freeze(self, record: Record, commands: tuple[Command, ...]) -> None:
        """Stop the leader here."""
        self.freeze_when = ""
        deadline = self._elections[self.leader].deadline()
        self.frozen = Frozen(self.leader, record, commands, deadline)
        self.leader = ""

    def running(self, now: float) -> set[str]:
        """The replicas whose processes run."""
        return {n for n in self._elections if now >= self.back_at.get(n, now) and not self._stopped(n)}

    def begins_term(self) -> bool:
        """Whether who leads now begins to do so. One that stood still for less than its Lease goes on with what it knows."""
        term = (self.leader, self._elections[self.leader].epoch)
        begins, self._term = term != self._term, term
        return begins

    def kill(self, name: str, until: float) -> None:
        """The replica's process ends; the next one of the same pod begins at that instant, and knows nothing."""
        self._elections[name] = Election(name)
        self._term = ("", 0)
        self.back_at[name] = until
        if self._stopped(name):
            self.frozen = None
        if self.leader == name:
            self.leader = self.led = ""

    def turn(
        self, now: float, up: set[str], accused: set[str], unable: frozenset[str] = frozenset()
    ) -> list[str]:
        """Let each replica that runs and reaches the API server look at the Lease. Returns what is to be told.

        ``unable``: those that see no majority.
        """
        up = {name for name in up if now >= self.back_at.get(name, now)}
        told = []
        for name, election in self._elections.items():
            if name not in up or (self.frozen is not None and self.frozen.who == name):
                continue
            looking = election.observe(self._lease, now).able(
                name not in unable, now, accused=name in accused
            )
            action = looking.action(now)
            if action is not LeaseAction.NOTHING:
                looking = looking.tried(now)
                self._write("" if action is LeaseAction.GIVE_WAY else name)
                assert self._lease is not None
                if action is LeaseAction.GIVE_WAY:
                    looking = looking.gives_way()
                    why = "its own node is found Down" if name in accused else "it sees no majority"
                    told.append(f"{name} hands over: {why}")
                else:
                    looking = looking.succeeded(self._lease, now, now)
            self._elections[name] = looking
        leading = [n for n, e in self._elections.items() if n in up and e.leads(now) and not self._stopped(n)]
        assert len(leading) <= 1, f"{leading} lead at once"
        leader = leading[0] if leading else ""
        if leader and leader != self.leader:
            told.append(f"{leader} leads")
        self.leader = leader
        return told

    def _stopped(self, name: str) -> bool:
        return self.frozen is not None and self.frozen.who == name

    def _write(self, holder: str) -> None:
        self._version += 1
        epoch = self._lease.epoch if self._lease is not None else 0
        taken = holder != "" and (self._lease is None or self._lease.holder != holder)
        self._lease = LeaseView(holder, epoch + taken, str(self._version))
