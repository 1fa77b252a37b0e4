"""What one agent knows of one other member: its boot, its path, its evidence and its rounds."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringfence.core.gossip.members import Member
from ringfence.core.gossip.networks import Reach
from ringfence.core.gossip.probe import RoundTrip
from ringfence.core.gossip.report import SubjectView
from ringfence.core.gossip.rounds import Examination, Round
from ringfence.core.gossip.wire import BOOT_BYTES, ReplayWindow, boot_bytes, tag_of
from ringfence.core.model import Boot, RingState

MAX_LEARNED = 32
"""Rounds of others that a window remembers: half a minute of renewals, where a message lives less than one."""


def raw_boot(boot_id: str) -> bytes:
    """A boot id as on the wire; empty where the roster has none or one that no agent could send."""
    try:
        return boot_bytes(boot_id)
    except ValueError:
        return b""


def sent_boot(boot_id: str) -> bytes:
    """A boot id in questions and votes: as `raw_boot`, zeros for one that isn't a UUID."""
    return raw_boot(boot_id) or bytes(BOOT_BYTES)


@dataclass(slots=True)
class Subject:
    """One member under observation. Instants are the machine's ``now``; None is never.

    An agent of thousands knows thousands, and has had nothing but an answer from most: what these don't need is an empty
    tuple or set, which all of them share.
    """

    member: Member
    boot: Boot
    boot_raw: bytes
    state: RingState
    since: float
    observed: bool = False
    """Whether this agent is one of its observers."""
    phase: float = 0.0
    past: frozenset[bytes] = frozenset()
    """Boots that are over: what they still seem to send is a replay."""
    displaced: frozenset[bytes] = frozenset()
    """Boots whose place a roster has given to another one. A roster may come late, so one that answers a fresh nonce is met
    again."""
    window: ReplayWindow = field(default_factory=ReplayWindow)
    path: RoundTrip = field(default_factory=RoundTrip)
    listens_since: float = field(init=False)
    """Since when a packet of this boot would have been noticed here."""
    heard_at: float | None = None
    two_way_at: float | None = None
    answered_at: float | None = None
    """When the newest ping *left* that it has answered."""
    kernel_at: float | None = None
    relayed_at: float | None = None
    cycle_at: float | None = None
    """When the first probe of the present unanswered cycle left."""
    misses: int = 0
    """Probe cycles without an answer since the last two-way evidence."""
    rounds: dict[bytes, Round] = field(default_factory=dict)
    shown: Round | None = None
    """The round whose votes are reported."""
    learned: tuple[bytes, ...] = ()
    """Ids of the last rounds that its observers have told us of: `MAX_LEARNED` at most."""
    confirmed_at: float = float("-inf")
    """When the last round began that found it unreachable."""
    by_second: bool = False
    """Whether it took the second set to call it unreachable: then that is asked at once to renew it."""
    vetoed_at: float = float("-inf")
    """When an observer last told us that it has heard it."""
    examination: Examination | None = None
    reach: Reach = field(default_factory=Reach)
    """Its networks, one by one. What else is said here of answers is about the management network, of packets about any."""
    ask_at: float | None = None
    back_off: float = 0.0

    def __post_init__(self) -> None:
        self.listens_since = self.since

    @property
    def boot_sent(self) -> bytes:
        """Its boot id in questions and votes."""
        return self.boot_raw or bytes(BOOT_BYTES)

    @property
    def tag(self) -> bytes:
        """Its short name on the wire."""
        return tag_of(self.member.uid)

    @property
    def address(self) -> str | None:
        """Where it is reached: its node's InternalIP."""
        return self.member.addresses[0] if self.member.addresses else None

    def reset(self, boot: Boot, now: float, *, met: bool) -> None:
        """Begin anew with another boot: nothing that was known of the old one holds.

        ``met``: it has answered our nonce, so the one before is over, unless that was only in a late roster.
        """
        raw = raw_boot(boot.boot_id)
        if self.boot_raw:
            if met and raw not in self.displaced:
                self.past |= {self.boot_raw}
            else:
                self.displaced |= {self.boot_raw}
        self.displaced -= {raw}
        self.boot, self.boot_raw = boot, raw
        self.window = ReplayWindow()
        self.state, self.since, self.listens_since = RingState.UNKNOWN, now, now
        self.heard_at = self.two_way_at = self.answered_at = self.kernel_at = self.relayed_at = (
            self.cycle_at
        ) = None
        self.misses = 0
        self.rounds = {}
        self.shown = None
        self.confirmed_at = float("-inf")
        self.examination = None
        self.reach.reset()
        self.ask_at = None
        self.back_off = 0.0

    def heard_since(self, instant: float) -> bool:
        """Whether any authenticated packet came from this boot after then."""
        return self.heard_at is not None and self.heard_at >= instant

    def view(self, now: float) -> SubjectView:
        """What the verdict stream says of it."""
        look = self.reach.fresh(now)
        return SubjectView(
            subject=self.boot,
            state=self.state,
            state_age=now - self.since,
            heard_age=_age(self.heard_at, now),
            two_way_age=_age(self.two_way_at, now),
            kernel_age=_age(self.kernel_at, now),
            round_age=_age(self.shown.started if self.shown else None, now),
            votes=tuple(self.shown.votes.values()) if self.shown else (),
            rtt=self.path.mean,
            loss=self.path.loss if self.observed else None,
            vote_ages=tuple(max(0.0, now - self.shown.came[name]) for name in self.shown.votes)
            if self.shown
            else (),
            networks=self.reach.views(now),
            look_age=_age(look.started if look else None, now),
            look_votes=tuple(look.votes.values()) if look else (),
        )


def _age(instant: float | None, now: float) -> float | None:
    return None if instant is None else max(0.0, now - instant)
