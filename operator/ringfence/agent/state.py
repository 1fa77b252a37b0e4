"""What an agent keeps on its node: its key of this boot, and the last signed roster.

Files are replaced whole (write, then rename), so a crash leaves the old or the new one. A state directory that can't be
written costs the agent its memory, not its work.
"""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path

from ringfence.net.crypto import SigningKey

logger = logging.getLogger(__name__)


class StateDirectory:
    """The directory given by ``--state-dir``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def node_key(self, boot_id: str) -> SigningKey:
        """The key of this boot: the one kept, or a new one where that is of an earlier boot or can't be read."""
        file = self._path / "node-key.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(file.read_text(encoding="ascii"))
            if kept["bootID"] == boot_id:
                return SigningKey(bytes.fromhex(kept["seed"]))
        key = SigningKey.fresh()
        self._replace(file, json.dumps({"bootID": boot_id, "seed": key.seed.hex()}))
        return key

    def roster(self) -> str | None:
        """The text of the last roster that was kept (its signature is yet to be checked)."""
        try:
            return (self._path / "roster.json").read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None

    def keep_roster(self, text: str) -> None:
        """Keep it for a start without the API."""
        self._replace(self._path / "roster.json", text)

    def _replace(self, file: Path, text: str) -> None:
        new = file.with_suffix(".new")
        try:
            self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
            new.touch(mode=0o600)
            new.write_text(text, encoding="utf-8")
            new.replace(file)
        except OSError as error:
            logger.warning("%s can't be kept: %s", file.name, error)
