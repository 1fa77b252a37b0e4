"""What outlives this process in /run: the storage leg of the self-fence, and the number of the last word to this boot.

The leg is one file that says when the slot was last written, and by whom nobody else needs to be asked: see
`ringfence.host.storage_leg`. The instant is when that write *began*, so that nothing counts on from later than the storage could
have known, or when another node is known to have written, if that was before: see `ringfence.slots.companion`.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ringfence.host import storage_leg

logger = logging.getLogger(__name__)


class Leg:
    """The file given by ``--leg``; on a tmpfs, so that writing it can't hang."""

    def __init__(self, path: Path | None, boot_id: str) -> None:
        self._path = path
        self._boot_id = boot_id
        self._failed = False

    def held(self, at: float) -> None:
        """The leg held at this instant; never, where nothing is known yet."""
        if self._path is None or at == storage_leg.NEVER:
            return
        try:
            storage_leg.put(self._path, self._boot_id, at)
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
            storage_leg.replace(self._path, f"{self._boot_id} {number}\n")
        except OSError as error:
            logger.warning("the last word's number can't be kept: %s", error)
