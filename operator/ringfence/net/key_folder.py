"""The group keys as the kubelet mounts them, and their changes.

The kubelet replaces the files of a mounted Secret as a whole, some time after the Secret itself has changed; a look at
one file a second notices it. What can't be read, or is gone, changes nothing: the process keeps the keys that it has.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ringfence.core.gossip.keys import KEY_BYTES, KeysError, KeySet, open_keys
from ringfence.net.crypto import GROUP_KEY_FILE, GROUP_KEYS_FILE

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0


class KeyFolder:
    """The directory given by ``--keys-dir``."""

    def __init__(self, path: Path) -> None:
        self._file = path / GROUP_KEYS_FILE
        self._first = path / GROUP_KEY_FILE
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> KeySet:
        """The keys at the start: all of them, or the first where nobody has made others. Raises OSError, KeysError."""
        self._seen = self._stamp()
        if self._seen is None:
            secret = self._first.read_bytes()
            if len(secret) != KEY_BYTES:
                raise KeysError(f"{self._first} has {len(secret)} bytes, not {KEY_BYTES}")
            return KeySet.first(secret)
        return self._open()

    def changed(self) -> KeySet | None:
        """The keys, if the file is another than at the last look."""
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return None
        self._seen = stamp
        try:
            return self._open()
        except (OSError, KeysError) as error:
            logger.error("the keys of before are kept: %s", error)
            return None

    def _open(self) -> KeySet:
        try:
            return open_keys(self._file.read_text(encoding="utf-8"))
        except (KeysError, UnicodeDecodeError) as error:
            reason = error if isinstance(error, KeysError) else "it is no text"
            raise KeysError(f"{self._file}: {reason}; mend the Secret ringfence-group-keys") from None

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
