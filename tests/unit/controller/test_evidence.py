"""What one replica believes of the agents' views: whose word counts, for how long, and what takes it back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.controller.evidence import Witness
from ringfence.core import timing
from ringfence.core.detection.evidence import NEVER
from ringfence.core.detection.verdict import judge
from ringfence.core.gossip.corroboration import vote_payload
from ringfence.core.gossip.members import Member, Roster
from ringfence.core.gossip.report import AgentView, SubjectView
from ringfence.core.gossip.rings import Rings
from ringfence.core.model import Boot, RingState, SignedVote, Verdict, Vote
from ringfence.net.crypto import SigningKey, verify

NOW = 1000.0
KEYS = {f"n{number}": SigningKey(bytes([number]) * 32) for number in range(1, 21)}


def roster_of(count: int) -> Roster:
    names = list(KEYS)[:count]
    members = (Member(n, f"uid-{n}", f"boot-{n}", ("10.0.0.1",), "", KEYS[n].public) for n in names)
    return Roster(1, "test", b"salt", tuple(members))


class Told:
    """A witness that knows the nodes, and agents that tell it what they see."""

    def __init__(self, count: int = 5) -> None:
        self.roster = roster_of(count)
        self.witness = Witness(verify)
        self.witness.roster = self.roster
        for member in self.roster.members:
            self.witness.boot_seen(member.name, member.uid, member.boot_id)
            self.witness.agent_seen(member.name)

    def vote(self, voter: str, about: str, round_id: bytes) -> SignedVote:
        boot = self.roster.by_name[about].boot
        unsigned = SignedVote(voter, boot, Vote.NONE, 1, round_id, b"")
        return replace(unsigned, signature=KEYS[voter].sign(vote_payload("test", unsigned)))

    def votes(self, about: str, round_id: bytes = b"round--1") -> tuple[SignedVote, ...]:
        return tuple(self.vote(name, about, round_id) for name in ("n1", "n2", "n3", "n4"))

    def says(
        self, reporter: str, about: SubjectView, at: float = NOW, *, healthy: bool = True, late: float = 0.0
    ) -> None:
        boot = self.roster.by_name[reporter].boot
        self.witness.view_seen(AgentView(boot, 1, healthy, frozenset({reporter}), (about,)), at, late)

    def verdict(self, node: str = "n5", at: float = NOW) -> Verdict:
        evidence = self.witness.evidence(node, at, device_proved=True)
        assert evidence is not None
        return judge(evidence, at).verdict


def gone(boot: Boot, votes: tuple[SignedVote, ...], round_age: float = 0.1) -> SubjectView:
    return SubjectView(boot, RingState.UNREACHABLE, 0.0, None, None, None, round_age, votes)


def alive(boot: Boot, answered: float = 0.4) -> SubjectView:
    return SubjectView(boot, RingState.ALIVE, 60.0, answered, answered, None, None, ())


def unobserved(boot: Boot, age: float) -> SubjectView:
    return SubjectView(boot, RingState.UNKNOWN, age, None, None, None, None, ())


@pytest.fixture
def told() -> Told:
    return Told()


N5 = roster_of(5).by_name["n5"].boot


def test_two_agents_that_show_the_votes_make_down(told: Told) -> None:
    told.says("n1", gone(N5, told.votes("n5")))
    told.says("n2", gone(N5, told.votes("n5")))
    assert told.verdict() is Verdict.DOWN


def test_one_agent_is_not_enough_while_others_speak(told: Told) -> None:
    told.says("n4", gone(N5, told.votes("n5")))
    told.says("n1", alive(N5))
    assert told.verdict() is Verdict.SUSPECT


def test_one_agent_is_enough_when_the_others_have_fallen_silent(told: Told) -> None:
    """Two nodes died at once, and their agents were among those that we read."""
    told.says("n3", alive(N5), NOW - timing.VIEW_SPEAKS - 0.1)
    told.says("n4", gone(N5, told.votes("n5")))
    assert told.verdict() is Verdict.DOWN


def test_a_verdict_that_waited_on_its_way_is_old(told: Told) -> None:
    """Two streams held back what they said of n5 before it was back; a third one tells that it has answered since."""
    told.says("n3", alive(N5, 0.6))
    for name in ("n1", "n2"):
        told.says(name, gone(N5, told.votes("n5")), late=2.0)
    assert told.verdict() is Verdict.SUSPECT


def test_a_sign_of_life_that_waited_on_its_way_is_one_all_the_same(told: Told) -> None:
    told.says("n3", alive(N5, 0.05), late=2.0)
    for name in ("n1", "n2"):
        told.says(name, gone(N5, told.votes("n5")))
    assert told.verdict() is Verdict.SUSPECT


def test_who_says_that_it_is_unwell_does_not_count(told: Told) -> None:
    told.says("n1", gone(N5, told.votes("n5")))
    told.says("n2", gone(N5, told.votes("n5")), healthy=False)
    told.says("n3", alive(N5))
    assert told.verdict() is Verdict.SUSPECT


def test_a_round_grows_old_from_our_first_word_of_it_whatever_its_reporters_say(told: Told) -> None:
    votes = told.votes("n5")
    for at in (NOW, NOW + timing.ROUND_FRESH - 0.1):
        told.says("n1", gone(N5, votes, 0.0), at)
        told.says("n2", gone(N5, votes, 0.0), at)
        assert told.verdict(at=at) is Verdict.DOWN
    later = NOW + timing.ROUND_FRESH + 0.1
    told.says("n1", gone(N5, votes, 0.0), later)
    told.says("n2", gone(N5, votes, 0.0), later)
    assert told.verdict(at=later) is Verdict.SUSPECT
    told.says("n1", gone(N5, told.votes("n5", b"round--2"), 0.0), later)
    told.says("n2", gone(N5, told.votes("n5", b"round--2"), 0.0), later)
    assert told.verdict(at=later) is Verdict.DOWN, "a new round counts anew"


def test_the_accused_agents_own_answer_vetoes_votes_that_are_shown_again(told: Told) -> None:
    for at in (NOW, NOW + 0.2):
        for reporter in ("n1", "n2", "n3"):
            told.says(reporter, gone(N5, told.votes("n5"), 0.0), at)
        told.witness.answered(AgentView(N5, 1, False, frozenset({"n5"}), ()), NOW + 0.01)
        assert told.verdict(at=at + 0.02) is Verdict.SUSPECT
    for reporter in ("n1", "n2", "n3"):
        told.says(reporter, gone(N5, told.votes("n5", b"round--2"), 0.0), NOW + 1.0)
    assert told.verdict(at=NOW + 1.0) is Verdict.DOWN, "a round that began after the answer"


def test_the_answer_of_another_boot_is_no_sign_of_this_one(told: Told) -> None:
    for reporter in ("n1", "n2"):
        told.says(reporter, gone(N5, told.votes("n5")))
    told.witness.answered(AgentView(Boot("n5", "uid-n5", "boot-before"), 1, True, frozenset(), ()), NOW)
    told.witness.answered(AgentView(Boot("n9", "uid-n9", "boot-n9"), 1, True, frozenset(), ()), NOW)
    assert told.verdict() is Verdict.DOWN


def test_votes_about_the_node_that_had_the_name_before_count_for_nothing(told: Told) -> None:
    votes = told.votes("n5")
    told.witness.forget("n5")
    told.witness.boot_seen("n5", "uid-n5-new", "boot-of-another-machine")
    told.says("n1", gone(N5, votes))
    told.says("n2", gone(N5, votes))
    assert told.verdict() is Verdict.SUSPECT
    written_over = tuple(
        replace(vote, subject=Boot("n5", "uid-n5-new", "boot-of-another-machine")) for vote in votes
    )
    told.says("n1", gone(written_over[0].subject, written_over))
    told.says("n2", gone(written_over[0].subject, written_over))
    assert told.verdict() is Verdict.SUSPECT


def nothing(reporter: Boot) -> AgentView:
    """What an agent that observes others sends (`net/views.py` leaves out of whom there is nothing to say)."""
    return AgentView(reporter, 1, True, frozenset({reporter.node}), ())


def test_who_says_nothing_of_the_accused_speaks_all_the_same() -> None:
    told = Told(20)
    n5 = told.roster.by_name["n5"].boot
    judges = [m.name for m in Rings(told.roster).observers(n5.node_uid)]
    votes = tuple(told.vote(name, "n5", b"round--1") for name in judges)
    thief, honest = judges[0], told.roster.by_name["n1"].boot
    told.says(thief, gone(n5, votes))
    assert told.verdict() is Verdict.DOWN
    told.witness.view_seen(nothing(honest), NOW)
    assert told.verdict() is Verdict.SUSPECT


def test_in_a_large_ring_a_member_of_which_no_ill_is_heard_is_alive() -> None:
    told = Told(20)
    reporter, n5 = told.roster.by_name["n1"].boot, told.roster.by_name["n5"].boot
    told.witness.view_seen(nothing(reporter), NOW)
    assert told.verdict() is Verdict.SUSPECT, "the agent may just have been asked to listen"
    for tenth in range(1, 61):
        told.witness.view_seen(nothing(reporter), NOW + tenth / 10)
    assert told.verdict(at=NOW + 6.0) is Verdict.HEALTHY
    told.says("n1", replace(gone(n5, ()), state=RingState.AGENT_DOWN), NOW + 6.1)
    assert told.verdict(at=NOW + 6.1) is Verdict.AGENT_DOWN
    for tenth in range(62, 162):
        told.witness.view_seen(nothing(reporter), NOW + tenth / 10)
        expected = Verdict.HEALTHY if tenth >= 61 + 50 else Verdict.SUSPECT
        assert told.verdict(at=NOW + tenth / 10) is expected


def test_in_a_small_ring_who_was_never_heard_is_not_alive(told: Told) -> None:
    for second in range(20):
        told.says("n1", unobserved(N5, 60.0), NOW + second)
    assert told.verdict(at=NOW + 19) is Verdict.SUSPECT


def test_that_a_later_boot_is_told_of_is_its_first_sign_of_life() -> None:
    """What a device was read as before that says nothing of it: two readings of `off` of a moment ago would prove that it is over."""
    witness = Witness(lambda _payload, _signature, _key: True)
    first, second = Boot("n1", "uid-1", "boot-1"), Boot("n1", "uid-1", "boot-2")
    witness.boot_seen("n1", "uid-1", "boot-1", 10.0)
    assert witness.life_of(first).latest == NEVER, "nobody knows for how long it has run"
    witness.boot_seen("n1", "uid-1", "boot-2", 50.0)
    assert (witness.life_of(second).latest, witness.life_of(second).latest_sign()) == (
        50.0,
        "its new boot id",
    )
    witness.boot_seen("n1", "uid-2", "boot-3", 60.0)
    assert witness.life_of(Boot("n1", "uid-2", "boot-3")).latest == 60.0


def test_since_when_a_node_is_heard_without_a_gap(told: Told) -> None:
    """By the instants at which packets were received, of this boot alone: neither when that was told nor a kernel's answer counts."""
    for half in range(9):
        told.says("n1", alive(N5, 0.4), NOW + half / 2)
    assert (told.witness.life("n5").packets_since, told.witness.life("n5").packet) == (NOW - 0.4, NOW + 3.6)
    told.says("n1", alive(N5, 2.9), NOW + 6.5)
    assert told.witness.life("n5").packet == NOW + 3.6, "the same packet, told again"
    told.says("n1", replace(alive(N5), heard_age=None, two_way_age=None, kernel_age=0.1), NOW + 7.0)
    told.says("n1", alive(Boot("n5", "uid-n5", "boot-later"), 0.1), NOW + 7.0)
    assert told.witness.life("n5").packet == NOW + 3.6
    told.says("n1", alive(N5, 0.1), NOW + 8.0)
    assert told.witness.life("n5").packets_since == told.witness.life("n5").packet == NOW + 8.0 - 0.1
