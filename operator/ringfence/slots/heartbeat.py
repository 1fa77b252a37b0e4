"""This node's own slot: find it, write it once an interval, and read beside it whether the node is fenced.

One turn is one read of the pair and one write. It is read first: another node's name in the slot means that both took it
at once and the other wrote last, and "you are fenced" must be known before anything is written. A fenced node says so in its
slot, kills its guests where it may and shall, and writes no more once none is left: then silence is the truth. It goes on
reading, and goes on writing when the word is taken back.

A turn may hang for as long as the storage does. What it has come to is in plain fields that any thread may read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from ringfence.core.fencing.slots import (
    BLANK,
    BLOCK,
    PAIR,
    Check,
    Flag,
    Header,
    Slot,
    SlotError,
    Word,
    claim,
    decode_header,
    decode_slot,
    decode_word,
    encode_header,
    encode_slot,
)
from ringfence.core.fencing.slotwatch import SlotState, SlotWatch
from ringfence.core.model import Boot

logger = logging.getLogger(__name__)

RECLAIM = 60.0
"""Seconds of silence, seen by this very process, after which a full volume's slot may be taken from its node."""


class Blocks(Protocol):
    """A volume, open."""

    def size(self) -> int:
        """Bytes."""

    def grow(self, size: int) -> None:
        """Make it at least so long."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes."""

    def write(self, offset: int, data: bytes) -> None:
        """Write them; when it returns they are on the storage."""


class Guests(Protocol):
    """The guests of this host."""

    def left(self) -> int | None:
        """How many run; None where they can't be seen."""

    def stop(self) -> None:
        """Kill all that may be killed."""


class Numbers(Protocol):
    """Where the number of the newest word to this boot outlives the process."""

    def read(self) -> int:
        """0 where none is known."""

    def keep(self, number: int) -> None:
        """It is the newest."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What has become of the turns. Instants are the process' own clock."""

    index: int | None = None
    written_at: float | None = None
    """When the last good write began."""
    word: Word | None = None
    """The word to this very boot."""
    guests: int | None = None


def prepare(blocks: Blocks, cluster: bytes, slots: int) -> Header:
    """The volume's header; a blank volume is made ours, with so many slots. Raises OSError, SlotError.

    Two nodes that do this at once write the same bytes.
    """
    if blocks.size() < BLOCK:
        blocks.grow(Header(cluster, slots).size)
    header = decode_header(blocks.read(0, BLOCK), cluster)
    if header is None:
        header = Header(cluster, slots)
        blocks.grow(header.size)
        for index in range(slots):
            if blocks.read(header.offset(index), PAIR) != BLANK + BLANK:
                raise SlotError(
                    f"the volume's first block is blank, but not the one at {header.offset(index)}: it is not touched; give"
                    " the heartbeat a volume of its own, or overwrite this one with zeros"
                )
        blocks.write(0, encode_header(header))
        logger.info("the volume is made ready for %d nodes", slots)
    if blocks.size() < header.size:
        raise SlotError(f"the volume has {blocks.size()} bytes, its header tells of {header.size}")
    return header


class Heartbeat:
    """See the module. ``now`` is CLOCK_BOOTTIME, seconds."""

    def __init__(
        self,
        boot: Boot,
        header: Header,
        interval: float,
        check: Check,
        guests: Guests,
        held: Callable[[float], None],
        numbers: Numbers,
    ) -> None:
        self._boot = boot
        self._header = header
        self._interval = interval
        self._check = check
        self._guests = guests
        self._held = held
        self._sequence = 0
        self._wrote: bytes | None = None
        self._numbers = numbers
        self._obeyed = numbers.read()
        """The number of the newest word to this boot."""
        self._search: SlotWatch | None = None
        self._search_since = 0.0
        self.standing = Standing()

    def turn(self, blocks: Blocks, now: float) -> None:
        """Read, then write. Raises OSError, SlotError; the next turn tries again."""
        index, pair = self.standing.index, BLANK + BLANK
        if index is not None:
            pair = blocks.read(self._header.offset(index), PAIR)
            if self._lost(pair[:BLOCK]):
                logger.warning("slot %d has been taken by another node: looking for another", index)
                self.standing, index = replace(self.standing, index=None), None
        if index is None:
            index = self._find(blocks, now)
            pair = blocks.read(self._header.offset(index), PAIR)
        if self._wrote is None:
            self._take_over(pair[:BLOCK])
        word = self._word(pair[BLOCK:])
        if word is not None and self.standing.word is None:
            logger.warning("this boot is fenced (%s)", word.incident)
        elif word is None and self.standing.word is not None:
            logger.info("fenced no more")
        self.standing = replace(self.standing, index=index, word=word)
        if word is None:
            self._write(blocks, index, Flag.NONE, now)
            self._held(now)
        else:
            self._obey(blocks, index, word, now)

    def leave(self, blocks: Blocks, now: float) -> None:
        """Sign off: nobody expects another write. A fenced node's last words stay."""
        index = self.standing.index
        if index is not None and self.standing.word is None:
            self._write(blocks, index, Flag.LEFT, now)

    def _obey(self, blocks: Blocks, index: int, word: Word, now: float) -> None:
        left = self._guests.left()
        if word.stop_guests and left:
            logger.warning("fenced: killing %d guests", left)
            self._guests.stop()
            left = self._guests.left()
        self.standing = replace(self.standing, guests=left)
        gone = word.stop_guests and left == 0
        flags = Flag.FENCED | Flag.GUESTS_GONE if gone else Flag.FENCED
        if not gone or not self._said(flags):
            self._write(blocks, index, flags, now)

    def _said(self, flags: Flag) -> bool:
        if self._wrote is None:
            return False
        slot = decode_slot(self._wrote, self._header.cluster)
        return slot is not None and slot.flags == flags

    def _write(self, blocks: Blocks, index: int, flags: Flag, now: float) -> None:
        # Above everything that an earlier process of this boot has written, at no more than a thousand writes a second.
        # The volume isn't sealed: what was found there may be the last number that fits, and any change is life.
        self._sequence = max(self._sequence + 1, int(now * 1000)) % (1 << 64)
        block = encode_slot(Slot(self._boot, self._sequence, self._interval, flags), self._header.cluster)
        blocks.write(self._header.offset(index), block)
        self._wrote = block
        self.standing = replace(self.standing, written_at=now)

    def _lost(self, block: bytes) -> bool:
        """Whether another node stands where this one has written. A torn or blank block is written anew."""
        try:
            slot = decode_slot(block, self._header.cluster)
        except SlotError:
            return False
        return slot is not None and slot.boot.node_uid != self._boot.node_uid

    def _word(self, block: bytes) -> Word | None:
        try:
            word = decode_word(block, self._header.cluster, self._check)
        except SlotError as error:
            logger.debug("the word beside the slot: %s", error)
            return None
        if word is None or (word.node_uid, word.boot_id) != (self._boot.node_uid, self._boot.boot_id):
            return None
        if word.issued < self._obeyed:
            logger.warning("an old word was written again beside the slot: it says nothing")
            return self.standing.word
        if word.issued > self._obeyed:
            self._obeyed = word.issued
            self._numbers.keep(word.issued)
        return None if word.taken_back else word

    def _take_over(self, block: bytes) -> None:
        """Go on from what an earlier process of this boot has written."""
        try:
            slot = decode_slot(block, self._header.cluster)
        except SlotError:
            return
        if slot is not None and slot.boot == self._boot:
            self._wrote, self._sequence = block, slot.sequence

    def _find(self, blocks: Blocks, now: float) -> int:
        """The slot to write from now on. Raises SlotError while there is none."""
        if self._search is None:
            self._search, self._search_since = SlotWatch(self._header, self._check), now
        taken: dict[int, str] = {}
        for index in range(self._header.slots):
            pair = blocks.read(self._header.offset(index), PAIR)
            self._search.see(pair, now, now, index)  # for whose slot is silent, and no proof
            try:
                slot = decode_slot(pair[:BLOCK], self._header.cluster)
            except SlotError:
                taken[index] = ""
                continue
            if slot is not None:
                taken[index] = slot.boot.node_uid
        waited = now - self._search_since >= RECLAIM
        silent = frozenset(
            s.index for s in self._search.sightings if waited and s.state(now) is SlotState.SILENT
        )
        index_or_none = claim(self._header, self._boot.node_uid, taken, silent)
        if index_or_none is None:
            raise SlotError(
                f"all {self._header.slots} slots are taken: one that stays silent for {RECLAIM:g} s is taken over;"
                " where as many nodes live, give the heartbeat a new volume with more slots"
            )
        self._search = None
        logger.info("this node's slot is %d", index_or_none)
        return index_or_none
