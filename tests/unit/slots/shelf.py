"""A heartbeat volume in memory, and guests that die when told."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringfence.core.fencing.slots import BLOCK, PAIR, Header, Slot, Word, cluster_id, decode_slot, encode_word
from ringfence.core.model import Boot

CLUSTER = cluster_id(b"\1" * 32)
SIGNATURE = b"\1" * 64


def check(_payload: bytes, signature: bytes) -> bool:
    return signature == SIGNATURE


def boot(number: int, life: int = 1) -> Boot:
    return Boot(f"n{number}", f"uid-{number}", f"00000000-0000-4000-8000-0000000{life}000{number}")


@dataclass
class Shelf:
    """A volume; ``broken`` is raised by everything."""

    data: bytearray = field(default_factory=bytearray)
    broken: OSError | None = None
    reads: int = 0
    writes: int = 0
    fixed: bool = False
    """A block device: it can't grow."""

    def size(self) -> int:
        return len(self.data)

    def grow(self, size: int) -> None:
        if self.fixed and size > len(self.data):
            raise OSError("too small")
        self.data.extend(bytes(max(0, size - len(self.data))))

    def read(self, offset: int, length: int) -> bytes:
        self._tried()
        self.reads += 1
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self._tried()
        self.writes += 1
        self.data[offset : offset + len(data)] = data

    def _tried(self) -> None:
        if self.broken is not None:
            raise self.broken

    def slot(self, header: Header, index: int) -> Slot | None:
        at = header.offset(index)
        return decode_slot(bytes(self.data[at : at + BLOCK]), CLUSTER)

    def word(self, header: Header, index: int, block: bytes) -> None:
        at = header.offset(index) + BLOCK
        self.data[at : at + PAIR - BLOCK] = block


@dataclass
class Numbers:
    """What a process finds of an earlier one."""

    number: int = 0

    def read(self) -> int:
        return self.number

    def keep(self, number: int) -> None:
        self.number = number


@dataclass
class Pen:
    """The guests of one host."""

    count: int | None = 2
    stubborn: bool = False

    def left(self) -> int | None:
        return self.count

    def stop(self) -> None:
        if not self.stubborn:
            self.count = 0


def fenced(target: Boot, issued: int = 1, *, stop_guests: bool = True, taken_back: bool = False) -> bytes:
    word = Word(target.node_uid, target.boot_id, "f-1", stop_guests, issued, taken_back)
    return encode_word(word, CLUSTER, lambda _payload: SIGNATURE)
