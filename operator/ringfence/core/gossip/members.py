"""The roster: who belongs to the ring, signed by the controller's leader.

The ring never invents members: it knows exactly those that Kubernetes knows, in one list with an epoch. A member is a
node by UID; its boot id, addresses and public key are attributes that the leader pins. The list has one byte form
(sorted, length-prefixed, no options), so that a signature over it means the same everywhere and two agents can compare
rosters by hash. Whatever doesn't decode to exactly the bytes it came from is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from ringfence.core.gossip.wire import tag_of
from ringfence.core.model import Boot

MAX_MEMBERS = 10_000
MAX_ADDRESSES = 8
MAX_ID = 64
"""Bytes of a node UID or boot id: they must fit into a datagram."""
PUBLIC_KEY_BYTES = 32
_MAGIC = b"RFR1"
_MAX_TEXT = 253  # a DNS subdomain, the longest name that Kubernetes allows


class RosterError(ValueError):
    """These bytes are not a roster, or not one that the roster key has signed. The sentence says which."""


class Standing(StrEnum):
    """What a member may do in the ring."""

    VOTER = "voter"
    SUBJECT = "subject"
    """Watched but without a vote: a fencing proof stands, or it is in maintenance, or has left."""


@dataclass(frozen=True, slots=True)
class Member:
    """One node of the roster. ``public_key`` is empty until its agent of this boot has reported one."""

    name: str
    uid: str
    boot_id: str
    addresses: tuple[str, ...]
    zone: str = ""
    public_key: bytes = b""
    standing: Standing = Standing.VOTER

    @property
    def boot(self) -> Boot:
        """The boot that the roster pins for this node."""
        return Boot(self.name, self.uid, self.boot_id)

    @property
    def votes(self) -> bool:
        """Whether this member's vote may count."""
        return self.standing is Standing.VOTER


@dataclass(frozen=True)
class Roster:
    """All members at one epoch, sorted by UID: two rosters that say the same are equal, however they came about.

    ``salt`` draws the rings; it changes only when the rings shall be drawn anew.
    """

    epoch: int
    cluster: str
    salt: bytes
    members: tuple[Member, ...] = field(default=())
    memo: dict[type, object] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What others have computed from this roster and is worth keeping as long as it: `rings.rings_of`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(sorted(self.members, key=lambda member: member.uid)))

    @cached_property
    def by_name(self) -> dict[str, Member]:
        """Members by node name."""
        return {member.name: member for member in self.members}

    @cached_property
    def by_uid(self) -> dict[str, Member]:
        """Members by node UID."""
        return {member.uid: member for member in self.members}

    @cached_property
    def by_tag(self) -> dict[bytes, Member]:
        """Members by their short name on the wire."""
        return {tag_of(member.uid): member for member in self.members}

    @cached_property
    def voters(self) -> tuple[Member, ...]:
        """Members whose votes count."""
        return tuple(member for member in self.members if member.votes)

    @cached_property
    def voters_in(self) -> Counter[str]:
        """How many voters each zone has that has any."""
        return Counter(member.zone for member in self.voters)


def encode_roster(roster: Roster) -> bytes:
    """The canonical bytes of a roster. Raises RosterError where a field is too long or a name or UID comes twice."""
    members = roster.members
    if len(members) > MAX_MEMBERS:
        raise RosterError(f"{len(members)} members, at most {MAX_MEMBERS}")
    if len(roster.by_name) != len(members) or len(roster.by_uid) != len(members):
        raise RosterError("a node name or UID stands twice in the roster")
    if not 0 <= roster.epoch < 2**63:
        raise RosterError(f"epoch {roster.epoch} is out of range")
    parts = [_MAGIC, struct.pack("!Q", roster.epoch), _text(roster.cluster), _blob(roster.salt, 64)]
    parts.append(struct.pack("!I", len(members)))
    for member in members:
        if len(member.addresses) > MAX_ADDRESSES:
            raise RosterError(f"{member.name} has {len(member.addresses)} addresses, at most {MAX_ADDRESSES}")
        if len(member.public_key) not in (0, PUBLIC_KEY_BYTES):
            raise RosterError(f"{member.name}'s public key has {len(member.public_key)} bytes")
        parts += [
            _text(member.name),
            _blob(member.uid.encode(), MAX_ID),
            _blob(member.boot_id.encode(), MAX_ID),
        ]
        parts.append(_text(member.zone))
        parts.append(bytes([len(member.addresses)]))
        parts += [_text(address) for address in member.addresses]
        parts.append(_blob(member.public_key, PUBLIC_KEY_BYTES))
        parts.append(b"\x01" if member.votes else b"\x00")
    return b"".join(parts)


def decode_roster(data: bytes) -> Roster:
    """The roster that these canonical bytes stand for. Raises RosterError for anything else."""
    reader = _Reader(data)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise RosterError("not a roster, or one of a later format")
    epoch = reader.number(8)
    cluster = reader.text()
    salt = reader.blob(64)
    count = reader.number(4)
    if count > MAX_MEMBERS:
        raise RosterError(f"{count} members, at most {MAX_MEMBERS}")
    members = tuple(_member(reader) for _ in range(count))
    if reader.left:
        raise RosterError(f"{reader.left} bytes too many")
    roster = Roster(epoch, cluster, salt, members)
    if encode_roster(roster) != data:
        raise RosterError("not in canonical form")
    return roster


def seal_roster(roster: Roster, sign: Callable[[bytes], bytes]) -> str:
    """The JSON text that ConfigMap ``ringfence-roster`` carries: the canonical bytes and their Ed25519 signature."""
    data = encode_roster(roster)
    return json.dumps(
        {"roster": base64.b64encode(data).decode(), "signature": base64.b64encode(sign(data)).decode()}
    )


def open_roster(text: str, verify: Callable[[bytes, bytes], bool]) -> Roster:
    """The roster in such a text; ``verify(payload, signature)`` checks it under the roster's public key.

    Raises RosterError where the text is no signed roster or the signature is not that key's.
    """
    try:
        document = json.loads(text)
        data = base64.b64decode(document["roster"], validate=True)
        signature = base64.b64decode(document["signature"], validate=True)
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
        raise RosterError(f"not a signed roster: {error}") from error
    if not verify(data, signature):
        raise RosterError("the roster's signature is not by the roster key")
    return decode_roster(data)


def _member(reader: _Reader) -> Member:
    name, uid, boot_id, zone = reader.text(), reader.text(MAX_ID), reader.text(MAX_ID), reader.text()
    count = reader.number(1)
    if count > MAX_ADDRESSES:
        raise RosterError(f"{count} addresses, at most {MAX_ADDRESSES}")
    addresses = tuple(reader.text() for _ in range(count))
    public_key = reader.blob(PUBLIC_KEY_BYTES)
    standing = Standing.VOTER if reader.number(1) == 1 else Standing.SUBJECT
    return Member(name, uid, boot_id, addresses, zone, public_key, standing)


def _text(value: str) -> bytes:
    return _blob(value.encode(), _MAX_TEXT)


def _blob(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise RosterError(f"a field of {len(data)} bytes, at most {limit}")
    return bytes([len(data)]) + data


class _Reader:
    """Takes length-checked pieces off a byte string."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise RosterError("cut short")
        piece = self._data[self._at : self._at + count]
        self._at += count
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def blob(self, limit: int) -> bytes:
        size = self.number(1)
        if size > limit:
            raise RosterError(f"a field of {size} bytes, at most {limit}")
        return self.take(size)

    def text(self, limit: int = _MAX_TEXT) -> str:
        try:
            return self.blob(limit).decode()
        except UnicodeDecodeError as error:
            raise RosterError("a name that is not UTF-8") from error
