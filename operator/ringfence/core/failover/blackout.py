"""The blackout of orders after a device has called the node off without our order: it is on record, for the next leader.

A node that was called ``off`` and reads ``on`` is booting, as likely as not, and a boot must not be shot (DESIGN §3). A
leader's own readings die with it, so whom it has heard say ``off`` is stored, with the instant before which nobody
orders. Not with each reading: while a node stays off it is read every second, and :data:`STORED_EVERY` is added instead.

Only what was said before our first order is stored. After that a device may be off because we wished it.
"""

from __future__ import annotations

from dataclasses import replace

from ringfence.core import timing
from ringfence.core.failover.look import Look
from ringfence.core.failover.record import Record
from ringfence.core.fencing.orders import Action, CalledOff
from ringfence.core.fencing.rungs import DeviceLook

STORED_EVERY = 30.0
"""Seconds by which the instant on record may be behind the last reading."""
SEEN_LATE = timing.FOUND_OFF_BLACKOUT + STORED_EVERY
"""Seconds for which nobody orders after a replica has first seen that on record."""


def noted(record: Record, look: Look) -> Record:
    """The record with what its devices have said by now, and without what is over."""
    known = {one.device: one for one in record.called_off}
    first_order = min(
        (o.sent_at for o in record.orders if o.action is Action.OFF and not o.unsent), default=float("inf")
    )
    for device in (d for level in look.levels for d in level if isinstance(d, DeviceLook)):
        at = device.called_off_at
        if device.cuts is not None or at is None or at >= first_order:
            continue
        until = at + timing.FOUND_OFF_BLACKOUT
        before = known.get(device.name)
        if before is None or until - before.until >= STORED_EVERY:
            known[device.name] = CalledOff(device.name, until)
    called_off = tuple(one for _, one in sorted(known.items()) if one.until > look.now)
    return record if called_off == record.called_off else replace(record, called_off=called_off)
