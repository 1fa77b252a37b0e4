"""A node that hangs in a zone that has such nodes fenced: what speaks for its guests, and what forbids it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.core import timing
from ringfence.core.detection.evidence import (
    NEVER,
    Evidence,
    Life,
    RingEvidence,
    SlotEvidence,
)
from ringfence.core.detection.verdict import Judgement, judge
from ringfence.core.fencing.slotwatch import SlotState
from ringfence.core.model import Boot, OnHung, RingState, Verdict

NOW = 1000.0
BOOT = Boot("n1", "uid-1", "boot-1")
SINCE = NOW - 200.0
"""When it began to hang."""
SILENT = SlotEvidence(
    SlotState.SILENT, 1.0, SINCE - 1.0, silent_since=SINCE, written_at=SINCE, others_write=True
)
HANGS = Evidence(
    BOOT,
    RingEvidence(RingState.AGENT_DOWN),
    Life(SINCE, NOW - 0.3, SINCE, SINCE, SINCE, SINCE),
    has_agent=True,
    kubelet_silent_since=SINCE,
    heartbeat_silent_since=SINCE,
    slot=SILENT,
    agent_down_at=SINCE + 1.0,
)
HANGS_LIKE = (
    "n1 hangs: its kernel answers, but not its agent, its kubelet for more than 40 s, virt-handler for 180 s"
)


def fenced(evidence: Evidence) -> Judgement:
    return judge(evidence, NOW, OnHung.FENCE)


def test_where_its_silent_slot_speaks_for_its_guests_it_may_be_fenced_after_a_minute_more() -> None:
    judgement = fenced(HANGS)
    assert judgement.verdict is Verdict.HUNG
    assert judgement.may_be_fenced
    assert judgement.hold_more == timing.HUNG_HOLD
    assert judgement.sentence == (
        f"{HANGS_LIKE}, and its storage slot is silent; its zone has such a node fenced"
    )


def test_by_default_it_is_told_and_nothing_else() -> None:
    told = judge(HANGS, NOW)
    assert told == judge(HANGS, NOW, OnHung.ALERT)
    assert told == Judgement(
        Verdict.HUNG,
        f"{HANGS_LIKE}, and its storage slot is silent; nothing is done without evidence from its guests: look at it",
    )
    assert not told.may_be_fenced
    assert not told.only_kernel, "who sets the policy back to Alert ends the incident"


@pytest.mark.parametrize(
    ("slot", "says"),
    [
        (SlotEvidence(), "no storage slot of it is known"),
        (replace(SILENT, state=SlotState.UNREAD), "nobody can read its storage slot now"),
        (replace(SILENT, written_at=NEVER), "this boot of it was not seen to write its storage slot"),
        (replace(SILENT, written_at=SINCE - 9.0), "another boot was the last to write its storage slot"),
        (
            replace(SILENT, others_write=False),
            "no other node's slot is seen to be written either: the storage may be gone for all",
        ),
    ],
)
def test_without_that_evidence_it_is_told_what_is_missing(slot: SlotEvidence, says: str) -> None:
    judgement = fenced(replace(HANGS, slot=slot))
    assert judgement.verdict is Verdict.HUNG
    assert not judgement.may_be_fenced
    assert judgement.hold_more == 0
    assert judgement.sentence.endswith(f"; its zone has such a node fenced, but {says}: look at it")


def test_whose_slot_moves_does_not_hang() -> None:
    moves = replace(SILENT, state=SlotState.MOVING, written_at=NOW - 0.5)
    judgement = fenced(replace(HANGS, slot=moves, life=replace(HANGS.life, slot=NOW - 0.5)))
    assert judgement.verdict is Verdict.AGENT_DOWN
    assert not judgement.may_be_fenced
    assert not judgement.only_kernel


@pytest.mark.parametrize(
    ("sign", "valid"),
    [
        ("packet", timing.HUNG_LEASE_AGE),
        ("agent_lease", timing.HUNG_LEASE_AGE),
        ("kubelet_lease", timing.HUNG_LEASE_AGE),
        ("heartbeat", timing.HUNG_HEARTBEAT_AGE),
        ("boot", timing.HUNG_HEARTBEAT_AGE),
    ],
)
def test_any_sign_of_life_but_its_kernels_forbids_it(sign: str, valid: float) -> None:
    young = fenced(replace(HANGS, life=replace(HANGS.life, **{sign: NOW - valid + 0.1})))
    assert not young.may_be_fenced
    assert not young.only_kernel
    assert f"was seen within the last {valid:.0f} s" in young.sentence
    assert fenced(replace(HANGS, life=replace(HANGS.life, **{sign: NOW - valid}))).may_be_fenced


@pytest.mark.parametrize("kernel", [NEVER, SINCE, NOW])
def test_what_its_kernel_answers_is_no_sign_here(kernel: float) -> None:
    assert fenced(replace(HANGS, life=replace(HANGS.life, kernel=kernel))).may_be_fenced


@pytest.mark.parametrize("state", [s for s in RingState if s is not RingState.AGENT_DOWN])
def test_only_of_a_node_whose_kernel_answers_and_whose_agent_does_not(state: RingState) -> None:
    judgement = fenced(replace(HANGS, ring=replace(HANGS.ring, state=state)))
    assert judgement.verdict is not Verdict.HUNG
    assert not judgement.may_be_fenced


GONE = RingEvidence(
    RingState.UNREACHABLE, "2 of 2 peers", ("n2", "n3"), doubted_at=NOW - 1.0, round_at=NOW - 0.5
)


@pytest.mark.parametrize(
    ("ring", "says"),
    [(GONE, "but its kernel answered"), (RingEvidence(RingState.PARTIAL), "reached by some peers only")],
)
def test_a_kernel_that_answers_some_says_nothing_else_of_a_node_that_hung(
    ring: RingEvidence, says: str
) -> None:
    answers = replace(HANGS, ring=ring)
    judgement = fenced(answers)
    assert judgement.verdict is Verdict.SUSPECT
    assert says in judgement.sentence
    assert judgement.only_kernel
    heard = fenced(replace(answers, life=replace(HANGS.life, packet=NOW - 0.4)))
    assert not heard.only_kernel


def test_one_that_was_not_missed_for_long_enough_is_not_acted_upon_but_not_let_go_either() -> None:
    """Its kernel was not heard for a moment, so the ring has begun anew."""
    again = fenced(replace(HANGS, agent_down_at=NOW - 1.0))
    assert again.verdict is Verdict.AGENT_DOWN
    assert not again.may_be_fenced
    assert again.only_kernel
    assert not judge(replace(HANGS, agent_down_at=NOW - 1.0), NOW).only_kernel


def test_since_when_it_was_missed() -> None:
    assert HANGS.silent_at == HANGS.agent_down_at
    assert replace(HANGS, ring=GONE).silent_at == GONE.doubted_at
