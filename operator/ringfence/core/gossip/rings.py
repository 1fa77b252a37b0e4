"""Who observes whom: K pseudo-random rings over the roster (GOSSIP §3.2).

Ring i orders the members by a hash of (i, the roster's salt, node UID); a subject's observer on it is the voter before
it. Everybody who has the roster computes the same rings, so an observer needs no appointment and a vote by somebody
else is recognised as such. In small rosters (n <= K voters) everybody observes everybody.

Where two zones have voters, the K observers span two: otherwise the fall of one zone's switch would be the word of all.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Collection

from ringfence.core.gossip.members import Member, Roster

K = 8
"""Observers a subject (K=8 with H=5 holds to 20 % loss: GOSSIP §8)."""


def is_small(roster: Roster, k: int = K) -> bool:
    """Whether everybody observes everybody."""
    return len(roster.voters) <= k


class Rings:
    """The rings of one roster. Building costs a few sorts; asking is a lookup."""

    def __init__(self, roster: Roster, k: int = K) -> None:
        self._roster = roster
        self._k = k
        self._small = is_small(roster, k)
        self._drawn: dict[str, tuple[Member, ...]] = {}
        self._rings: list[tuple[list[bytes], list[Member]]] = []
        if not self._small:
            for number in range(2 * k):  # as many again stand by, for a voter that two rings name
                placed = sorted(
                    (_place(number, roster.salt, member.uid), member.uid) for member in roster.voters
                )
                self._rings.append(
                    ([place for place, _ in placed], [roster.by_uid[uid] for _, uid in placed])
                )

    def observers(self, uid: str) -> tuple[Member, ...]:
        """The voters that observe this member (never itself), in the order of their probes' phases."""
        drawn = self._drawn.get(uid)
        if drawn is None:
            drawn = self._drawn[uid] = self._draw(uid)
        return drawn

    def subjects(self, uid: str) -> tuple[Member, ...]:
        """The members that this one observes. Without a vote it still looks at the others of a small roster."""
        others = tuple(member for member in self._roster.members if member.uid != uid)
        if self._small:
            return others
        return tuple(other for other in others if any(o.uid == uid for o in self.observers(other.uid)))

    def _draw(self, uid: str) -> tuple[Member, ...]:
        others = [member for member in self._roster.voters if member.uid != uid]
        if self._small or len(others) <= self._k:
            return tuple(sorted(others, key=lambda member: member.uid))
        chosen: dict[str, Member] = {}
        for number in range(len(self._rings)):
            if len(chosen) == self._k:
                break
            observer = self._before(number, uid, others, chosen)
            chosen[observer.uid] = observer
        zones = {member.zone for member in chosen.values()}
        elsewhere = [member for member in others if member.zone not in zones]
        if len(zones) == 1 and elsewhere:
            # A third from elsewhere: with H = ceil(0.6 K) the one zone then can't make a verdict by itself.
            for number in range(min(len(elsewhere), self._k - math.ceil(0.6 * self._k) + 1)):
                chosen.popitem()
                observer = self._before(number, uid, elsewhere, chosen)
                chosen = {observer.uid: observer, **chosen}
        return tuple(chosen.values())

    def _before(self, number: int, uid: str, among: Collection[Member], taken: Collection[str]) -> Member:
        """The nearest of these before the member's place on the ring."""
        wanted = {member.uid for member in among if member.uid not in taken}
        places, members = self._rings[number]
        start = bisect_left(places, _place(number, self._roster.salt, uid))
        return next(
            member
            for step in range(1, len(members) + 1)
            if (member := members[(start - step) % len(members)]).uid in wanted
        )


def _place(number: int, salt: bytes, uid: str) -> bytes:
    return hashlib.blake2b(
        uid.encode(), digest_size=8, key=salt[:64], salt=number.to_bytes(16, "big")
    ).digest()
