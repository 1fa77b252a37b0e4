"""How a verdict finds the controllers without telling everybody: who reads is known to all, the verdict goes there.

A controller hears the ring through a few agents, its *windows*. Which ones is gossiped at a constant price: a ping or ack
carries one window's name and how long ago it last said that it is one, every message for what is new, so that a new window
is known to thousands in about a second, and one in four for the rest; one that has no reader any more is forgotten. A round's result then goes
straight from an observer to the windows: one hop at the moment that counts, and nothing for the other members, however
many die. In small rosters everybody counts votes himself and none of this is needed.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Iterable

AGE_UNIT = 0.25
"""Seconds that one unit of an age on the wire stands for; ages are rounded up, so no news lives for ever."""
FORGET = 30.0
"""Seconds after its last word until a window is none any more."""
MAX_WINDOWS = 32
"""Four for each of a few controller replicas, and as many again that they have just left."""
TELLERS = 2
"""Observers that tell one window of a new verdict, once each (one more where all that voted had to); of its renewals one does. A
controller has four windows."""
_EVERY = 4
"""One message in so many carries what is not new."""
_FIRST_SENDS = 8
"""Messages that carry a new window before it takes its turn with the others."""


class Windows:
    """The windows that one agent knows of, by tag."""

    def __init__(self) -> None:
        self._said_at: dict[bytes, float] = {}
        self._turns: deque[bytes] = deque()
        self._new: dict[bytes, int] = {}
        self._asked = 0

    def heard(self, tag: bytes, age: int, now: float) -> None:
        """Somebody says that this member called itself a window so many units ago."""
        said_at = now - age * AGE_UNIT
        if now - said_at > FORGET:
            return
        known = self._said_at.get(tag)
        if known is None:
            self._forget(now)
            if len(self._said_at) >= MAX_WINDOWS:
                return
            self._turns.append(tag)
            self._new[tag] = _FIRST_SENDS
        elif said_at <= known:
            return
        self._said_at[tag] = said_at

    def open(self, now: float) -> tuple[bytes, ...]:
        """Tags of those that are windows now."""
        return tuple(tag for tag, at in self._said_at.items() if now - at <= FORGET)

    def next(self, now: float) -> tuple[bytes, int] | None:
        """What the next message shall carry: a tag and its age in units; None where nothing is known."""
        self._asked += 1
        tag = next(iter(self._new), None)
        if tag is not None:
            self._new[tag] -= 1
            if not self._new[tag]:
                del self._new[tag]
        elif self._turns and self._asked % _EVERY == 0:
            self._turns.rotate(-1)
            tag = self._turns[-1]
        if tag is None:
            return None
        age = math.ceil((now - self._said_at[tag]) / AGE_UNIT)
        if age * AGE_UNIT > FORGET:
            self._forget(now)
            return None
        return tag, age

    def _forget(self, now: float) -> None:
        for tag in [tag for tag, at in self._said_at.items() if now - at > FORGET]:
            del self._said_at[tag]
            self._turns.remove(tag)
            self._new.pop(tag, None)


def tellers(round_id: bytes, window: bytes, voters: Iterable[str], count: int) -> frozenset[str]:
    """Those of a round's voters that tell this window: others in each round, the same for all who have its votes."""
    key = round_id + window
    ranked = sorted(voters, key=lambda name: hashlib.blake2b(name.encode(), digest_size=8, key=key).digest())
    return frozenset(ranked[:count])
