"""The detector as a machine without input or output: datagrams, time and answers go in, datagrams and events come out.

The outer loop does nothing but carry: it drains the socket into `receive`, calls `handle_timer` at `next_deadline`,
sends what `datagrams_to_send` returns and acts on `next_event`. Everything that can wait stands in one heap of timers;
each timer carries what it was armed for, so one that comes late or for a past matter is harmless.

A subject's way: probes every T -> one miss, retry and relays -> doubted -> a round of votes -> unreachable, agent-down
or partial -> rounds renewed while that lasts -> alive again with the first two-way answer. What each word may rest on:

- alive: an answer that repeats a nonce of ours. A packet that merely arrives proves one direction; it withdraws
  `unreachable` and vetoes the next such vote, but ends no doubt.
- unreachable: `corroboration.tally` of signed votes says so, nobody has said otherwise, we have heard nothing since.
- agent-down: the kernel answered somebody. partial: some peer reaches it, we don't.

All of this is about the management network. Where the roster has members on further ones (`looks`), every examination
asks there as well, and whatever answers is life: `none` is silence on all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import ceil
from typing import assert_never

from ringfence.core.gossip import rounds
from ringfence.core.gossip.anti_entropy import Wish
from ringfence.core.gossip.awareness import LATE, Awareness
from ringfence.core.gossip.corroboration import (
    H,
    Tally,
    decisive,
    refusal,
    tally,
    vote_payload,
)
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.dice import Dice
from ringfence.core.gossip.directory import Directory
from ringfence.core.gossip.dissemination import TELLERS, Windows, tellers
from ringfence.core.gossip.events import (
    Event,
    RosterWanted,
    Trace,
)
from ringfence.core.gossip.journal import Journal
from ringfence.core.gossip.kernels import Kernels
from ringfence.core.gossip.leaves import Leaves
from ringfence.core.gossip.looks import Looks, Means
from ringfence.core.gossip.members import Member, Roster
from ringfence.core.gossip.networks import Look
from ringfence.core.gossip.pings import Pings
from ringfence.core.gossip.probe import phase
from ringfence.core.gossip.prober import Prober
from ringfence.core.gossip.report import AgentView, Hearing, SubjectView
from ringfence.core.gossip.rings import is_small
from ringfence.core.gossip.rounds import Examination, Round
from ringfence.core.gossip.sender import Sender
from ringfence.core.gossip.states import ABSENT, NO_ANSWER, QUIET, TROUBLE, States
from ringfence.core.gossip.strangers import Strangers
from ringfence.core.gossip.subject import Subject, sent_boot
from ringfence.core.gossip.surveyor import Surveyor
from ringfence.core.gossip.timers import Action, Timers
from ringfence.core.gossip.wire import (
    Ack,
    Ask,
    Ballot,
    Crypto,
    Leave,
    Ping,
    Relay,
    Relayed,
    Votes,
    WireError,
    boot_text,
    decode,
    fitting,
    split,
    tag_of,
)
from ringfence.core.model import MANAGEMENT, Boot, Column, RingState, SignedVote, Vote

ALIVE_WITHIN = 2.0
"""Two-way evidence this young (seconds) puts a member among the reporter's ``alive``."""
ROLL = 1.3
"""Seconds that a muster takes to call everybody: with the answer's way less than `ALIVE_WITHIN`."""
ROLL_STEP = 0.1
MOST_CALLED = 150
"""Members called in a step at most. Rosters of more than twice 150 * 1.3 / 0.1 = 1950 are not all called in time, and a
controller there can't see a majority alive: it fences nobody."""
STALE = 1.0
"""Seconds after which nobody waits for the answer to a ping: more than the longest time-out."""


class Swim:
    """One agent's machine. All instants are seconds on one monotonic clock of the caller.

    ``counter`` is where this process' datagram counter starts: higher than any that an earlier process of this boot
    has used. ``wall_offset`` is wall clock minus ``now`` (it only spreads the phases). Until `install` has brought
    a roster that names this node, the machine listens and says nothing.
    """

    def __init__(
        self,
        *,
        node: str,
        boot_id: str,
        crypto: Crypto,
        dice: Dice,
        uid: str | None = None,
        counter: int = 0,
        wall_offset: float = 0.0,
    ) -> None:
        self.node = node
        self.boot_id = boot_id
        self.awareness = Awareness()
        self.window = False
        """Whether somebody reads our view: then the observers of all members are asked to tell us their verdicts."""
        self.lacking: frozenset[str] = frozenset()
        """Networks on which the roster has us and we don't stand; `lack` says so."""
        self._directory = Directory(node, uid)
        self._timers = Timers()
        self._journal = Journal()
        self._dice = dice
        self._crypto = crypto
        self._desk = Desk(self._directory, self._timers, self._journal, self.awareness, dice, crypto)
        self._sender = Sender(self._desk, boot_id, counter)
        self._pings = Pings(self._desk, self._sender, self._news)
        self._wall_offset = wall_offset
        self._states = States(self._desk, self._entered)
        self._kernels = Kernels(self._journal)
        self._surveyor = Surveyor(self._desk, self._pings.ping)
        self._prober = Prober(
            self._desk,
            wall_offset=wall_offset,
            states=self._states,
            sender=self._sender,
            pings=self._pings,
            silent=self._silent,
        )
        self._strangers = Strangers(self._desk, self._pings.ping, self._prober.probe)
        self._leaves = Leaves(
            self._desk,
            states=self._states,
            sender=self._sender,
            kernels=self._kernels,
            doubt=self._doubt,
        )
        self._windows = Windows()
        self._mustering = False
        self._called = 0
        """Place in the roster of the last member that the muster has called."""
        self._wish = Wish()
        self._looks = Looks(
            Means(
                node=node,
                crypto=crypto,
                awareness=self.awareness,
                stats=self.stats,
                windows=self._windows,
                chance=dice.random,
                draw=self._round_id,
                roster=lambda: self._directory.present_roster,
                may_accuse=self._desk.may_accuse,
                ping=self._pings.ping_on,
                ask_kernel=self._kernels.ask,
                tell=self._sender.tell,
                at=self._timers.at,
                doubt_again=self._ask,
                changed=self._journal.network_changed,
                pack=self._pack_look,
                valid=self._valid,
                drop=self._journal.drop,
            )
        )

    # -- what the outer loop calls ------------------------------------------------------------------------------

    @property
    def roster(self) -> Roster | None:
        """The newest that was installed."""
        return self._directory.roster

    @property
    def me(self) -> Member | None:
        """Ourselves in the roster; None: we are no member, and only listen."""
        return self._directory.me

    @property
    def stats(self) -> Counter[str]:
        """What was done and dropped, counted."""
        return self._journal.stats

    @property
    def refused(self) -> dict[str, str]:
        """For each reason to drop something: whose it was last, an address or a member's name."""
        return self._journal.refused

    @property
    def version(self) -> int:
        """Changes with every change of what `view` says beyond ages."""
        return self._journal.version

    @property
    def trace(self) -> Trace | None:
        """Who wants to be told of every step; nobody, as a rule."""
        return self._journal.trace

    @trace.setter
    def trace(self, trace: Trace | None) -> None:
        self._journal.trace = trace

    def install(self, roster: Roster, now: float) -> bool:
        """Take over a roster whose signature has been checked. Returns False for one that is not newer."""
        if self.roster is not None and roster.epoch <= self.roster.epoch:
            return False
        for gone in self._directory.install(roster, now):
            self._looks.forget(gone)
        self._draw(now)
        self._strangers.install(now)
        self._journal.version += 1
        return True

    def receive(self, datagram: bytes, address: str, now: float, *, at: float | None = None) -> None:
        """Take in one datagram from this IP address. Nothing that it may contain raises.

        ``at`` is when the kernel received it, where that is known: it measures round trips, and a ping that has waited
        so long that its sender has given up is not answered. As a sign of life every datagram counts from ``now``.
        """
        self._check_lag(now)
        try:
            self._receive(datagram, address, now, now if at is None else at)
        except WireError as error:
            self._journal.drop(error.args[0], address)

    def handle_timer(self, now: float) -> None:
        """Do everything that is due."""
        self._check_lag(now)
        self._timers.run(now)

    def lack(self, networks: frozenset[str], now: float) -> None:
        """These networks' addresses, which the roster has for us, aren't ours to send from: we say nothing of them."""
        if networks != self.lacking:
            self.lacking = networks
            self._follow_networks(now)

    def kernel_answered(self, uid: str, now: float, network: str = MANAGEMENT) -> None:
        """A kernel probe of this node was answered (accepted or refused: both are its kernel)."""
        subject = self._directory.subject(uid)
        if subject is None:
            return
        subject.kernel_at = now
        self._looks.kernel_answered(subject, network, now)
        if subject.state is RingState.UNREACHABLE:
            self._states.enter(
                subject, RingState.AGENT_DOWN, "its kernel answers again, its agent doesn't", now
            )

    def impair(self, seconds: float, now: float) -> None:
        """The host saw a clock jump or a stall of this length: treat it like a late timer."""
        self.awareness.ran_late(seconds, now)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, str]]:  # noqa: ARG002 (the contract of all machines)
        """Datagrams and the IP addresses they go to, in order; hands each out once."""
        return self._sender.take()

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called; None without a roster."""
        return self._timers.next()

    def next_event(self) -> Event | None:
        """The next event, or None."""
        return self._journal.next_event()

    def leave(self, now: float) -> None:
        """Our process ends in an orderly way: let those who watch us know that it needs no vote to find out."""
        self._leaves.say(self.boot_id, now)

    def answered_by_most(self) -> float | None:
        """The latest instant such that more than half of the whole roster, ourselves included, answered a ping that left then
        or later: the gossip leg of the self-fence (GOSSIP §6). Infinite in a roster of one; None: never, or not a member.
        """
        if self.me is None or self.roster is None:
            return None
        others = len(self.roster.members) // 2
        known = (self._directory.subjects.get(member.uid) for member in self.roster.members)
        answers = sorted(
            (one.answered_at for one in known if one is not None and one.answered_at is not None),
            reverse=True,
        )
        if others == 0:
            return float("inf")
        return answers[others - 1] if len(answers) >= others else None

    def call_everybody(self, every: float, now: float) -> None:
        """From now on ping each member once in so many seconds at least, so that `answered_by_most` knows.

        Those that we observe are probed more often anyway; in a small roster that is everybody.
        """
        self._strangers.call(every, now)

    def view(self, now: float) -> AgentView:
        """What this agent says of the ring."""
        me = self.me
        boot = Boot(self.node, me.uid if me else "", self.boot_id)
        alive = {
            subject.member.name
            for subject in self._directory.subjects.values()
            if subject.two_way_at is not None and now - subject.two_way_at <= ALIVE_WITHIN
        }
        return AgentView(
            reporter=boot,
            roster_epoch=self.roster.epoch if self.roster else 0,
            healthy=me is not None and self.awareness.healthy(now),
            alive=frozenset(alive | {self.node}) if me else frozenset(),
            subjects=tuple(
                self._view_of(member, now)
                for member in (self.roster.members if self.roster else ())
                if member.name != self.node
            ),
            itself=self.awareness.view(),
        )

    def hearing(self, uid: str, now: float) -> Hearing | None:
        """When we last heard that member; None for strangers and ourselves."""
        one = self._directory.subject(uid)
        if one is None:
            return None
        heard = None if one.heard_at is None else max(0.0, now - one.heard_at)
        return Hearing(self.node, one.boot, heard, max(0.0, now - one.listens_since))

    @property
    def subjects(self) -> Iterable[Subject]:
        """The members that we observe or have had to do with (for metrics)."""
        return self._directory.subjects.values()

    @property
    def lonely(self) -> bool:
        """Whether most of those that we observe are silent for us: then our Lease must speak for us more often."""
        silent = sum(one.state in TROUBLE for one in self._directory.watched)
        # Who holds itself for cut off doubts nobody any more, so the count alone would stop short.
        cut_off = self.awareness.isolated or self.awareness.carrier is False
        return cut_off or 2 * silent > len(self._directory.watched)

    def _view_of(self, member: Member, now: float) -> SubjectView:
        known = self._directory.subjects.get(member.uid)
        if known is not None:
            return known.view(now)
        age = now - self._directory.installed_at
        return SubjectView(member.boot, RingState.UNKNOWN, age, None, None, None, None, ())

    # -- the roster ---------------------------------------------------------------------------------------------

    def _draw(self, now: float) -> None:
        """Appoint ourselves to our subjects, and begin to probe those that are new to us."""
        assert self._directory.rings is not None
        mine = self._directory.rings.subjects(self.me.uid) if self.me else ()
        uids = {member.uid for member in mine}
        for uid, subject in self._directory.subjects.items():
            if uid not in uids and subject.observed:
                subject.observed = False
                subject.cycle_at = subject.ask_at = subject.examination = None
                self._looks.forget(subject)
                if subject.state in NO_ANSWER:
                    self._states.lapse(subject, now)
                else:
                    self._states.enter(subject, RingState.UNKNOWN, "others observe it now", now)
        self._directory.watched = [
            one for member in mine if (one := self._directory.subject(member.uid)) is not None
        ]
        for subject in self._directory.watched:
            observers = [member.uid for member in self._directory.rings.observers(subject.member.uid)]
            rank = observers.index(self.me.uid) if self.me and self.me.uid in observers else 0
            subject.phase = phase(subject.member.uid, rank, len(observers), self._directory.every)
            if not subject.observed:
                subject.observed = True
                self._prober.arm(subject, now)
        self._looks.install(self._directory.rings, self._directory.every, self._wall_offset)
        self._follow_networks(now)

    def _follow_networks(self, now: float) -> None:
        if self.me is None or self._directory.rings is None:
            return
        self._looks.stand(network for network, _ in self.me.networks if network not in self.lacking)
        for subject in self._directory.watched:
            observers = [member.uid for member in self._directory.rings.observers(subject.member.uid)]
            rank = observers.index(self.me.uid) if self.me.uid in observers else 0
            self._looks.follow(subject, rank, len(observers), now)

    # -- datagrams ----------------------------------------------------------------------------------------------

    def _receive(self, datagram: bytes, address: str, now: float, at: float) -> None:
        header, head, sealed = split(datagram)
        if header.key not in self._crypto.held:
            raise WireError("unknown key")
        member = self._directory.by_tag(header.tag)
        subject = self._directory.subject(member.uid) if member is not None else None
        if subject is None:
            raise WireError("unknown sender")
        same_boot = header.boot == subject.boot_raw
        if header.boot in subject.past:
            raise WireError("old boot")
        if same_boot and not subject.window.fresh(header.counter):
            raise WireError("replayed")
        body = self._crypto.open(
            header.key, subject.member.uid, header.boot, header.counter, head + self._directory.tag, sealed
        )
        if body is None:
            raise WireError("bad seal")
        message, epoch = decode(body)
        if not same_boot:
            if not self._pings.answered_by(subject, message):
                # Perhaps its next boot, perhaps an old boot's datagram sent again to an agent that has just started:
                # only an answer to our own nonce tells. Until then it is neither evidence nor a new boot.
                if isinstance(message, Ping):
                    self._pings.answer(subject, message.nonce, address, now)
                self._pings.ping(subject, now)
                raise WireError("unproved boot")
            self._meet_boot(subject, boot_text(header.boot), now)
        subject.window.take(header.counter)
        if self._wish.heard(epoch, self.roster, now):
            self._journal.tell(RosterWanted(subject.member.uid, address))
        self.stats["received"] += 1
        self._journal.step("received", header.tag, message)
        if isinstance(message, Ack):
            self._on_ack(subject, message.nonce, address, now, at)
        self._heard(subject, now)
        match message:
            case Ping(nonce, window):
                self._take_news(window, now)
                if (
                    now - at <= STALE
                ):  # else we have slept, and would wake with a thousand answers nobody waits for
                    self._pings.answer(subject, nonce, address, now)
            case Ack(_, window):
                self._take_news(window, now)  # the nonce is counted: what follows from hearing finds it alive
            case Relay(nonce, tag):
                self._pings.relay(subject, nonce, tag, address, now)
            case Relayed(nonce):
                self._pings.relayed(nonce, now)
            case Ask(look=True):
                self._looks.on_ask(subject, self._directory.subject_by_tag(message.tag), message, now)
            case Votes(look=True):
                self._looks.on_votes(subject, self._directory.subject_by_tag(message.tag), message, now)
            case Ask():
                self._on_ask(subject, message, now)
            case Votes():
                self._on_votes(subject, message, now)
            case Leave(signature):
                self._leaves.take(subject, signature, now)
            case _:
                assert_never(message)

    def _meet_boot(self, subject: Subject, boot_id: str, now: float) -> None:
        old = subject.state
        subject.reset(Boot(subject.member.name, subject.member.uid, boot_id), now)
        self._states.note(subject, old, f"it runs another boot now ({boot_id[:8]})")

    def _heard(self, subject: Subject, now: float) -> None:
        subject.heard_at = now
        if subject.state is RingState.UNREACHABLE:
            # Who doesn't probe it can't go on from `partial`: no answer would ever end that.
            state = RingState.PARTIAL if subject.observed else RingState.UNKNOWN
            self._states.enter(subject, state, "a packet of it came, though it answers no probe", now)
            self._veto(subject, now)
        if subject.examination is not None:
            self._vote_all(subject, Vote.ALIVE, now)
        for about in list(subject.rounds.values()):
            # Said too early: whoever still counts this round has to know, or he believes us.
            open_yet = now - about.started <= rounds.CLOSE and not self._also_alive(about)
            if about.cast is Vote.NONE and about.subject == subject.boot and open_yet:
                self._cast(subject, about, Vote.ALIVE, now)

    def _on_ack(self, subject: Subject, nonce: int, address: str, now: float, at: float) -> None:
        sent = self._pings.take(subject, nonce)
        if sent is None:
            return
        trip = max(0.0, at - sent.sent_at)  # wall clocks are set, and stamps go by them
        if sent.network != MANAGEMENT:
            # Where the management network is silent an answer on another one ends no doubt: that it is heard, a veto, is all.
            if address == subject.member.on(sent.network):
                self._looks.answered(subject, sent.network, trip, now)
            return
        self._looks.answered(subject, MANAGEMENT, trip, now)
        self._prober.answered(subject, sent.sent_at, trip, now)
        self._surveyor.answered(subject, sent.sent_at, now)
        if subject.observed and subject.state is not RingState.ALIVE:
            subject.ask_at, subject.back_off = None, 0.0
            self._states.enter(subject, RingState.ALIVE, "it answers", now)
        elif not subject.observed and subject.state is not RingState.UNKNOWN:
            self._states.enter(subject, RingState.UNKNOWN, "it answers", now)

    # -- doubt and rounds ---------------------------------------------------------------------------------------

    def _silent(self, subject: Subject, now: float) -> None:
        """A member that we observe has answered neither us nor the relays."""
        if subject.state is RingState.LEFT:
            self._leaves.still_left(subject, now)
        elif subject.state in {RingState.ALIVE, RingState.UNKNOWN, RingState.PARTIAL}:
            self._doubt(subject, now)

    def _entered(self, subject: Subject, old: RingState, now: float) -> None:
        """It has another state now: what that sets off elsewhere."""
        if subject.state in TROUBLE:
            self._muster(now)
        if subject.state is RingState.PARTIAL:
            self._looks.want(subject, now)
        if subject.state is RingState.ALIVE and old is RingState.UNREACHABLE:
            self._veto(subject, now)

    def _doubt(self, subject: Subject, now: float) -> None:
        if not self._desk.may_accuse(now):
            return
        boot, began = subject.boot, now

        def accuse(now: float) -> None:
            answered = subject.two_way_at is not None and subject.two_way_at >= began
            if subject.boot != boot or answered or not self._desk.may_accuse(now):
                return
            if subject.state is RingState.PARTIAL:
                if subject.ask_at is None:
                    self._ask_after(subject, now)
            elif subject.state is not RingState.DOUBTED:
                self.stats["doubted"] += 1
                self._states.enter(
                    subject, RingState.DOUBTED, "a probe, its retry and the relays went unanswered", now
                )
                self._ask(subject, now)

        self._surveyor.look_around(now, accuse)

    def _ask(self, subject: Subject, now: float) -> None:
        """Open a round, unless one has just been opened by somebody else."""
        if self._desk.may_accuse(now):
            boot = subject.boot
            second = subject.by_second and subject.state is RingState.UNREACHABLE
            self._surveyor.look_around(
                now,
                lambda now: self._open(subject, now, second=second) if subject.boot == boot else None,
            )
        self._ask_after(subject, now)

    def _open(self, subject: Subject, now: float, *, second: bool = False) -> None:
        """Open a round, unless one of its kind has just been opened by somebody else."""
        current = max(
            (r.started for r in subject.rounds.values() if r.second or not second), default=float("-inf")
        )
        if now - current < rounds.CLOSE or not self._desk.may_accuse(now):
            return
        if self._sender.exhausted(now):
            self.stats["rounds put off"] += 1
            return  # it is asked again in its turn, unless somebody else has asked by then
        opened = self._join(subject, self._round_id(second=second), now)
        if opened is not None:
            self.stats["appeals" if second else "rounds"] += 1
            ask = Ask(opened.round_id, subject.tag, subject.boot_sent)
            copies = rounds.copies(Vote.NONE, renewed=subject.state in NO_ANSWER)
            self._sender.repeat(ask, opened, now, copies, lambda: not opened.closed)

    def _ask_after(self, subject: Subject, now: float) -> None:
        """Ask again as long as the doubt lasts: at a steady pace, or backing off where others do reach it."""
        last = max((r.started for r in subject.rounds.values()), default=now)
        pause = subject.back_off or rounds.RENEW
        when = max(last, now - pause + rounds.CLOSE) + pause * (1 + self._dice.random() / 9)
        subject.ask_at = when

        def ask(now: float, _late: float) -> None:
            if subject.ask_at != when or self._directory.subjects.get(subject.member.uid) is not subject:
                return
            if subject.state is RingState.UNREACHABLE and now - subject.confirmed_at > rounds.LAPSE:
                self._states.enter(
                    subject, RingState.DOUBTED, "nobody has confirmed the verdict for 3 s", now
                )
            recent = max((r.started for r in subject.rounds.values()), default=float("-inf"))
            if now - recent < pause * 0.8:
                self._ask_after(subject, now)  # somebody else has asked meanwhile
            else:
                self._ask(subject, now)

        self._timers.at(when, ask)

    def _appeal(self, subject: Subject, about: Round, now: float) -> None:
        """Its observers' round came to nothing because too few of them are left: one of them asks the second set too."""
        silent = [name for name, vote in about.votes.items() if vote.vote is Vote.NONE]
        if not about.second and self.node in tellers(about.round_id, b"second", silent, 1):
            self._open(subject, now, second=True)

    def _in_second(self, subject: Subject) -> bool:
        assert self._directory.rings is not None
        return any(member.name == self.node for member in self._directory.rings.second(subject.member.uid))

    def _join(self, subject: Subject, round_id: bytes, now: float) -> Round | None:
        """Take part in a round about the subject's present boot."""
        for old in [r for r in subject.rounds.values() if now - r.started > rounds.KEEP]:
            del subject.rounds[old.round_id]
        joined = Round(round_id, subject.boot, now)
        called = subject.observed or (joined.second and self._in_second(subject))
        if len(subject.rounds) >= rounds.MAX_ROUNDS or not called:
            self._journal.drop("too many rounds", subject.member.name)
            return None
        subject.rounds[round_id] = joined
        self._timers.at(now + rounds.CLOSE, lambda now, _late: self._close(subject, joined, now))
        if subject.examination is None:
            self._examine(subject, now)
        return joined

    def _examine(self, subject: Subject, now: float) -> None:
        examination = subject.examination = Examination(now)
        self._journal.step("examines", subject.tag, None)
        self._pings.ping(subject, now)
        self._looks.examine(subject, now)
        self._kernels.ask_everywhere(subject)
        if not self.awareness.isolated:
            self._surveyor.look_around(now)

        def unless_over(action: Callable[[float], object]) -> Action:
            return lambda now, _late: action(now) if subject.examination is examination else None

        for after in rounds.PINGS:
            self._timers.at(now + after, unless_over(lambda now: self._pings.ping(subject, now)))
        self._timers.at(
            now + rounds.KERNEL_AGAIN, unless_over(lambda _now: self._kernels.ask_everywhere(subject))
        )
        self._timers.at(
            now + rounds.EXAMINATION, unless_over(lambda now: self._conclude(subject, examination, now))
        )
        if subject.heard_since(now - rounds.BEFORE):
            self._vote_all(subject, Vote.ALIVE, now)

    def _conclude(self, subject: Subject, examination: Examination, now: float) -> None:
        if subject.kernel_at is not None and subject.kernel_at >= examination.started:
            vote = Vote.AGENT_DOWN
        elif self.awareness.healthy(now) and self._surveyor.reaches_most(examination.started):
            vote = Vote.NONE
        else:
            vote = Vote.ABSTAIN
        columns = subject.reach.columns(examination.started, final=True) if vote is not Vote.ABSTAIN else ()
        self._vote_all(subject, vote, now, columns)

    def _vote_all(
        self, subject: Subject, vote: Vote, now: float, columns: tuple[Column, ...] | None = None
    ) -> None:
        """End the examination with this vote, in all rounds that wait for it."""
        if columns is None:
            columns = subject.reach.columns(now - rounds.BEFORE, final=False)
        subject.examination = None
        for waiting in list(subject.rounds.values()):
            if waiting.cast is None:
                self._cast(subject, waiting, vote, now, columns)

    def _cast(
        self, subject: Subject, about: Round, vote: Vote, now: float, columns: tuple[Column, ...] = ()
    ) -> None:
        if self.me is None or not self.me.votes or self.roster is None:
            return
        unsigned = SignedVote(self.node, about.subject, vote, self.roster.epoch, about.round_id, b"", columns)
        signature = self._crypto.sign(vote_payload(self.roster.cluster, unsigned))
        signed = replace(unsigned, signature=signature)
        about.cast = vote
        about.take(signed, now)
        self.stats[f"vote {vote}"] += 1
        copies = rounds.copies(vote, renewed=subject.state in NO_ANSWER)
        # Where all the others' votes have come by then, little is lost on these paths: then nor was ours.
        wanted = (
            (lambda: not self._also_alive(about))
            if vote is Vote.ALIVE
            else (lambda: not self._decided(about))
        )
        self._sender.repeat(self._pack(about, [signed]), about, now, copies, wanted)
        self._count(subject, about, now)

    def _veto(self, subject: Subject, now: float) -> None:
        """We said ``none`` in the round that made the verdict, and have heard the subject since: say so there."""
        shown = subject.shown
        if shown is None or shown.subject != subject.boot or shown.cast in {None, Vote.ALIVE}:
            return
        if not self._also_alive(shown):
            self._cast(subject, shown, Vote.ALIVE, now)
            self._tell_windows(subject, shown, self._windows.open(now), now)

    def _on_ask(self, asker: Subject, message: Ask, now: float) -> None:
        subject = self._directory.subject_by_tag(message.tag)
        if subject is None:
            self._journal.drop("about a stranger", asker.member.name)
            return
        if not (subject.observed or (rounds.of_second(message.round_id) and self._in_second(subject))):
            self._journal.drop("about one that others observe", asker.member.name)
            return
        if message.boot != subject.boot_sent:
            self._journal.drop("about another boot", asker.member.name)
            return
        if message.round_id not in subject.rounds:
            self._join(subject, message.round_id, now)

    def _on_votes(self, sender: Subject, message: Votes, now: float) -> None:
        subject = self._directory.subject_by_tag(message.tag)
        if subject is None or subject.boot_sent != message.boot:
            # Of ourselves anybody may speak, and does: who votes about us tells all who observe us.
            if message.tag != self._directory.tag:
                self._journal.drop(
                    "about a stranger" if subject is None else "about another boot", sender.member.name
                )
            return
        about = subject.rounds.get(message.round_id)
        if about is None and not subject.observed:
            self._learn(sender, subject, message, now)
            return
        if about is None and sender is not subject:
            about = self._join(subject, message.round_id, now)  # the vote has overtaken the question
        if about is None:
            return
        for vote in self._unpack(sender, message, subject):
            known = about.votes.get(vote.voter)
            if vote.voter != self.node and (known is None or vote.vote is Vote.ALIVE is not known.vote):
                if self._refuse(sender, vote, subject) and vote.vote is not Vote.ALIVE:
                    continue  # it must not stand where the voter's own would
                about.take(vote, now)
                self._count(subject, about, now)

    def _count(self, subject: Subject, about: Round, now: float) -> None:
        """Close a round early when nothing more can change it; reopen the verdict when a veto comes."""
        if any(vote.vote is Vote.ALIVE for vote in about.votes.values()):
            if not about.refuted and about.subject == subject.boot:
                about.closed = about.refuted = True
                self._judge(subject, about, now)
            return
        if about.closed or self._directory.rings is None:
            return
        expected = {
            member.name
            for member in self._directory.rings.judges(subject.member.uid, second=about.second)
            if member.uid not in self._directory.subjects
            or self._directory.subjects[member.uid].state not in ABSENT
        }
        if expected <= about.votes.keys():
            self._close(subject, about, now)

    def _also_alive(self, about: Round) -> bool:
        """Whether somebody else has said ``alive`` in it: then all know by him."""
        return any(vote.vote is Vote.ALIVE for name, vote in about.votes.items() if name != self.node)

    def _decided(self, about: Round) -> bool:
        """Whether its votes are all in, or as many as a verdict takes."""
        assert self.roster is not None
        said = sum(vote.vote is Vote.NONE for vote in about.votes.values())
        return about.closed or (not is_small(self.roster) and not about.second and said >= H)

    def _close(self, subject: Subject, about: Round, now: float) -> None:
        if not about.closed:
            about.closed = True
            if about.subject == subject.boot:
                self._judge(subject, about, now)

    def _judge(self, subject: Subject, about: Round, now: float) -> None:
        """Draw the conclusion from a round's votes."""
        assert self.roster is not None
        count = tally(
            about.votes.values(), self.roster, about.subject, self._crypto.verify, rings=self._directory.rings
        )
        votes = {vote.vote for vote in about.votes.values()}
        self._journal.step("closed", subject.tag, about)
        if subject.two_way_at is not None and subject.two_way_at >= about.started:
            return  # it has answered us since
        if not subject.observed:
            self._judge_for_others(subject, about, count, now)
            return
        if count.unreachable and self.awareness.isolated:
            pass  # who reaches less than half of the roster accepts no verdict; the next round tells him when he is back
        elif Vote.ALIVE in votes:
            # Even one that the tally refuses (a peer whose new key the roster has not yet) is reason to wait.
            self._show(subject, about)
            if subject.state in NO_ANSWER:
                self._withdraw(subject, about, now)
            if subject.state is not RingState.ALIVE:
                subject.back_off = min(max(2 * subject.back_off, rounds.PARTIAL_FIRST), rounds.PARTIAL_LAST)
                self._states.enter(
                    subject, RingState.PARTIAL, count.sentence if count.alive else "a peer reached it", now
                )
        elif Vote.AGENT_DOWN in votes:
            self._show(subject, about)
            subject.back_off = 0.0
            renewed = subject.state is RingState.AGENT_DOWN
            if subject.state is not RingState.LEFT:  # else we know why its agent is silent
                self._states.enter(subject, RingState.AGENT_DOWN, count.sentence, now)
            self._report(subject, about, now, renewed=renewed)
        elif count.unreachable and not subject.heard_since(about.started):
            self._show(subject, about)
            subject.back_off = 0.0
            subject.confirmed_at = max(subject.confirmed_at, about.started)
            subject.by_second = count.by_second
            renewed = subject.state is RingState.UNREACHABLE
            self._states.enter(subject, RingState.UNREACHABLE, count.sentence, now)
            self._report(subject, about, now, renewed=renewed)
        elif subject.state is not RingState.UNREACHABLE:
            self._show(subject, about)
            if subject.state is RingState.DOUBTED:  # too few can say anything: ask on, but not as often
                subject.back_off = min(max(2 * subject.back_off, rounds.RENEW), rounds.OPEN_LAST)
            if count.voters and subject.state in {RingState.AGENT_DOWN, RingState.PARTIAL}:
                subject.back_off = 0.0
                self._states.enter(
                    subject, RingState.DOUBTED, f"nobody reaches it any more ({count.sentence})", now
                )
        if Vote.NONE in votes and votes.isdisjoint({Vote.ALIVE, Vote.AGENT_DOWN}) and not count.unreachable:
            self._appeal(subject, about, now)
        if subject.ask_at is None and subject.state not in QUIET:
            self._ask_after(subject, now)

    def _judge_for_others(self, subject: Subject, about: Round, count: Tally, now: float) -> None:
        """What a round says to one of the second set: he has no say in what comes of it, but tells the windows."""
        if count.unreachable and not (subject.heard_since(about.started) or self.awareness.isolated):
            if self.window:
                self._show(subject, about)
                subject.confirmed_at = max(subject.confirmed_at, about.started)
                self._states.lapse(subject, now)
                self._states.enter(subject, RingState.UNREACHABLE, count.sentence, now)
            self._report(subject, about, now, renewed=False)
        elif count.alive and subject.state in NO_ANSWER:
            self._show(subject, about)
            self._states.enter(subject, RingState.UNKNOWN, count.sentence, now)

    def _show(self, subject: Subject, about: Round) -> None:
        if subject.shown is None or subject.shown.started <= about.started:
            subject.shown = about
            self._journal.version += 1

    # -- windows: who doesn't observe a subject learns of it only if a controller reads him --------------------------

    def _news(self, now: float) -> tuple[bytes, int] | None:
        """What a ping or an ack carries."""
        if self.roster is None or is_small(self.roster):
            return None
        if self.window:
            self._windows.heard(self._directory.tag, 0, now)
        return self._windows.next(now)

    def _take_news(self, window: tuple[bytes, int] | None, now: float) -> None:
        if window is not None and self._directory.by_tag(window[0]) is not None:
            self._windows.heard(*window, now)

    def _report(self, subject: Subject, about: Round, now: float, *, renewed: bool) -> None:
        """Tell those windows of a round's result that fall to us this time; once a round."""
        if about.reported:
            return
        about.reported = True
        voters = [name for name, vote in about.votes.items() if vote.vote in {Vote.NONE, Vote.AGENT_DOWN}]
        mine = [
            tag
            for tag in self._windows.open(now)
            if self.node in tellers(about.round_id, tag, voters, 1 if renewed else TELLERS)
        ]
        self._tell_windows(subject, about, mine, now)

    def _withdraw(self, subject: Subject, about: Round, now: float) -> None:
        """Somebody has said ``alive`` in a renewal: some of those who held it for dead tell the windows."""
        assert self._directory.rings is not None
        judges = self._directory.rings.judges(subject.member.uid, second=about.second)
        observers = [member.name for member in judges]
        mine = [
            tag
            for tag in self._windows.open(now)
            if self.node in tellers(about.round_id, tag, observers, TELLERS + 1)
        ]
        self._tell_windows(subject, about, mine, now)

    def _tell_windows(self, subject: Subject, about: Round, windows: Iterable[bytes], now: float) -> None:
        assert self._directory.rings is not None
        assert self.roster is not None
        uid = subject.member.uid
        involved = {member.uid for member in self._directory.rings.judges(uid, second=about.second)} | {uid}
        message = self._pack(about, decisive(about.votes.values(), self.roster, uid))
        for tag in windows:
            member = self._directory.by_tag(tag)
            if member is not None and member.uid not in involved:
                self._sender.tell_all(message, (member,), now)

    def _learn(self, sender: Subject, subject: Subject, message: Votes, now: float) -> None:
        """A round's votes about a member that others observe: check them as anyone can."""
        if self.roster is None or not self.window:
            return
        votes = self._unpack(sender, message, subject)
        shown = subject.shown
        known = shown is not None and shown.round_id == message.round_id
        veto = any(vote.vote is Vote.ALIVE for vote in votes)
        if not known and message.round_id in subject.learned and not veto:
            return  # a copy that comes late; a later round has taken its place
        heard = {(vote.voter, vote.vote) for vote in shown.votes.values()} if shown and known else set()
        if known and (
            any(vote is Vote.ALIVE for _, vote in heard)
            or heard.issuperset((vote.voter, vote.vote) for vote in votes)
        ):
            return  # it says nothing new, or nothing that changes a refuted round: not worth checking signatures
        votes = [vote for vote in votes if not self._refuse(sender, vote, subject)]
        count = tally(votes, self.roster, subject.boot, self._crypto.verify, rings=self._directory.rings)
        if count.alive:
            # It may be about an earlier round than the one that we show, and may overtake a verdict, which then is not
            # believed: who votes it has heard the member just now.
            state, subject.vetoed_at = RingState.UNKNOWN, now
        elif count.unreachable and not subject.heard_since(now - rounds.CLOSE):
            if now - subject.vetoed_at < rounds.CLOSE or self.awareness.isolated:
                return
            state = RingState.UNREACHABLE
        elif count.agent_down:
            state = RingState.AGENT_DOWN
        else:
            return
        if not known:
            subject.learned.append(message.round_id)
            subject.shown = shown = Round(message.round_id, subject.boot, now, closed=True)
        assert shown is not None
        for vote in votes:
            shown.take(vote, now)
        self._journal.version += 1
        if not count.alive:
            subject.confirmed_at = now
            self._states.lapse(subject, now)
        self._states.enter(subject, state, count.sentence, now)

    def _muster(self, now: float) -> None:
        """While anybody is doubted, a window counts heads: only so does its controller know which side is its own.

        No message can carry what is known of thousands within 2 s, so each window asks everybody itself (DESIGN §3,
        "own side"); in a small roster it does so anyway.
        """
        if self.window and not self._mustering and self.roster is not None and not is_small(self.roster):
            self._mustering = True
            self._timers.at(now, self._call_roll)

    def _call_roll(self, now: float, _late: float) -> None:
        assert self.roster is not None
        self._mustering = self.window and any(
            one.state in TROUBLE for one in self._directory.subjects.values()
        )
        if not self._mustering:
            return
        members = self.roster.members
        for _ in range(min(ceil(len(members) * ROLL_STEP / ROLL), MOST_CALLED)):
            self._called = (self._called + 1) % len(members)
            subject = self._directory.subject(members[self._called].uid)
            if subject is None or subject.state is RingState.UNREACHABLE:
                continue
            if subject.two_way_at is None or now - subject.two_way_at > ALIVE_WITHIN - ROLL:
                self._pings.ping(subject, now)
        self._timers.at(now + ROLL_STEP, self._call_roll)

    # -- small parts --------------------------------------------------------------------------------------------

    def _pack(self, about: Round, votes: list[SignedVote]) -> Votes:
        assert self.roster is not None
        by_name = self.roster.by_name
        ballots = fitting(
            Ballot(tag_of(by_name[vote.voter].uid), vote.vote, vote.signature, vote.columns)
            for vote in votes
            if vote.voter in by_name
        )
        return Votes(
            about.round_id,
            tag_of(about.subject.node_uid),
            sent_boot(about.subject.boot_id),
            votes[0].roster_epoch if votes else 0,
            ballots,
        )

    def _valid(self, sender: Subject, message: Votes, subject: Subject) -> list[SignedVote]:
        """Those of the votes that count."""
        votes = self._unpack(sender, message, subject)
        return [vote for vote in votes if not self._refuse(sender, vote, subject)]

    def _pack_look(self, look: Look, votes: Iterable[SignedVote]) -> Votes:
        about = Round(look.round_id, look.subject, look.started)
        return replace(self._pack(about, list(votes)), look=True)

    def _refuse(self, sender: Subject, vote: SignedVote, subject: Subject) -> bool:
        """Whether the vote counts for nothing. It may be another's who has sent it, and whose it says it is another's."""
        assert self.roster is not None
        assert self._directory.rings is not None
        reason = refusal(vote, self.roster, subject.boot, self._crypto.verify, self._directory.rings)
        if reason is not None:
            self._journal.drop(f"vote: {reason}", sender.member.name)
        return reason is not None

    def _unpack(self, sender: Subject, message: Votes, subject: Subject) -> list[SignedVote]:
        votes = []
        for ballot in message.ballots:
            voter = self._directory.by_tag(ballot.tag)
            if voter is None and ballot.tag != self._directory.tag:
                self._journal.drop("vote: not in the roster", sender.member.name)
            elif voter is not None:
                votes.append(
                    SignedVote(
                        voter.name,
                        subject.boot,
                        ballot.vote,
                        message.epoch,
                        message.round_id,
                        ballot.signature,
                        ballot.columns,
                    )
                )
        return votes

    def _round_id(self, *, second: bool = False) -> bytes:
        return rounds.new_id(self._dice.getrandbits(64), second=second)

    def _check_lag(self, now: float) -> None:
        late = self._timers.late(now)
        if late is not None:
            if late > LATE:
                self.stats["late"] += 1
            self.awareness.ran_late(max(0.0, late), now)
