"""A node that hangs, as one replica hears of it: agents' views, Leases, virt-handler's heartbeat, heartbeat processes' reports."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.controller.evidence import Witness
from ringfence.core.detection.verdict import Judgement, judge
from ringfence.core.fencing.slotreport import OwnSlot, SlotReport, SlotRow
from ringfence.core.gossip.report import AgentView, SubjectView
from ringfence.core.model import Boot, OnHung, RingState, Verdict

HANGS_FROM = 1000.0
N1, N2, N3 = (Boot(f"n{number}", f"uid-{number}", f"boot-{number}") for number in (1, 2, 3))
RENEWED = ("kubelet_lease", "agent_lease", "heartbeat")


class Watched:
    """A witness of three nodes of which the first begins to hang; second by second it is told what the others see."""

    def __init__(self) -> None:
        self.witness = Witness(lambda *_: True)
        for boot in (N1, N2, N3):
            self.witness.boot_seen(boot.node, boot.node_uid, boot.boot_id)
            self.witness.agent_seen(boot.node)
        for source in RENEWED:
            self.witness.renewal_seen("n1", source, "v1", HANGS_FROM - 9.0, HANGS_FROM - 9.0)
            self.witness.renewal_seen("n1", source, "v2", HANGS_FROM, HANGS_FROM - 1.0)
        self.now = HANGS_FROM

    def second(self, *, slot_silent_for: float | None = None) -> None:
        """One second more, in which its kernel answers, and the volume is read."""
        self.now += 1.0
        hung = self.now - HANGS_FROM
        about = SubjectView(N1, RingState.AGENT_DOWN, hung, hung, hung, 0.4, None, ())
        silent = hung if slot_silent_for is None else slot_silent_for
        rows = (
            SlotRow(N1, 3, 70, 1.0, 0, 600.0, 0.1, silent, silent + 0.5),
            SlotRow(N3, 5, 90, 1.0, 0, 600.0, 0.1, 0.4, 0.9),
        )
        for boot in (N2, N3):
            view = AgentView(boot, 1, True, frozenset({"n2", "n3"}), (about,))
            self.witness.view_seen(view, self.now)
        self.witness.slots_seen(SlotReport(N2, "hearts", OwnSlot(), rows), self.now)
        self.judge()

    def judge(self, on_hung: OnHung = OnHung.FENCE) -> Judgement:
        evidence = self.witness.evidence("n1", self.now, device_proved=True)
        assert evidence is not None
        return judge(evidence, self.now, on_hung)


@pytest.fixture
def hangs() -> Watched:
    watched = Watched()
    for _ in range(183):
        watched.second()
    return watched


def test_all_that_a_replica_hears_makes_it_one_that_may_be_fenced(hangs: Watched) -> None:
    judgement = hangs.judge()
    assert judgement.verdict is Verdict.HUNG
    assert judgement.may_be_fenced
    assert not hangs.judge(OnHung.ALERT).may_be_fenced
    evidence = hangs.witness.evidence("n1", hangs.now, device_proved=True)
    assert evidence is not None
    assert evidence.silent_at == HANGS_FROM + 1.0, "since it was first told that only its kernel answers"


def test_the_holds_clock_runs_while_it_may_be_fenced(hangs: Watched) -> None:
    began = hangs.witness.down("n1", hangs.judge().may_be_fenced, hangs.now)
    hangs.second()
    assert hangs.witness.down("n1", hangs.judge().may_be_fenced, hangs.now) == began
    hangs.second(slot_silent_for=0.4)
    assert hangs.witness.down("n1", hangs.judge().may_be_fenced, hangs.now) < began, "from the beginning"
    assert hangs.witness.down_at("n1") == hangs.now - 1.0


@pytest.mark.parametrize("source", RENEWED)
def test_one_renewal_takes_it_back(hangs: Watched, source: str) -> None:
    hangs.witness.renewal_seen("n1", source, "v3", hangs.now, hangs.now - 1.0)
    judgement = hangs.judge()
    assert not judgement.may_be_fenced
    assert not judgement.only_kernel


def test_an_answer_of_its_agent_to_this_replica_takes_it_back(hangs: Watched) -> None:
    hangs.witness.answered(AgentView(N1, 1, True, frozenset({"n1"}), ()), hangs.now)
    judgement = hangs.judge()
    assert judgement.verdict is Verdict.HUNG, "so the ring says still"
    assert not judgement.may_be_fenced
    assert judgement.sentence.endswith("but a gossip packet was seen within the last 40 s: look at it")
    assert not judgement.only_kernel


def test_that_nobody_reads_the_volume_any_more_takes_the_evidence_away(hangs: Watched) -> None:
    evidence = hangs.witness.evidence("n1", hangs.now, device_proved=True)
    assert evidence is not None
    blind = replace(evidence, slot=hangs.witness.slot("n1", hangs.now + 30.0))
    judgement = judge(blind, hangs.now, OnHung.FENCE)
    assert not judgement.may_be_fenced
    assert judgement.only_kernel, "and nothing ends by that"
