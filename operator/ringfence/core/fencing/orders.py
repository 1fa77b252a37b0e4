"""Orders and begun levels as they are on record, and the commands that a ladder gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ringfence.core import timing
from ringfence.core.fencing.proof import Reading
from ringfence.core.model import PowerState


class Action(StrEnum):
    """What an order says."""

    OFF = "off"
    ON = "on"
    REVOKE = "revoke"
    """Revoke the agent's Lease: the watchdog's clock starts."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it is on record, stored before it is sent."""

    device: str
    attempt: int
    sent_at: float
    """When it was decided: it is sent after that, and before :attr:`send_by`. Monotonic; a leader that finds the order of
    another on record takes the moment it found it."""
    effective_until: float
    action: Action = Action.OFF

    @classmethod
    def decided(
        cls, device: str, attempt: int, now: float, lasts: float, action: Action = Action.OFF
    ) -> Order:
        """One that is decided now. ``lasts``: seconds after its sending for which it may take effect."""
        return cls(device, attempt, now, now + timing.ORDER_SENT_WITHIN + lasts, action)

    @property
    def send_by(self) -> float:
        """The instant from which it is not sent any more."""
        return self.sent_at + timing.ORDER_SENT_WITHIN

    @property
    def unsent(self) -> bool:
        """Whether it is known that it was never sent (:mod:`ringfence.core.failover.late`)."""
        return self.action is not Action.REVOKE and self.effective_until <= self.sent_at

    def works_until_read(self, readings: Iterable[Reading], now: float) -> bool:
        """Whether an order off is in work: it may take effect, and the device has not been read as off since."""
        done = any(r.state is PowerState.OFF and r.asked_at >= self.sent_at for r in readings)
        return self.action is Action.OFF and now < self.effective_until and not done


@dataclass(frozen=True, slots=True)
class Begun:
    """A level that has been begun in this pass."""

    level: int
    """Counted from 1."""
    at: float
    """Monotonic; a leader that finds it on record takes the moment it found it."""
    slow: int = 0
    """The level that had been slow, and went on; 0: those before had been tried in vain."""


@dataclass(frozen=True, slots=True)
class CalledOff:
    """A device has called the node off though nobody had ordered that."""

    device: str
    until: float
    """Monotonic: before this instant no order goes to the node on account of it."""


@dataclass(frozen=True, slots=True)
class ReadPower:
    device: str


@dataclass(frozen=True, slots=True)
class OrderOff:
    device: str
    attempt: int


@dataclass(frozen=True, slots=True)
class RevokeAgentLease:
    """Revoke the Lease of the node's agent, for this boot. Idempotent."""

    device: str


@dataclass(frozen=True, slots=True)
class LookOnceMore:
    """Read the node's Lease and report consistently, and ask most agents whether they still hear the node."""

    device: str


LadderCommand = ReadPower | OrderOff | RevokeAgentLease | LookOnceMore
