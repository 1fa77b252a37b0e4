"""The others' slots: read while a controller listens, and the words to fenced nodes that controllers send.

Nobody listens, nothing is read: a heartbeat costs each node one read and one write an interval, and only the few that a
controller has chosen read the whole table.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ringfence.core.fencing.slots import (
    BLANK,
    BLOCK,
    PAIR,
    Check,
    Header,
    SlotError,
    Word,
    decode_slot,
    decode_word,
)
from ringfence.core.fencing.slotwatch import Sighting, SlotWatch
from ringfence.slots.heartbeat import Blocks

logger = logging.getLogger(__name__)

MAX_ORDERS = 64
AT_ONCE = 128
"""Slots read in one request, of one MiB: what a look needs of memory is bounded, whatever the volume's size."""


@dataclass(frozen=True, slots=True)
class WordOrder:
    """A controller wants this block beside that slot, before ``deadline`` (the process' own clock)."""

    index: int
    block: bytes
    deadline: float


class Lookout:
    """See the module. `ask` and `sightings` may be used from any thread."""

    def __init__(self, header: Header, check: Check, clock: Callable[[], float]) -> None:
        self._header = header
        self._clock = clock
        self._check = check
        self._watch = SlotWatch(header, check)
        self._lock = threading.Lock()
        self._orders: deque[WordOrder] = deque(maxlen=MAX_ORDERS)
        self.readers = 0
        """How many controllers listen."""

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        with self._lock:
            return self._watch.sightings

    def ask(self, order: WordOrder) -> None:
        """Have a word written at the next turn."""
        self._orders.append(order)

    def turn(self, blocks: Blocks, now: float) -> None:
        """Write what was asked for, then look at all slots. Raises OSError."""
        while self._orders:
            self._tell(blocks, self._orders.popleft())
        if not self.readers:
            return
        for first in range(0, self._header.slots, AT_ONCE):
            data = blocks.read(self._header.offset(first), min(AT_ONCE, self._header.slots - first) * PAIR)
            ended = self._clock()
            with self._lock:
                self._watch.see(data, now, ended, first)
            now = ended

    def _tell(self, blocks: Blocks, order: WordOrder) -> None:
        try:
            word = decode_word(order.block, self._header.cluster, self._check)
            pair = blocks.read(self._header.offset(order.index), PAIR)
            slot = decode_slot(pair[:BLOCK], self._header.cluster)
            stands = None if pair[BLOCK:] == BLANK else self._standing(pair[BLOCK:])
        except (SlotError, IndexError) as error:
            logger.warning("a word is not written: %s", error)
            return
        if word is None or slot is None or slot.boot.node_uid != word.node_uid:
            logger.warning("a word is not written: slot %d is not its node's", order.index)
            return
        if stands is not None and stands.node_uid == word.node_uid and stands.issued >= word.issued:
            return
        # Right before it is written: the read may have hung for as long as the storage did.
        if self._clock() >= order.deadline:
            logger.warning("a word came too late to be written")
            return
        blocks.write(self._header.offset(order.index) + BLOCK, order.block)
        what = "fenced no more" if word.taken_back else "fenced"
        logger.info(
            "%s is told that its boot %s is %s (%s)", slot.boot.node, word.boot_id[:8], what, word.incident
        )

    def _standing(self, block: bytes) -> Word | None:
        try:
            return decode_word(block, self._header.cluster, self._check)
        except SlotError:
            return None
