"""The rule table: each ring state against every veto."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core import timing
from ringfence.core.detection.evidence import (
    NEVER,
    DeadNetwork,
    Evidence,
    Life,
    LifeSign,
    NetworkRole,
    Ready,
    RingEvidence,
    SlotEvidence,
)
from ringfence.core.detection.verdict import judge, life_veto, signs_of_life, slot_due
from ringfence.core.fencing.slotwatch import SlotState, silence_of
from ringfence.core.model import Boot, RingState, Verdict

NOW = 1000.0
BOOT = Boot("n1", "uid-1", "boot-1")
DOUBTED_AT = NOW - 3.0
ROUND_AT = NOW - 1.0
GONE = RingEvidence(
    RingState.UNREACHABLE,
    "2 of 2 peers: n2, n3",
    voters=("n2", "n3"),
    doubted_at=DOUBTED_AT,
    round_at=ROUND_AT,
)
OLD = Life(*(NOW - 100.0,) * 5)
DOWN = Evidence(BOOT, GONE, OLD, Ready.UNKNOWN, has_agent=True, device_proved=True)

instants = st.one_of(st.just(NEVER), st.floats(NOW - 300.0, NOW))
lives = st.builds(Life, instants, instants, instants, instants, instants, instants)
slots = st.builds(
    SlotEvidence,
    st.sampled_from(SlotState),
    interval=st.sampled_from([1.0, 5.0]),
    moved_after=instants,
    silent_since=instants,
)
rings = st.builds(
    RingEvidence,
    state=st.sampled_from(RingState),
    sentence=st.just("votes"),
    voters=st.sampled_from([(), ("n2",), ("n2", "n3")]),
    single=st.booleans(),
    doubted_at=instants,
    round_at=instants,
)
evidences = st.builds(
    Evidence,
    st.just(BOOT),
    rings,
    lives,
    st.sampled_from(Ready),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    slot=slots,
)


def verdict(evidence: Evidence) -> Verdict:
    return judge(evidence, NOW).verdict


STORAGE = DeadNetwork("storage", NetworkRole.STORAGE, "2 of 2 observers on storage: n2, n3")
GUEST = DeadNetwork("tenants", NetworkRole.GUEST, "2 of 2 observers on tenants: n2, n3")
OTHER = DeadNetwork("backup", NetworkRole.OTHER, "2 of 2 observers on backup: n2, n3")
LOST = DeadNetwork("management", NetworkRole.OTHER, "2 of 2 observers on management: n2, n3")
WELL = replace(DOWN, life=replace(OLD, kubelet_lease=NOW), ready=Ready.TRUE)


@pytest.mark.parametrize(
    ("dead", "expected", "words"),
    [
        ((STORAGE,), Verdict.STORAGE_LOST, "n1 is alive, but its storage network is dead (2 of 2 observers"),
        ((GUEST, STORAGE), Verdict.STORAGE_LOST, "storage network is dead"),
        ((OTHER, GUEST), Verdict.GUEST_NET_LOST, "n1 is alive, but its tenants network is dead"),
        ((OTHER,), Verdict.HEALTHY, "n1 is alive; its backup network is dead"),
    ],
)
def test_a_dead_network_of_a_living_node_is_named_and_its_role_gives_the_verdict(
    dead: tuple[DeadNetwork, ...], expected: Verdict, words: str
) -> None:
    judgement = judge(
        replace(WELL, ring=RingEvidence(RingState.ALIVE, dead_networks=dead)),
        NOW,
    )
    assert judgement.verdict is expected
    assert words in judgement.sentence


def test_a_silent_management_network_beside_a_living_one_is_a_lost_control_path() -> None:
    judgement = judge(replace(DOWN, ring=RingEvidence(RingState.PARTIAL, dead_networks=(LOST,))), NOW)
    assert judgement.verdict is Verdict.CONTROL_PATH_LOST
    assert "n1's management network is dead (2 of 2 observers on management: n2, n3)" in judgement.sentence
    assert "it lives and its VMs run on" in judgement.sentence


@given(st.sampled_from(RingState), st.sampled_from([(), (STORAGE,), (LOST,), (LOST, STORAGE, GUEST)]))
def test_no_dead_network_makes_down_and_none_unmakes_it(
    state: RingState, dead: tuple[DeadNetwork, ...]
) -> None:
    evidence = replace(DOWN, ring=replace(GONE, state=state, dead_networks=dead))
    assert (judge(evidence, NOW).verdict is Verdict.DOWN) is (state is RingState.UNREACHABLE)


def test_votes_and_silence_make_down() -> None:
    assert judge(DOWN, NOW).verdict is Verdict.DOWN
    assert judge(DOWN, NOW).sentence == "n1 is down: 2 of 2 peers: n2, n3"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (RingState.ALIVE, Verdict.CONTROL_PATH_LOST),
        (RingState.DOUBTED, Verdict.SUSPECT),
        (RingState.PARTIAL, Verdict.SUSPECT),
        (RingState.AGENT_DOWN, Verdict.AGENT_DOWN),
        (RingState.UNREACHABLE, Verdict.DOWN),
        (RingState.LEFT, Verdict.LEFT),
        (RingState.UNKNOWN, Verdict.SUSPECT),
    ],
)
def test_only_unreachable_is_down_however_silent_all_else_is(state: RingState, expected: Verdict) -> None:
    assert verdict(replace(DOWN, ring=replace(GONE, state=state))) is expected


@pytest.mark.parametrize(("reported", "expected"), [(True, Verdict.SUSPECT), (False, Verdict.AGENT_DOWN)])
def test_a_node_of_which_we_hear_nothing_is_without_agent_only_if_none_has_reported(
    *, reported: bool, expected: Verdict
) -> None:
    """Else it may be we who hear of nobody."""
    evidence = Evidence(BOOT, RingEvidence(), Life(kubelet_lease=NOW - 1.0), Ready.TRUE, has_agent=reported)
    assert verdict(evidence) is expected


@pytest.mark.parametrize(
    ("life", "word"),
    [
        (replace(OLD, packet=ROUND_AT), "gossip packet"),
        (replace(OLD, kernel=ROUND_AT), "kernel answered"),
        (replace(OLD, kubelet_lease=DOUBTED_AT + 0.01), "kubelet renewed"),
        (replace(OLD, agent_lease=DOUBTED_AT + 0.01), "agent renewed"),
        (replace(OLD, heartbeat=DOUBTED_AT + 0.01), "heartbeat"),
    ],
)
def test_each_newer_sign_of_life_vetoes(life: Life, word: str) -> None:
    judgement = judge(replace(DOWN, life=life), NOW)
    assert judgement.verdict is Verdict.SUSPECT
    assert word in judgement.sentence


@pytest.mark.parametrize("sign", ["kubelet_lease", "agent_lease", "heartbeat"])
def test_a_renewal_that_may_only_have_been_seen_late_vetoes_and_ends_no_incident(sign: str) -> None:
    seen = replace(OLD, **{sign: DOUBTED_AT + 0.01})
    late = judge(replace(DOWN, life=replace(seen, renewed_after=DOUBTED_AT)), NOW)
    assert (late.verdict, late.known) == (Verdict.SUSPECT, False)
    surely = judge(replace(DOWN, life=replace(seen, renewed_after=DOUBTED_AT + 0.01)), NOW)
    assert (surely.verdict, surely.known) == (Verdict.SUSPECT, True)
    heard = judge(replace(DOWN, life=replace(seen, packet=ROUND_AT)), NOW)
    assert (heard.verdict, heard.known) == (Verdict.SUSPECT, True)


@pytest.mark.parametrize(
    "life",
    [
        replace(OLD, packet=ROUND_AT - 0.01),
        replace(OLD, kernel=ROUND_AT - 0.01),
        replace(OLD, kubelet_lease=DOUBTED_AT),
        replace(OLD, agent_lease=DOUBTED_AT),
        replace(OLD, heartbeat=DOUBTED_AT),
    ],
)
def test_a_sign_from_before_does_not(life: Life) -> None:
    assert verdict(replace(DOWN, life=life)) is Verdict.DOWN


@pytest.mark.parametrize(
    ("sign", "valid"),
    [
        ("kubelet_lease", timing.KUBELET_LEASE_VALID),
        ("agent_lease", timing.AGENT_LEASE_VALID),
        ("heartbeat", timing.HEARTBEAT_VALID),
    ],
)
def test_a_periodic_sign_vetoes_for_two_periods(sign: str, valid: float) -> None:
    long_ago = replace(GONE, doubted_at=NOW - 500.0)
    fresh = replace(OLD, kubelet_lease=NEVER, agent_lease=NEVER, heartbeat=NEVER)
    still = replace(fresh, **{sign: NOW - valid + 0.01})
    over = replace(fresh, **{sign: NOW - valid})
    assert verdict(replace(DOWN, ring=long_ago, life=still)) is Verdict.SUSPECT
    assert verdict(replace(DOWN, ring=long_ago, life=over)) is Verdict.DOWN


def test_silence_without_votes_is_not_down() -> None:
    assert verdict(replace(DOWN, ring=replace(GONE, voters=()))) is Verdict.SUSPECT
    assert verdict(replace(DOWN, ring=replace(GONE, round_at=NEVER))) is Verdict.SUSPECT


@pytest.mark.parametrize("flagged", [True, False])
def test_one_voter_needs_the_probe_an_old_lease_and_a_proved_device(flagged: bool) -> None:
    ring = replace(GONE, voters=("n2",), single=flagged)
    full = replace(DOWN, ring=ring, own_probe_silent=True, kubelet_silent_since=NOW - 20.1)
    assert verdict(full) is Verdict.DOWN
    assert verdict(replace(full, own_probe_silent=False)) is Verdict.SUSPECT
    assert verdict(replace(full, device_proved=False)) is Verdict.SUSPECT
    assert verdict(replace(full, kubelet_silent_since=NOW - 19.9)) is Verdict.SUSPECT
    assert verdict(replace(full, kubelet_silent_since=NEVER)) is Verdict.SUSPECT


@pytest.mark.parametrize(
    ("ready", "lease", "expected"),
    [
        (Ready.TRUE, NOW - 1.0, Verdict.HEALTHY),
        (Ready.MISSING, NEVER, Verdict.HEALTHY),
        (Ready.STALE, NEVER, Verdict.HEALTHY),
        (Ready.FALSE, NOW - 1.0, Verdict.CONTROL_PATH_LOST),
        (Ready.UNKNOWN, NOW - 1.0, Verdict.CONTROL_PATH_LOST),
        (Ready.TRUE, NOW - timing.CONTROL_PATH_LOST_AFTER - 0.1, Verdict.CONTROL_PATH_LOST),
    ],
)
def test_a_node_that_the_ring_hears_is_never_worse_than_cut_from_the_api(
    ready: Ready, lease: float, expected: Verdict
) -> None:
    evidence = Evidence(BOOT, RingEvidence(RingState.ALIVE), Life(kubelet_lease=lease), ready)
    assert verdict(evidence) is expected


def test_a_node_without_an_agent_yet_is_no_suspect_while_its_kubelet_renews() -> None:
    unknown = Evidence(BOOT, life=Life(kubelet_lease=NOW - 1.0))
    assert verdict(unknown) is Verdict.AGENT_DOWN
    assert verdict(replace(unknown, life=Life())) is Verdict.SUSPECT


@given(evidences)
def test_down_always_has_its_three_conditions(evidence: Evidence) -> None:
    judgement = judge(evidence, NOW)
    assert judgement.sentence.startswith("n1")
    if judgement.verdict is not Verdict.DOWN:
        return
    ring, life = evidence.ring, evidence.life
    assert ring.state is RingState.UNREACHABLE
    assert ring.voters
    assert max(life.packet, life.kernel) < ring.round_at
    assert life_veto(evidence, NOW) is None
    if len(ring.voters) < 2:
        assert evidence.own_probe_silent
        assert evidence.device_proved


@given(evidences, st.sampled_from(["packet", "kernel", "agent_lease", "kubelet_lease", "heartbeat"]))
def test_a_sign_of_this_moment_always_vetoes(evidence: Evidence, sign: str) -> None:
    ring = replace(evidence.ring, doubted_at=min(evidence.ring.doubted_at, NOW - 0.1))
    assert (
        verdict(replace(evidence, ring=ring, life=replace(evidence.life, **{sign: NOW}))) is not Verdict.DOWN
    )


# --- the storage slot -----------------------------------------------------------------------------------------

MOVING = SlotEvidence(SlotState.MOVING, interval=1.0, moved_after=DOUBTED_AT + 0.01)


def test_a_moving_slot_vetoes_death() -> None:
    """Cut off from every network, and writing: a node that lives is not shot."""
    moving = replace(DOWN, slot=MOVING, life=replace(OLD, slot=NOW - 0.3))
    assert verdict(moving) is Verdict.SUSPECT
    assert judge(moving, NOW).sentence.endswith("but its storage slot moved 0.3 s ago")


@given(evidences, st.floats(0.0, 100.0))
def test_a_slot_that_moves_now_always_vetoes(evidence: Evidence, before: float) -> None:
    ring = replace(evidence.ring, doubted_at=min(evidence.ring.doubted_at, NOW - before - 0.6))
    slot = replace(evidence.slot, state=SlotState.MOVING, moved_after=NOW - before - 0.5)
    life = replace(evidence.life, slot=NOW - min(before, silence_of(slot.interval)) + 0.01)
    assert verdict(replace(evidence, ring=ring, slot=slot, life=life)) is not Verdict.DOWN


def test_a_write_that_may_have_come_before_the_doubt_does_not_veto() -> None:
    """The last write of a node that died is often seen after the doubt began."""
    ambiguous = replace(MOVING, moved_after=DOUBTED_AT - 0.1)
    assert verdict(replace(DOWN, slot=ambiguous, life=replace(OLD, slot=DOUBTED_AT + 0.4))) is Verdict.DOWN


def test_a_slot_vetoes_until_it_is_silent() -> None:
    """What moved after the doubt and then stopped is a node that was cut first and died later."""
    long_ago = replace(GONE, doubted_at=NOW - 500.0)
    slot = replace(MOVING, moved_after=NOW - 100.0)
    still = replace(DOWN, ring=long_ago, slot=slot, life=Life(slot=NOW - silence_of(1.0) + 0.01))
    assert verdict(still) is Verdict.SUSPECT
    assert verdict(replace(still, life=Life(slot=NOW - silence_of(1.0) - 0.01))) is Verdict.DOWN


@pytest.mark.parametrize("interval", [1.0, 5.0])
def test_nobody_is_shot_before_a_living_node_would_have_written(interval: float) -> None:
    """At the doubt it may have written just before; its next write takes an interval, the look at it another moment."""
    slot = SlotEvidence(SlotState.MOVING, interval=interval, moved_after=DOUBTED_AT - 0.5)
    judgement = judge(replace(DOWN, slot=slot, life=replace(OLD, slot=DOUBTED_AT)), NOW)
    assert judgement.verdict is Verdict.DOWN
    assert (
        judgement.not_before
        == timing.slot_due(DOUBTED_AT, interval)
        >= DOUBTED_AT + interval + timing.SLOT_LOOK
    )


def test_who_has_written_after_the_doubt_is_waited_for_until_it_is_silent() -> None:
    """A busy storage takes more than an interval and a half for a write: a device that lies would be believed in between."""
    slow = replace(DOWN, slot=MOVING, life=replace(OLD, slot=NOW - 2.5))
    assert verdict(slow) is Verdict.SUSPECT
    assert slot_due(slow) == NOW - 2.5 + silence_of(1.0)
    before = replace(slow, slot=replace(MOVING, moved_after=DOUBTED_AT - 0.5))
    assert slot_due(before) == timing.slot_due(NOW - 2.5, 1.0)


def test_a_controller_that_has_just_begun_to_look_waits_for_the_next_write() -> None:
    """What stood there at its first look is no life, and no silence either."""
    new = SlotEvidence(SlotState.UNREAD, interval=5.0, first_at=NOW - 1.0)
    judgement = judge(replace(DOWN, slot=new), NOW)
    assert judgement.not_before == timing.slot_due(NOW - 1.0, 5.0)


def test_that_nobody_looks_any_more_makes_no_write_due_earlier() -> None:
    """The streams are lost in the gap between two writes."""
    gap = SlotEvidence(SlotState.UNREAD, interval=5.0, moved_after=DOUBTED_AT - 0.5)
    seen = replace(DOWN, slot=gap, life=replace(OLD, slot=DOUBTED_AT))
    assert slot_due(seen) == timing.slot_due(DOUBTED_AT, 5.0)
    assert slot_due(replace(seen, slot=SlotEvidence())) == NEVER


@pytest.mark.parametrize("state", [SlotState.NONE, SlotState.UNREAD])
def test_a_slot_that_nobody_can_read_keeps_nobody_waiting(state: SlotState) -> None:
    judgement = judge(replace(DOWN, slot=SlotEvidence(state, interval=5.0)), NOW)
    assert judgement.verdict is Verdict.DOWN
    assert judgement.not_before == NEVER
    assert "slot" not in judgement.sentence


def test_a_silent_slot_supports_and_is_told() -> None:
    slot = SlotEvidence(SlotState.SILENT, interval=1.0, silent_since=NOW - 9.0)
    judgement = judge(replace(DOWN, slot=slot), NOW)
    assert judgement.sentence == "n1 is down: 2 of 2 peers: n2, n3; its storage slot is silent"


@pytest.mark.parametrize("state", [s for s in RingState if s is not RingState.UNREACHABLE])
def test_a_silent_slot_never_proves(state: RingState) -> None:
    slot = SlotEvidence(SlotState.SILENT, interval=1.0, silent_since=NOW - 900.0)
    assert verdict(replace(DOWN, ring=replace(GONE, state=state), slot=slot)) is not Verdict.DOWN


def test_a_node_that_only_its_storage_has_lost_is_told_and_left_alone() -> None:
    alive = Evidence(BOOT, RingEvidence(RingState.ALIVE), Life(kubelet_lease=NOW), Ready.TRUE)
    since = NOW - timing.STORAGE_LOST_AFTER - 0.1
    lost = replace(alive, slot=SlotEvidence(SlotState.SILENT, interval=1.0, silent_since=since))
    assert verdict(lost) is Verdict.STORAGE_LOST
    young = replace(lost, slot=replace(lost.slot, silent_since=NOW - timing.STORAGE_LOST_AFTER + 0.1))
    assert verdict(young) is Verdict.HEALTHY
    for state in (SlotState.NONE, SlotState.UNREAD, SlotState.MOVING):
        assert verdict(replace(lost, slot=replace(lost.slot, state=state))) is Verdict.HEALTHY


def test_a_node_whose_slot_moves_does_not_hang() -> None:
    hangs = Evidence(
        BOOT,
        RingEvidence(RingState.AGENT_DOWN),
        kubelet_silent_since=NOW - 41.0,
        heartbeat_silent_since=NOW - 181.0,
        agent_down_at=NOW - 500.0,
    )
    assert verdict(replace(hangs, slot=MOVING)) is Verdict.AGENT_DOWN
    silent = judge(replace(hangs, slot=SlotEvidence(SlotState.SILENT, interval=1.0)), NOW)
    assert silent.verdict is Verdict.HUNG
    assert "storage slot is silent" in silent.sentence


@pytest.mark.parametrize(
    ("lease", "heartbeat", "agent", "expected"),
    [
        (41.0, 181.0, 500.0, Verdict.HUNG),
        (39.0, 181.0, 500.0, Verdict.AGENT_DOWN),
        (41.0, 179.0, 500.0, Verdict.AGENT_DOWN),
        (200.0, 300.0, 1.0, Verdict.AGENT_DOWN),  # cut until just now: its agent is heard in a moment
        (float("inf"), 181.0, 500.0, Verdict.AGENT_DOWN),
        (41.0, float("inf"), 500.0, Verdict.AGENT_DOWN),
    ],
)
def test_a_node_hangs_when_its_kernel_answers_and_nothing_else_for_long(
    lease: float, heartbeat: float, agent: float, expected: Verdict
) -> None:
    evidence = Evidence(
        BOOT,
        RingEvidence(RingState.AGENT_DOWN),
        kubelet_silent_since=NOW - lease,
        heartbeat_silent_since=NOW - heartbeat,
        agent_down_at=NOW - agent,
    )
    assert verdict(evidence) is expected


def test_the_word_of_the_second_set_is_held_longer() -> None:
    ring = RingEvidence(RingState.UNREACHABLE, voters=("n2", "n3"), round_at=NOW - 1.0, doubted_at=NOW - 1.5)
    assert judge(Evidence(BOOT, ring), NOW).hold_more == 0
    later = judge(Evidence(BOOT, replace(ring, by_second=True)), NOW)
    assert later.verdict is Verdict.DOWN
    assert later.hold_more == timing.SECOND_SET_HOLD


def test_the_newest_sign_has_a_name() -> None:
    assert Life().latest_sign() == "nothing"
    assert Life(packet=1.0, kernel=2.0).latest_sign() == "an answer of its kernel"
    assert Life(packet=1.0, slot=2.0).latest_sign() == "its storage slot"
    assert Life(packet=1.0, slot=2.0).latest == 2.0


@pytest.mark.parametrize(
    ("life", "fresh"),
    [
        (replace(OLD, packet=NOW - 9.0), {LifeSign.PACKET}),
        (replace(OLD, kernel=NOW - 9.0), {LifeSign.KERNEL}),
        (replace(OLD, packet=NOW - 11.0, kernel=NOW - 11.0), set()),
        # A node that has just died had renewed these; one that renews them after the doubt lives.
        (replace(OLD, agent_lease=DOUBTED_AT, kubelet_lease=DOUBTED_AT, heartbeat=DOUBTED_AT), set()),
        (
            replace(OLD, agent_lease=NOW - 2.0, kubelet_lease=NOW - 2.0, heartbeat=NOW - 2.0, slot=NOW - 1.0),
            {LifeSign.AGENT_LEASE, LifeSign.KUBELET_LEASE, LifeSign.HEARTBEAT, LifeSign.SLOT},
        ),
    ],
)
def test_what_forbids_a_persons_word(life: Life, fresh: set[LifeSign]) -> None:
    told = signs_of_life(replace(DOWN, life=life), NOW)
    assert {sign.what for sign in told if sign.fresh} == fresh
    assert [sign.age for sign in told] == sorted(sign.age for sign in told)


def test_of_a_node_that_was_never_heard_nothing_is_told() -> None:
    assert signs_of_life(replace(DOWN, life=Life()), NOW) == ()
