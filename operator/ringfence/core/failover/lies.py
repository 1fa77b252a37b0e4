"""Lies: a fence device that calls a node off while that very boot of it is heard proves nothing about that node until it has passed a drill.

As long as the node is heard no `off` counts, whoever says it (:func:`ringfence.core.failover.proof_in_hand.is_heard`). This is about the
time after that: the node falls silent again, and its device says what it has said before. It is a device that has failed then: the next
level is tried, or a person is asked. Who was caught is on record, for the next leader; and the next incident of the node begins with that
knowledge, since a device that claims to have cut the power and has not does so again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ringfence.core import timing
from ringfence.core.failover.look import Look
from ringfence.core.failover.proof_in_hand import is_heard
from ringfence.core.failover.record import Lie, Record
from ringfence.core.failover.step import enter
from ringfence.core.fencing.rungs import DeviceLook, Rungs
from ringfence.core.fencing.selffence import WatchdogLook


def caught(record: Record, look: Look) -> Record:
    """The record with the devices that are caught lying now. The evidence, each instant of it by this controller's own clock:

    For :data:`~ringfence.core.timing.LIE_SURE` on end every power device of a level has said nothing but `off` (from its first answer to
    the last question, asked at least every :data:`~ringfence.core.timing.READ_FRESH`), and packets of the incident's own boot have come,
    never further apart than :data:`~ringfence.core.timing.HEARD_GAP`. And this boot is found alive now.

    None of it is a race. A packet is authenticated and carries its boot: a node that was truly off, and that somebody has powered on
    since, sends those of another one. Answers of a kernel carry none, and renewals are seen late: neither counts. A packet that was
    received before the reading and is counted later (its agent had stood still, its stream was slow) would have to be late by the whole
    ``LIE_SURE``, and what is told late in one go bridges no gap that long. Of two supplies one may be off, and no liar: they have to say so
    at the same time. Whoever is behind the same address is the same witness, by whatever protocol.
    """
    if not look.heard_since < look.heard_at - timing.LIE_SURE or not is_heard(record, look):
        return record
    known = {lie.device for lie in record.lies}
    liars = {name for level in look.levels if (names := _all_lie(level, look)) for name in names}
    addresses = {d.address for d in _devices(look.levels) if d.name in liars and d.address}
    liars |= {d.name for d in _devices(look.levels) if d.address in addresses and d.cuts is None}
    new = tuple(sorted(liars - known))
    if not new:
        return record
    record = replace(record, lies=(*record.lies, *(Lie(name, look.wall) for name in new)))
    sentence = (
        f"{', '.join(new)} called {record.boot.node} off while it was heard: what is read there proves nothing before a drill;"
        f" {drill(new, record.boot.node)}"
    )
    return enter(record, record.phase, sentence, look)


def standing(told: Iterable[Lie], drilled: Mapping[str, float]) -> tuple[Lie, ...]:
    """Of what earlier incidents have on record about one node: the last lie of each device, unless it has passed a drill there since.

    Args:
        drilled: when each device last passed a drill on that node, by the wall clock.
    """
    last: dict[str, Lie] = {}
    for lie in told:
        if lie.device not in last or lie.wall > last[lie.device].wall:
            last[lie.device] = lie
    return tuple(last[name] for name in sorted(last) if last[name].wall > drilled.get(name, float("-inf")))


def believed(record: Record, levels: Rungs) -> Rungs:
    """The ladder, on which a liar can't be used."""
    liars = {lie.device for lie in record.lies}
    if not liars:
        return levels
    node = record.boot.node
    return tuple(
        tuple(
            replace(
                d,
                unusable=d.unusable
                or f"it called {node} off while that was heard, and proves nothing before a drill ({drill((d.name,), node)})",
            )
            if isinstance(d, DeviceLook) and d.name in liars
            else d
            for d in level
        )
        for level in levels
    )


def told(record: Record) -> str:
    """Who was caught, as the end of the incident's last sentence; empty: nobody."""
    names = [lie.device for lie in record.lies]
    if not names:
        return ""
    return f"; {', '.join(names)} called it off while it was heard: {drill(names, record.boot.node)}"


def drill(devices: Iterable[str], node: str) -> str:
    """What a person is to do about them."""
    orders = ", ".join(f"ringfence fence drill {device} {node}" for device in devices)
    return f"see to it, and when {node} is well and empty: {orders}"


def _devices(levels: Rungs) -> list[DeviceLook]:
    return [device for level in levels for device in level if isinstance(device, DeviceLook)]


def _all_lie(level: tuple[DeviceLook | WatchdogLook, ...], look: Look) -> tuple[str, ...]:
    """The devices of the level, if all of them have called the node off for long enough while it was heard."""
    begun, last = [look.heard_since], [look.heard_at]
    for device in level:
        if (
            not isinstance(device, DeviceLook)
            or device.cuts is not None
            or device.unusable is not None
            or device.off_since is None
            or not device.readings
        ):
            return ()
        begun.append(device.off_since)
        last.append(device.readings[-1].asked_at)
    return tuple(d.name for d in level) if min(last) - max(begun) >= timing.LIE_SURE else ()
