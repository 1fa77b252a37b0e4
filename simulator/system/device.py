"""A fence device as it stands, and as the controller has last seen it; how a zone's ladder is made up of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringfence.core.detection.evidence import NEVER
from ringfence.core.fencing.proof import Reading


@dataclass
class Device:
    """A BMC, a PDU's outlet, or a storage's fence of one node."""

    mode: str = "ok"
    readings: list[Reading] = field(default_factory=list)
    error: str | None = None
    next_try_at: float = NEVER
    unsent: float | None = None
    """The decision of the last order that came too late to be sent."""
    called_off_at: float | None = None
    back_on_at: float | None = None
    off_since: float | None = None
    ordered_in: str = ""
    """The incident in which the leader last ordered it off: what it says after that is no word of its own."""
    read_in: str = ""
    """The incident of the last reading."""
    lied: bool = False
    stale: bool = False
    """Of a storage's fence: its object is of a backup, and says that it cuts, whatever is true."""
    orders: int = 0
    effective_until: float = NEVER
    another: str = ""
    """The node before which it stands in truth, where the settings name the wrong one."""

    def forgotten(self) -> None:
        """A new leader has read nothing of it yet."""
        self.readings, self.error, self.next_try_at = [], None, NEVER
        self.called_off_at = self.back_on_at = self.off_since = self.unsent = None
        self.ordered_in = ""


@dataclass
class LadderSetup:
    """A second level of PDUs below the BMCs, and what the zone and the chassis say."""

    pdus: dict[str, str] = field(default_factory=dict)
    """Node: how its PDU behaves."""
    hedges: tuple[float | None, ...] = ()
    delay: float = 0.0
    most_at_once: int | None = None
    """All devices are behind one chassis, which takes so many orders at once."""
