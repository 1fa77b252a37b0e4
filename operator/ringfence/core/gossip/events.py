"""What the ring's machine says to the process around it: what it wants done, and what it has found.

Events come out of `Swim.next_event`, one at a time. `Trace` is for who wants every step, pictures and puzzles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringfence.core.gossip.rounds import Round
from ringfence.core.gossip.wire import Message
from ringfence.core.model import MANAGEMENT, Boot, RingState


@dataclass(frozen=True, slots=True)
class KernelProbe:
    """Try this node's kernel now (TCP to an open and to a closed port, ICMP); report by `Swim.kernel_answered`."""

    uid: str
    address: str
    network: str = MANAGEMENT


@dataclass(frozen=True, slots=True)
class StateChanged:
    """A subject's state has changed; the sentence says why."""

    subject: Boot
    old: RingState
    new: RingState
    sentence: str


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """Votes have called a network of a member dead, or it answers again."""

    subject: Boot
    network: str
    dead: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class AwarenessChanged:
    """Our agent has begun or ceased to hold itself for cut off."""

    isolated: bool


@dataclass(frozen=True, slots=True)
class PathLost:
    """The stroll has found a member that answers others and not us. We don't observe it, so it has no state here."""

    subject: Boot


@dataclass(frozen=True, slots=True)
class RosterWanted:
    """This peer has a newer roster than ours: ask it, at this address; bring the answer by `Swim.install`."""

    uid: str
    address: str


Event = KernelProbe | StateChanged | NetworkChanged | AwarenessChanged | PathLost | RosterWanted
Trace = Callable[[str, bytes, Message | Round | None], None]
"""``trace(what, tag, thing)``: ``sent`` and ``received`` with the peer's tag and the message; ``missed``, ``missed again``,
``examines`` and ``closed`` (with the round) with the subject's."""
