"""What the controller has stored, and what its leader remembers beside it on its own clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringfence.core.failover.look import Confirmation
from ringfence.core.failover.phase import ENDED
from ringfence.core.failover.record import Record
from ringfence.core.model import Mode
from simulator.system.candidates import Candidates
from simulator.system.remediators import Remediators


@dataclass
class Memory:
    mode: Mode
    remediators: Remediators
    election: Candidates | None = None
    """None: somebody leads, wherever he may run."""
    stored: dict[str, Record] = field(default_factory=dict)
    """The Failovers by name; all the rest a new leader has to learn anew."""
    confirmed: dict[str, tuple[Confirmation, float]] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)
    """When a Failover's first proof was seen."""
    down_since: dict[str, float] = field(default_factory=dict)
    phase_since: dict[str, float] = field(default_factory=dict)
    powered_on: dict[str, float] = field(default_factory=dict)
    apart: set[str] = field(default_factory=set)
    """The nodes whose agents this side doesn't hear."""
    forced: list[tuple[str, str]] = field(default_factory=list)
    """Pods that were force-deleted, and the node they were on."""

    @property
    def open(self) -> list[Record]:
        return [r for r in self.stored.values() if r.phase not in ENDED]

    def leads(self, node: str) -> bool:
        """Whether the leader runs on that node."""
        return self.election is not None and self.election.leader == node
