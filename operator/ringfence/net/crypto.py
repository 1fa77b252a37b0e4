"""Keys, seals and signatures: what `core` asks for through protocols, done with the `cryptography` library.

Three kinds of key. A *group key* seals every datagram and proves membership on the stream; from it comes one sub-key
a sender and boot, so that the plain counters of two senders never meet as nonces under one key. Several group keys may be
held, one of them seals (`core.gossip.keys`). A *node key* (Ed25519,
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

from ringfence.core.gossip.keys import KEY_BYTES, KeySet

GROUP_KEY_FILE = "group.key"
"""The first key, as every version knows it; of no use once `GROUP_KEYS_FILE` is there."""
GROUP_KEYS_FILE = "group-keys.json"
"""All group keys (`KeySet.text`)."""
ROSTER_SEED_FILE = "roster.key"
ROSTER_PUBLIC_FILE = "roster.pub"


def make_group_keys() -> dict[str, bytes]:
    """Fresh content of Secret ``ringfence-gossip``: group key, roster seed and roster public key."""
    roster = SigningKey(os.urandom(KEY_BYTES))
    return {
        GROUP_KEY_FILE: os.urandom(KEY_BYTES),
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
        return cls(os.urandom(KEY_BYTES))

    def sign(self, payload: bytes) -> bytes:
        """The 64-byte signature."""
        return self._key.sign(payload)


def derive(group_key: bytes, purpose: str, *context: bytes) -> bytes:
    """A 32-byte sub-key of the group key (HKDF-SHA256, RFC 5869; one block, so expand is one HMAC)."""
    prk = hmac.digest(b"ringfence gossip 1", group_key, hashlib.sha256)
    info = b"".join(len(part).to_bytes(2, "big") + part for part in (purpose.encode(), *context))
    return hmac.digest(prk, info + b"\x01", hashlib.sha256)


def make_key() -> bytes:
    """A fresh group key."""
    return os.urandom(KEY_BYTES)


class GroupSeal:
    """AES-256-GCM under one sub-key a group key, sender and boot; the `Crypto` of the gossip core.

    The nonce is the sender's counter. It starts at CLOCK_BOOTTIME, so an agent that starts again within one boot goes
    on above every counter that it has used, and no nonce ever comes twice under a sub-key.
    """

    _MAX_CACHED = 16_384  # a few boots for each member of the largest roster

    def __init__(self, keys: KeySet, key: SigningKey) -> None:
        self._key = key
        self._subkeys: dict[tuple[int, str, bytes], AESGCM] = {}
        self.rekey(keys)

    def rekey(self, keys: KeySet) -> None:
        """Go by these keys from now on; what one that is not among them has sealed opens no more."""
        self.used = keys.used
        self.held = frozenset(keys.ids)
        self._secrets = {key.id: key.secret for key in keys.keys}
        self._subkeys.clear()  # an id may name another key than before

    def seal(self, uid: str, boot: bytes, counter: int, header: bytes, body: bytes) -> bytes:
        """Encrypt and authenticate ``body`` by the key in use, authenticate ``header`` too."""
        return self._subkey(self.used, uid, boot).encrypt(counter.to_bytes(12, "big"), body, header)

    def open(
        self, key: int, uid: str, boot: bytes, counter: int, header: bytes, sealed: bytes
    ) -> bytes | None:
        """What was sealed, or None where it was not by this sender under the held group key of this id."""
        if key not in self.held:
            return None
        known = self._subkeys.get((key, uid, boot))
        subkey = known or self._derived(key, uid, boot)
        try:
            body = subkey.decrypt(counter.to_bytes(12, "big"), sealed, header)
        except (InvalidTag, ValueError):
            return None
        if known is None:
            # Not before: whoever invents boots would fill our memory with their keys.
            self._keep(key, uid, boot, subkey)
        return body

    def sign(self, payload: bytes) -> bytes:
        """Sign by this node's key."""
        return self._key.sign(payload)

    def verify(self, payload: bytes, signature: bytes, public_key: bytes) -> bool:
        """As the module's `verify`."""
        return verify(payload, signature, public_key)

    def _subkey(self, key: int, uid: str, boot: bytes) -> AESGCM:
        known = self._subkeys.get((key, uid, boot))
        if known is None:
            known = self._derived(key, uid, boot)
            self._keep(key, uid, boot, known)
        return known

    def _derived(self, key: int, uid: str, boot: bytes) -> AESGCM:
        return AESGCM(derive(self._secrets[key], "datagram", uid.encode(), boot))

    def _keep(self, key: int, uid: str, boot: bytes, subkey: AESGCM) -> None:
        if len(self._subkeys) >= self._MAX_CACHED:
            self._subkeys.clear()
        self._subkeys[key, uid, boot] = subkey
