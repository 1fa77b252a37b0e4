"""What outlives this process in /run: the storage leg of the self-fence, and the number of the last word to this boot.

The leg is one file that says when the slot was last written.

Whoever feeds the watchdog reads it: CLOCK_BOOTTIME seconds as text, replaced whole. The instant is when that write *began*,
so that nothing counts on from later than the storage could have known.
"""

from __future__ import annotations

import logging
from pathlib import Path

logger = logging.getLogger(__name__)


class Leg:
    """The file given by ``--leg``; on a tmpfs, so that writing it can't hang."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._failed = False

    def held(self, began_at: float) -> None:
        """A write of the slot that began at this instant is on the storage."""
        if self._path is None:
            return
        try:
            _replace(self._path, f"{began_at:.3f}\n")
        except OSError as error:
            if not self._failed:
                logger.warning("the storage leg can't be handed on: %s", error)
            self._failed = True
        else:
            self._failed = False


class LastWord:
    """The number of the newest word that this boot was told, in a file beside the leg.

    The volume is not sealed: who writes to it may put an older word back, and a process that has just started would obey.
    """

    def __init__(self, leg: Path | None, boot_id: str) -> None:
        self._path = None if leg is None else leg.with_name(leg.name + ".word")
        self._boot_id = boot_id

    def read(self) -> int:
        """The number; 0 where none is known of this boot."""
        try:
            boot_id, number = self._path.read_text(encoding="ascii").split() if self._path else ("", "0")
            return int(number) if boot_id == self._boot_id else 0
        except (OSError, ValueError):
            return 0

    def keep(self, number: int) -> None:
        """It is the newest."""
        if self._path is None:
            return
        try:
            _replace(self._path, f"{self._boot_id} {number}\n")
        except OSError as error:
            logger.warning("the last word's number can't be kept: %s", error)


def _replace(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    new.write_text(text, encoding="ascii")
    new.replace(path)
