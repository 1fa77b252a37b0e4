"""What one agent says of the ring: the content of the verdict stream that controllers subscribe to.

Ages, not instants: clocks of two machines are never compared. The receiver adds the time since it got the view.

Controllers and agents of two releases talk to each other: a field that comes later has a default, which its reader takes
where the sender doesn't know it yet, and readers pass over fields that they don't know.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.core.model import Boot, NetworkState, RingState, SignedVote

ALIVE_WITHIN = 2.0
"""Two-way evidence this young (seconds) puts a member among the reporter's ``alive``."""


@dataclass(frozen=True, slots=True)
class NetworkView:
    """One further network of a member, as an agent that stands on it too sees it."""

    network: str
    state: NetworkState
    two_way_age: float | None
    """Seconds since the last answer there that echoed this agent's own nonce."""
    rtt: float | None = None
    """Mean round-trip time there in seconds."""


@dataclass(frozen=True, slots=True)
class SubjectView:
    """One roster member as one agent sees it. Ages are seconds at the moment of sending; None is never."""

    subject: Boot
    state: RingState
    state_age: float
    heard_age: float | None
    """Since the last authenticated packet with a fresh counter from that boot: it vetoes Down."""
    two_way_age: float | None
    """Since the last answer that echoed this agent's own nonce: only this ends a doubt."""
    kernel_age: float | None
    """Since the node's kernel last answered a probe (it says nothing about which boot answered)."""
    round_age: float | None
    """Since the corroboration round began whose votes follow."""
    votes: tuple[SignedVote, ...]
    """All of one round: the one that made the state, or the latest that ended."""
    rtt: float | None = None
    """Mean round-trip time of its path in seconds, where this agent probes it."""
    loss: float | None = None
    """Share of this agent's probes that it has not answered in time, of about the last minute; where it observes it."""
    vote_ages: tuple[float, ...] = ()
    """Since each of the votes came to this agent, in their order."""
    networks: tuple[NetworkView, ...] = ()
    """The networks beside the management network on which this agent probes it."""
    look_age: float | None = None
    """Since the look began whose votes follow."""
    look_votes: tuple[SignedVote, ...] = ()
    """All of the last look at its networks, if it found one of them dead."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """When one agent last heard one boot of a member: what a controller asks before it counts a watchdog out.

    Ages are seconds at the moment of sending.
    """

    reporter: str
    subject: Boot
    """The member by the boot that the agent knows it by; a packet of another boot is not counted."""
    heard_age: float | None
    """Since its last authenticated packet; None: there was none."""
    listens_age: float
    """Since when the agent would have heard it: it forgets with its process, and with the member's boot."""

    @property
    def latest_age(self) -> float:
        """Since it may last have heard it: what it can't tell counts as heard."""
        return self.listens_age if self.heard_age is None else self.heard_age


@dataclass(frozen=True, slots=True)
class SelfView:
    """What an agent knows of itself (`awareness`)."""

    isolated: bool
    """It holds itself for cut off."""
    carrier: bool | None
    """Whether its interface has a link; None where nobody can tell."""
    lag: float
    """The most that a timer of it was late of late, in seconds; halves in 20 s."""
    stretch: float
    """By how much it waits longer than usual for answers."""


@dataclass(frozen=True, slots=True)
class AgentView:
    """Everything that one agent sees, complete in itself."""

    reporter: Boot
    roster_epoch: int
    healthy: bool
    """False: this agent is unwell or cut off itself, and abstains."""
    alive: frozenset[str]
    """Names of members with two-way evidence within the last 2 s, the reporter included."""
    subjects: tuple[SubjectView, ...]
    """Members that are not among them are `RingState.UNKNOWN` to the reporter, and it has not heard them of late."""
    itself: SelfView | None = None
    sent_at: float | None = None
    """The reporter's monotonic clock when it said so: only good for telling whether it waited on its way."""

    @property
    def content(self) -> tuple[object, ...]:
        """What it says beyond ages."""
        return (
            self.reporter,
            self.roster_epoch,
            self.healthy,
            self.alive,
            tuple(
                (s.subject, s.state, s.votes, s.look_votes, tuple((n.network, n.state) for n in s.networks))
                for s in self.subjects
            ),
        )
