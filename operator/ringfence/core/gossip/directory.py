"""Who is who: the roster and its rings, our own place in them, and what we know of each other member.

A member that we neither observe nor have met costs nothing: its `Subject` is made when somebody first asks for it.
"""

from __future__ import annotations

from ringfence.core.gossip.members import Member, Roster
from ringfence.core.gossip.probe import period
from ringfence.core.gossip.report import ALIVE_WITHIN
from ringfence.core.gossip.rings import Rings, rings_of
from ringfence.core.gossip.subject import Subject, raw_boot
from ringfence.core.gossip.wire import tag_of
from ringfence.core.model import Boot, RingState


class Directory:
    """One agent's. ``uid`` is our node's UID where it is known otherwise; else it is that of the member of our name."""

    def __init__(self, node: str, uid: str | None) -> None:
        self.node = node
        self.uid = uid
        self.roster: Roster | None = None
        self.rings: Rings | None = None
        self.me: Member | None = None
        self.tag = b""
        """Our short name on the wire."""
        self.every = 1.0
        """The roster's period of probes, seconds."""
        self.subjects: dict[str, Subject] = {}
        """Members that we observe or have had to do with, by UID; `subject` adds one when it is first needed."""
        self.watched: list[Subject] = []
        """Those that we observe."""
        self.installed_at = 0.0

    @property
    def present_roster(self) -> Roster:
        """The roster, where there can't but be one."""
        assert self.roster is not None
        return self.roster

    @property
    def present_rings(self) -> Rings:
        """The roster's rings, where there can't but be some."""
        assert self.rings is not None
        return self.rings

    def install(self, roster: Roster, now: float) -> list[Subject]:
        """Take over a newer roster; returns those that we knew and that are not among the others any more."""
        before = self.roster
        self.roster, self.rings = roster, rings_of(roster)
        self.every = period(len(roster.members))
        me = roster.by_name.get(self.node)
        self.me = me if me is not None and self.uid in {None, me.uid} else None
        self.tag = tag_of(me.uid) if me is not None else b""
        self.installed_at = now
        kept = self.subjects
        self.subjects = {}
        gone = []
        for uid, known in kept.items():
            member = roster.by_uid.get(uid)
            if member is None or member.name == self.node:
                gone.append(known)
                continue
            _follow_roster(known, member, before, now)
            if (known.member.addresses, known.member.networks) != (member.addresses, member.networks):
                known.reach.shown = None  # it was about other addresses
            known.member = member
            if known.boot.node != member.name:
                known.boot = Boot(member.name, member.uid, known.boot.boot_id)
            self.subjects[uid] = known
        return gone

    def subject(self, uid: str) -> Subject | None:
        """What we know of this member; None for ourselves and for strangers."""
        known = self.subjects.get(uid)
        if known is None and self.roster is not None:
            member = self.roster.by_uid.get(uid)
            if member is not None and member.name != self.node:
                known = Subject(
                    member, member.boot, raw_boot(member.boot_id), RingState.UNKNOWN, self.installed_at
                )
                self.subjects[uid] = known
        return known

    @staticmethod
    def runs_another(known: Subject) -> bool:
        """Whether the roster has another boot of it that isn't over as far as we know."""
        told = known.member.boot_id
        return bool(told) and told != known.boot.boot_id and raw_boot(told) not in known.past

    def by_tag(self, tag: bytes) -> Member | None:
        """Who of the others goes by this tag."""
        member = self.roster.by_tag.get(tag) if self.roster is not None else None
        return member if member is not None and member.name != self.node else None

    def subject_by_tag(self, tag: bytes) -> Subject | None:
        """What we know of whoever of the others goes by this tag."""
        member = self.roster.by_tag.get(tag) if self.roster is not None else None
        if member is None:
            return None
        return self.subjects.get(member.uid) or self.subject(member.uid)


def _follow_roster(known: Subject, member: Member, before: Roster | None, now: float) -> None:
    """Take over the roster's boot of a known member, unless we have met a later one ourselves.

    A roster that comes late may name one between the last that we knew and the one that answers us now. Where it is
    that which is over, it is taken over as soon as it is silent (`Directory.runs_another`).
    """
    told = before.by_uid.get(member.uid) if before else None
    raw = raw_boot(member.boot_id)
    if told is not None and told.boot_id == member.boot_id:
        return  # the roster has not moved; a boot that we have heard ourselves stands
    answers = known.two_way_at is not None and now - known.two_way_at <= ALIVE_WITHIN
    if member.boot_id != known.boot.boot_id and raw not in known.past and not answers:
        known.reset(member.boot, now, met=False)
