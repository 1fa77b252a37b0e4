"""All combinations of evidence: exactly one verdict, with one reason of the table; and what no combination may bring about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core import timing
from ringfence.core.detection import table
from ringfence.core.detection.evidence import (
    NEVER,
    DeadNetwork,
    Evidence,
    Life,
    NetworkRole,
    Ready,
    RingEvidence,
    SlotEvidence,
)
from ringfence.core.detection.verdict import judge, life_veto
from ringfence.core.fencing.slotwatch import SlotState
from ringfence.core.model import MANAGEMENT, Boot, OnHung, RingState, Verdict

BOOT = Boot("n1", "uid-n1", "boot-1")
NOW = 10_000.0
DOUBT, ROUND = NOW - 0.8, NOW - 0.5
"""When the doubt and the round began."""
VOTERS = ((), ("n2",), ("n2", "n3"), ("n2", "n3", "n4"))
HEARD = (NEVER, DOUBT - 1.0, ROUND - 0.1, ROUND, NOW)
"""A packet or a kernel's answer: never, before the doubt, between doubt and round, as it began, just now."""
RENEWED = (NEVER, NOW - 300.0, DOUBT - 1.0, DOUBT, NOW - 0.1)
"""A Lease or heartbeat: never, long ago, before the doubt, as it began, since."""
SILENT = (NEVER, NOW - 300.0, NOW - 25.0, NOW - 1.0)
SLOTS = (
    SlotEvidence(),
    SlotEvidence(SlotState.MOVING, 1.0, DOUBT - 2.0, first_at=NOW - 600.0),
    SlotEvidence(SlotState.MOVING, 1.0, NOW - 0.2, first_at=NOW - 600.0),
    SlotEvidence(SlotState.SILENT, 1.0, NOW - 60.0, NOW - 60.0, NOW - 600.0),
    SlotEvidence(SlotState.SILENT, 1.0, NOW - 5.0, NOW - 4.0, NOW - 600.0),
    SlotEvidence(SlotState.UNREAD, 1.0, NOW - 5.0, first_at=NOW - 600.0),
    SlotEvidence(
        SlotState.SILENT, 1.0, NOW - 600.0, NOW - 600.0, NOW - 900.0, NOW - 600.0, others_write=True
    ),
)
NETWORKS = (
    (),
    (DeadNetwork(MANAGEMENT, NetworkRole.OTHER, "2 of 2 peers"),),
    (DeadNetwork("storage", NetworkRole.STORAGE, "2 of 2 peers"),),
    (DeadNetwork("guests", NetworkRole.GUEST, "2 of 2 peers"),),
    (
        DeadNetwork("backup", NetworkRole.OTHER, "2 of 2 peers"),
        DeadNetwork("guests", NetworkRole.GUEST, "2 of 2 peers"),
        DeadNetwork("storage", NetworkRole.STORAGE, "2 of 2 peers"),
    ),
    (DeadNetwork("backup", NetworkRole.OTHER, "2 of 2 peers"),),
)
BOTH = (False, True)


def accused(voters: tuple[str, ...], *, single: bool, round_at: float, by_second: bool) -> RingEvidence:
    return RingEvidence(
        RingState.UNREACHABLE,
        sentence=f"{len(voters)} of {len(voters)} peers",
        voters=voters,
        single=single,
        by_second=by_second,
        doubted_at=DOUBT,
        round_at=round_at,
    )


def unreachable() -> Iterator[Evidence]:
    """All that the rules about an accused node look at."""
    for voters, single, round_at, packet, kernel, kubelet, slot in product(
        VOTERS, BOTH, (NEVER, ROUND), HEARD, HEARD, RENEWED, SLOTS
    ):
        moved = slot.moved_after
        life = Life(packet=packet, kernel=kernel, kubelet_lease=kubelet, slot=moved)
        ring = accused(voters, single=single, round_at=round_at, by_second=False)
        yield Evidence(BOOT, ring, life, slot=slot)
    for voters, agent, heartbeat, silent, probe, device, second in product(
        VOTERS, RENEWED, RENEWED, SILENT, BOTH, BOTH, BOTH
    ):
        yield Evidence(
            BOOT,
            accused(voters, single=len(voters) == 1, round_at=ROUND, by_second=second),
            Life(agent_lease=agent, heartbeat=heartbeat),
            own_probe_silent=probe,
            device_proved=device,
            kubelet_silent_since=silent,
        )


def others() -> Iterator[Evidence]:
    """All that the rules about the other states of the ring look at."""
    states = [state for state in RingState if state is not RingState.UNREACHABLE]
    for state, networks, ready, lease, slot, agent in product(states, NETWORKS, Ready, RENEWED, SLOTS, BOTH):
        ring = RingEvidence(state, sentence="n2 hears it", dead_networks=networks)
        yield Evidence(BOOT, ring, Life(kubelet_lease=lease), ready, has_agent=agent, slot=slot)
    for kubelet, heartbeat, since, slot in product(SILENT, SILENT, SILENT, SLOTS):
        yield Evidence(
            BOOT,
            RingEvidence(RingState.AGENT_DOWN),
            kubelet_silent_since=kubelet,
            heartbeat_silent_since=heartbeat,
            agent_down_at=since,
            slot=slot,
        )


def sound(evidence: Evidence, on_hung: OnHung = OnHung.ALERT) -> table.Reason:
    """The one reason of its judgement; what no evidence may bring about is asked at once."""
    judgement = judge(evidence, NOW, on_hung)
    assert judgement.verdict is judge(evidence, NOW).verdict, "a policy says what is done, not what is found"
    found = table.of(judgement.verdict, judgement.sentence)
    assert len(found) == 1, (judgement, found)
    assert found[0].ring is evidence.ring.state, judgement
    assert "\n" not in judgement.sentence
    if judgement.verdict is Verdict.DOWN:
        _may_be_down(evidence)
    elif judgement.may_be_fenced:
        assert on_hung is OnHung.FENCE
        _may_be_fenced_for_hanging(evidence)
    return found[0]


def _may_be_fenced_for_hanging(evidence: Evidence) -> None:
    slot, life = evidence.slot, evidence.life
    assert evidence.ring.state is RingState.AGENT_DOWN, "its kernel answers, its agent does not"
    assert slot.state is SlotState.SILENT, "what nobody reads is no evidence"
    assert slot.written_at > NEVER, "nor what was never written"
    assert slot.others_write, "nor what is the storage's own silence"
    seen = max(life.packet, life.agent_lease, evidence.kubelet_silent_since, life.kubelet_lease)
    assert NOW - seen >= timing.HUNG_LEASE_AGE
    assert NOW - max(life.heartbeat, evidence.heartbeat_silent_since) >= timing.HUNG_HEARTBEAT_AGE


def _may_be_down(evidence: Evidence) -> None:
    ring, life = evidence.ring, evidence.life
    assert ring.state is RingState.UNREACHABLE, "nobody is down of whom no enough votes say so"
    assert ring.round_at > NEVER
    if len(ring.voters) < 2 or ring.single:
        # One agent's word alone: beside it stand a silent kernel, asked by the controller itself, and a silent Lease.
        assert ring.voters
        assert evidence.own_probe_silent
        assert evidence.device_proved
        assert NOW - evidence.kubelet_silent_since >= timing.SINGLE_VOTER_LEASE_AGE
    # A vote `none` is silence of the agent *and* of the kernel; an answer of either since the round began is none.
    assert life.kernel < ring.round_at
    assert life.packet < ring.round_at


def newer(evidence: Evidence) -> Iterator[Evidence]:
    """The same, with one sign of life that has just come."""
    for sign in ("packet", "kernel", "kubelet_lease", "agent_lease", "heartbeat"):
        yield replace(evidence, life=replace(evidence.life, **{sign: NOW}))
    moving = SlotEvidence(SlotState.MOVING, 1.0, NOW - 0.1, first_at=NOW - 600.0)
    yield replace(evidence, slot=moving, life=replace(evidence.life, slot=NOW))


def test_all_combinations_of_an_accused_node() -> None:
    downs = 0
    reached = set()
    for evidence in unreachable():
        reason = sound(evidence)
        reached.add(reason)
        if reason.verdict is Verdict.DOWN:
            downs += 1
            if downs % 7 == 0:  # all of them by the property below; here the enumerated ones, thinned
                assert all(judge(one, NOW).verdict is not Verdict.DOWN for one in newer(evidence))
    assert downs > 100
    assert reached == {one for one in table.REASONS if one.ring is RingState.UNREACHABLE}


def test_all_combinations_of_every_other_state() -> None:
    reached = {sound(evidence, on_hung) for evidence in others() for on_hung in OnHung}
    assert reached == {one for one in table.REASONS if one.ring is not RingState.UNREACHABLE}
    assert all(one.verdict is not Verdict.DOWN for one in reached)


def test_every_verdict_is_given_or_said_not_to_be() -> None:
    given_ = {one.verdict for one in table.REASONS}
    assert given_ | table.NOT_GIVEN.keys() == set(Verdict)
    assert not given_ & table.NOT_GIVEN.keys()


EVIDENCE = st.builds(
    Evidence,
    boot=st.just(BOOT),
    ring=st.builds(
        RingEvidence,
        state=st.sampled_from(RingState),
        sentence=st.just("2 of 2 peers"),
        voters=st.sampled_from(VOTERS),
        single=st.booleans(),
        by_second=st.booleans(),
        doubted_at=st.just(DOUBT),
        round_at=st.sampled_from((NEVER, ROUND)),
        dead_networks=st.sampled_from(NETWORKS),
    ),
    life=st.builds(
        Life,
        packet=st.sampled_from(HEARD),
        kernel=st.sampled_from(HEARD),
        agent_lease=st.sampled_from(RENEWED),
        kubelet_lease=st.sampled_from(RENEWED),
        heartbeat=st.sampled_from(RENEWED),
        slot=st.sampled_from(RENEWED),
        renewed_after=st.sampled_from((NEVER, DOUBT, DOUBT + 0.1)),
    ),
    ready=st.sampled_from(Ready),
    has_agent=st.booleans(),
    own_probe_silent=st.booleans(),
    device_proved=st.booleans(),
    kubelet_silent_since=st.sampled_from(SILENT),
    heartbeat_silent_since=st.sampled_from(SILENT),
    slot=st.sampled_from(SLOTS),
    agent_down_at=st.sampled_from(SILENT),
)


@given(evidence=EVIDENCE, on_hung=st.sampled_from(OnHung))
def test_any_evidence_has_one_verdict_and_one_reason(evidence: Evidence, on_hung: OnHung) -> None:
    sound(evidence, on_hung)


@given(evidence=EVIDENCE)
def test_nobody_is_fenced_for_hanging_unless_the_zone_says_so(evidence: Evidence) -> None:
    judgement = judge(evidence, NOW)
    assert judgement.may_be_fenced is (judgement.verdict is Verdict.DOWN)


@given(
    evidence=EVIDENCE.map(
        lambda e: replace(
            e,
            ring=accused(("n2", "n3"), single=False, round_at=ROUND, by_second=False),
            life=Life(),
            slot=SlotEvidence(),
        )
    )
)
def test_any_newer_sign_of_life_vetoes(evidence: Evidence) -> None:
    assert judge(evidence, NOW).verdict is Verdict.DOWN
    for one in newer(evidence):
        assert judge(one, NOW).verdict is Verdict.SUSPECT


@pytest.mark.parametrize("ready", Ready)
def test_no_condition_of_kubernetes_makes_anybody_down(ready: Ready) -> None:
    """`False`, `Unknown`, missing and stale are four inputs; none of them is a voice against a node."""
    verdicts = {
        judge(Evidence(BOOT, RingEvidence(state), Life(), ready, has_agent=True), NOW).verdict
        for state in RingState
    }
    assert Verdict.DOWN not in verdicts
    alive = judge(Evidence(BOOT, RingEvidence(RingState.ALIVE), Life(), ready, has_agent=True), NOW).verdict
    lost = ready in (Ready.FALSE, Ready.UNKNOWN)
    assert alive is (Verdict.CONTROL_PATH_LOST if lost else Verdict.HEALTHY)


@given(evidence=EVIDENCE)
def test_what_neither_votes_nor_anything_heard_stands_behind_is_not_known(evidence: Evidence) -> None:
    """By such a verdict no incident ends. Whoever answers, two-way or by its kernel, is known to live."""
    judgement = judge(evidence, NOW)
    if evidence.ring.state in (RingState.ALIVE, RingState.PARTIAL, RingState.LEFT, RingState.AGENT_DOWN):
        assert judgement.known
    if evidence.ring.state in (RingState.DOUBTED, RingState.UNKNOWN):
        assert not judgement.known
    if evidence.ring.state is not RingState.UNREACHABLE:
        return
    if life_veto(evidence, NOW) is None:
        assert judgement.known is (judgement.verdict is Verdict.DOWN)
        return
    unrenewed = replace(evidence.life, agent_lease=NEVER, kubelet_lease=NEVER, heartbeat=NEVER)
    heard = life_veto(replace(evidence, life=unrenewed), NOW) is not None
    assert judgement.known is (heard or evidence.life.renewed_after > DOUBT)
