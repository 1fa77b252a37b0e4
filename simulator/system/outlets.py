"""The plant's BMCs and PDUs as the controller's DeviceBook meets them: sessions that hang, refuse, lie or are slow.

An order is under way on the world's agenda: it arrives, and takes effect, whatever has become of the process that sent it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ringfence.core import timing
from ringfence.core.model import PowerState
from ringfence.ports import (
    DeviceError,
    DeviceIdentity,
    DeviceRefused,
    DeviceUnauthorized,
    DeviceUnreachable,
    OrderReceipt,
    PowerReading,
    TooLate,
)
from simulator.system import power
from simulator.system.plant import Plant
from simulator.system.processes import Agenda

T = TypeVar("T")
LOGS_IN = 0.05
ASKED = 0.05
ORDERED = 0.1
HANDSHAKE = 1.5
"""For so long one that is slow to connect keeps an order waiting, before it is sent."""


def uuid_of(node: str) -> str:
    """The ``systemUUID`` of a node's board."""
    return f"00112233-4455-6677-8899-{int(node[1:]):012d}"


@dataclass
class Outlet:
    """One node's power, through one device."""

    plant: Plant
    agenda: Agenda
    device: str
    node: str
    ordered: Callable[[str, str, float], None]
    """Told of each order off as it arrives: device, node, and when it was sent. Raises Broken."""
    switched_on: Callable[[str, str], None]
    """The same of orders on, without the instant."""
    alive: Callable[[], bool]
    """Whether the process that uses it is still there."""

    @property
    def order_lasts(self) -> float:
        """Seconds after its sending for which an order may still take effect."""
        return timing.ORDER_EFFECT

    async def open(self) -> None:
        """Connect, log in."""
        await self._use(LOGS_IN, lambda: None)

    async def identity(self) -> DeviceIdentity:
        """Whom it stands before in truth."""
        another = self.plant.box(self.device).another
        return await self._use(ASKED, lambda: DeviceIdentity(uuid_of(another or self.node), ""))

    async def power(self) -> PowerReading:
        """Read afresh the power."""
        asked_at = self.agenda.now
        return await self._use(ASKED, lambda: PowerReading(self._reads(), asked_at))

    def _reads(self) -> PowerState:
        box = self.plant.box(self.device)
        lies = box.lied or box.mode == "says-off"
        return PowerState.ON if power.gives(self.plant, self.device) and not lies else PowerState.OFF

    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        """Cut the power at once."""
        if self.plant.box(self.device).mode == "handshake":
            await self._use(HANDSHAKE, lambda: None)
        sent_at = self._may_send(deadline)

        def cut() -> None:
            self.plant.box(self.device).orders += 1
            self.plant.time.say(f"order: {self.device} off")
            self.ordered(self.device, self.node, sent_at)
            if self.plant.box(self.device).mode == "refuse":
                raise DeviceRefused("it refuses the order", sent_at=sent_at)
            power.off(self.plant, self.device, self.node)

        await self._use(ORDERED, cut, sent_at=sent_at)
        return OrderReceipt("off", sent_at, self.agenda.now, sent_at + self.order_lasts)

    async def order_on(self, *, deadline: float | None = None) -> OrderReceipt:
        """Switch the power on."""
        sent_at = self._may_send(deadline)

        def give() -> None:
            self.plant.time.say(f"order: {self.device} on")
            self.switched_on(self.device, self.node)
            power.on(self.plant, self.device, self.node)

        await self._use(2 * ORDERED, give, sent_at=sent_at)
        return OrderReceipt("on", sent_at, self.agenda.now, sent_at + self.order_lasts)

    async def close(self) -> None:
        """Log out, which takes its time where connecting does."""
        if self.plant.box(self.device).mode == "handshake":
            await self._use(HANDSHAKE, lambda: None)

    def _may_send(self, deadline: float | None) -> float:
        now = self.agenda.now
        if deadline is not None and now >= deadline:
            raise TooLate(f"not sent: the right to send it ended {now - deadline:.3f} s ago")
        return now

    async def _use(self, takes: float, act: Callable[[], T], *, sent_at: float | None = None) -> T:
        if not self.alive():
            raise DeviceUnreachable("the process is no more")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def end() -> None:
            trouble = self._trouble(sent_at)
            try:
                found = act() if trouble is None else None
            except DeviceError as error:
                trouble = error
            if answer.done():
                return
            if trouble is not None:
                answer.set_exception(trouble)
            else:
                answer.set_result(found)  # type: ignore[arg-type] # act() has given it

        hangs = self.plant.box(self.device).mode == "hang"
        self.agenda.after(power.HANGS if hangs else takes, end)
        return await answer

    def _trouble(self, sent_at: float | None) -> DeviceError | None:
        mode = self.plant.box(self.device).mode
        sentence = power.error(self.plant, mode)
        if sentence is None:
            return None
        kind = DeviceUnauthorized if mode == "unauthorized" else DeviceUnreachable
        return kind(sentence, sent_at=sent_at)
