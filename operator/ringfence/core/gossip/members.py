"""The roster: who belongs to the ring, signed by the controller's leader.

The ring never invents members: it knows exactly those that Kubernetes knows, in one list with an epoch. A member is a
node by UID; its boot id, addresses and public key are attributes that the leader pins. The list has one byte form
(sorted, length-prefixed, no options), so that a signature over it means the same everywhere and two agents can compare
rosters by hash. Whatever doesn't decode to exactly the bytes it came from is refused.

There are two forms. ``RFR2`` says of each member also where it is on networks beside the management network; ``RFR1``
has no place for that, and is the form of every roster in which no member is on another, so that agents and controllers
of the version before go on reading it until a zone names networks. From then on they keep the roster that they have.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from ringfence.core.gossip.wire import MAX_NETWORKS, tag_of
from ringfence.core.model import MANAGEMENT, Boot

MAX_MEMBERS = 10_000
MAX_ADDRESSES = 8
MAX_ID = 64
"""Bytes of a node UID or boot id: they must fit into a datagram."""
PUBLIC_KEY_BYTES = 32
MAX_ROSTER = 4 * 2**20
"""Canonical bytes at most: 400 a member of the largest roster, twice what a usual one needs."""
MAX_NETWORK_NAME = 20
_PLAIN, _NETWORKED = b"RFR1", b"RFR2"
"""The forms; see above."""
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
    """One node of the roster. ``public_key`` is empty until its agent of this boot has reported one.

    ``addresses`` are on the management network; ``networks`` has its address on each other one, sorted by the
    networks' names.
    """

    name: str
    uid: str
    boot_id: str
    addresses: tuple[str, ...]
    zone: str = ""
    public_key: bytes = b""
    standing: Standing = Standing.VOTER
    networks: tuple[tuple[str, str], ...] = ()

    @property
    def boot(self) -> Boot:
        """The boot that the roster pins for this node."""
        return Boot(self.name, self.uid, self.boot_id)

    @property
    def votes(self) -> bool:
        """Whether this member's vote may count."""
        return self.standing is Standing.VOTER

    def on(self, network: str) -> str | None:
        """Its address on this network beside the management network; None where it isn't on it."""
        return next((address for name, address in self.networks if name == network), None)


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
    def network_of(self) -> dict[str, str]:
        """By address, which network it belongs to; addresses on the management network are left out."""
        return {address: network for member in self.members for network, address in member.networks}

    @property
    def form(self) -> bytes:
        """Which byte form it has: the plain one, unless a member is on another network."""
        return form_of(self.members)

    @cached_property
    def voters_in(self) -> Counter[str]:
        """How many voters each zone has that has any."""
        return Counter(member.zone for member in self.voters)


def form_of(members: Iterable[Member]) -> bytes:
    """The byte form of a roster with these members."""
    return _NETWORKED if any(member.networks for member in members) else _PLAIN


def encode_roster(roster: Roster) -> bytes:
    """The canonical bytes of a roster. Raises RosterError where a field is too long or a name or UID comes twice."""
    members = roster.members
    if len(members) > MAX_MEMBERS:
        raise RosterError(f"{len(members)} members, at most {MAX_MEMBERS}")
    if len(roster.by_name) != len(members) or len(roster.by_uid) != len(members):
        raise RosterError("a node name or UID stands twice in the roster")
    form = roster.form
    data = b"".join((encode_head(roster), *(encode_member(member, form) for member in members)))
    if len(data) > MAX_ROSTER:
        raise RosterError(f"a roster of {len(data)} bytes, at most {MAX_ROSTER}")
    return data


def encode_head(roster: Roster) -> bytes:
    """The canonical bytes that stand before the members. Raises RosterError as `encode_roster`."""
    if not 0 <= roster.epoch < 2**63:
        raise RosterError(f"epoch {roster.epoch} is out of range")
    parts = (roster.form, struct.pack("!Q", roster.epoch), _text(roster.cluster), _blob(roster.salt, 64))
    return b"".join(parts) + struct.pack("!I", len(roster.members))


def encode_member(member: Member, form: bytes) -> bytes:
    """One member's canonical bytes in a roster of this form. Raises RosterError as `encode_roster`."""
    if len(member.addresses) > MAX_ADDRESSES:
        raise RosterError(f"{member.name} has {len(member.addresses)} addresses, at most {MAX_ADDRESSES}")
    if len(member.public_key) not in (0, PUBLIC_KEY_BYTES):
        raise RosterError(f"{member.name}'s public key has {len(member.public_key)} bytes")
    parts = [_text(member.name), _blob(member.uid.encode(), MAX_ID), _blob(member.boot_id.encode(), MAX_ID)]
    parts += [_text(member.zone), bytes([len(member.addresses)])]
    parts += [_text(address) for address in member.addresses]
    parts += [_blob(member.public_key, PUBLIC_KEY_BYTES), b"\x01" if member.votes else b"\x00"]
    if form == _NETWORKED:
        parts.append(_encode_networks(member))
    return b"".join(parts)


def _encode_networks(member: Member) -> bytes:
    networks = dict(member.networks)
    if len(networks) != len(member.networks):
        raise RosterError(f"{member.name} is on a network twice")
    if len(networks) > MAX_NETWORKS:
        raise RosterError(f"{member.name} is on {len(networks)} networks, at most {MAX_NETWORKS}")
    if MANAGEMENT in networks or "" in networks:
        raise RosterError(f"{member.name} is on a network without a name of its own")
    parts = [bytes([len(networks)])]
    for name in sorted(networks):
        parts += [_blob(name.encode(), MAX_NETWORK_NAME), _text(networks[name])]
    return b"".join(parts)


def decode_roster(data: bytes) -> Roster:
    """The roster that these canonical bytes stand for. Raises RosterError for anything else."""
    reader = Reader(data)
    form, epoch, cluster, salt, count = read_head(reader)
    members = tuple(read_member(reader, form) for _ in range(count))
    if reader.left:
        raise RosterError(f"{reader.left} bytes too many")
    roster = Roster(epoch, cluster, salt, members)
    if encode_roster(roster) != data:
        raise RosterError("not in canonical form")
    return roster


@dataclass(frozen=True, slots=True)
class SealedRoster:
    """A roster and the roster key's signature over its canonical bytes, which whoever hands it on has to show."""

    roster: Roster
    signature: bytes

    def text(self) -> str:
        """The JSON text that ConfigMap ``ringfence-roster`` and the agents' disks carry."""
        packed = zlib.compress(encode_roster(self.roster))
        return json.dumps(
            {
                "zlib": base64.b64encode(packed).decode(),
                "signature": base64.b64encode(self.signature).decode(),
            }
        )


def seal_roster(roster: Roster, sign: Callable[[bytes], bytes]) -> SealedRoster:
    """The roster, signed. Raises RosterError as `encode_roster`."""
    return SealedRoster(roster, sign(encode_roster(roster)))


def open_roster(text: str, verify: Callable[[bytes, bytes], bool]) -> SealedRoster:
    """The roster in such a text; ``verify(payload, signature)`` checks it under the roster's public key.

    The form of the version before, not compressed, is read too. Raises RosterError where the text is no signed roster
    or the signature is not that key's.
    """
    try:
        document = json.loads(text)
        packed = document.get("zlib")
        data = base64.b64decode(document["roster"] if packed is None else packed, validate=True)
        signature = base64.b64decode(document["signature"], validate=True)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RosterError(f"not a signed roster: {error}") from error
    if packed is not None:
        data = _unpack(data)
    if not verify(data, signature):
        raise RosterError("the roster's signature is not by the roster key")
    return SealedRoster(decode_roster(data), signature)


def _unpack(packed: bytes) -> bytes:
    """What was compressed. It is not yet known who did it, so no more is unpacked than a roster may have."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, MAX_ROSTER)
    except zlib.error as error:
        raise RosterError(f"not a signed roster: {error}") from error
    if not unpacker.eof or unpacker.unused_data:
        raise RosterError("not a signed roster: cut short, too long, or with something behind it")
    return data


def read_head(reader: Reader) -> tuple[bytes, int, str, bytes, int]:
    """Form, epoch, cluster, salt and number of members, as `encode_head` wrote them. Raises RosterError."""
    form = reader.take(len(_PLAIN))
    if form not in {_PLAIN, _NETWORKED}:
        raise RosterError("not a roster, or one of a later format")
    epoch, cluster, salt, count = reader.number(8), reader.text(), reader.blob(64), reader.number(4)
    if count > MAX_MEMBERS:
        raise RosterError(f"{count} members, at most {MAX_MEMBERS}")
    return form, epoch, cluster, salt, count


def read_member(reader: Reader, form: bytes) -> Member:
    """A member as `encode_member` wrote it. Raises RosterError."""
    name, uid, boot_id, zone = reader.text(), reader.text(MAX_ID), reader.text(MAX_ID), reader.text()
    count = reader.number(1)
    if count > MAX_ADDRESSES:
        raise RosterError(f"{count} addresses, at most {MAX_ADDRESSES}")
    addresses = tuple(reader.text() for _ in range(count))
    public_key = reader.blob(PUBLIC_KEY_BYTES)
    standing = Standing.VOTER if reader.number(1) == 1 else Standing.SUBJECT
    networks: tuple[tuple[str, str], ...] = ()
    if form == _NETWORKED:
        number = reader.number(1)
        if number > MAX_NETWORKS:
            raise RosterError(f"{number} networks, at most {MAX_NETWORKS}")
        networks = tuple((reader.text(MAX_NETWORK_NAME), reader.text()) for _ in range(number))
    return Member(name, uid, boot_id, addresses, zone, public_key, standing, networks)


def _text(value: str) -> bytes:
    return _blob(value.encode(), _MAX_TEXT)


def _blob(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise RosterError(f"a field of {len(data)} bytes, at most {limit}")
    return bytes([len(data)]) + data


class Reader:
    """Takes length-checked pieces off a byte string."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not yet taken."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """The next so many bytes. This and all that follows raises RosterError where they are not there."""
        if count > self.left:
            raise RosterError("cut short")
        piece = self._data[self._at : self._at + count]
        self._at += count
        return piece

    def number(self, size: int) -> int:
        """A number of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def blob(self, limit: int) -> bytes:
        """Bytes with their number before them."""
        size = self.number(1)
        if size > limit:
            raise RosterError(f"a field of {size} bytes, at most {limit}")
        return self.take(size)

    def text(self, limit: int = _MAX_TEXT) -> str:
        """UTF-8 with the number of its bytes before it."""
        try:
            return self.blob(limit).decode()
        except UnicodeDecodeError as error:
            raise RosterError("a name that is not UTF-8") from error
