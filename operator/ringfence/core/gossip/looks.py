"""Looking at a subject's networks: slow probes, looks, their votes and results (`networks` says what they amount to).

Members without further networks cost nothing here. Looks have a budget of their own for their packets: when all lose one
network at once, their looks take longer, and no death is found later for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from ringfence.core.gossip import rounds
from ringfence.core.gossip.awareness import LATE
from ringfence.core.gossip.ballots import Ballots
from ringfence.core.gossip.budget import Budget
from ringfence.core.gossip.corroboration import vote_payload
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.dissemination import TELLERS, Windows, tellers
from ringfence.core.gossip.events import NetworkChanged
from ringfence.core.gossip.kernels import Kernels
from ringfence.core.gossip.networks import (
    FIRST,
    FRESH,
    LAST,
    LEARNED,
    MAX_LOOKS,
    PACE,
    Leg,
    Look,
    NetworkTally,
    Reach,
    shared,
    tally_networks,
)
from ringfence.core.gossip.pings import Pings
from ringfence.core.gossip.probe import next_slot, phase
from ringfence.core.gossip.rings import is_small
from ringfence.core.gossip.sender import Sender
from ringfence.core.gossip.subject import Subject
from ringfence.core.gossip.wire import Ask, Message, Votes
from ringfence.core.model import MANAGEMENT, Answer, NetworkState, RingState, SignedVote, Vote

_SPEAKS = frozenset({RingState.ALIVE, RingState.PARTIAL, RingState.DOUBTED, RingState.UNKNOWN})
"""While a subject is in one of these states an answer on a further network is to be expected."""
_LOOKED_AT = frozenset({RingState.ALIVE, RingState.PARTIAL})

BURST = 60.0
"""Packets of looks that may leave at once; then no look is opened. Who is asked to look votes if it has answered him: his may be the
only answer."""


class Looks:
    """One agent's. ``doubt_again`` is called where a subject that has answered on a further network only now doesn't
    even there: a round about its life is due.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        wall_offset: float,
        sender: Sender,
        pings: Pings,
        kernels: Kernels,
        ballots: Ballots,
        windows: Windows,
        doubt_again: Callable[[Subject, float], None],
    ) -> None:
        self._desk = desk
        self._directory = desk.directory
        self._timers = desk.timers
        self._journal = desk.journal
        self._awareness = desk.awareness
        self._dice = desk.dice
        self._crypto = desk.crypto
        self._wall_offset = wall_offset
        self._sender = sender
        self._pings = pings
        self._kernels = kernels
        self._ballots = ballots
        self._windows = windows
        self._doubt_again = doubt_again
        self._budget = Budget(BURST)
        self._mine: frozenset[str] = frozenset()

    # -- the roster -------------------------------------------------------------------------------------------------

    def stand(self, networks: Iterable[str]) -> None:
        """These are the further networks on which we stand."""
        self._mine = frozenset(networks)

    def follow(self, subject: Subject, rank: int, observers: int, now: float) -> None:
        """Look at this subject's networks as the roster has them now."""
        reach = subject.reach
        wanted = shared(subject.member, self._mine)
        kept = {leg.network: leg for leg in reach.legs.values() if wanted.get(leg.network) == leg.address}
        reach.legs = {
            network: kept.get(network) or Leg(network, address) for network, address in wanted.items()
        }
        if len(reach.legs) > 1 and not reach.armed:
            reach.armed = True
            slow = PACE * self._directory.every
            self._arm(subject, phase(subject.member.uid, rank, observers, slow), now)

    def forget(self, subject: Subject) -> None:
        """Others observe it now."""
        subject.reach.legs = {}
        subject.reach.looks = {}
        subject.reach.ask_at = subject.reach.looking_since = None

    # -- slow probes ------------------------------------------------------------------------------------------------

    def _arm(self, subject: Subject, at: float, now: float) -> None:
        def probe(now: float, _late: float) -> None:
            reach = subject.reach
            if len(reach.legs) < 2:
                reach.armed = False
                return
            for leg in list(reach.legs.values()):
                if leg.state is NetworkState.DEAD and now - leg.dead_at > FRESH:
                    self._turn(subject, leg, NetworkState.SILENT, "nobody has confirmed it")
                if leg.network != MANAGEMENT:
                    self._probe(subject, leg, now)
            self._arm(subject, at, now)

        self._timers.at(next_slot(now, self._wall_offset, at, PACE * self._directory.every), probe)

    def _probe(self, subject: Subject, leg: Leg, now: float) -> None:
        self._pings.ping_on(subject, now, leg.network)
        if leg.cycle_at is None and subject.state in _SPEAKS:
            leg.cycle_at = now
            known = leg.state in {NetworkState.SILENT, NetworkState.DEAD}
            self._await(subject, leg, now, now, self._silent if known else self._miss)

    def _await(
        self,
        subject: Subject,
        leg: Leg,
        cycle: float,
        now: float,
        missed: Callable[[Subject, Leg, float], None],
        factor: float = 1,
    ) -> None:
        """Call ``missed`` unless the leg answers in time; once more time if we ourselves were late."""
        wait = leg.path.timeout(self._directory.every, self._awareness.stretch) * factor

        def judge(now: float, late: float) -> None:
            if leg.cycle_at == cycle and subject.reach.legs.get(leg.network) is leg:
                if late > LATE / 2:
                    self._timers.at(now + wait, lambda now, _late: judge(now, 0.0))
                else:
                    missed(subject, leg, now)

        self._timers.at(now + wait, judge)

    def _miss(self, subject: Subject, leg: Leg, now: float) -> None:
        assert leg.cycle_at is not None
        self._pings.ping_on(subject, now, leg.network)
        self._await(subject, leg, leg.cycle_at, now, self._silent, factor=2)

    def _silent(self, subject: Subject, leg: Leg, now: float) -> None:
        leg.cycle_at = None
        if subject.state not in _SPEAKS:
            self._turn(subject, leg, NetworkState.UNKNOWN)
            return
        if leg.state is not NetworkState.DEAD:
            self._turn(subject, leg, NetworkState.SILENT)
        if subject.state is RingState.PARTIAL and self._silent_everywhere(subject):
            self._doubt_again(subject, now)
        self.want(subject, now)

    def _silent_everywhere(self, subject: Subject) -> bool:
        return all(leg.state is not NetworkState.ANSWERS for leg in subject.reach.further)

    def _turn(self, subject: Subject, leg: Leg, state: NetworkState, sentence: str = "") -> None:
        old, leg.state = leg.state, state
        if old is state:
            return
        event = None
        if NetworkState.DEAD in (old, state) and NetworkState.UNKNOWN not in (old, state):
            dead = state is NetworkState.DEAD
            event = NetworkChanged(subject.boot, leg.network, dead, sentence)
        self._journal.network_changed(event)

    # -- answers ------------------------------------------------------------------------------------------------------

    def answered(self, subject: Subject, network: str, trip: float, now: float, came: float) -> None:
        """Its agent has answered a ping of ours on this network; the answer came at ``came``."""
        reach = subject.reach
        leg = reach.legs.get(network)
        if leg is None:
            return
        leg.two_way_at, leg.cycle_at = max(came, leg.two_way_at or came), None
        leg.path.observe(trip)
        was = leg.state
        if reach.shown is not None and network in reach.shown.dead:
            reach.shown = None  # nobody had got an answer there: that is over
            self._journal.network_changed(None)
        self._turn(subject, leg, NetworkState.ANSWERS, "it answers there")
        if was is NetworkState.DEAD and reach.looking_since is None:
            reach.pause, reach.ask_at = 0.0, None
            self.want(subject, now, again=True)  # let everybody know

    def kernel_answered(self, subject: Subject, network: str, now: float) -> None:
        """Its kernel has, there."""
        leg = subject.reach.legs.get(network)
        if leg is not None:
            leg.kernel_at = now

    # -- examinations -------------------------------------------------------------------------------------------------

    def examine(self, subject: Subject, now: float) -> None:
        """It is examined for a round about its life: ask on every further network too."""
        began = now
        if not subject.observed:  # the second set is asked, which looks at its networks only now
            addresses = shared(subject.member, self._mine)
            subject.reach.legs = {network: Leg(network, address) for network, address in addresses.items()}
        further = subject.reach.further
        for leg in further:
            self._pings.ping_on(subject, now, leg.network)
        if further:
            for after in rounds.PINGS:
                self._timers.at(
                    now + after, lambda now, _late: self._ping_silent(subject, further, began, now)
                )

    def _ping_silent(self, subject: Subject, legs: Iterable[Leg], since: float, now: float) -> None:
        for leg in legs:
            if leg.two_way_at is None or leg.two_way_at < since:
                self._pings.ping_on(subject, now, leg.network)

    def _examine(self, subject: Subject, now: float) -> None:
        reach, began = subject.reach, now
        reach.looking_since = now
        legs = list(reach.legs.values())
        self._ping_silent(subject, legs, now, now)

        def again(now: float, _late: float) -> None:
            if reach.looking_since == began:
                self._ping_silent(subject, legs, began, now)
                for leg in legs:
                    if leg.two_way_at is None or leg.two_way_at < began:
                        self._kernels.ask(subject, leg.network)

        for after in rounds.PINGS:
            self._timers.at(now + after, again)
        self._timers.at(now + rounds.EXAMINATION, lambda now, _late: self._conclude(subject, began, now))

    def _conclude(self, subject: Subject, began: float, now: float) -> None:
        reach = subject.reach
        if reach.looking_since != began:
            return
        reach.looking_since = None
        columns = reach.columns(began, final=True)
        if not columns or not self._desk.may_accuse(now):
            return  # a look has no use for votes that say nothing
        if subject.heard_since(began):
            vote = Vote.ALIVE
        elif subject.kernel_at is not None and subject.kernel_at >= began:
            vote = Vote.AGENT_DOWN
        else:
            vote = Vote.ABSTAIN  # of its life: that is not what was asked
        roster = self._directory.present_roster
        for look in reach.looks.values():
            if self._directory.node not in look.votes and look.subject == subject.boot:
                unsigned = SignedVote(
                    self._directory.node, look.subject, vote, roster.epoch, look.round_id, b"", columns
                )
                signature = self._crypto.sign(vote_payload(roster.cluster, unsigned))
                signed = look.votes[self._directory.node] = replace(unsigned, signature=signature)
                self._journal.stats["look votes"] += 1
                if vote is not Vote.ALIVE and not _answered(signed) and self._budget.overspent(now):
                    continue  # nothing of it has answered us: that only helps to call its networks dead
                message = self._ballots.pack_look(look, [signed])
                self._tell_observers(subject, message, now)
                self._timers.at(now + rounds.COPIES[0], self._repeating(subject, look, message))

    def _repeating(self, subject: Subject, look: Look, message: Votes) -> Callable[[float, float], None]:
        """Say our vote again if it would be missed: of few voters all count, and ours may be the only answer."""

        def again(now: float, _late: float) -> None:
            others = [vote for name, vote in look.votes.items() if name != self._directory.node]
            ours = _answered(look.votes[self._directory.node])
            missed = is_small(self._directory.present_roster) or ours - {MANAGEMENT}.union(
                *map(_answered, others)
            )
            if missed and not self._budget.exhausted(now):
                self._tell_observers(subject, message, now)

        return again

    # -- looks --------------------------------------------------------------------------------------------------------

    def want(self, subject: Subject, now: float, *, again: bool = False) -> None:
        """Ask its observers to look, unless that is about to happen; ``again`` though all its networks answer us."""
        reach = subject.reach
        if reach.ask_at is not None or len(reach.legs) < 2:
            return
        last = max((look.started for look in reach.looks.values()), default=float("-inf"))
        pause = max(reach.pause, rounds.CLOSE)
        when = max(now, last + pause * (1 + self._dice.random() / 9))
        reach.ask_at = when

        def ask(now: float, _late: float) -> None:
            if reach.ask_at != when:
                return
            reach.ask_at = None
            if subject.state not in _LOOKED_AT or not (again or self._something_silent(subject)):
                return
            recent = max((look.started for look in reach.looks.values()), default=float("-inf"))
            if now - recent < 0.8 * pause:
                if self._something_silent(subject):
                    self.want(subject, now)  # somebody else has asked meanwhile
            elif self._desk.may_accuse(now) and not self._budget.exhausted(now):
                self._open(subject, now)
            else:
                self._journal.stats["looks put off"] += 1
                reach.pause = max(reach.pause, FIRST)
                self._timers.at(now + reach.pause, lambda now, _late: self.want(subject, now, again=again))

        self._timers.at(when, ask)

    def _something_silent(self, subject: Subject) -> bool:
        if subject.state is RingState.PARTIAL:
            return True  # the management network is
        return any(leg.state in {NetworkState.SILENT, NetworkState.DEAD} for leg in subject.reach.further)

    def _open(self, subject: Subject, now: float) -> None:
        look = self._join(subject, rounds.new_id(self._dice.getrandbits(64), second=False), now, now)
        if look is not None:
            self._journal.stats["looks"] += 1
            self._tell_observers(subject, Ask(look.round_id, subject.tag, subject.boot_sent, look=True), now)

    def _join(self, subject: Subject, round_id: bytes, began: float, now: float) -> Look | None:
        reach = subject.reach
        for old in rounds.spent(reach.looks.values(), MAX_LOOKS, now):
            del reach.looks[old.round_id]
        if len(reach.looks) >= MAX_LOOKS or not reach.legs:
            self._journal.drop("too many looks", subject.member.name)
            return None
        look = reach.looks[round_id] = Look(round_id, subject.boot, began)
        if reach.looking_since is None:
            self._examine(subject, now)
        self._timers.at(max(now, began + rounds.CLOSE), lambda now, _late: self._close(subject, look, now))
        return look

    def on_ask(self, asker: Subject, subject: Subject | None, message: Ask, now: float, at: float) -> None:
        """A peer asks us to look; the kernel had its question at ``at``."""
        if subject is None:
            self._journal.drop("about a stranger", asker.member.name)
        elif not subject.observed:
            self._journal.drop("about one that others observe", asker.member.name)
        elif message.boot != subject.boot_sent:
            self._journal.drop("about another boot", asker.member.name)
        elif message.round_id not in subject.reach.looks:
            self._join(subject, message.round_id, at, now)

    def on_votes(
        self, sender: Subject, subject: Subject | None, message: Votes, now: float, at: float
    ) -> None:
        """A peer's vote in a look, or what a look has found; the kernel had it at ``at``."""
        if subject is None or subject.boot_sent != message.boot:
            self._journal.drop("about a stranger or another boot", sender.member.name)
            return
        if not subject.observed:
            self._learn(sender, subject, message, at)
            return
        look = subject.reach.looks.get(message.round_id) or self._join(subject, message.round_id, at, now)
        if look is not None:
            for vote in self._ballots.valid(sender, message, subject):
                if vote.voter != self._directory.node:
                    look.votes.setdefault(vote.voter, vote)

    def _close(self, subject: Subject, look: Look, now: float) -> None:
        """All votes that come in time have come: draw the conclusion."""
        reach = subject.reach
        if look.subject != subject.boot or reach.looks.get(look.round_id) is not look:
            return
        found = {one.network: one for one in self._tally(look, subject)}
        self._show(reach, look, found.values())
        for leg in reach.legs.values():
            self._judge(subject, leg, look, found.get(leg.network))
        # The windows date what we tell them by when it comes: of a look that we have missed others have told them in time.
        in_time = now - look.started <= rounds.COUNTED
        if in_time and (reach.shown is look or (reach.told_dead and reach.shown is None)):
            self._report(subject, look, changed=reach.told_dead is (reach.shown is None), now=now)
            reach.told_dead = reach.shown is look
        if self._something_silent(subject):
            reach.pause = min(max(2 * reach.pause, FIRST), LAST)
            self.want(subject, now)
        else:
            reach.pause = 0.0

    def _judge(self, subject: Subject, leg: Leg, look: Look, found: NetworkTally | None) -> None:
        if found is None or leg.answer_since(look.started) is not Answer.NONE:
            return
        if found.dead and subject.state in _LOOKED_AT:
            leg.dead_at = max(leg.dead_at, look.started)
            self._turn(subject, leg, NetworkState.DEAD, found.sentence)
        elif found.lives and leg.state is NetworkState.DEAD:
            self._turn(subject, leg, NetworkState.SILENT, found.sentence)

    def _tally(self, look: Look, subject: Subject) -> tuple[NetworkTally, ...]:
        return tally_networks(
            look.votes.values(),
            self._directory.present_roster,
            subject.boot,
            self._crypto.verify,
            rings=self._directory.rings,
        )

    def _show(self, reach: Reach, look: Look, found: Iterable[NetworkTally]) -> None:
        """Keep the votes that call a network dead while another lives, until votes say that it lives again."""
        found, shown = list(found), reach.shown
        if shown is not None and shown.started > look.started:
            return
        lives = frozenset(one.network for one in found if one.lives)
        dead = (
            one.network for one in found if one.dead and not _answered_since(reach, one.network, look.started)
        )
        look.dead = frozenset(dead) if lives else frozenset()
        if look.dead or (shown is not None and shown.dead <= lives):
            reach.shown = look if look.dead else None
            self._journal.network_changed(None)

    # -- windows ------------------------------------------------------------------------------------------------------

    def _report(self, subject: Subject, look: Look, *, changed: bool, now: float) -> None:
        """Tell those windows of a look's result that fall to us this time."""
        observers = self._directory.present_rings.observers(subject.member.uid)
        involved = {member.uid for member in observers} | {subject.member.uid}
        names = [member.name for member in observers]
        message = self._ballots.pack_look(look, list(look.votes.values()))
        roster = self._directory.present_roster
        for tag in self._windows.open(now):
            member = roster.by_tag.get(tag)
            mine = tellers(look.round_id, tag, names, TELLERS if changed else 1)
            if member is not None and member.uid not in involved and self._directory.node in mine:
                self._sender.tell(message, member)
                self._budget.spend(1, now)

    def _learn(self, sender: Subject, subject: Subject, message: Votes, at: float) -> None:
        """What a look at a member has found that others observe, and that came at ``at``: check it as anyone can."""
        reach = subject.reach
        if message.round_id in reach.learned:
            return
        look = Look(message.round_id, subject.boot, at)
        look.votes.update((vote.voter, vote) for vote in self._ballots.valid(sender, message, subject))
        found = self._tally(look, subject)
        if any(one.dead or one.lives for one in found):
            reach.learned = (*reach.learned, message.round_id)[-LEARNED:]
            self._show(reach, look, found)

    def _tell_observers(self, subject: Subject, message: Message, now: float) -> None:
        for member in self._directory.present_rings.observers(subject.member.uid):
            if member.name != self._directory.node:
                self._sender.tell(message, member)
                self._budget.spend(1, now)


def _answered_since(reach: Reach, network: str, instant: float) -> bool:
    """Whether we have had an answer there ourselves since then."""
    leg = reach.legs.get(network)
    return leg is not None and leg.answer_since(instant) is not Answer.NONE


def _answered(vote: SignedVote) -> frozenset[str]:
    """The networks on which it got an answer."""
    return frozenset(column.network for column in vote.columns if column.answer is not Answer.NONE)
