"""Keys, seals and signatures: what `core` asks for through protocols, done with the `cryptography` library.

Three kinds of key. The *group key* seals every datagram and proves membership on the stream; from it comes one sub-key
a sender and boot, so that the plain counters of two senders never meet as nonces under one key. A *node key* (Ed25519,
one a boot) signs votes. The *roster key* signs the roster; agents have only its public half.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

GROUP_KEY_FILE = "group.key"
ROSTER_SEED_FILE = "roster.key"
ROSTER_PUBLIC_FILE = "roster.pub"
_KEY_BYTES = 32


def make_group_keys() -> dict[str, bytes]:
    """Fresh content of Secret ``ringfence-gossip``: group key, roster seed and roster public key."""
    roster = SigningKey(os.urandom(_KEY_BYTES))
    return {
        GROUP_KEY_FILE: os.urandom(_KEY_BYTES),
        ROSTER_SEED_FILE: roster.seed,
        ROSTER_PUBLIC_FILE: roster.public,
    }


def check(payload: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether this is that Ed25519 key's signature. A malformed key or signature is simply not."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, payload)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=1024)
def verify(payload: bytes, signature: bytes, public_key: bytes) -> bool:
    """`check` for votes, with the last answers kept.

    Votes come three times from each voter and are counted again with every one that joins them, and a check costs
    100 us. Not for rosters: the payloads are kept too.
    """
    return check(payload, signature, public_key)


class SigningKey:
    """An Ed25519 key from its 32-byte seed."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def fresh(cls) -> SigningKey:
        """A new random key."""
        return cls(os.urandom(_KEY_BYTES))

    def sign(self, payload: bytes) -> bytes:
        """The 64-byte signature."""
        return self._key.sign(payload)


def derive(group_key: bytes, purpose: str, *context: bytes) -> bytes:
    """A 32-byte sub-key of the group key (HKDF-SHA256, RFC 5869; one block, so expand is one HMAC)."""
    prk = hmac.digest(b"ringfence gossip 1", group_key, hashlib.sha256)
    info = b"".join(len(part).to_bytes(2, "big") + part for part in (purpose.encode(), *context))
    return hmac.digest(prk, info + b"\x01", hashlib.sha256)


class GroupSeal:
    """AES-256-GCM under one sub-key a sender and boot; the `Crypto` of the gossip core.

    The nonce is the sender's counter. It starts at CLOCK_BOOTTIME, so an agent that starts again within one boot goes
    on above every counter that it has used, and no nonce ever comes twice under a sub-key.
    """

    _MAX_CACHED = 16_384  # a few boots for each member of the largest roster

    def __init__(self, group_key: bytes, key: SigningKey) -> None:
        if len(group_key) != _KEY_BYTES:
            raise ValueError(f"the group key has {len(group_key)} bytes, not {_KEY_BYTES}")
        self._group_key = group_key
        self._key = key
        self._subkeys: dict[tuple[str, bytes], AESGCM] = {}

    def seal(self, uid: str, boot: bytes, counter: int, header: bytes, body: bytes) -> bytes:
        """Encrypt and authenticate ``body``, authenticate ``header`` too."""
        return self._subkey(uid, boot).encrypt(counter.to_bytes(12, "big"), body, header)

    def open(self, uid: str, boot: bytes, counter: int, header: bytes, sealed: bytes) -> bytes | None:
        """What was sealed, or None where it was not by this sender under this group key."""
        known = self._subkeys.get((uid, boot))
        key = known or self._derived(uid, boot)
        try:
            body = key.decrypt(counter.to_bytes(12, "big"), sealed, header)
        except (InvalidTag, ValueError):
            return None
        if known is None:
            self._keep(
                uid, boot, key
            )  # not before: whoever invents boots would fill our memory with their keys
        return body

    def sign(self, payload: bytes) -> bytes:
        """Sign by this node's key."""
        return self._key.sign(payload)

    def verify(self, payload: bytes, signature: bytes, public_key: bytes) -> bool:
        """As the module's `verify`."""
        return verify(payload, signature, public_key)

    def _subkey(self, uid: str, boot: bytes) -> AESGCM:
        known = self._subkeys.get((uid, boot))
        if known is None:
            known = self._derived(uid, boot)
            self._keep(uid, boot, known)
        return known

    def _derived(self, uid: str, boot: bytes) -> AESGCM:
        return AESGCM(derive(self._group_key, "datagram", uid.encode(), boot))

    def _keep(self, uid: str, boot: bytes, key: AESGCM) -> None:
        if len(self._subkeys) >= self._MAX_CACHED:
            self._subkeys.clear()
        self._subkeys[uid, boot] = key
