"""Seals and signatures that cost next to nothing and keep, inside the simulator, what the real ones promise.

What was sealed under a group key, by one sender's boot, under one counter opens as that and nothing else; a signature
can be made only by who holds the key. Against a real attacker they would be worth nothing: here an attacker is a
fault script, and it has no means but these functions.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import Protocol

from ringfence.core.gossip.keys import KEY_BYTES, GroupKey, KeySet
from ringfence.core.gossip.wire import Crypto


class Rekeyed(Crypto, Protocol):
    """A `Crypto` that can be given other group keys."""

    def rekey(self, keys: KeySet) -> None:
        """Go by these from now on."""


MakeCrypto = Callable[[str, int], tuple[Rekeyed, bytes]]
"""The crypto of one boot (node name, number of the boot), and its public key."""

_SEAL_BYTES = 12


FIRST = KeySet.first(b"group".ljust(KEY_BYTES, b"."))


class Keyring:
    """Makes the keys of all nodes, and knows to which seed a public key belongs."""

    def __init__(self, group: bytes = b"group") -> None:
        self._group = group
        self.first = KeySet.first(group.ljust(KEY_BYTES, b"."))
        """The group keys that everybody begins with; `FIRST` where no other group is named."""
        self._seeds: dict[bytes, bytes] = {}
        self._subkeys: dict[tuple[bytes, str, bytes], bytes] = {}

    def make(self, name: str, boot: int) -> tuple[Rekeyed, bytes]:
        """A `MakeCrypto`: asked twice for the same boot it makes the same key."""
        seed = hashlib.blake2b(f"{name} {boot}".encode(), key=self._group, digest_size=32).digest()
        public = hashlib.blake2b(seed, digest_size=32).digest()
        self._seeds[public] = seed
        return FakeCrypto(self, seed), public

    def subkey(self, key: GroupKey, uid: str, boot: bytes) -> bytes:
        """What only holders of this group key know of this sender's boot."""
        known = self._subkeys.get((key.secret, uid, boot))
        if known is None:
            known = self._subkeys[key.secret, uid, boot] = hashlib.blake2b(
                uid.encode() + boot, key=key.secret, digest_size=_SEAL_BYTES
            ).digest()
        return known

    def verify(self, payload: bytes, signature: bytes, public_key: bytes) -> bool:
        """Whether this signature was made with that public key's seed."""
        seed = self._seeds.get(public_key)
        return seed is not None and _signature(seed, payload) == signature


class FakeCrypto:
    """One boot's `Crypto`."""

    __slots__ = ("_keys", "_ring", "_seed", "held", "used")

    def __init__(self, ring: Keyring, seed: bytes) -> None:
        self._ring = ring
        self._seed = seed
        self.rekey(ring.first)

    def rekey(self, keys: KeySet) -> None:
        """Go by these group keys from now on."""
        self.used = keys.used
        self.held = frozenset(keys.ids)
        self._keys = {key.id: key for key in keys.keys}

    def seal(self, uid: str, boot: bytes, counter: int, header: bytes, body: bytes) -> bytes:
        """As long as a real one: 16 bytes more than the body. A changed bit anywhere is noticed."""
        return self._ring.subkey(self._keys[self.used], uid, boot) + _sum(counter, header, body) + body

    def open(
        self, key: int, uid: str, boot: bytes, counter: int, header: bytes, sealed: bytes
    ) -> bytes | None:
        """The body, or None where anything differs from what was sealed under this key."""
        body = sealed[16:]
        known = self._keys.get(key)
        if known and sealed[:16] == self._ring.subkey(known, uid, boot) + _sum(counter, header, body):
            return body
        return None

    def sign(self, payload: bytes) -> bytes:
        """64 bytes that only this seed gives."""
        return _signature(self._seed, payload)

    def verify(self, payload: bytes, signature: bytes, public_key: bytes) -> bool:
        """As `Keyring.verify`."""
        return self._ring.verify(payload, signature, public_key)


def _sum(counter: int, header: bytes, body: bytes) -> bytes:
    return (zlib.crc32(body, zlib.crc32(header)) ^ (counter & 0xFFFF_FFFF)).to_bytes(4, "big")


def _signature(seed: bytes, payload: bytes) -> bytes:
    return hashlib.blake2b(payload, key=seed, digest_size=64).digest()
