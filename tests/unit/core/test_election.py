"""Two candidates, one Lease, clocks that disagree, writes that take their time or are lost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.core.election import Election, LeaseAction, LeaseView
from ringfence.core.timing import (
    CLOCK_RATE_BOUND,
    LEASE_DURATION,
    LEASE_GIVE_WAY,
    LEASE_RENEW,
    LEASE_RETRY,
    LEASE_UNABLE,
    ORDER_MARGIN,
)

TICK = 0.05


def held(by: str, epoch: int = 1, version: str = "1") -> LeaseView:
    return LeaseView(by, epoch, version)


@dataclass
class Store:
    """The API server: one Lease, guarded by its version."""

    lease: LeaseView | None = None
    version: int = 0

    def write(self, before: LeaseView | None, holder: str) -> LeaseView | None:
        if self.lease != before:
            return None
        self.version += 1
        changed = before is None or before.holder != holder
        self.lease = LeaseView(holder, (before.epoch if before else 0) + changed, str(self.version))
        return self.lease


@dataclass
class Candidate:
    name: str
    rate: float
    offset: float
    election: Election = field(init=False)
    frozen_until: float = 0.0
    cut: bool = False

    def __post_init__(self) -> None:
        self.election = Election(self.name)

    def clock(self, now: float) -> float:
        return self.offset + now * self.rate

    def leads(self, now: float) -> bool:
        return self.election.leads(self.clock(now))

    def turn(self, store: Store, now: float, took: float, *, answered: bool) -> None:
        """One turn: the request was sent ``took`` ago and is answered now, or its answer is lost."""
        if now < self.frozen_until or self.cut:
            return
        own = self.clock(now)
        self.election = self.election.observe(store.lease, own)
        action = self.election.action(own)
        if action is LeaseAction.NOTHING:
            return
        self.election = self.election.tried(own)
        written = store.write(self.election.view, self.name)
        if written is not None and answered:
            self.election = self.election.succeeded(written, own - took, own)


disturbances = st.lists(
    st.tuples(
        st.integers(0, 500),
        st.sampled_from([0, 1]),
        st.sampled_from(["freeze", "cut", "join", "lose"]),
        st.floats(0.1, 8.0),
    ),
    max_size=8,
)
rates = st.floats(1 - CLOCK_RATE_BOUND / 2, 1 + CLOCK_RATE_BOUND / 2)


@settings(max_examples=60, deadline=None)
@given(rates, rates, st.floats(0.0, 1e5), st.floats(0.0, 0.3), disturbances)
def test_never_two_leaders(
    first: float, second: float, offset: float, took: float, script: list[tuple[int, int, str, float]]
) -> None:
    store = Store()
    both = (Candidate("a", first, 0.0), Candidate("b", second, offset))
    lossy = [0.0, 0.0]
    epochs: dict[int, str] = {}
    for tick in range(600):
        now = tick * TICK
        for at, who, what, seconds in script:
            if at == tick and what == "freeze":
                both[who].frozen_until = now + seconds
            elif at == tick and what == "lose":
                lossy[who] = now + seconds
            elif at == tick:
                both[who].cut = what == "cut"
        for i, candidate in enumerate(both):
            candidate.turn(store, now, took, answered=now >= lossy[i])
            # A frozen leader doesn't act, but an order of its that is on the way carries its deadline: that counts.
            assert not all(c.leads(now) for c in both)
        for candidate in both:
            if candidate.leads(now):
                assert epochs.setdefault(candidate.election.epoch, candidate.name) == candidate.name


def test_takeover_within_the_lease_and_a_retry() -> None:
    store, a, b = Store(), Candidate("a", 1.0, 0.0), Candidate("b", 1.0, 50.0)
    died_at, now = 10.0, 0.0
    while not b.leads(now):
        now += TICK
        if now < died_at:
            a.turn(store, now, 0.0, answered=True)
            assert now < 1.0 or a.leads(now)
        b.turn(store, now, 0.0, answered=True)
    assert now - died_at <= LEASE_DURATION + LEASE_RETRY
    assert b.election.epoch == 2


def test_a_frozen_leaders_deadline_has_passed_when_another_can_lead() -> None:
    a = Election("a").observe(None, 0.0)
    a = a.succeeded(held("a"), sent_at=0.0, now=0.9)
    assert a.deadline() == LEASE_DURATION - ORDER_MARGIN, "it counts from the sending, not from the answer"
    b = Election("b").observe(held("a"), 0.0)
    earliest = next(t / 100 for t in range(1000) if b.action(t / 100) is LeaseAction.ACQUIRE)
    assert earliest == LEASE_DURATION
    assert not a.leads(earliest * (1 - CLOCK_RATE_BOUND))
    assert earliest * (1 - CLOCK_RATE_BOUND) - a.deadline() > 0.9 * ORDER_MARGIN - 0.1


def test_who_has_seen_nothing_does_nothing() -> None:
    assert Election("a").action(1e9) is LeaseAction.NOTHING
    assert not Election("a").leads(0.0)


def test_actions() -> None:
    nobody = Election("a").observe(None, 0.0)
    assert nobody.action(0.0) is LeaseAction.CREATE
    assert nobody.tried(0.0).action(LEASE_RETRY - 0.01) is LeaseAction.NOTHING
    assert nobody.tried(0.0).action(LEASE_RETRY) is LeaseAction.CREATE
    given_back = Election("a").observe(held(""), 0.0)
    assert given_back.action(0.0) is LeaseAction.ACQUIRE
    other = Election("a").observe(held("b"), 0.0)
    assert other.action(LEASE_DURATION - 0.01) is LeaseAction.NOTHING
    assert other.action(LEASE_DURATION) is LeaseAction.ACQUIRE
    renewed = other.observe(held("b", version="2"), 3.0)
    assert renewed.action(LEASE_DURATION) is LeaseAction.NOTHING
    assert renewed.observe(held("b", version="2"), 5.0).seen_at == 3.0, "seeing the same again is no renewal"
    mine = nobody.succeeded(held("a"), 1.0, 1.1)
    assert mine.action(1.0 + LEASE_RENEW - 0.01) is LeaseAction.NOTHING
    assert mine.action(1.0 + LEASE_RENEW) is LeaseAction.RENEW


def test_a_leader_that_sees_another_hold_the_lease_leads_no_more() -> None:
    mine = Election("a").succeeded(held("a"), 1.0, 1.1)
    assert mine.leads(1.2)
    assert not mine.observe(held("b", 2, "2"), 1.3).leads(1.3)
    assert not mine.observe(None, 1.3).leads(1.3)


def test_an_own_name_found_in_the_lease_gives_no_right_before_a_renewal() -> None:
    again = Election("a").observe(held("a"), 0.0)
    assert not again.leads(0.0)
    assert again.action(0.0) is LeaseAction.RENEW


@given(
    st.sampled_from(["", "a", "b", None]), st.floats(0.0, 20.0), st.floats(0.0, 20.0), st.floats(0.0, 20.0)
)
def test_nothing_is_due_before_the_wake(holder: str | None, seen: float, sent: float, now: float) -> None:
    election = Election("a").observe(None if holder is None else held(holder), seen)
    election = replace(election.tried(sent), renewed_at=sent)
    wake = election.next_wake(now)
    assert wake >= now
    if wake > now + 1e-6:
        assert election.action((now + wake) / 2) is LeaseAction.NOTHING
    assert election.action(wake + 1e-6) is not LeaseAction.NOTHING


def test_who_sees_no_majority_gives_way_once_and_leads_again_when_nobody_else_does() -> None:
    mine = Election("a").succeeded(held("a"), 0.0, 0.1).able(False, 1.0)
    assert mine.action(1.0 + LEASE_UNABLE - 0.1) is LeaseAction.RENEW
    assert mine.action(1.0 + LEASE_UNABLE) is LeaseAction.GIVE_WAY
    assert mine.able(True, 2.0).action(1.0 + LEASE_UNABLE) is LeaseAction.RENEW, "it was a blink"
    away = mine.gives_way()
    assert not away.leads(6.1)
    free = away.observe(held(""), 6.1).able(False, 6.1)
    assert free.action(6.1 + LEASE_GIVE_WAY - 0.1) is LeaseAction.NOTHING
    assert free.action(6.1 + LEASE_GIVE_WAY) is LeaseAction.ACQUIRE
    assert free.able(True, 7.0).action(7.0) is LeaseAction.ACQUIRE
    again = free.succeeded(held("a", 2), 16.1, 16.2).able(False, 16.2)
    assert again.action(60.0) is LeaseAction.RENEW, "to and fro helps nobody"
    assert again.able(True, 60.0).able(False, 61.0).action(61.0 + LEASE_UNABLE) is LeaseAction.GIVE_WAY


def test_whose_own_node_is_found_down_hands_over_at_once_and_once() -> None:
    mine = Election("a").succeeded(held("a"), 0.0, 0.1)
    accused = mine.able(True, 0.6, accused=True)
    assert accused.action(0.6) is LeaseAction.GIVE_WAY
    away = accused.gives_way()
    assert not away.leads(0.6)
    assert away.deadline() == float("-inf"), "no order of this replica can be sent any more"
    free = away.observe(held(""), 1.2).able(True, 1.2, accused=True)
    assert free.action(1.2 + LEASE_GIVE_WAY - 0.1) is LeaseAction.NOTHING
    alone = free.succeeded(held("a", 2), 11.3, 11.3).able(True, 11.3, accused=True)
    assert alone.action(60.0) is LeaseAction.RENEW, (
        "nobody else leads: it does, and leaves its own node alone"
    )
    well = alone.able(True, 60.0)
    assert well.able(True, 70.0, accused=True).action(70.0) is LeaseAction.GIVE_WAY


def test_a_standby_without_a_majority_waits_longer_for_a_silent_holder() -> None:
    standby = Election("b").observe(held("a"), 0.0).able(False, 0.0)
    assert standby.action(LEASE_DURATION) is LeaseAction.NOTHING
    assert standby.action(LEASE_DURATION + LEASE_GIVE_WAY) is LeaseAction.ACQUIRE
    assert standby.able(True, 1.0).action(LEASE_DURATION) is LeaseAction.ACQUIRE
