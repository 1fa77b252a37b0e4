"""Stories of the ring, told in virtual time with the real machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.core.gossip.dissemination import FORGET
from ringfence.core.gossip.members import Standing
from ringfence.core.gossip.rings import rings_of
from ringfence.core.model import RingState, Vote
from unit.core.gossip.ring_world import World, boot_id, member


def settled(count: int, **options: float) -> World:
    world = World(count, seed=int(options.get("seed", 1)), zones=int(options.get("zones", 1)))
    assert world.run(5, until=world.everybody_alive) or count > 8
    world.run(3)
    world.loss = options.get("loss", 0.0)
    return world


@pytest.mark.parametrize("count", [3, 5, 12])
@pytest.mark.parametrize("seed", range(6))
def test_a_crash_is_known_to_all_within_a_second_or_so(count: int, seed: int) -> None:
    world = settled(count, seed=seed, zones=2)
    world.run(world.dice.random())
    crashed_at = world.now
    world.crash("n2")
    assert world.run(1.3, until=lambda: world.all_see("n2", RingState.UNREACHABLE)), world.log[-20:]
    assert world.now - crashed_at < 1.2
    assert {subject for _, subject, _ in world.verdicts} == {"n2"}
    assert world.tally("n1", "n2").unreachable


def test_an_unreachable_verdict_is_renewed_while_it_lasts_and_withdrawn_at_the_first_answer() -> None:
    world = settled(3)
    world.isolate("n3")
    assert world.run(
        1.3, until=lambda: world.all_see("n3", RingState.UNREACHABLE) or world.tally("n1", "n3").unreachable
    )
    rounds = set()
    for _ in range(100):
        world.run(0.1)
        view = world.view("n1", "n3")
        assert view.state is RingState.UNREACHABLE
        assert view.round_age is not None
        assert view.round_age < 1.6
        rounds.add(view.votes[0].round_id)
    assert len(rounds) >= 8
    world.heal()
    assert world.run(0.5, until=lambda: world.state("n1", "n3") is world.state("n2", "n3") is RingState.ALIVE)
    assert world.run(2, until=world.everybody_alive)
    assert not world.tally("n1", "n3").unreachable


def test_who_is_cut_off_accuses_nobody() -> None:
    world = settled(5)
    world.isolate("n3")
    world.run(10)
    assert {subject for _, subject, _ in world.verdicts} == {"n3"}
    view = world.nodes["n3"].swim.view(world.now)
    assert not view.healthy
    assert view.alive == {"n3"}


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_one_path_lost_in_one_direction_is_no_death(count: int, seed: int) -> None:
    world = settled(count, seed=seed)
    world.cut(["n1"], ["n2"])
    world.run(30)
    assert world.verdicts == []


@pytest.mark.parametrize("count", [3, 5, 12])
def test_a_deaf_node_that_still_speaks_is_partial_and_never_unreachable(count: int) -> None:
    world = settled(count)
    world.cut([name for name in world.nodes if name != "n2"], ["n2"])
    world.run(30)
    if count <= 8:
        assert world.verdicts == []
        assert world.state("n1", "n2") is RingState.PARTIAL


@pytest.mark.parametrize("count", [3, 12])
def test_a_stopped_agent_on_a_living_kernel_is_agent_down(count: int) -> None:
    world = settled(count)
    world.stop_agent("n2")
    observers = [
        name for name in world.nodes if name != "n2" and world.view(name, "n2").two_way_age is not None
    ]
    world.run(1.5)
    assert {world.state(name, "n2") for name in observers} == {RingState.AGENT_DOWN}
    world.run(20)
    assert world.verdicts == []
    world.crash("n2")
    assert world.run(2.5, until=lambda: all(world.state(n, "n2") is RingState.UNREACHABLE for n in observers))


def test_a_rolled_out_agent_comes_back_without_a_verdict() -> None:
    world = settled(3)
    for name in ("n1", "n2", "n3"):
        world.stop_agent(name)
        world.run(3)
        world.nodes[name].agent = True
        world._wake(world.nodes[name])
        assert world.run(2, until=world.everybody_alive), world.log[-10:]
    assert world.verdicts == []


@pytest.mark.parametrize("count", [3, 5, 12])
def test_a_fifth_of_all_packets_lost_makes_no_false_verdict(count: int) -> None:
    world = settled(count, loss=0.2, seed=count)
    world.run(60 if count <= 5 else 15)
    assert world.verdicts == []
    world.crash("n2")
    assert world.run(4, until=lambda: world.state("n1", "n2") is RingState.UNREACHABLE or count > 8)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_observers_vote_of_several_dead_at_once_though_a_fifth_of_all_packets_is_lost(seed: int) -> None:
    """Each round makes its observers look around, and a second has samples for two looks only."""
    world = World(50, seed=seed, loss=0.2, zones=3)
    world.run(5.0)
    for name in ("n7", "n17", "n27", "n37", "n47"):
        world.crash(name)
    living = [node.swim for node in world.nodes.values() if node.agent]

    def cast(vote: Vote) -> int:
        return sum(swim.stats[f"vote {vote}"] for swim in living)

    before = cast(Vote.NONE), cast(Vote.ABSTAIN)
    world.run(5.0)
    nones, abstained = cast(Vote.NONE) - before[0], cast(Vote.ABSTAIN) - before[1]
    assert nones > 200
    assert abstained < 0.05 * nones


def test_a_paused_agent_neither_dies_nor_accuses() -> None:
    world = settled(5)
    for _ in range(3):
        world.pause("n4")
        world.run(10)
        assert world.state("n1", "n4") is RingState.AGENT_DOWN
        world.resume("n4")
        world.run(3)
    assert world.verdicts == []
    assert world.everybody_alive()


def test_a_reboot_is_another_subject() -> None:
    world = settled(3)
    world.crash("n2")
    assert world.run(1.3, until=lambda: world.all_see("n2", RingState.UNREACHABLE))
    old = world.view("n1", "n2").subject
    world.reboot("n2")
    assert world.run(2, until=world.everybody_alive)
    new = world.view("n1", "n2")
    assert new.subject.boot_id != old.boot_id
    assert new.votes == ()


def names_boot(world: World, boot: int) -> None:
    """A newer roster, which names this boot of n2."""
    roster = world.roster
    others = [one for one in roster.members if one.name != "n2"]
    two = member(2, zone=roster.by_name["n2"].zone, boot=boot)
    members = tuple(sorted([*others, two], key=lambda one: one.name))
    world.publish(replace(roster, epoch=roster.epoch + 1, members=members))


def rebooted_twice() -> World:
    """All have met n2's boot 2, and have heard of boot 0 before."""
    world = settled(3)
    world.crash("n2")
    world.run(3)
    world.reboot("n2", boot=2)
    assert world.run(3, until=world.everybody_alive)
    assert world.view("n1", "n2").subject.boot_id == boot_id("n2", 2)
    return world


def test_a_late_roster_takes_nobody_back_to_the_boot_between() -> None:
    world = rebooted_twice()
    world.run(3)
    for boot in (1, 2):
        names_boot(world, boot)
        world.run(3)
        assert world.everybody_alive()
        assert world.view("n1", "n2").subject.boot_id == boot_id("n2", 2)
    world.crash("n2")
    assert world.run(1.3, until=lambda: world.all_see("n2", RingState.UNREACHABLE))


def test_a_boot_whose_place_a_late_roster_took_is_met_again() -> None:
    world = rebooted_twice()
    world.isolate("n2")
    world.run(5)
    names_boot(world, 1)
    assert world.view("n1", "n2").subject.boot_id == boot_id("n2", 1)
    world.heal()
    assert world.run(4, until=world.everybody_alive)
    assert world.view("n1", "n2").subject.boot_id == boot_id("n2", 2)
    world.crash("n2")
    assert world.run(3, until=lambda: world.all_see("n2", RingState.UNREACHABLE))


def test_a_boot_that_registered_and_died_before_anybody_met_it_is_found_dead() -> None:
    world = settled(3)
    world.crash("n2")
    names_boot(world, 1)  # at once: what is known of boot 0 still looks alive
    assert world.run(3, until=lambda: world.all_see("n2", RingState.UNREACHABLE))
    assert world.view("n1", "n2").subject.boot_id == boot_id("n2", 1)


def test_two_nodes_left_give_a_single_vote_and_no_verdict() -> None:
    world = settled(2)
    world.crash("n2")
    world.run(5)
    count = world.tally("n1", "n2")
    assert count.single
    assert not count.unreachable
    assert world.state("n1", "n2") is RingState.DOUBTED
    assert world.nodes["n1"].swim.view(world.now).healthy


def test_half_of_four_may_accuse_the_other_half() -> None:
    world = settled(4)
    world.crash("n3")
    world.crash("n4")
    assert world.run(
        2, until=lambda: all(world.state("n1", dead) is RingState.UNREACHABLE for dead in ("n3", "n4"))
    )


def test_a_healed_partition_forgets_its_verdicts() -> None:
    world = settled(5)
    world.cut(["n1", "n2"], ["n3", "n4", "n5"])
    world.cut(["n3", "n4", "n5"], ["n1", "n2"])
    world.run(10)
    assert {subject for _, subject, _ in world.verdicts} == {"n1", "n2"}
    world.heal()
    assert world.run(2, until=world.everybody_alive), world.log[-10:]


def test_the_same_seed_tells_the_same_story() -> None:
    def story() -> list[tuple[float, str, object]]:
        world = settled(5, seed=7, loss=0.1)
        world.crash("n5")
        world.run(5)
        return [(at, who, event) for at, who, event in world.log]

    assert story() == story()


def test_load_does_not_grow_with_the_ring() -> None:
    world = settled(12)
    before = sum(node.swim.stats["sent"] for node in world.nodes.values())
    world.run(10)
    sent = sum(node.swim.stats["sent"] for node in world.nodes.values()) - before
    assert sent / 12 / 10 < 18


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_rounds_about_one_node_do_not_chase_each_other_through_the_ring(seed: int) -> None:
    world = World(30, seed=seed, zones=3)

    def sent() -> int:
        return sum(node.swim.stats["sent"] for node in world.nodes.values())

    world.run(5)
    before = sent()
    world.run(5)
    idle = sent() - before
    world.isolate("n5")
    most = sent() + 4 * idle
    assert not world.run(5, until=lambda: sent() > most)
    world.heal()
    world.run(3)
    before = sent()
    world.run(5)
    assert sent() - before <= 1.02 * idle  # strolls have a chance of their own


def test_who_does_not_observe_a_node_that_is_back_holds_nothing_against_it() -> None:
    world = World(30, seed=3, zones=3)
    world.run(5)
    world.isolate("n5")
    world.run(12)
    world.heal()
    world.run(3)
    others = [name for name in world.nodes if name != "n5"]
    assert {world.state(name, "n5") for name in others} == {RingState.ALIVE, RingState.UNKNOWN}


def test_a_window_knows_who_is_alive_within_two_seconds_of_a_doubt() -> None:
    world = World(30, seed=4, zones=3)
    world.run(5)
    window, other = world.nodes["n1"].swim, world.nodes["n30"].swim
    assert len(window.view(world.now).alive) < 15
    world.crash("n7")
    assert world.run(1.5, until=lambda: world.state("n1", "n7") is RingState.UNREACHABLE)
    world.run(1.5)
    assert window.view(world.now).alive == set(world.nodes) - {"n7"}
    assert len(other.view(world.now).alive) < 15  # nobody reads it
    world.run(20)
    assert window.view(world.now).alive == set(world.nodes) - {"n7"}
    world.reboot("n7")
    world.run(5)
    assert len(window.view(world.now).alive) < 15


def test_a_window_whose_reader_dials_again_has_heard_what_it_missed() -> None:
    """Where packets are lost a reader is gone for seconds now and then; a verdict told meanwhile would show a second late."""
    world = World(30, seed=4, zones=3)
    world.run(5)
    window, rings = world.nodes["n1"].swim, rings_of(world.roster)
    heard = [
        m for m in world.roster.members if "n1" not in {j.name for j in rings.judges(m.uid, second=True)}
    ]
    first, second, *_ = [m.name for m in heard if m.name != "n1"]
    window.window = False
    world.crash(first)
    world.run(1.5)
    assert world.state("n1", first) is RingState.UNREACHABLE
    world.run(FORGET)
    world.crash(second)
    world.run(1.5)
    assert world.state("n2", second) is RingState.UNREACHABLE
    assert world.state("n1", second) is RingState.UNKNOWN  # nobody tells it any more


def test_a_window_of_the_minority_sees_a_minority_alive() -> None:
    world = World(30, seed=4, zones=3)
    world.run(5)
    left = [f"n{number}" for number in range(1, 13)]
    right = [f"n{number}" for number in range(13, 31)]
    world.cut(left, right)
    world.cut(right, left)
    world.run(4)
    view = world.nodes["n1"].swim.view(world.now)
    assert view.alive <= set(left)
    assert not view.healthy
    assert {who for _, who, _ in world.verdicts} <= set(left)


@pytest.mark.parametrize("count", [3, 12])
def test_who_takes_his_leave_is_left_while_his_kernel_answers(count: int) -> None:
    world = settled(count)
    observers = [member.name for member in rings_of(world.roster).observers(world.roster.by_name["n2"].uid)]
    world.stop_agent("n2", orderly=True)
    world.run(0.1)
    assert {world.state(name, "n2") for name in observers} == {RingState.LEFT}
    world.run(10)
    assert {world.state(name, "n2") for name in observers} == {RingState.LEFT}
    world.crash("n2")
    assert world.run(2.5, until=lambda: all(world.state(n, "n2") is RingState.UNREACHABLE for n in observers))


def test_the_last_but_one_of_three_is_accused_once_the_first_is_proved_off() -> None:
    world = settled(3)
    world.crash("n1")
    assert world.run(2, until=lambda: world.all_see("n1", RingState.UNREACHABLE))
    world.crash("n2")
    assert not world.run(3, until=lambda: world.state("n3", "n2") is RingState.UNREACHABLE)
    members = tuple(
        replace(one, standing=Standing.SUBJECT) if one.name == "n1" else one for one in world.roster.members
    )
    world.publish(replace(world.roster, epoch=2, members=members))
    world.run(6)
    assert world.tally("n3", "n2").single
    world.reboot("n1")
    assert world.run(5, until=lambda: world.state("n3", "n1") is RingState.ALIVE)


def test_a_leave_that_the_node_has_not_signed_is_none() -> None:
    world = settled(3)
    # Who speaks for n2 now holds the group key, not n2's own.
    world.nodes["n2"].crypto.public = world.nodes["n1"].crypto.public
    world.stop_agent("n2", orderly=True)
    world.run(0.1)
    assert world.state("n1", "n2") is RingState.ALIVE
    assert world.nodes["n1"].swim.stats["drop leave"] == 2


@pytest.mark.parametrize("seed", range(4))
def test_who_dies_together_with_his_observers_is_found_by_the_second_set(seed: int) -> None:
    world = settled(40, seed=seed, zones=2)
    rings = rings_of(world.roster)
    observers = [member.name for member in rings.observers(world.roster.by_name["n2"].uid)]
    for name in ("n2", *observers[:5]):
        world.crash(name)
    left = observers[5:]
    assert world.run(
        2.5, until=lambda: all(world.state(name, "n2") is RingState.UNREACHABLE for name in left)
    )
    assert world.tally(left[0], "n2").by_second
    assert (
        world.run(4, until=lambda: any(world.state(name, "n2") is not RingState.UNREACHABLE for name in left))
        is False
    )
    world.reboot("n2")
    assert world.run(3, until=lambda: all(world.state(name, "n2") is RingState.ALIVE for name in left))


def test_the_second_set_can_veto_too() -> None:
    world = settled(40, seed=3, zones=2)
    rings = rings_of(world.roster)
    accused = world.roster.by_name["n2"]
    observers = [member.name for member in rings.observers(accused.uid)]
    for name in observers[:5]:
        world.crash(name)
    for name in observers[5:]:
        world.cut([name], ["n2"])
        world.cut(["n2"], [name])
    world.run(4)
    assert not [subject for _, subject, _ in world.verdicts if subject == "n2"]


def test_a_view_tells_each_paths_loss_and_when_each_vote_came() -> None:
    calm, lossy = World(4), World(4, loss=0.1)
    for world in (calm, lossy):
        world.run(60.0)
    assert {calm.view("n1", name).loss for name in ("n2", "n3", "n4")} == {0.0}
    # A probe is lost in one direction or the other: 0.19 of them, here over three paths and a hundred probes each.
    losses = [lossy.view("n1", name).loss for name in ("n2", "n3", "n4")]
    assert 0.1 < sum(loss for loss in losses if loss is not None) / 3 < 0.3
    calm.crash("n4")
    assert calm.run(3.0, until=lambda: calm.state("n1", "n4") is RingState.UNREACHABLE)
    seen = calm.view("n1", "n4")
    assert seen.round_age is not None
    assert len(seen.vote_ages) == len(seen.votes) == 3
    assert all(0.0 <= age < seen.round_age for age in seen.vote_ages)
    calm.run(60.0)
    lost = calm.view("n1", "n4").loss
    assert lost is not None
    assert lost > 0.8
    assert calm.view("n1", "n2").loss == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_who_has_voted_none_and_then_hears_the_accused_says_so_while_votes_are_counted(seed: int) -> None:
    """Else a window is told a verdict that no observer holds, and that none of them therefore takes back."""
    world = settled(12, seed=seed, zones=2)
    uid = world.roster.by_name["n2"].uid
    watchers = [world.nodes[member.name].swim for member in rings_of(world.roster).observers(uid)]
    subjects = [next(one for one in swim.subjects if one.member.uid == uid) for swim in watchers]
    world.isolate("n2")
    assert world.run(
        3, until=lambda: any(r.cast is Vote.NONE for one in subjects for r in one.rounds.values())
    )
    silent = [one for one in subjects for r in one.rounds.values() if r.cast is Vote.NONE]
    healed_at = world.now
    world.heal()
    for swim in watchers:
        swim._pings.ping(next(one for one in swim.subjects if one.member.uid == uid), world.now)
    assert world.run(0.3, until=lambda: any(one.heard_since(healed_at) for one in silent))
    heard = next(one for one in silent if one.heard_since(healed_at))
    assert all(Vote.ALIVE in {vote.vote for vote in r.votes.values()} for r in heard.rounds.values())
