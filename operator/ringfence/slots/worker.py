"""A thread that does blocking work in turns, and that others can see hang.

Nothing ends a read that a storage doesn't answer, so nobody waits for one: whoever wants to know asks since when the turn
has been on its way. The thread is a daemon; the process ends without it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ringfence.core.fencing.slots import SlotError

logger = logging.getLogger(__name__)


class Worker:
    """One such thread."""

    def __init__(
        self, name: str, every: float, turn: Callable[[float], None], clock: Callable[[], float]
    ) -> None:
        self._name = name
        self._every = every
        self._turn = turn
        self._clock = clock
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._began_at: float | None = None
        self._closing = False
        self.trouble = ""
        """Why the last turn failed; empty if it did not."""
        self.on_turn: Callable[[], None] = lambda: None
        """Called after each turn, in this thread."""

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def wake(self) -> None:
        """Take the next turn now."""
        self._wake.set()

    def close(self, seconds: float) -> bool:
        """Take no further turn; False if the one that is on its way hasn't come back within so long."""
        self._closing = True
        self._wake.set()
        return self._ended.wait(seconds)

    def hanging_since(self, patience: float) -> float | None:
        """When the turn began that has taken longer than ``patience`` seconds; None where there is none."""
        began = self._began_at
        return began if began is not None and self._clock() - began > patience else None

    def _run(self) -> None:
        due = self._clock()
        while not self._closing:
            self._began_at = self._clock()
            try:
                self._turn(self._began_at)
            except (OSError, SlotError) as error:
                if str(error) != self.trouble:
                    logger.warning("%s: %s", self._name, error)
                self.trouble = str(error)
            else:
                if self.trouble:
                    logger.info("%s: goes on", self._name)
                self.trouble = ""
            self._began_at = None
            self.on_turn()
            # On a beat, not after a pause: what a turn takes must not add to the interval. Turns that were missed are.
            now = self._clock()
            due = max(due + self._every, now)
            self._wake.wait(due - now)
            if self._wake.is_set():
                self._wake.clear()
                due = self._clock()
        self._ended.set()
