"""The heartbeat volume: what stands in its blocks, and which of them is whose.

A shared volume (a file, or a block device) that every node writes to. Block 0 is the header; then come two blocks a
node: its *slot*, which the node alone writes once an interval, and the *word* to it, where a controller lets write
"you are fenced". One block is 4 KiB, so that a write is whole on every disk, and a checksum over all of it tells one
that was torn all the same::

    block 0            header: magic, version, cluster, number of slots
    block 1 + 2 i      slot i:  cluster, node, boot id, sequence, interval, flags
    block 2 + 2 i      word i:  cluster, node UID, boot id, incident, number, what it says; signed

A slot is *life*: its sequence changes. It says nothing by a time inside. A checksum is no seal: who can write the volume
can make a dead node look alive, which delays a failover, and can make one look silent, which proves nothing. The word
can do harm, so it is signed by the roster's key, for one boot of one node.

A node finds its slot by the hash of its UID and goes on from there to the next that is free. Two nodes that take the same
one at once both look before each write: whoever wrote last stays, the other goes on.

Errors: SlotError, for everything that is not exactly what this module writes.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntFlag

from ringfence.core.gossip.wire import boot_bytes, boot_text
from ringfence.core.model import Boot

BLOCK = 4096
"""Bytes; the alignment and the size of every read and write."""
PAIR = 2 * BLOCK
"""A slot and the word to its node."""
BLANK = bytes(BLOCK)
VERSION = 1
CLUSTER_BYTES = 16
MAX_SLOTS = 16_384
"""128 MiB: far more than a node would want to read at once."""
MIN_INTERVAL, MAX_INTERVAL = 0.1, 60.0
"""Seconds."""

_HEADER_MAGIC, _SLOT_MAGIC, _WORD_MAGIC = b"rf-heart", b"rf-slot\0", b"rf-word\0"
_PREFIX = struct.Struct(f">8sH{CLUSTER_BYTES}s")
_HEADER = struct.Struct(">I")
_SLOT = struct.Struct(">16sQIH")
_WORD = struct.Struct(">16sQB64s")
_CHECKSUM = struct.Struct(">I")
_BODY = BLOCK - _CHECKSUM.size
_MAX_UID, _MAX_NAME = 128, 253
_SIGNED = b"ringfence fenced\0"
_SIGNATURE = 64
_STOP_GUESTS, _TAKEN_BACK = 1, 2


class SlotError(ValueError):
    """These bytes are not what they should be; the sentence says what is wrong and, where one can, what to do."""


class Flag(IntFlag):
    """What a node says of itself in its slot."""

    NONE = 0
    FENCED = 1
    """It has read that it is fenced."""
    GUESTS_GONE = 2
    """None of its guests is left; it writes no more."""
    LEFT = 4
    """Its heartbeat has ended in an orderly way."""


Sign = Callable[[bytes], bytes]
"""The roster key's signature, 64 bytes."""
Check = Callable[[bytes, bytes], bool]
"""Whether this (payload, signature) is the roster key's."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the volume is."""

    cluster: bytes
    slots: int

    @property
    def size(self) -> int:
        """Bytes that the volume must have."""
        return BLOCK + self.slots * PAIR

    def offset(self, index: int) -> int:
        """Where slot ``index`` begins, in bytes; the word to its node follows it."""
        if not 0 <= index < self.slots:
            raise IndexError(f"slot {index} of {self.slots}")
        return BLOCK + index * PAIR

    def first_choice(self, node_uid: str) -> int:
        """Where a node looks for its slot first."""
        digest = hashlib.sha256(self.cluster + node_uid.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.slots


@dataclass(frozen=True, slots=True)
class Slot:
    """One node's heartbeat."""

    boot: Boot
    sequence: int
    """Greater with each write of a boot."""
    interval: float
    """Seconds between two writes, as its node means to keep them."""
    flags: Flag = Flag.NONE


@dataclass(frozen=True, slots=True)
class Word:
    """It says "you are fenced" to one boot of one node, never to a later one."""

    node_uid: str
    boot_id: str
    incident: str
    """The Failover's name."""
    stop_guests: bool
    """Whether the node may and shall kill its guests (its zone says so)."""
    issued: int = 0
    """Greater with each word to a boot: an old one that somebody writes again says nothing."""
    taken_back: bool = False
    """It says "fenced no more"."""


def cluster_id(roster_public_key: bytes) -> bytes:
    """What tells this installation's volume from another's: no two have the same roster key."""
    return hashlib.sha256(b"ringfence heartbeat\0" + roster_public_key).digest()[:CLUSTER_BYTES]


# --- header -------------------------------------------------------------------------------------------------------


def encode_header(header: Header) -> bytes:
    """Block 0."""
    if not 1 <= header.slots <= MAX_SLOTS:
        raise SlotError(f"{header.slots} slots: there may be 1 to {MAX_SLOTS}")
    return _block(_HEADER_MAGIC, header.cluster, _HEADER.pack(header.slots))


def decode_header(block: bytes, cluster: bytes) -> Header | None:
    """What block 0 says; ``None``: it is blank, the volume was never used. Raises SlotError."""
    body = _opened(block, _HEADER_MAGIC, cluster, "the volume")
    if body is None:
        return None
    (slots,) = _HEADER.unpack_from(body)
    if not 1 <= slots <= MAX_SLOTS:
        raise SlotError(f"the volume's header tells of {slots} slots: there may be 1 to {MAX_SLOTS}")
    _nothing_behind(body, _HEADER.size)
    return Header(cluster, slots)


# --- slots --------------------------------------------------------------------------------------------------------


def encode_slot(slot: Slot, cluster: bytes) -> bytes:
    """The block that a node writes. Raises SlotError for what no slot can hold."""
    if not MIN_INTERVAL <= slot.interval <= MAX_INTERVAL:
        raise SlotError(
            f"an interval of {slot.interval:g} s: {MIN_INTERVAL:g} to {MAX_INTERVAL:g} s are possible"
        )
    try:
        boot = boot_bytes(slot.boot.boot_id)
    except ValueError as error:
        raise SlotError(str(error)) from error
    body = _SLOT.pack(boot, slot.sequence, round(slot.interval * 1000), slot.flags)
    return _block(
        _SLOT_MAGIC,
        cluster,
        body + _text(slot.boot.node_uid, _MAX_UID) + _text(slot.boot.node, _MAX_NAME),
    )


def decode_slot(block: bytes, cluster: bytes) -> Slot | None:
    """What stands in a slot; ``None``: it is blank, nobody has it. Raises SlotError."""
    body = _opened(block, _SLOT_MAGIC, cluster, "the slot")
    if body is None:
        return None
    boot, sequence, milliseconds, flags = _SLOT.unpack_from(body)
    interval = milliseconds / 1000
    if not MIN_INTERVAL <= interval <= MAX_INTERVAL:
        raise SlotError(f"the slot tells of an interval of {interval:g} s")
    if flags & ~(Flag.FENCED | Flag.GUESTS_GONE | Flag.LEFT):
        raise SlotError(f"the slot has unknown flags ({flags:#x})")
    uid, at = _read_text(body, _SLOT.size, _MAX_UID)
    node, at = _read_text(body, at, _MAX_NAME)
    _nothing_behind(body, at)
    return Slot(Boot(node, uid, boot_text(boot)), sequence, interval, Flag(flags))


# --- the word to a node -------------------------------------------------------------------------------------------


def encode_word(word: Word, cluster: bytes, sign: Sign) -> bytes:
    """The block that tells a node. Raises SlotError for what it can't hold."""
    try:
        boot = boot_bytes(word.boot_id)
    except ValueError as error:
        raise SlotError(str(error)) from error
    if not 0 <= word.issued < 1 << 64:
        raise SlotError(f"a word can't have the number {word.issued}")
    says = _STOP_GUESTS * word.stop_guests | _TAKEN_BACK * word.taken_back
    texts = _text(word.node_uid, _MAX_UID) + _text(word.incident, _MAX_NAME)
    signature = sign(_said(cluster, boot, word.issued, says, texts))
    if len(signature) != _SIGNATURE:
        raise SlotError(f"a signature of {len(signature)} bytes")
    return _block(_WORD_MAGIC, cluster, _WORD.pack(boot, word.issued, says, signature) + texts)


def decode_word(block: bytes, cluster: bytes, check: Check) -> Word | None:
    """What a node is told; ``None``: nothing. Raises SlotError, also where the signature is not the roster key's."""
    body = _opened(block, _WORD_MAGIC, cluster, "the word")
    if body is None:
        return None
    boot, issued, says, signature = _WORD.unpack_from(body)
    if says & ~(_STOP_GUESTS | _TAKEN_BACK):
        raise SlotError(f"the word says something unknown ({says:#x})")
    uid, at = _read_text(body, _WORD.size, _MAX_UID)
    incident, at = _read_text(body, at, _MAX_NAME)
    _nothing_behind(body, at)
    if not check(_said(cluster, boot, issued, says, body[_WORD.size : at]), signature):
        raise SlotError("the word is not signed by this installation's roster key: it is not obeyed")
    return Word(uid, boot_text(boot), incident, bool(says & _STOP_GUESTS), issued, bool(says & _TAKEN_BACK))


def _said(cluster: bytes, boot: bytes, issued: int, says: int, texts: bytes) -> bytes:
    return _SIGNED + cluster + boot + issued.to_bytes(8, "big") + bytes([says]) + texts


# --- which is mine --------------------------------------------------------------------------------------------------


def claim(
    header: Header, node_uid: str, taken: Mapping[int, str], free: frozenset[int] = frozenset()
) -> int | None:
    """The slot that a node should write: its own, else the first free one from its first choice on.

    Args:
        taken: index -> UID of the node that stands there (empty text for a block that can't be read).
        free: indexes that stand there, but whose node has been silent for long: taken when nothing is blank.

    ``None``: there is no room.
    """
    first = header.first_choice(node_uid)
    order = [(first + step) % header.slots for step in range(header.slots)]
    mine = (index for index in order if taken.get(index) == node_uid)
    blank = (index for index in order if index not in taken)
    given_up = (index for index in order if index in free)
    return next(itertools.chain(mine, blank, given_up), None)


# --- blocks ---------------------------------------------------------------------------------------------------------


def _block(magic: bytes, cluster: bytes, body: bytes) -> bytes:
    if len(cluster) != CLUSTER_BYTES:
        raise SlotError(f"a cluster id of {len(cluster)} bytes, not {CLUSTER_BYTES}")
    whole = (_PREFIX.pack(magic, VERSION, cluster) + body).ljust(_BODY, b"\0")
    return whole + _CHECKSUM.pack(zlib.crc32(whole))


def _opened(block: bytes, magic: bytes, cluster: bytes, what: str) -> bytes | None:
    """What stands behind the prefix and before the checksum; None for a blank block."""
    if len(block) != BLOCK:
        raise SlotError(f"{what} has {len(block)} bytes, not {BLOCK}")
    if block == BLANK:
        return None
    found, version, whose = _PREFIX.unpack_from(block)
    if found != magic:
        raise SlotError(
            f"{what} holds something that ringfence has not written: it is not touched; give the heartbeat a volume of"
            " its own, or overwrite this one with zeros"
        )
    (checksum,) = _CHECKSUM.unpack_from(block, _BODY)
    if zlib.crc32(block[:_BODY]) != checksum:
        raise SlotError(f"{what} has a wrong checksum: it is torn or damaged")
    if version != VERSION:
        raise SlotError(
            f"{what} is of version {version}, this is version {VERSION}: run one release everywhere"
        )
    if whose != cluster:
        raise SlotError(
            f"{what} belongs to another installation of ringfence ({whose.hex()}, this one is {cluster.hex()}):"
            " two must not share a heartbeat volume"
        )
    return block[_PREFIX.size : _BODY]


def _text(text: str, longest: int) -> bytes:
    data = text.encode()
    if not 1 <= len(data) <= longest:
        raise SlotError(f"{text[:40]!r} has {len(data)} bytes: 1 to {longest} are possible")
    return bytes([len(data)]) + data


def _read_text(body: bytes, at: int, longest: int) -> tuple[str, int]:
    size = body[at]
    if not 1 <= size <= longest:
        raise SlotError(f"a text of {size} bytes: 1 to {longest} are possible")
    try:
        return body[at + 1 : at + 1 + size].decode(), at + 1 + size
    except UnicodeDecodeError as error:
        raise SlotError("a text that is not UTF-8") from error


def _nothing_behind(body: bytes, at: int) -> None:
    if any(body[at:]):
        raise SlotError("there is something behind the end")
