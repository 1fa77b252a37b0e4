"""Datagrams: a header in the clear, a sealed body, and a replay window for each sender.

Header (32 bytes): version, key id, the sender's tag (6 bytes of a hash of its node UID), its boot id, its counter. The
counter is the nonce of the seal and the place in the replay window at once. The seal covers the header and the tag of
the receiver, which is not sent: what was said to one member opens at no other. The body begins with its kind and the
sender's roster epoch. A later version may append to a body what this one passes over, and send kinds that this one
drops and counts; only what can't be said so needs another version number. Nothing is longer than 1200 bytes; every length is checked; what doesn't decode raises WireError
and nothing else, and the machine counts it by its reason.

The key id is that of the key which seals; any that the receiver holds opens (`keys`). An agent of the version before
knows the id 0 alone and drops all others, so it and a later one hear each other for as long as nobody has asked for a
rotation: the first key has the id 0, and no rotation goes beyond its first step while such an agent is there.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from ringfence.core.model import MANAGEMENT, Answer, Column, Vote

VERSION = 1
MAX_DATAGRAM = 1200
TAG_BYTES = 6
BOOT_BYTES = 16
SIGNATURE_BYTES = 64
ROUND_BYTES = 8
MAX_NETWORKS = 4
"""Networks beside the management network, of one member."""
MAX_BODY = MAX_DATAGRAM - 32 - 16
_HEADER = struct.Struct("!BB6s16sQ")
_HEAD = struct.Struct("!BI")
_NUMBER = struct.Struct("!Q")
_PROBE = struct.Struct("!BIQ")
_PROBE_WITH_NEWS = struct.Struct("!BIQ6sB")


class WireError(ValueError):
    """These bytes are no message of ours. ``args[0]`` is a short reason, fit for a metric's label."""


class Crypto(Protocol):
    """Seals and signatures, brought in from `net`. ``boot`` is the sender's boot id as 16 bytes."""

    @property
    def used(self) -> int:
        """The id of the group key that `seal` goes by."""

    @property
    def held(self) -> Collection[int]:
        """The ids of the group keys that can be opened with."""

    def seal(self, uid: str, boot: bytes, counter: int, header: bytes, body: bytes) -> bytes:
        """Encrypt the body and authenticate both."""

    def open(
        self, key: int, uid: str, boot: bytes, counter: int, header: bytes, sealed: bytes
    ) -> bytes | None:
        """The body; None where the seal is not this sender's under the key of this id."""

    def sign(self, payload: bytes) -> bytes:
        """Sign by this node's own key."""

    def verify(self, payload: bytes, signature: bytes, public_key: bytes) -> bool:
        """Whether the signature is that key's."""


# Nearly every datagram is a header with a Ping or an Ack. These three are not frozen: that takes three times as long to make.


@dataclass(slots=True)
class Header:
    """Who sent it, under which nonce, and sealed by which group key."""

    tag: bytes
    boot: bytes
    counter: int
    key: int = 0

    def encode(self) -> bytes:
        """The 32 bytes that stand before the sealed body and are authenticated with it."""
        return encode_header(self.tag, self.boot, self.counter, self.key)


def encode_header(tag: bytes, boot: bytes, counter: int, key: int) -> bytes:
    """As `Header.encode`."""
    return _HEADER.pack(VERSION, key, tag, boot, counter)


@dataclass(slots=True)
class Ping:
    """Answer with an Ack that repeats my nonce. ``window`` is a piece of `dissemination`'s news: a tag and its age."""

    nonce: int
    window: tuple[bytes, int] | None = None


@dataclass(slots=True)
class Ack:
    """Two-way evidence for whoever sent this nonce; ``window`` as a Ping's."""

    nonce: int
    window: tuple[bytes, int] | None = None


@dataclass(frozen=True, slots=True)
class Relay:
    """Ping this member for me; tell me by Relayed if it answers."""

    nonce: int
    tag: bytes


@dataclass(frozen=True, slots=True)
class Relayed:
    """The member you asked me to ping has answered me."""

    nonce: int


@dataclass(frozen=True, slots=True)
class Ask:
    """I doubt this boot: look yourself and vote in this round.

    A ``look`` asks about its networks, not about its life.
    """

    round_id: bytes
    tag: bytes
    boot: bytes
    look: bool = False


@dataclass(frozen=True, slots=True)
class Ballot:
    """A vote on its way; the voter stands beside it."""

    tag: bytes
    vote: Vote
    signature: bytes
    columns: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True)
class Votes:
    """Votes of one round. From the voter itself one, spread by others as many as prove the verdict.

    All columns together may name four networks beside the management network (`fitting`).
    """

    round_id: bytes
    tag: bytes
    boot: bytes
    epoch: int
    ballots: tuple[Ballot, ...]
    look: bool = False


@dataclass(frozen=True, slots=True)
class Leave:
    """My agent ends in an orderly way; my kernel goes on. Signed by the node's key (`leave_payload`)."""

    signature: bytes


Message = Ping | Ack | Relay | Relayed | Ask | Votes | Leave

_VOTES = (Vote.ALIVE, Vote.AGENT_DOWN, Vote.NONE, Vote.ABSTAIN)
MAX_BALLOTS = 12
_ANSWERS = (None, Answer.AGENT, Answer.KERNEL, Answer.NONE)
"""By two bits of a column; none for a network that was not looked at."""
_COLUMNS = struct.Struct("!H")


@lru_cache(maxsize=16_384)
def tag_of(uid: str) -> bytes:
    """The short name of a node on the wire."""
    return hashlib.sha256(uid.encode()).digest()[:TAG_BYTES]


def boot_bytes(boot_id: str) -> bytes:
    """The 16 bytes of a boot id (a UUID as the kernel prints it). Raises ValueError for anything else."""
    data = bytes.fromhex(boot_id.strip().replace("-", ""))
    if len(data) != BOOT_BYTES:
        raise ValueError(f"the boot id {boot_id!r} is not a UUID")
    return data


def boot_text(boot: bytes) -> str:
    """The boot id as the kernel prints it."""
    text = boot.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def split(datagram: bytes) -> tuple[Header, bytes, bytes]:
    """The header, its bytes, and the sealed rest. Raises WireError."""
    if len(datagram) > MAX_DATAGRAM:
        raise WireError("oversized")
    if len(datagram) < _HEADER.size:
        raise WireError("truncated")
    version, key_id, tag, boot, counter = _HEADER.unpack_from(datagram)
    if version != VERSION:
        raise WireError("wrong version")
    return Header(tag, boot, counter, key_id), datagram[: _HEADER.size], datagram[_HEADER.size :]


def encode(message: Message, epoch: int) -> bytes:
    """A body."""
    match message:
        case Ping(nonce, window) | Ack(nonce, window):
            kind = 1 if isinstance(message, Ping) else 2
            if window is None:
                return _PROBE.pack(kind, epoch, nonce)
            return _PROBE_WITH_NEWS.pack(kind, epoch, nonce, *window)
        case Relay(nonce, tag):
            return _HEAD.pack(3, epoch) + _NUMBER.pack(nonce) + tag
        case Relayed(nonce):
            return _HEAD.pack(4, epoch) + _NUMBER.pack(nonce)
        case Ask(round_id, tag, boot, look):
            return _HEAD.pack(8 if look else 5, epoch) + round_id + tag + boot
        case Leave(signature):
            return _HEAD.pack(7, epoch) + signature
        case Votes():
            parts = [_HEAD.pack(9 if message.look else 6, epoch), message.round_id, message.tag, message.boot]
            parts += [_NUMBER.pack(message.epoch), bytes([len(message.ballots)])]
            parts += [b.tag + bytes([_VOTES.index(b.vote)]) + b.signature for b in message.ballots]
            parts += _table(message.ballots)
            return b"".join(parts)


def decode(body: bytes) -> tuple[Message, int]:
    """The message and its sender's roster epoch. Raises WireError."""
    if len(body) < _HEAD.size:
        raise WireError("cut short")
    kind, epoch = _HEAD.unpack_from(body)
    if (probe := _PROBES.get(kind)) is not None:
        return _probe(probe, body), epoch
    read = _READERS.get(kind)
    if read is None:
        raise WireError("unknown kind")
    return read(_Reader(body, _HEAD.size)), epoch


def fitting(ballots: Iterable[Ballot]) -> tuple[Ballot, ...]:
    """Those that fit into one message: a zone that renames its networks may let a vote or two wait a round."""
    names: set[str] = set()
    chosen: list[Ballot] = []
    for ballot in ballots:
        more = {column.network for column in ballot.columns} - {MANAGEMENT}
        if len(names | more) <= MAX_NETWORKS and len(chosen) < MAX_BALLOTS:
            names |= more
            chosen.append(ballot)
    return tuple(chosen)


class ReplayWindow:
    """Which counters of one sender's boot have been seen: the highest, and a bit for each of the 64 below it."""

    __slots__ = ("_highest", "_seen")
    SIZE = 64

    def __init__(self) -> None:
        self._highest = -1
        self._seen = 0

    def fresh(self, counter: int) -> bool:
        """Whether this counter has neither been seen nor fallen out of the window."""
        behind = self._highest - counter
        if behind < 0:
            return True
        return behind < self.SIZE and not self._seen >> behind & 1

    def take(self, counter: int) -> None:
        """Mark it as seen. Call only after the seal has opened."""
        ahead = counter - self._highest
        if ahead > 0:
            self._seen = ((self._seen << ahead) | 1) & ((1 << self.SIZE) - 1) if ahead < self.SIZE else 1
            self._highest = counter
        else:
            self._seen |= 1 << -ahead


class _Reader:
    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise WireError("cut short")
        piece = self._data[self._at : self._at + count]
        self._at += count
        return piece

    def number(self) -> int:
        return int.from_bytes(self.take(8), "big")


def _probe(kind: type[Ping | Ack], body: bytes) -> Ping | Ack:
    if len(body) < _PROBE.size:
        raise WireError("cut short")
    if len(body) < _PROBE_WITH_NEWS.size:
        return kind(_PROBE.unpack_from(body)[2])
    _, _, nonce, tag, age = _PROBE_WITH_NEWS.unpack_from(body)
    return kind(nonce, (tag, age))


def _table(ballots: Iterable[Ballot]) -> list[bytes]:
    """The columns of all ballots: the networks' names once, then two bits a network for each ballot.

    The management network comes first and is not named. Nothing where no ballot has columns, as before there were any.
    """
    names = sorted({column.network for ballot in ballots for column in ballot.columns} - {MANAGEMENT})
    if not any(ballot.columns for ballot in ballots):
        return []
    parts = [bytes([len(names)])]
    parts += [bytes([len(name.encode())]) + name.encode() for name in names]
    places = {name: place for place, name in enumerate([MANAGEMENT, *names])}
    for ballot in ballots:
        bits = sum(_ANSWERS.index(column.answer) << 2 * places[column.network] for column in ballot.columns)
        parts.append(_COLUMNS.pack(bits))
    return parts


def _columns(reader: _Reader, count: int) -> list[tuple[Column, ...]]:
    """What `_table` has written, a tuple for each of so many ballots."""
    number = reader.take(1)[0]
    if number > MAX_NETWORKS:
        raise WireError("too many networks")
    try:
        names = [MANAGEMENT, *(reader.take(reader.take(1)[0]).decode() for _ in range(number))]
    except UnicodeDecodeError:
        raise WireError("a network without a name") from None
    columns = []
    for _ in range(count):
        (bits,) = _COLUMNS.unpack(reader.take(_COLUMNS.size))
        said = [(name, _ANSWERS[bits >> 2 * place & 3]) for place, name in enumerate(names)]
        columns.append(tuple(sorted(Column(name, answer) for name, answer in said if answer is not None)))
    return columns


def _ask(reader: _Reader, *, look: bool) -> Ask:
    round_id, tag, boot = reader.take(ROUND_BYTES), reader.take(TAG_BYTES), reader.take(BOOT_BYTES)
    return Ask(round_id, tag, boot, look)


def _ballot(reader: _Reader) -> Ballot:
    tag, code = reader.take(TAG_BYTES), reader.take(1)[0]
    if code >= len(_VOTES):
        raise WireError("unknown vote")
    return Ballot(tag, _VOTES[code], reader.take(SIGNATURE_BYTES))


def _votes(reader: _Reader, *, look: bool) -> Votes:
    round_id, tag, boot = reader.take(ROUND_BYTES), reader.take(TAG_BYTES), reader.take(BOOT_BYTES)
    epoch = reader.number()
    count = reader.take(1)[0]
    if count > MAX_BALLOTS:
        raise WireError("too many votes")
    ballots = [_ballot(reader) for _ in range(count)]
    if reader.left:
        columns = _columns(reader, count)
        ballots = [
            Ballot(ballot.tag, ballot.vote, ballot.signature, said)
            for ballot, said in zip(ballots, columns, strict=True)
        ]
    return Votes(round_id, tag, boot, epoch, tuple(ballots), look)


_PROBES: dict[int, type[Ping | Ack]] = {1: Ping, 2: Ack}
_READERS: dict[int, Callable[[_Reader], Message]] = {
    3: lambda reader: Relay(reader.number(), reader.take(TAG_BYTES)),
    4: lambda reader: Relayed(reader.number()),
    5: lambda reader: _ask(reader, look=False),
    6: lambda reader: _votes(reader, look=False),
    7: lambda reader: Leave(reader.take(SIGNATURE_BYTES)),
    8: lambda reader: _ask(reader, look=True),
    9: lambda reader: _votes(reader, look=True),
}
