"""Whoever watches the controller while it works: told of everything that it is about to store or to do."""

from __future__ import annotations

from typing import Protocol

from ringfence.core.failover.commands import Command
from ringfence.core.failover.record import Record
from ringfence.core.failover.recovery import RecoveryCommand
from ringfence.core.fencing.orders import OrderOff
from ringfence.core.model import Boot


class Watch(Protocol):
    def stored(self, before: Record | None, record: Record) -> None:
        """A record was written."""

    def ordered(self, record: Record, order: OrderOff) -> None:
        """A device is about to be ordered to cut the power."""

    def commanded(self, command: Command | RecoveryCommand) -> None:
        """A command of the machine is about to be carried out."""

    def asked(self, boot: Boot, ask: RecoveryCommand) -> None:
        """Something is about to be asked of Kubernetes or KubeVirt under that boot's proof."""
