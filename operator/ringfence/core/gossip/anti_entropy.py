"""Rosters from peer to peer: what differs travels, and only the roster key's signature makes it a roster.

An agent that can't reach the API server never sees the leader write, but each message of a peer tells the peer's epoch.
So it asks one that is ahead. Members fall into 64 buckets by a hash of their UID; the asker sends 8 bytes of hash a bucket,
the peer answers with the members of those buckets that differ, the head and the signature. The asker puts the whole
together from that and its own members, and checks the signature over it. Nothing that a peer says needs to be
believed, then: where it lied, or where two buckets had the same 8 bytes, the signature doesn't fit, and the asker asks
again as one who has no members. At 5,000 nodes the whole has 0.8 MB, one bucket 12 KB.

A delta: magic, the differing buckets (a bit each), the signature, the roster's head, the members. Both sides hash in their
own roster's byte form: where the two forms differ the whole travels, once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence

from ringfence.core.gossip.members import (
    MAX_ROSTER,
    Member,
    Reader,
    Roster,
    RosterError,
    SealedRoster,
    encode_head,
    encode_member,
    encode_roster,
    form_of,
    read_head,
    read_member,
)
from ringfence.core.gossip.wire import SIGNATURE_BYTES, tag_of

BUCKETS = 64
DIGEST_BYTES = 8
DIGESTS_BYTES = BUCKETS * DIGEST_BYTES
_MAGIC = b"RFD1"
_NOTHING = bytes(DIGEST_BYTES)
"""The digest of a bucket without members."""
MAX_DELTA = MAX_ROSTER + len(_MAGIC) + BUCKETS // 8 + SIGNATURE_BYTES

PATIENCE = 2.0
"""Seconds for which a newer epoch must have been known before a peer is asked: the API server's watch comes first."""
EVERY = 2.0
"""Seconds between two peers that are asked."""


def digests(members: Collection[Member]) -> bytes:
    """What the asker has: a hash of each bucket's canonical bytes, 512 bytes."""
    return b"".join(_digest(bucket) for bucket in _buckets(members))


def delta(sealed: SealedRoster, theirs: bytes) -> bytes:
    """All that someone with these digests needs to put our roster together. Raises RosterError for no digests."""
    if len(theirs) != DIGESTS_BYTES:
        raise RosterError(f"digests of {len(theirs)} bytes, not {DIGESTS_BYTES}")
    differing, parts = 0, []
    for number, bucket in enumerate(_buckets(sealed.roster.members)):
        if _digest(bucket) != theirs[number * DIGEST_BYTES :][:DIGEST_BYTES]:
            differing |= 1 << number
            parts += bucket
    return b"".join(
        (
            _MAGIC,
            differing.to_bytes(BUCKETS // 8, "big"),
            sealed.signature,
            encode_head(sealed.roster),
            *parts,
        )
    )


def apply(members: Sequence[Member], data: bytes, verify: Callable[[bytes, bytes], bool]) -> SealedRoster:
    """The peer's roster: its delta upon the members whose digests it was given.

    Raises RosterError where the two don't make a roster that the roster key has signed.
    """
    if len(data) > MAX_DELTA:
        raise RosterError(f"a delta of {len(data)} bytes, at most {MAX_DELTA}")
    reader = Reader(data)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise RosterError("not a delta, or one of a later format")
    differing, signature = reader.number(BUCKETS // 8), reader.take(SIGNATURE_BYTES)
    form, epoch, cluster, salt, count = read_head(reader)
    put_together = [member for member in members if not differing >> _bucket(member) & 1]
    while reader.left and len(put_together) < count:
        put_together.append(read_member(reader, form))
    roster = Roster(epoch, cluster, salt, tuple(put_together))
    if reader.left or len(put_together) != count or not verify(encode_roster(roster), signature):
        raise RosterError("the roster that a peer's delta makes is not by the roster key")
    return SealedRoster(roster, signature)


class Wish:
    """When to ask a peer for its roster: it has been known for a while that ours is old, and nobody was asked just now."""

    def __init__(self) -> None:
        self._epoch: int | None = None
        """Ours, when we first heard of a newer one; another one since then begins anew."""
        self._since = 0.0
        self._asked_at = float("-inf")

    def heard(self, epoch: int, ours: Roster | None, now: float) -> bool:
        """A peer's message carries this epoch (32 bits of it): whether to ask that peer now."""
        if ours is None or not 0 < (epoch - ours.epoch) & 0xFFFF_FFFF < 2**31:
            return False
        if self._epoch != ours.epoch:
            self._epoch, self._since = ours.epoch, now
        if now - self._since < PATIENCE or now - self._asked_at < EVERY:
            return False
        self._asked_at = now
        return True


def _bucket(member: Member) -> int:
    return tag_of(member.uid)[0] % BUCKETS


def _buckets(members: Collection[Member]) -> list[list[bytes]]:
    """Canonical bytes of the members of each bucket. Rosters keep their members sorted, so buckets do too."""
    buckets: list[list[bytes]] = [[] for _ in range(BUCKETS)]
    form = form_of(members)
    for member in members:
        buckets[_bucket(member)].append(encode_member(member, form))
    return buckets


def _digest(bucket: list[bytes]) -> bytes:
    return hashlib.blake2b(b"".join(bucket), digest_size=DIGEST_BYTES).digest() if bucket else _NOTHING
