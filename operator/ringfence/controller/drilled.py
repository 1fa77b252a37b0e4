"""A device in a drill: it passes on what it is asked, and keeps on record the order that it has in work.

A chassis takes only so many orders at once, whoever gives them (:mod:`ringfence.core.fencing.chassis`).
"""

from __future__ import annotations

from collections.abc import Callable

from ringfence.core.fencing.orders import Order
from ringfence.core.model import PowerState
from ringfence.ports import Clock, DeviceIdentity, OrderReceipt, PowerDevice, PowerReading


class DrilledDevice:
    """See the module; a :class:`~ringfence.ports.PowerDevice`."""

    def __init__(self, name: str, device: PowerDevice, clock: Clock, closed: Callable[[], object]) -> None:
        self._name = name
        self._device = device
        self._clock = clock
        self._closed = closed
        self.order: Order | None = None
        """The order off that may take effect and has not been read to have done so."""

    @property
    def order_lasts(self) -> float:
        """Seconds after its sending for which an order may still take effect."""
        return self._device.order_lasts

    async def open(self) -> None:
        await self._device.open()

    async def identity(self) -> DeviceIdentity:
        return await self._device.identity()

    async def power(self) -> PowerReading:
        reading = await self._device.power()
        if reading.state is PowerState.OFF:
            self.order = None
        return reading

    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        now = self._clock.monotonic()
        sent_by = now if deadline is None else max(now, deadline)
        self.order = Order(self._name, 1, now, sent_by + self.order_lasts)
        receipt = await self._device.order_off(deadline=deadline)
        self.order = Order(self._name, 1, now, receipt.effective_until)
        return receipt

    async def order_on(self, *, deadline: float | None = None) -> OrderReceipt:
        return await self._device.order_on(deadline=deadline)

    async def close(self) -> None:
        self._closed()
        await self._device.close()
