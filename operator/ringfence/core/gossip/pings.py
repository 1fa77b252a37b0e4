"""Pings and their nonces: only an answer that repeats a nonce of ours is two-way evidence.

Some pings are for another member that asks us to try too (a relay): their answer is passed on to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.sender import Sender
from ringfence.core.gossip.subject import Subject
from ringfence.core.gossip.wire import Ack, Message, Ping, Relayed
from ringfence.core.model import MANAGEMENT

_NONCE_LIFE = 3.0
_MAX_NONCES = 20_000


@dataclass(slots=True)
class Sent:
    """A ping that has left."""

    uid: str
    sent_at: float
    relay_for: tuple[str, int, bytes] | None
    """Whom to tell of the answer: address, its own nonce, its tag."""
    network: str = MANAGEMENT
    """On which network it was asked."""


class Pings:
    """One agent's. ``news`` is what each ping and answer carries of windows."""

    def __init__(self, desk: Desk, sender: Sender, news: Callable[[float], tuple[bytes, int] | None]) -> None:
        self._directory = desk.directory
        self._journal = desk.journal
        self._dice = desk.dice
        self._sender = sender
        self._news = news
        self._nonces: dict[int, Sent] = {}
        self._order: deque[int] = deque()

    def ping(
        self,
        subject: Subject,
        now: float,
        relay_for: tuple[str, int, bytes] | None = None,
        network: str = MANAGEMENT,
    ) -> int:
        """One ping; returns its nonce."""
        nonce = self._dice.getrandbits(64)
        self._nonces[nonce] = Sent(subject.member.uid, now, relay_for, network)
        self._order.append(nonce)
        while self._order:
            oldest = self._nonces.get(self._order[0])
            if oldest is not None and now - oldest.sent_at < _NONCE_LIFE and len(self._order) < _MAX_NONCES:
                break
            self._nonces.pop(self._order.popleft(), None)
        self._journal.stats["probes"] += 1
        self._sender.tell(Ping(nonce, self._news(now)), subject.member, network)
        return nonce

    def ping_on(self, subject: Subject, now: float, network: str) -> None:
        """One ping on this network."""
        self.ping(subject, now, network=network)

    def answer(self, subject: Subject, nonce: int, address: str, now: float) -> None:
        """It has pinged us from this address."""
        self._sender.send(Ack(nonce, self._news(now)), address, subject.tag)

    def answered_by(self, subject: Subject, message: Message) -> bool:
        """Whether this message of it answers a ping of ours."""
        sent = self._nonces.get(message.nonce) if isinstance(message, Ack) else None
        return sent is not None and sent.uid == subject.member.uid

    def take(self, subject: Subject, nonce: int) -> Sent | None:
        """It has answered this nonce: the ping that it answers, once. Tells whom it was sent for."""
        sent = self._nonces.get(nonce)
        if sent is None or sent.uid != subject.member.uid:
            self._journal.drop("answer that nobody waits for", subject.member.name)
            return None
        del self._nonces[nonce]
        if sent.relay_for is not None:
            address, asked, asker = sent.relay_for
            self._sender.send(Relayed(asked), address, asker)
        return sent

    def relay(self, asker: Subject, nonce: int, tag: bytes, address: str, now: float) -> None:
        """A peer at this address asks us to try the member of this tag, for its own nonce."""
        subject = self._directory.subject_by_tag(tag)
        if subject is None:
            self._journal.drop("about a stranger", asker.member.name)
        elif subject is not asker and subject.address is not None:
            self.ping(subject, now, relay_for=(address, nonce, asker.tag))

    def relayed(self, nonce: int, at: float) -> None:
        """A peer has got an answer where we asked with this nonce; the kernel had its word at ``at``."""
        sent = self._nonces.get(nonce)
        if sent is not None and (subject := self._directory.subjects.get(sent.uid)) is not None:
            subject.relayed_at = at
