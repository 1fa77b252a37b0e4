"""Several networks: one that dies is named, and none that still carries packets lets its node be called dead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ringfence.core.gossip.corroboration import Tally, decisive, tally, vote_payload
from ringfence.core.gossip.events import NetworkChanged
from ringfence.core.gossip.members import Roster
from ringfence.core.gossip.networks import NetworkTally, tally_networks
from ringfence.core.gossip.rings import rings_of
from ringfence.core.model import Answer, Column, NetworkState, RingState, SignedVote, Vote
from unit.core.gossip.ring_world import FakeCrypto, World, roster_of

ROUND = b"round--1"
STORAGE = ("storage",)


def settled(count: int, *, seed: int = 1, networks: tuple[str, ...] = STORAGE, zones: int = 1) -> World:
    world = World(count, seed=seed, networks=networks, zones=zones)
    world.run(10)
    return world


def comes(world: World, seconds: float, wanted: Callable[[], bool]) -> bool:
    """Whether it holds within so many seconds, looked at ten times a second: asking is slow."""
    end = world.now + seconds
    while not wanted():
        if world.now >= end:
            return False
        world.run(0.1)
    return True


def observers(world: World, name: str) -> list[str]:
    return [one.name for one in rings_of(world.roster).observers(world.roster.by_name[name].uid)]


def states(world: World, name: str) -> set[RingState]:
    return {world.state(one, name) for one in observers(world, name)}


def network_state(world: World, reporter: str, subject: str, network: str = "storage") -> NetworkState:
    return next(one.state for one in world.view(reporter, subject).networks if one.network == network)


def shown(world: World, reporter: str, subject: str, network: str = "storage") -> NetworkTally | None:
    """What a controller counts from this agent's view."""
    view = world.view(reporter, subject)
    counted = tally_networks(view.look_votes, world.roster, view.subject, FakeCrypto(b"").verify)
    return next((one for one in counted if one.network == network), None)


def says_dead(world: World, reporter: str, subject: str, network: str = "storage") -> bool:
    told = shown(world, reporter, subject, network)
    return told is not None and told.dead


def all_say_dead(world: World, name: str, network: str = "storage") -> bool:
    return all(says_dead(world, one, name, network) for one in observers(world, name))


# -- stories ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 5, 12])
@pytest.mark.parametrize("seed", range(3))
def test_a_dead_storage_network_is_known_to_all_observers_and_its_node_stays_alive(
    count: int, seed: int
) -> None:
    world = settled(count, seed=seed, zones=2)
    assert network_state(world, observers(world, "n2")[0], "n2") is NetworkState.ANSWERS
    world.isolate("n2", on=STORAGE)
    assert comes(world, 4, lambda: all_say_dead(world, "n2"))
    for name in observers(world, "n2"):
        assert world.state(name, "n2") is RingState.ALIVE
        management = shown(world, name, "n2", "management")
        assert management is not None
        assert management.lives
    told = [event for _, _, event in world.log if isinstance(event, NetworkChanged)]
    assert {(event.subject.node, event.network, event.dead) for event in told} == {("n2", "storage", True)}
    world.run(60)
    assert all_say_dead(world, "n2"), "it is renewed while it lasts"
    assert world.verdicts == []
    world.heal()
    assert comes(
        world, 8, lambda: not any(says_dead(world, name, "n2") for name in world.nodes if name != "n2")
    )
    assert comes(
        world,
        20,
        lambda: all(
            network_state(world, name, "n2") is NetworkState.ANSWERS for name in observers(world, "n2")
        ),
    )


@pytest.mark.parametrize("count", [3, 5, 12])
def test_while_storage_answers_a_silent_management_network_is_partial_and_named(count: int) -> None:
    world = settled(count)
    world.isolate("n2", on=["management"])
    assert comes(world, 6, lambda: all_say_dead(world, "n2", "management"))
    assert comes(world, 2, lambda: states(world, "n2") == {RingState.PARTIAL})
    judge = observers(world, "n2")[0]
    assert comes(world, 10, lambda: "on storage, nobody on management" in world.tally(judge, "n2").sentence)
    world.run(60)
    assert world.verdicts == []
    assert states(world, "n2") == {RingState.PARTIAL}
    world.heal()
    assert comes(
        world, 3, lambda: all(world.state(name, "n2") is RingState.ALIVE for name in observers(world, "n2"))
    )
    assert comes(
        world,
        8,
        lambda: not any(says_dead(world, name, "n2", "management") for name in observers(world, "n2")),
    )


@pytest.mark.parametrize("count", [3, 12])
def test_a_node_that_loses_management_and_then_its_power_is_found_dead(count: int) -> None:
    world = settled(count)
    world.isolate("n2", on=["management"])
    world.run(30)
    assert world.verdicts == []
    world.crash("n2")
    crashed_at = world.now
    assert comes(world, 4, lambda: bool(world.verdicts))
    assert world.now - crashed_at < 3
    assert world.verdicts[0][1] == "n2"


@pytest.mark.parametrize("count", [3, 5, 12])
@pytest.mark.parametrize("seed", range(3))
def test_a_crash_is_known_as_soon_as_with_one_network(count: int, seed: int) -> None:
    world = settled(count, seed=seed, zones=2, networks=("migration", "storage"))
    world.run(world.dice.random())
    crashed_at = world.now
    world.crash("n2")
    assert comes(world, 1.3, lambda: bool(world.verdicts)), world.log[-20:]
    assert world.now - crashed_at < 1.2
    votes = world.view(observers(world, "n2")[0], "n2").votes
    assert {vote.columns for vote in votes if vote.vote is Vote.NONE} == {
        tuple(Column(network, Answer.NONE) for network in ("management", "migration", "storage"))
    }


@pytest.mark.parametrize("on", [(), ("management",)])
def test_the_second_set_looks_on_every_network_too(on: tuple[str, ...]) -> None:
    world = settled(40, zones=2)
    dying = observers(world, "n2")[:5]
    left = observers(world, "n2")[5:]
    for name in dying:
        world.crash(name)
    world.isolate("n2", on=on)
    world.run(6)
    if on:
        assert "n2" not in {subject for _, subject, _ in world.verdicts}
        assert {world.state(name, "n2") for name in left} == {RingState.PARTIAL}
    else:
        assert {world.state(name, "n2") for name in left} == {RingState.UNREACHABLE}
        assert world.tally(left[0], "n2").by_second


def test_a_stopped_agent_whose_kernel_answers_on_storage_only_is_agent_down() -> None:
    world = settled(5)
    world.stop_agent("n2")
    world.isolate("n2", on=["management"])
    world.run(20)
    assert world.verdicts == []
    assert states(world, "n2") == {RingState.AGENT_DOWN}


def test_one_pair_without_storage_between_them_is_no_dead_network() -> None:
    world = settled(5)
    world.cut(["n1"], ["n2"], on=STORAGE)
    world.run(40)
    assert network_state(world, "n1", "n2") is NetworkState.SILENT
    assert not any(isinstance(event, NetworkChanged) for _, _, event in world.log)


def test_where_all_lose_storage_at_once_each_is_said_and_nobody_doubts_a_life() -> None:
    world = settled(12)
    for name in world.nodes:
        world.isolate(name, on=STORAGE)
    assert comes(world, 20, lambda: all(all_say_dead(world, name) for name in world.nodes))
    world.crash("n3")
    crashed_at = world.now
    assert comes(world, 1.5, lambda: bool(world.verdicts)), "a death is found no later for it"
    assert world.now - crashed_at < 1.2
    assert {event.new for _, _, event in world.log if not isinstance(event, NetworkChanged)} <= {
        RingState.ALIVE,
        RingState.UNKNOWN,
        RingState.DOUBTED,
        RingState.UNREACHABLE,
    }


def test_a_window_that_does_not_observe_the_node_is_told_and_told_again_when_it_heals() -> None:
    world = settled(20, zones=2)
    window = next(f"n{n}" for n in range(1, 13) if f"n{n}" not in observers(world, "n20"))

    def said() -> bool:
        return says_dead(world, window, "n20")

    world.isolate("n20", on=STORAGE)
    assert comes(world, 5, said)
    world.run(45)
    assert said(), "renewed"
    world.heal()
    assert comes(world, 5, lambda: not said())


@pytest.mark.parametrize("count", [3, 12])
def test_two_further_networks_cost_half_of_the_first(count: int) -> None:
    world = settled(count, networks=("migration", "storage"))
    world.sent.clear()
    world.run(40)
    for network in ("migration", "storage"):
        assert 0.15 < world.sent[network] / world.sent["management"] < 0.3


def test_an_address_that_we_lack_is_not_looked_from() -> None:
    world = settled(3)
    world.isolate("n2", on=STORAGE)
    world.nodes["n1"].swim.lack(frozenset(STORAGE), world.now)
    world.sent.clear()
    world.run(20)
    assert world.view("n1", "n2").networks == ()
    assert not all_say_dead(world, "n2"), "one observer is left"
    world.nodes["n1"].swim.lack(frozenset(), world.now)
    assert comes(world, 20, lambda: all_say_dead(world, "n2"))


def test_a_roster_that_takes_the_network_away_ends_the_matter() -> None:
    world = settled(5)
    world.isolate("n2", on=STORAGE)
    assert comes(world, 5, lambda: all_say_dead(world, "n2"))
    plain = replace(roster_of(5, epoch=2))
    for node in world.nodes.values():
        node.swim.install(plain, world.now)
    world.run(1)
    world.sent.clear()
    world.run(30)
    assert set(world.sent) == {"management"}
    assert world.view("n1", "n2").networks == ()
    assert world.everybody_alive()


# -- the rules ----------------------------------------------------------------------------------------------------------


def signed(roster: Roster, voter: str, vote: Vote, **columns: str) -> SignedVote:
    said = tuple(sorted(Column(network, Answer(answer)) for network, answer in columns.items()))
    unsigned = SignedVote(voter, roster.by_name["n1"].boot, vote, roster.epoch, ROUND, b"", said)
    crypto = FakeCrypto(b"")
    crypto.public = roster.by_name[voter].public_key
    return replace(unsigned, signature=crypto.sign(vote_payload(roster.cluster, unsigned)))


def count(roster: Roster, *votes: SignedVote) -> Tally:
    return tally(votes, roster, roster.by_name["n1"].boot, FakeCrypto(b"").verify)


def networks(roster: Roster, *votes: SignedVote) -> dict[str, NetworkTally]:
    found = tally_networks(votes, roster, roster.by_name["n1"].boot, FakeCrypto(b"").verify)
    return {one.network: one for one in found}


def test_a_signature_covers_the_columns() -> None:
    roster = roster_of(5, networks=STORAGE)
    honest = signed(roster, "n2", Vote.NONE, management="none", storage="none")
    assert count(roster, honest).voters == ("n2",)
    for columns in ((), honest.columns[:1], (*honest.columns[:1], Column("storage", Answer.AGENT))):
        forged = replace(honest, columns=columns, vote=Vote.NONE)
        assert count(roster, forged).voters == ()


def test_a_vote_without_columns_is_signed_as_by_the_version_before() -> None:
    vote = signed(roster_of(3), "n2", Vote.NONE)
    assert vote_payload("test", vote).startswith(b"ringfence vote 1\0\0\4test\0\2n2")
    assert vote_payload("test", replace(vote, columns=(Column("a", Answer.NONE),))).startswith(
        b"ringfence vote 2\0"
    )


def test_votes_about_the_management_network_alone_kill_nobody_who_is_on_another_one() -> None:
    roster = roster_of(5, networks=STORAGE)
    old = [signed(roster, name, Vote.NONE) for name in ("n2", "n3", "n4")]
    result = count(roster, *old)
    assert not result.unreachable
    assert "none of them has looked on storage" in result.sentence
    looked = signed(roster, "n5", Vote.NONE, management="none", storage="none")
    assert count(roster, *old, looked).unreachable
    answered = signed(roster, "n5", Vote.ALIVE, storage="agent")
    assert count(roster, *old, answered).alive
    assert count(roster_of(5), *(signed(roster_of(5), name, Vote.NONE) for name in ("n2", "n3"))).unreachable


def test_where_no_observer_stands_on_its_further_network_votes_about_management_are_enough() -> None:
    roster = roster_of(4)
    alone = replace(roster.members[0], networks=(("storage", "storage.1"),))
    roster = replace(roster, members=(alone, *roster.members[1:]))
    assert count(roster, signed(roster, "n2", Vote.NONE), signed(roster, "n3", Vote.NONE)).unreachable


def test_none_with_an_answer_in_its_columns_is_no_vote() -> None:
    roster = roster_of(5, networks=STORAGE)
    result = count(roster, signed(roster, "n2", Vote.NONE, management="none", storage="kernel"))
    assert "contradicts" in result.refused[0]


def test_who_decides_a_verdict_has_looked_on_every_network() -> None:
    roster = roster_of(20, networks=STORAGE)
    names = [one.name for one in rings_of(roster).observers("uid-n1")]
    votes = [signed(roster, name, Vote.NONE) for name in names[:7]]
    votes.append(signed(roster, names[7], Vote.NONE, management="none", storage="none"))
    told = decisive(votes, roster, "uid-n1")
    assert count(roster, *told).unreachable
    assert len(told) <= 6


@pytest.mark.parametrize(
    ("columns", "dead", "lives"),
    [
        ({"n2": "none", "n3": "none"}, True, False),
        ({"n2": "none"}, False, False),
        ({"n2": "none", "n3": "none", "n4": "agent"}, False, True),
        ({"n2": "none", "n3": "none", "n4": "kernel"}, False, True),
        ({}, False, False),
    ],
)
def test_the_small_rule_of_a_network(columns: dict[str, str], dead: bool, lives: bool) -> None:
    roster = roster_of(5, networks=STORAGE)
    votes = [
        signed(roster, name, Vote.ALIVE, management="agent", storage=said) for name, said in columns.items()
    ]
    found = networks(roster, *votes)["storage"]
    assert (found.dead, found.lives) == (dead, lives)


def test_the_large_rule_of_a_network_counts_those_that_stand_on_it() -> None:
    roster = roster_of(40, networks=STORAGE, zones=2)
    on = [one.name for one in rings_of(roster).observers("uid-n1")][:5]
    members = tuple(one if one.name in {"n1", *on} else replace(one, networks=()) for one in roster.members)
    roster = replace(roster, members=members)
    votes = [signed(roster, name, Vote.ALIVE, management="agent", storage="none") for name in on]
    zones = {roster.by_name[name].zone for name in on}
    found = networks(roster, *votes[:2])["storage"]
    assert not found.dead
    assert found.sentence.startswith("2 of 5 observers on storage")
    assert networks(roster, *votes)["storage"].dead
    assert networks(roster, *votes)["management"].lives
    if len(zones) == 2:
        alone = [vote for vote in votes if roster.by_name[vote.voter].zone == roster.by_name[on[0]].zone]
        assert not networks(roster, *alone)["storage"].dead
