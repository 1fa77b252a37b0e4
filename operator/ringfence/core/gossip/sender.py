"""The way out: messages are sealed, counted and laid ready for the outer loop.

What is said about the dead is charged to a budget (`budget`); probes and their answers are free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ringfence.core.gossip.budget import Budget
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.members import Member
from ringfence.core.gossip.rounds import Round
from ringfence.core.gossip.wire import Message, boot_bytes, encode, encode_header, tag_of
from ringfence.core.model import MANAGEMENT


class Sender:
    """One agent's. ``counter`` is where this process' datagram counter starts."""

    def __init__(self, desk: Desk, boot_id: str, counter: int) -> None:
        self._directory = desk.directory
        self._journal = desk.journal
        self._timers = desk.timers
        self._crypto = desk.crypto
        self._boot_raw = boot_bytes(boot_id)
        self._counter = counter
        self._budget = Budget()
        self._out: list[tuple[bytes, str]] = []

    def take(self) -> list[tuple[bytes, str]]:
        """Datagrams and the IP addresses they go to, in order; hands each out once."""
        out, self._out = self._out, []
        return out

    def send(self, message: Message, address: str, receiver: bytes) -> None:
        """To this IP address, for the member of this tag. Who is not in the roster says nothing."""
        me, roster = self._directory.me, self._directory.roster
        if me is None or roster is None:
            return
        self._counter += 1
        header = encode_header(self._directory.tag, self._boot_raw, self._counter, self._crypto.used)
        body = encode(message, roster.epoch & 0xFFFF_FFFF)
        sealed = self._crypto.seal(me.uid, self._boot_raw, self._counter, header + receiver, body)
        self._journal.stats["sent"] += 1
        if self._journal.trace is not None:
            self._journal.trace("sent", receiver, message)
        self._out.append((header + sealed, address))

    def tell(self, message: Message, member: Member, network: str = MANAGEMENT) -> None:
        """To a member, on this network."""
        address = member.on(network) if network != MANAGEMENT else next(iter(member.addresses), None)
        if address is not None:
            self.send(message, address, tag_of(member.uid))

    def tell_all(self, message: Message, members: Iterable[Member], now: float) -> None:
        """To all of these, charged to the budget."""
        for member in members:
            self.tell(message, member)
            self._budget.spend(1, now)

    def repeat(
        self,
        message: Message,
        about: Round,
        now: float,
        copies: tuple[float, ...],
        wanted: Callable[[], bool] | None = None,
    ) -> None:
        """Tell all who take part in the round now, and again after so many seconds while that is still wanted."""
        judges = self._directory.present_rings.judges(about.subject.node_uid, second=about.second)
        others = [member for member in judges if member.name != self._directory.node]

        def again(now: float, _late: float) -> None:
            if not self.exhausted(now):
                self.tell_all(message, others, now)

        for after in () if self.exhausted(now) else copies:
            self._timers.at(now + after, again, wanted)
        self.tell_all(message, others, now)

    def exhausted(self, now: float) -> bool:
        """Whether nothing should be said about the dead that can wait."""
        return self._budget.exhausted(now)

    def overspent(self, now: float, *, renewed: bool) -> bool:
        """Whether nothing should be said that only helps to call somebody dead; ``renewed``: who is called so already."""
        return self._budget.overspent(now, renewed=renewed)
