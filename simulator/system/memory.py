"""What the controller has stored, and what its leader remembers beside it on its own clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ringfence.core.detection.evidence import NEVER
from ringfence.core.failover import limits, machine
from ringfence.core.failover.anew import Given, Mark
from ringfence.core.failover.intent import Intents
from ringfence.core.failover.look import Confirmation
from ringfence.core.failover.phase import ENDED
from ringfence.core.failover.record import Record
from ringfence.core.model import Boot, Mode
from simulator.system.candidates import Candidates
from simulator.system.plant import Plant
from simulator.system.remediators import Remediators


@dataclass
class Memory:
    mode: Mode
    remediators: Remediators
    election: Candidates | None = None
    """None: somebody leads, wherever he may run."""
    stored: dict[str, Record] = field(default_factory=dict)
    """The Failovers by name; all the rest a new leader has to learn anew."""
    deleted: dict[str, Record] = field(default_factory=dict)
    """Failovers that somebody has deleted, for as long as a replica lives that has seen them."""
    deleted_before: dict[str, set[str]] = field(default_factory=dict)
    """The replicas that have seen each of these go."""
    opened: int = 0
    """Failovers that there have been."""
    drilled: dict[str, float] = field(default_factory=dict)
    """When each device last passed a drill."""
    confirmed: dict[str, tuple[Confirmation, float]] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)
    """When a Failover's first proof was seen."""
    down_since: dict[str, float] = field(default_factory=dict)
    down_at: dict[str, float] = field(default_factory=dict)
    stray_since: dict[str, float] = field(default_factory=dict)
    """Since when a node has been seen to be out of service without an incident."""
    out_since: dict[str, float] = field(default_factory=dict)
    """The same, as it is in truth; for the invariants."""
    cut_since: dict[str, float] = field(default_factory=dict)
    """Since when a node is cut from its storage by an incident that somebody has deleted; for the invariants."""
    left_cut: set[str] = field(default_factory=set)
    """Failovers that ended while their cut was of no device of the node any more, and said so; for the invariants."""
    phase_since: dict[str, float] = field(default_factory=dict)
    passed_at: dict[str, float] = field(default_factory=dict)
    """When each incident has last begun a pass up its ladder anew."""
    powered_on: dict[str, float] = field(default_factory=dict)
    epoch: int = 1
    """Of the roster in the store."""
    published: tuple[tuple[Mark, ...], tuple[Given, ...]] = ((), ())
    """What was proved, and what watchdogs promised, when that was written."""
    restored: int = 0
    """How often the store was set back."""
    set_back_at: float = NEVER
    """When it was noticed that the store was set back."""
    compared_at: float = NEVER
    """When the leader's process has, or had, compared the store with what agents hold."""
    cache: Plant | None = None
    """What the leader's caches hold where that is older than what is true; None: all is fresh."""
    refusing: float = 0.0
    """The part of the writes that the API server refuses: conflicts, 429, time-outs."""
    refusing_next: int = 0
    """So many of the next writes it refuses, whatever they are. Real replicas don't hear of it."""
    watches_late: float = 0.0
    """Seconds by which watches tell later than they could. Real replicas alone hear of it, as of the next two."""
    compactions: int = 0
    """How often the API server has forgotten its history: whoever watches is told 410."""
    admits: bool = True
    """An admission webhook lets Failovers be created."""
    forgotten: dict[str, tuple[str, float]] = field(default_factory=dict)
    """By node: what was deleted before the leader's process began to watch, and since when it may know that."""
    dice: random.Random = field(default_factory=lambda: random.Random(0))
    cache_since: float = 0.0
    """Since when those caches stand still."""
    intents: Intents = field(default_factory=Intents)
    released: set[str] = field(default_factory=set)
    """Failovers that a person has released."""
    tells_verdicts: bool = False
    """The story tells what each node is found, too."""
    newer_roster: bool = False
    """The agents go by a roster that the leader has not read yet."""
    apart: set[str] = field(default_factory=set)
    """The nodes whose agents this side doesn't hear."""
    forced: list[tuple[str, str]] = field(default_factory=list)
    """Pods that were force-deleted, and the node they were on."""

    @property
    def blind(self) -> bool:
        """The leader's caches are old, or what it writes is refused."""
        return self.cache is not None or self.refusing > 0 or self.watches_late > 0 or not self.admits

    def delete(self, name: str, now: float, watching: set[str]) -> None:
        """Somebody deletes that Failover, and these replicas see it."""
        record = self.stored.pop(name)
        if machine.outlives_its_object(record, now):
            self.deleted[name], self.deleted_before[name] = record, watching

    def number(self) -> int:
        """Of the next Failover."""
        self.opened += 1
        return self.opened

    def write_fails(self) -> bool:
        if self.refusing_next > 0:
            self.refusing_next -= 1
            return True
        return self.refusing > 0 and self.dice.random() < self.refusing

    def settled_for(self, now: float) -> float:
        """Seconds for which the leader's process has been watching."""
        back_at = self.election.back_at if self.election is not None else {}
        leader = self.election.leader if self.election is not None else ""
        return now - back_at.get(leader, float("-inf"))

    @property
    def open(self) -> list[Record]:
        return [r for r in self.stored.values() if r.phase not in ENDED]

    def incidents_lately(self, boot: Boot, but: str, now: float) -> int:
        """As ``controller/loop.py``."""
        return sum(
            record.boot.node_uid == boot.node_uid
            and record.name != but
            and record.phase in ENDED
            and record.started_wall >= now - limits.FLAPS_WITHIN
            for record in self.stored.values()
        )

    def leads(self, node: str) -> bool:
        """Whether the leader runs on that node."""
        return self.election is not None and self.election.leader == node
