"""Orders that came too late: each is sent within seconds of its decision, or not at all, and then the incident decides anew.

An order is stored before it is sent, and the API server may take its time, or the process stand still; meanwhile the
node may have been heard. So the adapter refuses what comes after its deadline
(:data:`~ringfence.core.timing.ORDER_SENT_WITHIN`, or the end of the right to order). The order stays on record, as one that
takes no effect: it counts as a try, so that a device which can never be reached in time gives its place to the next level.

Only the leader that had decided it knows. Its successor goes by the record, as if the order had been sent.
"""

from __future__ import annotations

from dataclasses import replace

from ringfence.core.failover.look import Look
from ringfence.core.failover.record import Record
from ringfence.core.fencing.orders import Action, Order
from ringfence.core.fencing.rungs import DeviceLook


def without_late(record: Record, look: Look) -> Record:
    """The record in which what was refused for being late takes no effect."""
    refused = {
        (device.name, device.unsent)
        for level in look.levels
        for device in level
        if isinstance(device, DeviceLook)
    }
    orders = tuple(_void(o) if (o.device, o.sent_at) in refused else o for o in record.orders)
    return record if orders == record.orders else replace(record, orders=orders)


def _void(order: Order) -> Order:
    return replace(order, effective_until=order.sent_at) if order.action is Action.OFF else order
