"""What one agent's machine has to tell: events, counts, what it refused and why, and whether its view has changed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from ringfence.core.gossip.events import Event, NetworkChanged, Trace
from ringfence.core.gossip.rounds import Round
from ringfence.core.gossip.wire import Message


class Journal:
    """All parts of the machine write in it; the process around reads it."""

    def __init__(self) -> None:
        self.stats: Counter[str] = Counter()
        self.refused: dict[str, str] = {}
        """For each reason to drop something: whose it was last, an address or a member's name."""
        self.version = 0
        """Changes with every change of what the view says beyond ages."""
        self.trace: Trace | None = None
        """Who wants to be told of every step; nobody, as a rule."""
        self.on_shown: Callable[[str], None] | None = None
        """Who wants to be told of whom the view shows another round, or more of its votes (by UID); nobody, as a rule."""
        self._events: deque[Event] = deque()

    def tell(self, event: Event) -> None:
        """This is to be done or known outside."""
        self._events.append(event)

    def next_event(self) -> Event | None:
        """The next one, or None."""
        return self._events.popleft() if self._events else None

    def shown(self, uid: str) -> None:
        """The view shows another round of this member, or more of its votes."""
        self.version += 1
        if self.on_shown is not None:
            self.on_shown(uid)

    def network_changed(self, event: NetworkChanged | None) -> None:
        """The view of a member's networks has changed; an event says so where it is worth one."""
        self.version += 1
        if event is not None:
            self._events.append(event)

    def drop(self, reason: str, whose: str) -> None:
        """Count what was refused; the outer loop says it, now and then."""
        self.stats[f"drop {reason}"] += 1
        self.refused[reason] = whose

    def step(self, what: str, tag: bytes, thing: Message | Round | None = None) -> None:
        """A step of the machine (`Trace`)."""
        if self.trace is not None:
            self.trace(what, tag, thing)
