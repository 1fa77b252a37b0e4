"""Which boots have a stored proof now, or had one until so shortly ago that a request sent under it may still be on its way."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringfence.core.failover.phase import ENDED
from ringfence.core.failover.record import Record
from ringfence.core.fencing.proof import StorageCut
from ringfence.core.model import Boot

IN_FLIGHT = 10.0
"""Seconds that a request may be under way: the product's own time-out for it."""


@dataclass
class Warrants:
    """``off``: those of proofs that the boot is over, without which no node is tainted; the others cover pods and instances too."""

    _all: dict[Boot, float] = field(default_factory=dict)
    """Until when what arrives under the boot's proof is in time."""
    _off: dict[Boot, float] = field(default_factory=dict)

    def stored(self, record: Record, now: float) -> None:
        """What is stored of an incident has changed. One that is over covers nothing new."""
        over = record.phase in ENDED
        off = [proof for proof in record.proofs if not isinstance(proof, StorageCut)]
        for until, proofs in ((self._all, record.proofs), (self._off, off)):
            if proofs and not over:
                until[record.boot] = float("inf")
            elif until.get(record.boot) == float("inf"):
                until[record.boot] = now + IN_FLIGHT

    def covers(self, boot: Boot, now: float) -> bool:
        """Whether a deletion under this boot's proof is in time."""
        return now <= self._all.get(boot, float("-inf"))

    def covers_taint(self, uid: str, now: float) -> bool:
        """Whether an out-of-service taint of this Node object is in time, whichever of its boots it is of."""
        return any(boot.node_uid == uid and now <= until for boot, until in self._off.items())
