"""Self-fence: the node's machine, the controller's count, and that the second never overtakes the first."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ringfence.core import timing
from ringfence.core.fencing.proof import SelfFenced
from ringfence.core.fencing.selffence import (
    NEVER,
    Feeder,
    Leg,
    Promise,
    Roll,
    SlotLook,
    Turn,
    Wait,
    WatchdogLook,
    Word,
    assume,
    lease_holder,
    revocation,
    trouble_with,
    words_needed,
)
from ringfence.core.model import Boot

BOOT = Boot("n1", "uid-1", "boot-1")
ISOLATION, TIMEOUT = 10.0, 60.0
ASSUME = timing.self_fence_seconds(ISOLATION, TIMEOUT) + 0.01
PROMISE = Promise(ISOLATION, TIMEOUT, frozenset({Leg.GOSSIP, Leg.API}))
WITH_SLOT = replace(PROMISE, legs=PROMISE.legs | {Leg.STORAGE})
LEGS = frozenset({Leg.GOSSIP, Leg.API})


def word(looked_at: float, held: float | None, *, since: float = 0.0, disarm: bool = False) -> Word:
    legs = {} if held is None else {Leg.GOSSIP: held}
    return Word(looked_at, since, legs, leave=True, disarm=disarm)


def feeder(*words: Word | None, started: float = 0.0, fed_at: float = NEVER) -> Feeder:
    made = Feeder(started, ISOLATION, TIMEOUT, fed_at)
    for one in words:
        made.hear(one)
    return made


# --- the feeder -------------------------------------------------------------------------------------------------


def test_it_feeds_while_any_leg_holds() -> None:
    fed = feeder(Word(5.0, 0.0, {Leg.GOSSIP: NEVER, Leg.API: 4.0}, leave=True))
    assert fed.turn(5.0).feed
    assert fed.turn(13.9).feed
    assert not fed.turn(14.0).feed


def test_a_new_process_waits_for_a_leg_of_its_own_time() -> None:
    new = feeder(word(20.0, 19.0), started=19.5)
    assert new.turn(20.0) == Turn(why="no leg has held since the feeder began")
    new.hear(word(21.0, 20.5))
    assert new.turn(21.0).feed


def test_it_does_not_open_before_the_agent_has_leave() -> None:
    """A report of this boot may still promise less time than this process would take."""
    new = feeder(replace(word(20.0, 20.0), leave=False), started=19.0)
    assert new.turn(20.0) == Turn(why="the API server has not taken a report of this agent yet")
    new.hear(word(20.0, 20.0))
    assert new.turn(20.0).feed
    new.fed(20.0, 20.0)
    new.hear(
        replace(word(21.0, 21.0), leave=False)
    )  # an agent that has just started, over a watchdog that runs
    assert new.turn(21.0).feed


def test_an_attentive_agent_without_a_leg_costs_the_guests_first() -> None:
    fed = feeder(word(5.0, 5.0))
    assert fed.turn(5.0).feed
    fed.fed(5.0, 5.0)
    fed.hear(word(14.9, 5.0))
    assert fed.turn(14.9).feed
    fed.hear(word(15.0, 5.0))
    turn = fed.turn(15.0)
    assert turn.stop_guests
    assert not turn.feed


def test_an_agent_that_was_stopped_looks_anew_before_guests_are_stopped() -> None:
    """After eleven seconds of SIGSTOP the first look finds old legs only: that shows nothing about the network."""
    fed = feeder(word(5.0, 5.0))
    fed.fed(5.0, 5.0)
    fed.hear(word(16.0, 5.0, since=16.0))
    assert fed.turn(16.0) == Turn(why="the agent is silent")
    fed.hear(word(17.0, 16.9, since=16.0))
    assert fed.turn(17.0).feed


@pytest.mark.parametrize("silent_for", [11.0, 30.0, TIMEOUT - timing.GUESTS_BEFORE - 0.1])
def test_a_silent_agent_costs_no_guest_until_the_bite_is_near(silent_for: float) -> None:
    fed = feeder(word(5.0, 5.0))
    fed.fed(5.0, 5.0)
    turn = fed.turn(5.0 + silent_for)
    assert not turn.feed
    assert not turn.stop_guests


def test_right_before_the_bite_the_guests_are_stopped() -> None:
    fed = feeder(word(5.0, 5.0))
    fed.fed(5.0, 5.0)
    assert fed.turn(5.0 + TIMEOUT - timing.GUESTS_BEFORE).stop_guests


def test_it_disarms_only_on_the_word_of_an_agent_of_its_own_time() -> None:
    old = feeder(word(5.0, 5.0, disarm=True), started=6.0, fed_at=4.0)
    assert not old.turn(7.0).disarm
    old.hear(word(7.0, 5.0, disarm=True))
    assert old.turn(7.0).disarm
    old.disarmed()
    assert old.turn(8.0) == Turn(why="the agent has signed off")
    old.hear(word(9.0, 9.0))
    assert old.turn(9.0).feed, "the next agent arms it again"


def test_an_earlier_process_watchdog_runs_on() -> None:
    inherited = feeder(None, started=10.0, fed_at=9.0)
    assert inherited.running
    assert not feeder(None, started=9.0 + TIMEOUT, fed_at=9.0).running, (
        "it should have bitten before: it does not run"
    )


def test_a_feeding_that_came_late_is_made_good() -> None:
    fed = feeder(word(5.0, 5.0))
    assert fed.fed(14.0, 15.5) is None
    assert fed.fed(14.0, 30.0) == pytest.approx(15.0 + TIMEOUT - 30.0)
    assert fed.fed(14.0, 80.0) == 0.0


# --- the count --------------------------------------------------------------------------------------------------

NOW = 1000.0
OVER = WatchdogLook(
    "dogs",
    promise=PROMISE,
    assume_after=ASSUME,
    revoked_at=NOW - ASSUME - 1.0,
    roll=Roll(NOW - 0.5, frozenset({"n2", "n3"}), NOW - ASSUME - 2.0, 2),
)


def test_it_is_proved_when_the_time_is_over_and_all_needed_have_spoken() -> None:
    proof = assume(BOOT, OVER, NOW - ASSUME - 3.0, NOW)
    assert isinstance(proof, SelfFenced)
    assert (proof.boot, proof.device, proof.seen_at) == (BOOT, "dogs", OVER.revoked_at)
    assert "n2, n3" in proof.detail


def test_first_the_lease_is_revoked() -> None:
    assert assume(BOOT, replace(OVER, revoked_at=None), NEVER, NOW) == Wait(
        "its agent's Lease is being revoked", ASSUME, revoke=True
    )
    failed = replace(OVER, revoked_at=None, error="the API server is away", next_try_at=NOW + 1.0)
    assert assume(BOOT, failed, NEVER, NOW) == Wait("the API server is away", ASSUME)


@pytest.mark.parametrize("what", ["life", "revocation", "word"])
def test_the_clock_begins_anew_with_whatever_comes_last(what: str) -> None:
    look, life = OVER, NOW - ASSUME - 3.0
    match what:
        case "life":
            life = NOW - 30.0
        case "revocation":
            look = replace(look, revoked_at=NOW - 30.0)
        case "word":
            look = replace(look, roll=Roll(NOW - 0.5, frozenset({"n2", "n3"}), NOW - 30.0, 2))
    waits = assume(BOOT, look, life, NOW)
    assert isinstance(waits, Wait)
    assert waits.remaining == pytest.approx(ASSUME - 30.0)


def test_what_was_asked_before_the_time_was_over_does_not_count() -> None:
    early = replace(OVER, roll=Roll(NOW - 5.0, frozenset({"n2", "n3"}), NOW - ASSUME - 2.0, 2))
    assert assume(BOOT, early, NEVER, NOW) == Wait("its time is over, looking once more", 0.0, look=True)
    assert assume(BOOT, replace(early, busy=True), NEVER, NOW) == Wait(
        "its time is over, looking once more", 0.0
    )


def test_too_few_words_are_asked_for_again() -> None:
    few = replace(OVER, roll=Roll(NOW - 0.5, frozenset({"n2"}), NOW - ASSUME - 2.0, 2))
    waits = assume(BOOT, few, NEVER, NOW)
    assert waits == Wait(
        "its time is over, but only 1 of the 2 agents needed have said that they don't hear it", 0.0
    )
    assert assume(BOOT, few, NEVER, NOW + timing.ROLL_AGAIN) == replace(waits, look=True)


def test_what_is_unusable_is_never_assumed() -> None:
    waits = assume(BOOT, replace(OVER, unusable="it is not armed"), NEVER, NOW)
    assert waits == Wait("it is not armed", ASSUME)


FED_BY_SLOT = replace(
    OVER, promise=WITH_SLOT, slot=SlotLook(NOW - 0.5, NOW - ASSUME - 2.0, frozenset({"n3"}))
)


def test_a_slot_that_nobody_can_read_counts_as_written() -> None:
    """The storage hangs for whoever could look: the node may write all the while, and be fed by it."""
    for unread in (None, SlotLook(NOW - 5.0, NOW - ASSUME - 2.0, frozenset({"n3"}))):
        waits = assume(BOOT, replace(FED_BY_SLOT, slot=unread), NEVER, NOW)
        assert isinstance(waits, Wait)
        assert "counts as written" in waits.reason
        assert not waits.look, "not before the pause is over"
        assert assume(BOOT, replace(FED_BY_SLOT, slot=unread), NEVER, NOW + timing.ROLL_AGAIN) == replace(
            waits, look=True
        )


def test_a_slot_that_was_written_begins_the_count_anew() -> None:
    written = replace(FED_BY_SLOT, slot=SlotLook(NOW - 0.5, NOW - 30.0, frozenset({"n3"})))
    waits = assume(BOOT, written, NEVER, NOW)
    assert isinstance(waits, Wait)
    assert waits.remaining == pytest.approx(ASSUME - 30.0)


def test_a_slot_that_stood_still_for_the_whole_time_lets_it_be_assumed() -> None:
    proof = assume(BOOT, FED_BY_SLOT, NEVER, NOW)
    assert isinstance(proof, SelfFenced)
    assert "its storage slot not written since, as n3 reads it" in proof.detail


def test_a_slot_that_feeds_nothing_need_not_be_read() -> None:
    assert isinstance(assume(BOOT, replace(OVER, slot=None), NEVER, NOW), SelfFenced)


@pytest.mark.parametrize("members", range(2, 40))
def test_the_words_meet_every_majority_of_the_node(members: int) -> None:
    others = members - 1
    in_reach_at_least = members // 2 + 1 - 1
    assert words_needed(members, settled=True) + in_reach_at_least > others
    assert words_needed(members, settled=True) <= others
    assert words_needed(members, settled=False) == others


def test_times_that_do_not_fit_are_told() -> None:
    assert trouble_with(PROMISE, 10.0, 60.0, 80.0, LEGS) is None
    longer = replace(PROMISE, timeout=64.0)
    assert "raise the zone's times" in (trouble_with(longer, 10.0, 60.0, 80.0, LEGS) or "")
    assert "too short" in (trouble_with(PROMISE, 10.0, 60.0, 75.0, LEGS) or "")
    lonely = replace(PROMISE, legs=frozenset({Leg.API}))
    assert "ring" in (trouble_with(lonely, 10.0, 60.0, 80.0, LEGS) or "")


def test_a_leg_that_the_zone_does_not_count_is_told() -> None:
    told = trouble_with(WITH_SLOT, 10.0, 60.0, 80.0, LEGS) or ""
    assert "fed by Storage" in told
    assert "spec.fencing.watchdog.legs" in told
    assert trouble_with(WITH_SLOT, 10.0, 60.0, 80.0, LEGS | {Leg.STORAGE}) is None
    assert trouble_with(PROMISE, 10.0, 60.0, 80.0, LEGS | {Leg.STORAGE}) is None, "a leg less is more said"
    unknown = replace(PROMISE, legs=PROMISE.legs | {"Telepathy"})
    assert "Telepathy" in (trouble_with(unknown, 10.0, 60.0, 80.0, LEGS | {Leg.STORAGE, "Telepathy"}) or "")


def test_the_marker_names_the_boot() -> None:
    assert revocation(lease_holder(BOOT)) == "revoked/uid-1/boot-1"


# --- both sides, whatever happens -----------------------------------------------------------------------------

STEP = 0.5


@dataclass
class Peer:
    """Another member: when it last heard the node, and since when it can tell."""

    up: bool = True
    began: float = 0.0
    heard: float | None = None


@dataclass
class Trial:
    """One node with its watchdog, its peers and a controller, in real time ``t`` (which is the controller's clock)."""

    peers: dict[str, Peer]
    rate: float
    """Of the node's clock; of its watchdog's own too."""
    dog_rate: float
    t: float = 0.0
    hears: set[str] = field(default_factory=set)
    """Peers whose answers the node gets (and who hear it)."""
    deaf: set[str] = field(default_factory=set)
    """Peers that hear the node without its getting their answers."""
    asked: set[str] = field(default_factory=set)
    """Peers that the controller reaches."""
    api: bool = True
    agent: str = "runs"
    feeding: str = "runs"
    alive: bool = True
    guest: bool = True
    revoked: bool = False
    proof_at: float | None = None
    disk: str = "works"
    """The node's way to the heartbeat volume: works, hangs, or is gone."""
    watched: bool = True
    """Whether anybody can read the volume for the controller."""
    _writing: float | None = None
    """When the write began that hangs, by the node's clock."""
    _slot_held: float | None = None
    _sequence: int = 0
    _seen: tuple[int, float] = (0, NEVER)
    """The sequence that was last read, and when it was another than before."""
    _acked: dict[str, float] = field(default_factory=dict)
    _api_held: float | None = None
    _attentive: float = 0.0
    _looked: float = NEVER
    _word: Word | None = None
    _feeder: Feeder = field(default_factory=lambda: Feeder(0.0, ISOLATION, TIMEOUT))
    _fed: float | None = None
    """When the watchdog was last fed, in real time."""
    look: WatchdogLook = field(
        default_factory=lambda: WatchdogLook("dogs", promise=PROMISE, assume_after=ASSUME)
    )
    controls: bool = False

    def x(self) -> float:
        return self.t * self.rate

    def step(self) -> None:
        self.t += STEP
        if self._fed is not None and (self.t - self._fed) * self.dog_rate >= TIMEOUT:
            self.alive = self.guest = False
        if self.alive:
            self._heartbeat()
            self._agent()
            self._feed()
        self._watch()
        if self.controls:
            self._control()

    def _heartbeat(self) -> None:
        """A process of its own: it writes while the agent stands still."""
        if self._writing is None:
            self._writing = self.x()
        if self.disk == "works":
            self._sequence += 1
            self._slot_held, self._writing = self._writing, None
        elif self.disk == "gone":
            self._writing = None

    def _watch(self) -> None:
        if self.watched and self._sequence != self._seen[0]:
            self._seen = (self._sequence, self.t)

    def _agent(self) -> None:
        if self.agent != "runs":
            return
        now = self.x()
        for name in self.hears | self.deaf:
            if self.peers[name].up:
                self.peers[name].heard = self.t
                if name in self.hears:
                    self._acked[name] = now
        if self.api and not self.revoked and round(self.t / STEP) % round(5 / STEP) == 0:
            self._api_held = now
        if now - self._looked > 2.0:
            self._attentive = now
        self._looked = now
        need = (len(self.peers) + 1) // 2
        answers = sorted(self._acked.values(), reverse=True)
        held = {Leg.GOSSIP: answers[need - 1]} if len(answers) >= need else {}
        if self._api_held is not None:
            held[Leg.API] = self._api_held
        assert self.look.promise is not None
        if self._slot_held is not None and Leg.STORAGE in self.look.promise.legs:
            held[Leg.STORAGE] = self._slot_held
        self._word = Word(now, self._attentive, held, leave=True)

    def _feed(self) -> None:
        if self.feeding != "runs":
            return
        now = self.x()
        self._feeder.hear(self._word)
        turn = self._feeder.turn(now)
        if turn.feed:
            self._fed = self.t
            self._feeder.fed(now, now)
        if turn.stop_guests:
            self.guest = False

    def _control(self) -> None:
        found = assume(BOOT, self.look, NEVER, self.t)
        if isinstance(found, SelfFenced):
            self.proof_at = self.proof_at or self.t
            assert not self.guest, f"assumed at {self.t}, and the guest still writes"
            assert not self.alive
        elif found.revoke:
            self.revoked = True
            self.look = replace(self.look, revoked_at=self.t)
        elif found.look:
            silent = {n for n in self.asked if self.peers[n].up}
            heard = max(
                (p.heard if p.heard is not None else p.began for n in silent for p in [self.peers[n]]),
                default=NEVER,
            )
            needed = words_needed(len(self.peers) + 1, settled=True)
            slot = SlotLook(self.t, self._seen[1], frozenset({"n3"})) if self.watched else self.look.slot
            self.look = replace(self.look, roll=Roll(self.t, frozenset(silent), heard, needed), slot=slot)

    def do(self, what: str, who: set[str]) -> None:
        match what:
            case "hears":
                self.hears = who
            case "deaf":
                self.deaf = who
            case "asked":
                self.asked = who
            case "api":
                self.api = not self.api
            case "stop agent":
                self.agent = "stopped"
            case "go on agent":
                self.agent = "runs"
            case "new agent":
                self.agent, self._acked, self._api_held = "runs", {}, None
                self._attentive = self._looked = self.x()
            case "stop feeder":
                self.feeding = "stopped"
            case "go on feeder":
                self.feeding = "runs"
            case "new feeder":
                self.feeding = "runs"
                self._feeder = Feeder(self.x(), ISOLATION, TIMEOUT, self._feeder.fed_at)
            case "restart peers":
                for name in who:
                    self.peers[name] = Peer(began=self.t)
            case "peers down":
                for name, peer in self.peers.items():
                    peer.up = name not in who
            case "control":
                self.controls = True
            case "disk works" | "disk hangs" | "disk gone":
                self.disk = what.split()[1]
            case "watched":
                self.watched = not self.watched


NAMES = ["n2", "n3", "n4", "n5", "n6"]
WHAT = [
    "hears",
    "hears",
    "hears",
    "deaf",
    "asked",
    "api",
    "stop agent",
    "go on agent",
    "new agent",
    "stop feeder",
    "go on feeder",
    "new feeder",
    "restart peers",
    "peers down",
    "control",
]
DISK = ["disk works", "disk hangs", "disk gone", "watched"]  # fmt: skip
rates = st.floats(1 - timing.CLOCK_RATE_BOUND, 1 + timing.CLOCK_RATE_BOUND)
delays = st.sampled_from([0.0, 0.5, 3.0, 9.0, 11.0, 35.0, 61.0, 70.0, 80.0])
deeds = st.tuples(delays, st.sampled_from(WHAT), st.sets(st.sampled_from(NAMES)))
disk_deeds = st.tuples(delays, st.sampled_from([*WHAT, *DISK, *DISK]), st.sets(st.sampled_from(NAMES)))


def trial(count: int, rate: float = 1.0, dog_rate: float = 1.0, promise: Promise = PROMISE) -> Trial:
    names = NAMES[:count]
    made = Trial({name: Peer() for name in names}, rate, dog_rate)
    made.look = replace(made.look, promise=promise)
    made.hears = made.asked = set(names)
    return made


def play(run: Trial, script: list[tuple[float, str, set[str]]], then: float) -> None:
    for delay, what, who in script:
        end = run.t + delay
        while run.t < end:
            run.step()
        run.do(what, who & run.peers.keys())
    end = run.t + then
    while run.t < end:
        run.step()


@settings(max_examples=120, deadline=None, print_blob=True)
@given(st.integers(1, 5), rates, rates, st.lists(deeds, max_size=9))
@example(2, 1.0, 1.0, [(9.0, "control", set()), (0.5, "hears", {"n2"}), (0.0, "asked", {"n3"})])
@example(2, 1.0, 1.0, [(9.0, "control", set()), (61.0, "hears", set()), (0.0, "restart peers", {"n2", "n3"})])
def test_nothing_is_assumed_of_a_guest_that_still_writes(
    others: int, rate: float, dog_rate: float, script: list[tuple[float, str, set[str]]]
) -> None:
    """Under any interleaving of cuts, agents and feeders that stop, go on or start anew, and clocks within the bound."""
    play(trial(others, rate, dog_rate), [(3.0, "hears", set(NAMES)), *script], ASSUME + 20.0)


CUT = [(20.0, "hears", set[str]()), (0.0, "api", set[str]())]
CONTROL = (3.0, "control", set[str]())


@settings(max_examples=150, deadline=None, print_blob=True)
@given(st.integers(1, 5), rates, rates, st.lists(disk_deeds, max_size=9))
@example(2, 1.0, 1.0, [*CUT, CONTROL])
@example(2, 1.0, 1.0, [*CUT, (0.0, "watched", set()), CONTROL])
@example(
    2, 1.0, 1.0, [*CUT, CONTROL, (9.0, "watched", set()), (61.0, "disk gone", set()), (9.0, "watched", set())]
)
@example(2, 1.0, 1.0, [*CUT, (0.0, "disk hangs", set()), CONTROL, (9.0, "disk works", set())])
def test_nothing_is_assumed_of_a_node_that_its_slot_may_feed(
    others: int, rate: float, dog_rate: float, script: list[tuple[float, str, set[str]]]
) -> None:
    """The same with the slot as a third leg, whose storage works, hangs or is gone, for the node or for who looks."""
    run = trial(others, rate, dog_rate, WITH_SLOT)
    play(run, [(3.0, "hears", set(NAMES)), *script], ASSUME + 20.0)


def test_a_node_that_has_nothing_but_its_slot_lives_and_nothing_is_assumed() -> None:
    run = trial(4, promise=WITH_SLOT)
    play(run, [*CUT, CONTROL], 3 * ASSUME)
    assert run.alive
    assert run.guest
    assert run.proof_at is None


def test_a_node_that_loses_its_slot_too_is_proved_in_time() -> None:
    run = trial(4, promise=WITH_SLOT)
    play(run, [*CUT, CONTROL, (9.0, "disk gone", set())], ASSUME + 5.0)
    assert not run.alive
    assert run.proof_at is not None
    assert run.proof_at - 32.0 < ASSUME + 3 * STEP


def test_a_node_whose_slot_nobody_reads_is_never_assumed_of() -> None:
    run = trial(4, promise=WITH_SLOT)
    play(run, [*CUT, CONTROL, (0.0, "watched", set()), (0.0, "disk gone", set())], 3 * ASSUME)
    assert not run.alive
    assert run.proof_at is None
    play(run, [(0.0, "watched", set())], ASSUME + 5.0)
    assert run.proof_at is not None


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5), rates, rates)
def test_a_node_cut_from_everything_is_proved_in_time(others: int, rate: float, dog_rate: float) -> None:
    run = trial(others, rate, dog_rate)
    play(run, [(20.0, "hears", set()), (0.0, "api", set()), (3.0, "control", set())], ASSUME + 5.0)
    assert not run.alive
    assert run.proof_at is not None
    assert run.proof_at - 20.0 < ASSUME + 3.0 + 3 * STEP


@pytest.mark.parametrize("what", ["api", "hears"])
def test_one_leg_is_enough(what: str) -> None:
    """An outage of the API server, or of the ring, resets nobody."""
    run = trial(4)
    play(run, [(20.0, what, set())], 200.0)
    assert run.alive
    assert run.guest


@pytest.mark.parametrize("gone_for", [11.0, 30.0, 55.0])
def test_an_agent_that_is_away_for_less_than_the_time_out_costs_nothing(gone_for: float) -> None:
    for back in ("go on agent", "new agent"):
        run = trial(4)
        play(run, [(20.0, "stop agent", set()), (gone_for, back, set())], 100.0)
        assert run.alive
        assert run.guest


def test_an_agent_that_stays_away_costs_the_node() -> None:
    run = trial(4)
    play(run, [(20.0, "stop agent", set())], ISOLATION + TIMEOUT + 2.0)
    assert not run.alive
