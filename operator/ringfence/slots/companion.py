"""Another node whose slot moves on the same open volume: what shows that it is the shared one.

A write that succeeds shows nothing by itself. Where the shared file system is not mounted (any more), the heartbeat writes
into a folder of the node's own disk, and goes on for ever; the others see the slot silent, and count the node's watchdog out while
it is fed by that very leg. So the leg holds only while a slot of *another node* moves too, read by the thread that writes and
through the same open file: on a disk of its own a node is alone.

One companion is enough, and costs one read an interval. While none is known the whole volume is read once an interval.
What it can't see: a volume that has split in two, with writers in both halves (`docs/what-we-believe.md`).
"""

from __future__ import annotations

from ringfence.core.fencing.slots import PAIR, Check, Header
from ringfence.core.fencing.slotwatch import NEVER, SlotWatch, silence_of
from ringfence.slots.heartbeat import Blocks
from ringfence.slots.lookout import AT_ONCE


class Companion:
    """See the module. ``now`` is the process' own clock, when the read begins."""

    def __init__(self, header: Header, check: Check, own_uid: str) -> None:
        self._header = header
        self._own_uid = own_uid
        self._watch = SlotWatch(header, check)
        self._index: int | None = None
        self._interval = 0.0
        self._wrote_after = NEVER

    def turn(self, blocks: Blocks, now: float) -> float:
        """Look once. Returns the latest instant after which another node has surely written. Raises OSError."""
        first, count = (0, self._header.slots) if self._index is None else (self._index, 1)
        for index in range(first, first + count, AT_ONCE):
            data = blocks.read(self._header.offset(index), min(AT_ONCE, first + count - index) * PAIR)
            self._watch.see(data, now, now, index)
        others = (one for one in self._watch.sightings if one.boot.node_uid != self._own_uid)
        best = max(others, key=lambda one: one.moved_after, default=None)
        if best is not None and best.moved_after > self._wrote_after:
            self._index, self._interval = best.index, best.interval
            self._wrote_after = best.moved_after
        elif now - self._wrote_after > silence_of(self._interval) + self._interval:
            self._index = None
        return self._wrote_after
