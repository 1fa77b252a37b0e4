"""The blackout of orders after a device has called the node off without our order, or on again after it: it is on record, for the next leader.

A node that was called ``off`` and reads ``on`` is booting, as likely as not, and a boot must not be shot (DESIGN §3). A
leader's own readings die with it, so whom it has heard say ``off`` is stored, with the instant before which nobody
orders. Not with each reading: while a node stays off it is read every second, and :data:`STORED_EVERY` is added instead.

Of what is said after our first order only ``on`` after ``off`` is stored: a device may be off because we wished it. Power that is back
though we had ordered it off (a BMC that restores it, or takes the order for a restart) boots the node, and a node that is ordered off
every twelve seconds never ends its boot, by which alone its incident could end.
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
        if device.cuts is not None:
            continue
        said = [at for at in (device.called_off_at,) if at is not None and at < first_order]
        said += [at for at in (device.back_on_at,) if at is not None]
        if not said:
            continue
        until = max(said) + timing.FOUND_OFF_BLACKOUT
        before = known.get(device.name)
        if before is None or until - before.until >= STORED_EVERY:
            known[device.name] = CalledOff(device.name, until)
    called_off = tuple(one for _, one in sorted(known.items()) if one.until > look.now)
    return record if called_off == record.called_off else replace(record, called_off=called_off)
