"""The storage leg of this node's self-fence: one file that says when the slot was last written.

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
        new = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            new.write_text(f"{began_at:.3f}\n", encoding="ascii")
            new.replace(self._path)
        except OSError as error:
            if not self._failed:
                logger.warning("the storage leg can't be handed on: %s", error)
            self._failed = True
        else:
            self._failed = False
