"""The rungs of a node's ladder: its fence devices, level by level, as the controller knows them now."""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.core import timing
from ringfence.core.fencing.chassis import Chassis
from ringfence.core.fencing.proof import Reading
from ringfence.core.fencing.selffence import WatchdogLook
from ringfence.core.model import PowerState


@dataclass(frozen=True, slots=True)
class DeviceLook:
    """What the controller knows of one fence device with regard to one node."""

    name: str
    unusable: str | None = None
    """Why it must never be used for this node (identity mismatch, no Secret, ...)."""
    readings: tuple[Reading, ...] = ()
    """Oldest first, of this incident, a bounded number."""
    error: str | None = None
    """The last failure, if nothing has succeeded since."""
    busy: bool = False
    """A command to it is on its way."""
    next_try_at: float = float("-inf")
    """Back-off after failures."""
    order_lasts: float = timing.ORDER_EFFECT
    """Seconds after its sending for which an order may still take effect."""
    unsent: float | None = None
    """The decision of the last order to it that was refused for being late: nothing was sent (:attr:`Order.sent_at`)."""
    called_off_at: float | None = None
    """When it last called the node ``off`` without an order of ours in this incident."""
    back_on_at: float | None = None
    """When it last said ``on`` after it had said ``off`` in this incident, whoever had ordered that."""
    off_since: float | None = None
    """Since when it has said nothing but ``off``, asked at least every :data:`~ringfence.core.timing.READ_FRESH` seconds: when the
    first of those readings was answered, of this incident. None: the last one says something else."""
    cuts: frozenset[str] | None = None
    """For a storage: the volumes from which it cuts the node, ``namespace/claim``; ``off`` is then "cut off from them".
    None: it cuts the power."""
    address: str = ""
    """Behind which it reads and orders, without the port; empty: it has none. Devices behind one address are one method."""
    chassis: Chassis | None = None
    """What it has in common with other outlets; None: it takes as many orders as there are."""

    def reads_off(self, now: float) -> bool:
        """Whether it was just read as ``off``."""
        last = self.readings[-1] if self.readings else None
        fresh = last is not None and now - last.asked_at <= timing.READ_FRESH
        return fresh and last is not None and last.state is PowerState.OFF


A_PERSON = "a person has to confirm"
"""Why a device of driver ``manual`` is never read or ordered."""

Rungs = tuple[tuple[DeviceLook | WatchdogLook, ...], ...]
"""The devices of a node, level by level."""
