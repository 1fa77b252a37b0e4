"""The detector as a machine without input or output: datagrams, time and answers go in, datagrams and events come out.

The outer loop does nothing but carry: it drains the socket into `receive`, calls `handle_timer` at `next_deadline`,
sends what `datagrams_to_send` returns and acts on `next_event`. `Swim` puts the machine's parts together and gives
each datagram to the one that it concerns; each part is a module and alone writes its fields:

- with all of them (`desk`): who is who (`directory`), what can wait (`timers`), what is told outside (`journal`);
- packets: `sender`, `pings` and their nonces, questions to `kernels`;
- whom we probe: `appointments`, `prober`, `strangers`, and whether we hear at all: `deafness`;
- a subject's state: `states` alone writes it; `leaves`, `doubts`, the `surveyor` whom each doubt waits for;
- rounds: `examinations`, `voting` (with `ballots`), `judgement`;
- windows: whom we tell (`notices`), what we are told (`hearsay`), whom we call (`muster`);
- further networks: `looks`.

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

from collections.abc import Callable, Iterable
from typing import assert_never

from ringfence.core.gossip.anti_entropy import Wish
from ringfence.core.gossip.appointments import Appointments
from ringfence.core.gossip.awareness import Awareness
from ringfence.core.gossip.ballots import Ballots
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.dice import Dice
from ringfence.core.gossip.directory import Directory
from ringfence.core.gossip.doubts import Doubts
from ringfence.core.gossip.events import Event, RosterWanted, Trace
from ringfence.core.gossip.examinations import Examinations
from ringfence.core.gossip.hearsay import Hearsay
from ringfence.core.gossip.journal import Journal
from ringfence.core.gossip.judgement import Judgement
from ringfence.core.gossip.kernels import Kernels
from ringfence.core.gossip.leaves import Leaves
from ringfence.core.gossip.looks import Looks
from ringfence.core.gossip.members import Member, Roster
from ringfence.core.gossip.muster import Muster
from ringfence.core.gossip.notices import Notices
from ringfence.core.gossip.pings import Pings
from ringfence.core.gossip.prober import Prober
from ringfence.core.gossip.report import ALIVE_WITHIN, AgentView, Hearing, SubjectView
from ringfence.core.gossip.sender import Sender
from ringfence.core.gossip.states import TROUBLE, States
from ringfence.core.gossip.strangers import Strangers
from ringfence.core.gossip.subject import Subject
from ringfence.core.gossip.surveyor import Surveyor
from ringfence.core.gossip.timers import Timers
from ringfence.core.gossip.voting import Voting
from ringfence.core.gossip.wire import (
    Ack,
    Ask,
    Crypto,
    Leave,
    Ping,
    Relay,
    Relayed,
    Votes,
    WireError,
    boot_text,
    decode,
    split,
)
from ringfence.core.model import MANAGEMENT, Boot, RingState

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
        self._directory = Directory(node, uid)
        self._journal = Journal()
        self.stats = self._journal.stats
        """What was done and dropped, counted."""
        self.refused = self._journal.refused
        """For each reason to drop something: whose it was last, an address or a member's name."""
        self._timers = Timers(self.awareness, self.stats)
        self._crypto = crypto
        desk = Desk(self._directory, self._timers, self._journal, self.awareness, dice, crypto)
        self._sender = Sender(desk, boot_id, counter)
        self._states = States(desk, self._entered)
        ballots = Ballots(desk)
        self._notices = Notices(desk, self._sender, ballots)
        self._pings = Pings(desk, self._sender, self._notices.news)
        self._muster = Muster(desk, self._notices, self._pings.ping)
        kernels = Kernels(self._journal)
        self._surveyor = Surveyor(desk, self._pings.ping)
        self._prober = Prober(
            desk,
            wall_offset=wall_offset,
            states=self._states,
            sender=self._sender,
            pings=self._pings,
            silent=self._silent,
        )
        self._strangers = Strangers(desk, self._pings.ping, self._prober.probe)
        self._doubts = Doubts(
            desk,
            states=self._states,
            sender=self._sender,
            surveyor=self._surveyor,
            # A doubt leads to a round, that to an examination, a vote and a judgement, and that perhaps to a next round.
            join=lambda subject, round_id, now: self._voting.join(subject, round_id, now, now),
        )
        self._leaves = Leaves(
            desk,
            states=self._states,
            sender=self._sender,
            kernels=kernels,
            doubt=self._doubts.doubt,
        )
        self._looks = Looks(
            desk,
            wall_offset=wall_offset,
            sender=self._sender,
            pings=self._pings,
            kernels=kernels,
            ballots=ballots,
            windows=self._notices.windows,
            doubt_again=self._doubts.ask,
        )
        self._appointments = Appointments(
            desk,
            states=self._states,
            prober=self._prober,
            looks=self._looks,
        )
        examinations = Examinations(
            desk,
            pings=self._pings,
            kernels=kernels,
            surveyor=self._surveyor,
            looks=self._looks,
            conclude=lambda subject, vote, now, columns: self._voting.vote_all(subject, vote, now, columns),  # noqa: PLW0108 (likewise)
        )
        self._voting = Voting(
            desk,
            sender=self._sender,
            ballots=ballots,
            notices=self._notices,
            hearsay=Hearsay(desk, states=self._states, ballots=ballots, notices=self._notices),
            examine=examinations.begin,
            judge=Judgement(desk, states=self._states, notices=self._notices, doubts=self._doubts).judge,
        )
        self._wish = Wish()

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
    def version(self) -> int:
        """Changes with every change of what `view` says beyond ages."""
        return self._journal.version

    @property
    def window(self) -> bool:
        """Whether somebody reads our view: then the observers of all members are asked to tell us their verdicts."""
        return self._notices.window

    @window.setter
    def window(self, window: bool) -> None:
        self._notices.window = window

    @property
    def trace(self) -> Trace | None:
        """Who wants to be told of every step; nobody, as a rule."""
        return self._journal.trace

    @trace.setter
    def trace(self, trace: Trace | None) -> None:
        self._journal.trace = trace

    def follow(self, shown: Callable[[str], None]) -> None:
        """From now on tell of whom (by UID) `view` shows another round, or more of its votes."""
        self._journal.on_shown = shown

    def install(self, roster: Roster, now: float) -> bool:
        """Take over a roster whose signature has been checked. Returns False for one that is not newer."""
        if self.roster is not None and roster.epoch <= self.roster.epoch:
            return False
        for gone in self._directory.install(roster, now):
            self._looks.forget(gone)
        self._appointments.draw(now)
        self._strangers.install(now)
        self._journal.version += 1
        return True

    def receive(self, datagram: bytes, address: str, now: float, *, at: float | None = None) -> None:
        """Take in one datagram from this IP address. Nothing that it may contain raises.

        ``at`` is when the kernel received it, where that is known. All that it tells is dated by that: an agent that wakes
        from a pause finds in its socket what was true when it fell asleep. Whether it takes a verdict back doesn't hang on its
        age: as a veto every datagram counts when it is read.
        """
        self._timers.check(now)
        try:
            self._receive(datagram, address, now, now if at is None else min(at, now))
        except WireError as error:
            self._journal.drop(error.args[0], address)

    def handle_timer(self, now: float) -> None:
        """Do everything that is due."""
        self._timers.check(now)
        self._timers.run(now)

    def lack(self, networks: frozenset[str], now: float) -> None:
        """These networks' addresses, which the roster has for us, aren't ours to send from: we say nothing of them."""
        self._appointments.lack(networks, now)

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
            sent_at=now,
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

    def known(self, uid: str) -> Subject | None:
        """The member of this UID, if it is one of `subjects`."""
        return self._directory.subjects.get(uid)

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

    # -- datagrams ----------------------------------------------------------------------------------------------

    def _receive(self, datagram: bytes, address: str, now: float, at: float) -> None:
        header, head, sealed = split(datagram)
        if header.key not in self._crypto.held:
            raise WireError("unknown key")
        subject = self._directory.subject_by_tag(header.tag)
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
        if self._wish.heard(epoch, self._directory.roster, now):
            self._journal.tell(RosterWanted(subject.member.uid, address))
        self.stats["received"] += 1
        if self._journal.trace is not None:
            self._journal.trace("received", header.tag, message)
        if isinstance(message, Ack):  # first of all: what follows from hearing finds it alive
            self._on_ack(subject, message.nonce, address, now, at)
        self._heard(subject, now, at)
        match message:
            case Ping(nonce, window):
                self._notices.take_news(window, at)
                if now - at <= STALE:
                    # Else we have slept, and would wake with a thousand answers that nobody waits for.
                    self._pings.answer(subject, nonce, address, now)
            case Ack(_, window):
                self._notices.take_news(window, at)
            case Relay(nonce, tag):
                self._pings.relay(subject, nonce, tag, address, now)
            case Relayed(nonce):
                self._pings.relayed(nonce, at)
            case Ask(look=True):
                self._looks.on_ask(subject, self._directory.subject_by_tag(message.tag), message, now, at)
            case Votes(look=True):
                self._looks.on_votes(subject, self._directory.subject_by_tag(message.tag), message, now, at)
            case Ask():
                self._voting.on_ask(subject, message, now, at)
            case Votes():
                self._voting.on_votes(subject, message, now, at)
            case Leave(signature):
                self._leaves.take(subject, signature, now)
            case _:
                assert_never(message)

    def _meet_boot(self, subject: Subject, boot_id: str, now: float) -> None:
        old = subject.state
        subject.reset(Boot(subject.member.name, subject.member.uid, boot_id), now, met=True)
        self._states.note(subject, old, f"it runs another boot now ({boot_id[:8]})")

    def _heard(self, subject: Subject, now: float, at: float) -> None:
        subject.heard_at = max(at, subject.heard_at or at)  # each network's socket is read by itself
        if subject.state is RingState.UNREACHABLE:
            # Who doesn't probe it can't go on from `partial`: no answer would ever end that.
            state = RingState.PARTIAL if subject.observed else RingState.UNKNOWN
            self._states.enter(subject, state, "a packet of it came, though it answers no probe", now)
            self._voting.veto(subject, now)
        self._voting.heard(subject, now)

    def _on_ack(self, subject: Subject, nonce: int, address: str, now: float, at: float) -> None:
        sent = self._pings.take(subject, nonce)
        if sent is None:
            return
        came = max(at, sent.sent_at)  # wall clocks are set, and stamps go by them
        trip = came - sent.sent_at
        if sent.network != MANAGEMENT:
            # Where the management network is silent an answer on another one ends no doubt: that it is heard, a veto, is all.
            if address == subject.member.on(sent.network):
                self._looks.answered(subject, sent.network, trip, now, came)
            return
        self._looks.answered(subject, MANAGEMENT, trip, now, came)
        self._prober.answered(subject, sent.sent_at, trip, came)
        self._surveyor.answered(subject, sent.sent_at, now)
        if subject.observed and subject.state is not RingState.ALIVE:
            subject.ask_at, subject.back_off = None, 0.0
            self._states.enter(subject, RingState.ALIVE, "it answers", now)
        elif not subject.observed and subject.state is not RingState.UNKNOWN:
            self._states.enter(subject, RingState.UNKNOWN, "it answers", now)

    def _silent(self, subject: Subject, now: float) -> None:
        """A member that we observe has answered neither us nor the relays."""
        if self._directory.runs_another(subject):
            old = subject.state
            subject.reset(subject.member.boot, now, met=False)
            self._states.note(subject, old, "it is silent, and the roster knows another boot of it")
            return
        if subject.state is RingState.LEFT:
            self._leaves.still_left(subject, now)
        elif subject.state in {RingState.ALIVE, RingState.UNKNOWN, RingState.PARTIAL}:
            self._doubts.doubt(subject, now)

    def _entered(self, subject: Subject, now: float) -> None:
        """It has another state now: what that sets off elsewhere."""
        if subject.state in TROUBLE:
            self._muster.call(now)
        if subject.state is RingState.PARTIAL:
            self._looks.want(subject, now)
        if subject.state is RingState.ALIVE:
            self._voting.veto(subject, now)
