"""Who observes whom: K pseudo-random rings over the roster (GOSSIP §3.2).

Ring i orders the members by a hash of (i, the roster's salt, node UID); a subject's observer on it is the voter before
it. Everybody who has the roster computes the same rings, so an observer needs no appointment and a vote by somebody
else is recognised as such. In small rosters (n <= K voters) everybody observes everybody.

Where two zones have voters, the K observers span two: otherwise the fall of one zone's switch would be the word of all.

When many die at once, of some too few observers are left to judge. For these there is a *second set* of K, drawn afresh
from those who are no observers, as far as there are so many: never fewer votes, but others' (GOSSIP §11).
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Collection
from functools import cached_property

from ringfence.core.gossip.members import Member, Roster

K = 8
"""Observers a subject (K=8 with H=5 holds to 20 % loss: GOSSIP §8)."""


def is_small(roster: Roster, k: int = K) -> bool:
    """Whether everybody observes everybody."""
    return len(roster.voters) <= k


def rings_of(roster: Roster) -> Rings:
    """The rings of this roster with the usual K: drawn once, for all who ask."""
    known = roster.memo.get(Rings)
    if not isinstance(known, Rings):
        known = roster.memo[Rings] = Rings(roster)
    return known


class Rings:
    """The rings of one roster. Building costs a few sorts; asking is a lookup."""

    def __init__(self, roster: Roster, k: int = K) -> None:
        self._roster = roster
        self._k = k
        self._small = is_small(roster, k)
        self._drawn: dict[str, tuple[Member, ...]] = {}
        self._second: dict[str, tuple[Member, ...]] = {}
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

    def second(self, uid: str) -> tuple[Member, ...]:
        """The K voters that are asked where too few of the observers are left; nobody in a small roster.

        Drawn when first asked for, by single hashes: nobody needs to know whom he may be asked about.
        """
        drawn = self._second.get(uid)
        if drawn is None:
            drawn = self._second[uid] = () if self._small else self._draw_second(uid)
        return drawn

    def judges(self, uid: str, *, second: bool) -> tuple[Member, ...]:
        """All that take part in a round about this member: its observers, and those of the second set."""
        observers = self.observers(uid)
        if not second:
            return observers
        return observers + tuple(member for member in self.second(uid) if member not in observers)

    def subjects(self, uid: str) -> tuple[Member, ...]:
        """The members that this one observes. Without a vote it still looks at the others of a small roster."""
        if self._small:
            return tuple(member for member in self._roster.members if member.uid != uid)
        return tuple(self._watched.get(uid, ()))

    @cached_property
    def _watched(self) -> dict[str, list[Member]]:
        """Whom each voter observes, in the roster's order."""
        watched: dict[str, list[Member]] = {}
        for member in self._roster.members:
            for observer in self.observers(member.uid):
                watched.setdefault(observer.uid, []).append(member)
        return watched

    def _draw(self, uid: str) -> tuple[Member, ...]:
        voters = self._roster.voters
        others = len(voters) - (uid in self._roster.by_uid and self._roster.by_uid[uid].votes)
        if self._small or others <= self._k:
            return tuple(member for member in voters if member.uid != uid)  # the roster sorts by UID
        chosen: dict[str, Member] = {}
        for number in range(len(self._rings)):
            if len(chosen) == self._k:
                break
            observer = self._before(number, uid, chosen)
            chosen[observer.uid] = observer
        zones = {member.zone for member in chosen.values()}
        if len(zones) == 1:
            elsewhere = sum(member.zone not in zones and member.uid != uid for member in voters)
            # A third from elsewhere: with H = ceil(0.6 K) the one zone then can't make a verdict by itself.
            for number in range(min(elsewhere, self._k - math.ceil(0.6 * self._k) + 1)):
                chosen.popitem()
                observer = self._before(number, uid, chosen, not_in=zones)
                chosen = {observer.uid: observer, **chosen}
        return tuple(chosen.values())

    def _draw_second(self, uid: str) -> tuple[Member, ...]:
        first = {member.uid for member in self.observers(uid)}
        others = [member for member in self._roster.voters if member.uid != uid]
        fresh = [member for member in others if member.uid not in first]
        drawn: dict[str, Member] = {}
        if len(fresh) < self._k:
            drawn, fresh = {member.uid: member for member in fresh}, others
        key = b"second" + self._roster.salt[:58]
        number = 0
        while len(drawn) < min(self._k, len(others)):
            place = hashlib.blake2b(
                uid.encode(), digest_size=8, key=key, salt=number.to_bytes(16, "big")
            ).digest()
            member = fresh[int.from_bytes(place, "big") % len(fresh)]
            drawn[member.uid] = member
            number += 1
        zones = {member.zone for member in drawn.values()}
        if len(zones) == 1:
            elsewhere = [member for member in others if member.zone not in zones]
            for member in elsewhere[: self._k - math.ceil(0.6 * self._k) + 1]:
                drawn.popitem()
                drawn = {member.uid: member, **drawn}
        return tuple(drawn.values())

    def _before(
        self, number: int, uid: str, taken: Collection[str], not_in: Collection[str] = frozenset()
    ) -> Member:
        """The nearest voter before the member's place on the ring that isn't taken, nor in one of these zones."""
        places, members = self._rings[number]
        start = bisect_left(places, _place(number, self._roster.salt, uid))
        return next(
            member
            for step in range(1, len(members) + 1)
            if (member := members[(start - step) % len(members)]).uid != uid
            and member.uid not in taken
            and member.zone not in not_in
        )


def _place(number: int, salt: bytes, uid: str) -> bytes:
    return hashlib.blake2b(
        uid.encode(), digest_size=8, key=salt[:64], salt=number.to_bytes(16, "big")
    ).digest()
