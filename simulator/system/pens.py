"""The heartbeat processes as controllers meet them: reports of the slots that `slots.py` moves, and words that are written on demand.

The reports are the product's own (`core/fencing/slotreport.py`), and what is made of them is the controller's own code; a word comes as the block
that the leader has signed, and is opened with the roster's key.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from ringfence.core.detection.evidence import NEVER
from ringfence.core.fencing.slotreport import OwnSlot, SlotReport, SlotRow
from ringfence.core.fencing.slots import Check, decode_word
from ringfence.core.model import Boot
from ringfence.net.slot_stream import WordWish
from ringfence.net.stream import PUSH_EVERY, QUIET, StreamError
from simulator.system import slots
from simulator.system.plant import Plant
from simulator.system.voices import DIALS, LOOK, Ears

WRITES = 0.2
"""Seconds until a word that was wished for stands on the volume."""


@dataclass
class Shelf:
    """The heartbeat volume's words, and who may write them."""

    plant: Plant
    volume: str
    cluster: bytes
    check: Check
    issued: dict[str, int] = field(default_factory=dict)
    """The number of the last word to each node."""
    first: dict[Boot, float] = field(default_factory=dict)

    def report(self, name: str) -> SlotReport:
        """What the heartbeat process on that node says."""
        plant, now = self.plant, self.plant.now
        node = plant.nodes[name]
        trouble = "" if node.storage else "its storage does not answer"
        rows = tuple(row for other in plant.nodes.values() if (row := self._row(other.name, now)) is not None)
        own = OwnSlot(trouble=trouble, fenced=node.word == node.identity.boot_id)
        return SlotReport(node.identity, self.volume, own, () if trouble else rows, now)

    def _row(self, name: str, now: float) -> SlotRow | None:
        node = self.plant.nodes[name]
        boot_id, sequence = node.slot_seen
        if not boot_id:
            return None
        boot = Boot(name, node.identity.node_uid, boot_id)
        first = self.first.setdefault(boot, now)
        after, at = node.slot_moved
        moved = at > NEVER
        return SlotRow(
            boot,
            list(self.plant.nodes).index(name),
            sequence,
            slots.INTERVAL,
            0,
            now - first,
            now - node.slot_looked_at,
            now - at if moved else None,
            now - after if moved else None,
            node.word if node.word == boot_id else "",
            self.issued.get(name, 0),
        )

    def write(self, name: str, wish: WordWish) -> None:
        """The process on that node carries a wish out, if it may still."""
        word = decode_word(wish.block, self.cluster, self.check)
        if word is None or not self.plant.nodes[name].storage or self.plant.now > wish.until:
            return
        told = next((n for n in self.plant.nodes.values() if n.identity.node_uid == word.node_uid), None)
        if told is None:
            return  # its Node object is another one by now, and so is its slot's
        if word.issued <= self.issued.get(told.name, 0):
            return
        self.issued[told.name] = word.issued
        if word.taken_back:
            if told.word:
                self.plant.time.say(f"word: to {told.name}: taken back")
            told.word = ""
        elif told.word != word.boot_id:
            self.plant.time.say(f"word: to {told.name}: it is fenced")
            told.word = word.boot_id


@dataclass
class Pen:
    """One open stream from a heartbeat process."""

    shelf: Shelf
    ears: Ears
    name: str
    boot: Boot
    heard_at: float

    async def report(self) -> SlotReport:
        """The next report. Raises StreamError or TimeoutError."""
        await asyncio.sleep(PUSH_EVERY)
        while not self.ears.reached(self.name):
            if self.shelf.plant.now - self.heard_at > QUIET:
                raise TimeoutError
            await asyncio.sleep(LOOK)
        node = self.shelf.plant.nodes[self.name]
        if node.identity != self.boot or self.shelf.plant.now < node.booted_at:
            raise StreamError(f"the heartbeat process of {self.name} has hung up")
        self.heard_at = self.shelf.plant.now
        return self.shelf.report(self.name)

    def tell(self, wish: WordWish) -> None:
        """It writes a moment later."""
        if self.ears.reached(self.name):
            self.ears.agenda.after(WRITES, lambda: self.shelf.write(self.name, wish))


@dataclass
class Pens(Ears):
    """Stands where :class:`ringfence.net.slot_stream.SlotClient` does."""

    shelf: Callable[[], Shelf] = field(kw_only=True)

    @contextlib.asynccontextmanager
    async def session(self, address: str, port: int) -> AsyncIterator[Pen]:
        """Connect to the process there. Raises OSError or TimeoutError."""
        name = self.by_address(address)
        await asyncio.sleep(DIALS)
        plant = self.voices.plant
        node = plant.nodes[name]
        if not self.reached(name):
            await asyncio.sleep(QUIET)
            raise TimeoutError
        if plant.now < node.booted_at or not plant.heartbeat:
            raise ConnectionRefusedError(f"{address}:{port}")
        yield Pen(self.shelf(), self, name, node.identity, plant.now)
