"""A node: hardware that can lose its power, a kernel that answers, an agent's process, clocks and a disk.

The kernel is what the others' kernel probes find; the process is what their pings find. A frozen process loses no
datagram until its socket's buffer is full, and its clock goes on; a suspended host hears nothing and its monotonic clock
stands still. Only what the agent itself would see passes from here to the machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ringfence.core.gossip.keys import KeySet
from ringfence.core.gossip.members import Roster
from ringfence.core.gossip.swim import Swim
from ringfence.core.model import MANAGEMENT
from simulator.crypto import Rekeyed

BACKLOG = 500
"""Small datagrams that fit into a socket's buffer as Linux counts them (212,992 bytes with 768 or less for each)."""


class Node:
    """One node of the world. Who changes its fields is `world.World` alone."""

    __slots__ = (
        "_clock_at",
        "_rate",
        "_world_at",
        "address",
        "api",
        "backlog",
        "boot",
        "booted_at",
        "calm_since",
        "crypto",
        "disk",
        "frozen",
        "index",
        "kernel",
        "kernel_answers",
        "keys",
        "late_until",
        "mounted",
        "name",
        "networks",
        "process",
        "received",
        "reported",
        "resumed_at",
        "sent",
        "sent_bytes",
        "silent_since",
        "suspended",
        "swim",
        "troubles",
        "uid",
        "version",
        "wake_at",
        "wall_jump",
        "zone",
    )

    def __init__(self, index: int, zone: str, keys: KeySet, networks: Iterable[str] = ()) -> None:
        self.index = index
        self.name = f"n{index + 1}"
        self.uid = f"uid-{self.name}"
        self.address = f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}"
        self.networks = {
            network: f"{20 + place}.{index >> 16}.{index >> 8 & 255}.{index & 255}"
            for place, network in enumerate(networks)
        }
        """Its addresses beside that on the management network, by network."""
        self.zone = zone
        self.boot = 0
        """Number of the present boot, or of the last one."""
        self.booted_at = 0.0
        """World time."""
        self.kernel = True
        self.suspended = False
        self.resumed_at = 0.0
        """World time since when its kernel answers without a break."""
        self.swim: Swim | None = None
        """The machine of the running process; None where there is none."""
        self.crypto: Rekeyed | None = None
        self.mounted = keys
        """The group keys that its kubelet has brought."""
        self.keys = keys
        """Those that its agent goes by."""
        self.reported: tuple[int, KeySet] | None = (0, keys)
        """What its agent has last reported of them, and in which boot."""
        self.process = 0
        """Number of the agent's process; what was meant for an earlier one is nobody's any more."""
        self.frozen = False
        self.backlog: list[tuple[bytes, str, float]] = []
        """What its socket holds, with the time of its clock at which each came."""
        self.kernel_answers: list[tuple[str, str]] = []
        """UIDs of nodes whose kernels have answered while the process was frozen, and on which network."""
        self.disk: Roster | None = None
        """The last roster that an agent of this node has stored."""
        self.api = 0
        """How many faults keep its agent from the API server."""
        self.wall_jump = 0.0
        """Seconds by which its wall clock is off."""
        self.sent = 0
        self.sent_bytes = 0
        self.received = 0
        self.version = -1
        """The machine's version when it was last looked at."""
        self.wake_at = math.inf
        """World time of the next happening that wakes the process for a timer."""
        self.late_until = -math.inf
        """Until when (world time) its own timers have told it to accuse nobody."""
        self.silent_since = 0.0
        """World time since when its agent reads nothing, where it doesn't now."""
        self.troubles = 0
        """How many faults are at it."""
        self.calm_since = 0.0
        """World time since when no fault has been at this node itself (its links are another matter)."""
        self._world_at = 0.0
        self._clock_at = 5000.0 + 0.001 * index  # no two nodes' monotonic clocks agree
        self._rate = 1.0

    def clock(self, now: float) -> float:
        """Its monotonic clock at this world time, seconds."""
        return self._clock_at + (now - self._world_at) * self._rate

    def world_time(self, clock: float) -> float:
        """The world time at which its monotonic clock shows this; never, while the host is suspended."""
        if self._rate == 0:
            return math.inf
        return self._world_at + (clock - self._clock_at) / self._rate

    def set_rate(self, rate: float, now: float) -> None:
        """From now on its monotonic clock runs so fast; 0 stands still."""
        self._clock_at, self._world_at, self._rate = self.clock(now), now, rate

    @property
    def rate(self) -> float:
        """Seconds of its monotonic clock a second."""
        return self._rate

    def on(self, network: str) -> str:
        """Its address there."""
        return self.address if network == MANAGEMENT else self.networks[network]

    @property
    def listens(self) -> bool:
        """Whether its agent runs and reads at once."""
        return self.kernel and self.swim is not None and not self.frozen
