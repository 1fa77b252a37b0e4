"""What lay in the socket of an agent that was paused: it is as old as the kernel says, not as new as its reading."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.core.gossip.corroboration import vote_payload
from ringfence.core.gossip.dissemination import FORGET
from ringfence.core.gossip.members import Roster
from ringfence.core.gossip.report import ALIVE_WITHIN, SubjectView
from ringfence.core.gossip.rings import Rings
from ringfence.core.gossip.rounds import CLOSE, COUNTED, EXAMINATION, LAPSE
from ringfence.core.gossip.swim import Swim
from ringfence.core.gossip.wire import Ballot, Message, Ping, Votes, boot_bytes, decode, split, tag_of
from ringfence.core.model import Answer, Column, RingState, SignedVote, Vote
from unit.core.gossip.ring_world import roster_of
from unit.core.gossip.test_awareness import first_probe
from unit.core.gossip.test_awareness import machine as one_of_two
from unit.core.gossip.test_networks import STORAGE, comes, observers, says_dead, settled
from unit.core.gossip.test_refused import ASK, NOW, ROUND, datagram, key_of, machine, small, vote


def two_networks(count: int) -> Roster:
    return replace(roster_of(count, zones=3, networks=STORAGE), epoch=2)


def look_vote(voter: str, about: str) -> Votes:
    """It got no answer on the management network, and one on storage."""
    subject = roster_of(20).by_name[about].boot
    columns = (Column("management", Answer.NONE), Column("storage", Answer.AGENT))
    unsigned = SignedVote(voter, subject, Vote.ALIVE, 2, ROUND, b"", columns)
    ballot = Ballot(
        tag_of(f"uid-{voter}"), Vote.ALIVE, key_of(voter).sign(vote_payload("test", unsigned)), columns
    )
    return Votes(ROUND, tag_of(f"uid-{about}"), boot_bytes(subject.boot_id), 2, (ballot,), look=True)


def stranger_of(roster: Roster) -> tuple[str, list[str]]:
    """One that n1 doesn't observe, and who does."""
    rings = Rings(roster)
    near = {one.name for one in rings.subjects("uid-n1")} | {"n1", "n5"}
    about = next(one for one in roster.members if one.name not in near)
    return about.name, [one.name for one in rings.observers(about.uid) if one.name != "n5"]


def about(swim: Swim, name: str, now: float) -> SubjectView:
    return next(one for one in swim.view(now).subjects if one.subject.node == name)


def said(swim: Swim, now: float) -> list[Message]:
    return [decode(bytes(split(sent)[2])[16:])[0] for sent, _ in swim.datagrams_to_send(now)]


@pytest.mark.parametrize("waited", [0.0, 1.0, 5.0])
def test_a_look_is_as_old_as_the_first_word_of_it(waited: float) -> None:
    swim = machine(two_networks(8))
    for place, voter in enumerate(["n2", "n4", "n6"]):
        message = look_vote(voter, "n3")
        swim.receive(
            datagram(message, sender=voter), f"10.0.0.{voter[1:]}", NOW, at=NOW - waited + place / 100
        )
    end = NOW + max(0.0, CLOSE - waited)
    swim.handle_timer(end)
    view = about(swim, "n3", end)
    assert {one.voter for one in view.look_votes} == {"n2", "n4", "n6"}
    assert view.look_age == pytest.approx(end - NOW + waited)


@pytest.mark.parametrize(("answered", "dead"), [(0.1, False), (-0.1, True)], ids=["since", "before"])
def test_an_answer_that_came_after_a_look_began_speaks_against_it(answered: float, *, dead: bool) -> None:
    swim = machine(two_networks(8))
    subject = next(one for one in swim.subjects if one.member.name == "n3")
    for voter in ("n2", "n4"):
        swim.receive(datagram(look_vote(voter, "n3"), sender=voter), f"10.0.0.{voter[1:]}", NOW, at=NOW - 3.0)
    subject.reach.legs["management"].two_way_at = NOW - 3.0 + answered
    swim.handle_timer(NOW)
    assert bool(about(swim, "n3", NOW).look_votes) is dead


@pytest.mark.parametrize("waited", [0.0, COUNTED, 5.0])
def test_what_a_window_is_told_of_a_look_is_as_old_as_it_came(waited: float) -> None:
    roster = two_networks(20)
    name, voters = stranger_of(roster)
    swim = machine(roster)
    ballots = tuple(look_vote(voter, name).ballots[0] for voter in voters)
    message = replace(look_vote(voters[0], name), ballots=ballots)
    sender = voters[0]
    swim.receive(datagram(message, sender=sender), f"10.0.0.{sender[1:]}", NOW, at=NOW - waited)
    assert about(swim, name, NOW).look_age == pytest.approx(waited)


@pytest.mark.parametrize("waited", [0.0, CLOSE / 2, 1.0])
def test_a_round_and_its_votes_are_as_old_as_they_came(waited: float) -> None:
    swim = machine(small())
    swim.receive(datagram(ASK), "10.0.0.2", NOW, at=NOW - waited)
    swim.receive(datagram(vote("n4"), sender="n4"), "10.0.0.4", NOW, at=NOW - waited / 2)
    [joined] = (one for subject in swim.subjects for one in subject.rounds.values())
    assert joined.started == NOW - waited
    assert joined.came == {"n4": NOW - waited / 2}
    swim.handle_timer(NOW)
    assert joined.closed is (waited >= CLOSE)


def test_a_packet_from_before_the_question_is_no_reason_to_vote_alive() -> None:
    """n3 died while n1 slept; all others have found it dead."""
    swim = machine(small())
    swim.receive(datagram(Ping(3), sender="n3"), "10.0.0.3", NOW, at=NOW - 5.0)
    swim.receive(datagram(ASK), "10.0.0.2", NOW, at=NOW - 1.0)
    swim.handle_timer(NOW + EXAMINATION + 0.001)
    assert swim.stats["vote alive"] == 0
    assert swim.stats["vote abstain"] + swim.stats["vote none"] == 1
    assert about(swim, "n3", NOW).heard_age == 5.0


def test_a_packet_that_came_after_the_question_is() -> None:
    swim = machine(small())
    swim.receive(datagram(ASK), "10.0.0.2", NOW, at=NOW - 1.0)
    swim.receive(datagram(Ping(3), sender="n3"), "10.0.0.3", NOW, at=NOW - 0.5)
    assert swim.stats["vote alive"] == 1


def test_an_alive_outlives_no_round_that_began_after_it_came() -> None:
    swim = machine(small())
    swim.receive(datagram(vote("n4", what=Vote.ALIVE), sender="n4"), "10.0.0.4", NOW, at=NOW - 1.2)
    subject = next(one for one in swim.subjects if one.member.name == "n3")
    assert subject.vetoed_at == NOW - 1.2


def test_who_answered_before_the_pause_is_not_counted_to_our_side_after_it() -> None:
    """A controller counts by it which side is the larger one."""
    asker, answerer = one_of_two("n1"), one_of_two("n2")
    sent_at, ping = first_probe(asker)
    answerer.receive(ping, "10.0.0.1", sent_at)
    [(ack, _)] = answerer.datagrams_to_send(sent_at)
    woken = sent_at + ALIVE_WITHIN + 1.0
    asker.receive(ack, "10.0.0.2", woken, at=sent_at + 0.002)
    assert asker.view(woken).alive == {"n1"}
    assert about(asker, "n2", woken).state is RingState.ALIVE, "its answer ends a doubt all the same"


def test_a_stamp_from_the_future_is_the_present() -> None:
    swim = machine(small())
    swim.receive(datagram(Ping(3), sender="n3"), "10.0.0.3", NOW, at=NOW + 60.0)
    subject = next(one for one in swim.subjects if one.member.name == "n3")
    assert subject.heard_at == NOW


@pytest.mark.parametrize(("waited", "shown"), [(0.0, True), (LAPSE / 2, True), (LAPSE + 0.1, False)])
def test_a_window_shows_no_verdict_that_has_lapsed_while_it_slept(waited: float, *, shown: bool) -> None:
    roster = replace(roster_of(20, zones=3), epoch=2)
    name, voters = stranger_of(roster)
    swim = machine(roster)
    swim.window = True
    ballots = tuple(vote(voter, about=name).ballots[0] for voter in voters)
    message = replace(vote(voters[0], about=name), ballots=ballots)
    sender = voters[0]
    swim.receive(datagram(message, sender=sender), f"10.0.0.{sender[1:]}", NOW, at=NOW - waited)
    view = about(swim, name, NOW)
    assert (view.state is RingState.UNREACHABLE) is shown
    if shown:
        assert view.round_age == pytest.approx(waited)
        assert set(view.vote_ages) == {view.round_age}
        swim.handle_timer(NOW - waited + LAPSE)
        assert about(swim, name, NOW - waited + LAPSE).state is RingState.UNKNOWN


@pytest.mark.parametrize(("waited", "known"), [(0.0, True), (FORGET + 1.0, False)])
def test_a_window_that_spoke_long_ago_is_none(waited: float, *, known: bool) -> None:
    swim = machine(replace(roster_of(20), epoch=2))
    news = (tag_of("uid-n7"), 0)
    swim.receive(datagram(Ping(3, news), sender="n3"), "10.0.0.3", NOW, at=NOW - waited)
    carried = [one.window for one in said(swim, NOW) if isinstance(one, Ping)]
    for step in range(80):
        swim.handle_timer(NOW + step / 40)
        carried += [one.window for one in said(swim, NOW + step / 40) if isinstance(one, Ping)]
    assert (news[0] in {window[0] for window in carried if window is not None}) is known


def test_a_network_that_has_healed_is_not_shown_dead_by_an_observer_that_wakes() -> None:
    world = settled(12, zones=2)
    sleeper = observers(world, "n2")[0]
    world.pause(sleeper)
    world.isolate("n2", on=STORAGE)
    others = [one for one in observers(world, "n2") if one != sleeper]
    assert comes(world, 6, lambda: all(says_dead(world, one, "n2") for one in others))
    world.heal()
    healed = world.now
    world.resume(sleeper)
    end = world.now + 2 * CLOSE
    while world.now < end:
        world.run(0.02)
        age = world.view(sleeper, "n2").look_age
        assert age is None or world.now - age < healed
