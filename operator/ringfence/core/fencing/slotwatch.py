"""Who moves: from reads of the heartbeat volume, one after the other, to evidence.

A slot *moves* when its sequence is another than at the last look; when that was is told by the clock of whoever looks,
never by anything inside. The write came after the look before had begun, and before this one had ended: both instants are kept,
since each serves another question. Against a proof the later one counts (it may have been written after it); against the
living only the earlier one does (it was surely written after the doubt).

What stood there at the first look is no life. A slot of another boot of the same node is another slot. A block that can't be
read (torn, damaged, hanging) is neither moving nor silent: silence is what *good* looks saw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from ringfence.core.fencing.slots import (
    BLANK,
    BLOCK,
    PAIR,
    Check,
    Flag,
    Header,
    Slot,
    SlotError,
    decode_slot,
    decode_word,
)
from ringfence.core.model import Boot

NEVER = float("-inf")
MISSES = 3.0
"""Intervals without a new sequence after which a slot is silent."""
LEAST_SILENCE = 2.0
"""Seconds; below that a busy disk is taken for a dead node."""


class SlotState(StrEnum):
    """What is known of one boot's slot."""

    NONE = "none"
    """Nobody has reported a slot of that boot."""
    MOVING = "moving"
    SILENT = "silent"
    UNREAD = "unread"
    """There is one, but no good look of late: it may move."""


def silence_of(interval: float) -> float:
    """Seconds without a change after which a slot with this interval is silent."""
    return max(LEAST_SILENCE, MISSES * interval)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One boot's slot as one observer sees it. Instants are the observer's monotonic clock."""

    boot: Boot
    index: int
    sequence: int
    interval: float
    flags: Flag
    first_at: float
    """When the look ended that saw it first."""
    looked_at: float
    """When the last good look at it began."""
    moved_at: float = NEVER
    """When the look ended that saw it change last: it was written before. A look may hang, and show what was written then."""
    moved_after: float = NEVER
    """When the look before that began: it was written after."""
    told: str = ""
    """The boot id to which the word beside it says "you are fenced"."""
    issued: int = 0
    """The number of the word that stands there, whatever it says."""

    def state(self, now: float) -> SlotState:
        silence = silence_of(self.interval)
        if now - self.moved_at <= silence:
            return SlotState.MOVING
        if now - self.looked_at > silence:
            return SlotState.UNREAD
        return (
            SlotState.SILENT
            if self.looked_at - max(self.moved_at, self.first_at) >= silence
            else SlotState.UNREAD
        )


class SlotWatch:
    """What one observer has seen of a whole volume. Memory is bounded by the number of slots."""

    def __init__(self, header: Header, check: Check) -> None:
        self._header = header
        self._check = check
        self._raw: dict[int, int] = {}
        """Hashes of what stood there: a whole volume may be more than a process has memory for."""
        self._seen: dict[int, Sighting] = {}

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        """Every slot that holds a node; a node that has changed its place stands there once, by its latest move."""
        best: dict[Boot, Sighting] = {}
        for one in self._seen.values():
            known = best.get(one.boot)
            if known is None or (one.moved_at, one.looked_at) > (known.moved_at, known.looked_at):
                best[one.boot] = one
        return tuple(best.values())

    def see(self, data: bytes, began_at: float, ended_at: float, first: int = 0) -> None:
        """A look at the pairs from index ``first`` on, and when it began and ended."""
        for at in range(0, len(data) - PAIR + 1, PAIR):
            self._pair(first + at // PAIR, data[at : at + PAIR], began_at, ended_at)

    def _pair(self, index: int, pair: bytes, began_at: float, ended_at: float) -> None:
        known, raw = self._seen.get(index), hash(pair)
        if known is not None and self._raw.get(index) == raw:
            self._seen[index] = replace(known, looked_at=began_at)
            return
        try:
            slot = decode_slot(pair[:BLOCK], self._header.cluster)
        except SlotError:
            return  # neither moving nor silent: what was seen before grows old
        self._raw[index] = raw
        if slot is None:
            self._seen.pop(index, None)
            return
        self._seen[index] = self._moved(known, index, slot, pair[BLOCK:], (began_at, ended_at))

    def _moved(
        self, known: Sighting | None, index: int, slot: Slot, word: bytes, look: tuple[float, float]
    ) -> Sighting:
        began_at, ended_at = look
        told, issued = self._told(word, slot.boot)
        seen = Sighting(
            slot.boot,
            index,
            slot.sequence,
            slot.interval,
            slot.flags,
            first_at=ended_at,
            looked_at=began_at,
            told=told,
            issued=issued,
        )
        if known is None or known.boot.node_uid != slot.boot.node_uid:
            return seen
        if known.boot != slot.boot:
            return replace(seen, moved_at=ended_at, moved_after=known.looked_at)
        if known.sequence == slot.sequence:
            return replace(
                seen, first_at=known.first_at, moved_at=known.moved_at, moved_after=known.moved_after
            )
        return replace(seen, first_at=known.first_at, moved_at=ended_at, moved_after=known.looked_at)

    def _told(self, word: bytes, boot: Boot) -> tuple[str, int]:
        if word == BLANK:
            return "", 0
        try:
            found = decode_word(word, self._header.cluster, self._check)
        except SlotError:
            return "", 0
        if found is None or found.node_uid != boot.node_uid:
            return "", 0
        return "" if found.taken_back else found.boot_id, found.issued
