"""The world around the machines does what it says: links, kernels, clocks, keys."""

from __future__ import annotations

import random

import pytest

from ringfence.core.model import RingState
from ringfence.net.crypto import GroupSeal, SigningKey, derive
from simulator import faults
from simulator.crypto import FIRST, Keyring, Rekeyed
from simulator.invariants import Watch
from simulator.links import LAN, Link, Links, Rule
from simulator.node import BACKLOG
from simulator.script import Fault
from simulator.world import World


def settled(count: int = 5) -> tuple[World, Watch]:
    world = World(count)
    watch = Watch(world)
    world.run(3)
    assert watch.unsettled() is None
    return world, watch


def state(world: World, reporter: str, subject: str) -> RingState:
    swim = world.by_name[reporter].swim
    assert swim is not None
    return next(one.state for one in swim.subjects if one.member.name == subject)


# -- crypto


def test_what_one_sealed_opens_as_that_and_nothing_else() -> None:
    ring, stranger = Keyring(), Keyring(b"another group")
    (one, public), (other, _) = ring.make("n1", 0), ring.make("n2", 0)
    sealed = one.seal("u1", b"b" * 16, 7, b"head", b"body")
    assert len(sealed) == len(b"body") + 16
    assert other.open(0, "u1", b"b" * 16, 7, b"head", sealed) == b"body"
    assert other.open(0, "u2", b"b" * 16, 7, b"head", sealed) is None
    assert other.open(0, "u1", b"c" * 16, 7, b"head", sealed) is None
    assert other.open(0, "u1", b"b" * 16, 8, b"head", sealed) is None
    assert other.open(0, "u1", b"b" * 16, 7, b"Head", sealed) is None
    assert other.open(0, "u1", b"b" * 16, 7, b"head", sealed[:-1] + b"x") is None
    assert stranger.make("n1", 0)[0].open(0, "u1", b"b" * 16, 7, b"head", sealed) is None
    assert other.verify(b"vote", one.sign(b"vote"), public)
    assert not other.verify(b"vote", other.sign(b"vote"), public)
    assert not other.verify(b"Vote", one.sign(b"vote"), public)


def test_the_machine_runs_on_the_real_seals_too() -> None:
    def real(name: str, boot: int) -> tuple[Rekeyed, bytes]:
        key = SigningKey(derive(b"k" * 32, "test", name.encode(), b"%d" % boot))
        return GroupSeal(FIRST, key), key.public

    world = World(4, make_crypto=real)
    watch = Watch(world)
    world.run(3)
    faults.begin(world, Fault(0.0, "rotate", amount=0.5))
    world.run(2)
    world.crash(world.by_name["n2"])
    world.run(1.5)
    assert state(world, "n1", "n2") is RingState.UNREACHABLE
    world.run(10)
    assert state(world, "n1", "n2") is RingState.UNREACHABLE
    assert state(world, "n1", "n3") is RingState.ALIVE
    assert [node.keys.ids for node in world.nodes if node.kernel] == [(1,)] * 3
    assert {verdict.subject.node for verdict in watch.verdicts} == {"n2"}
    assert not watch.broken


# -- links


def passed(links: Links, source: int, target: int, size: int = 100) -> list[tuple[float, ...]]:
    return [links.delays(source, target, size) for _ in range(2000)]


def test_a_usual_link_delays_and_nothing_else() -> None:
    delays = passed(Links(LAN, random.Random(1)), 0, 1)
    assert all(len(copies) == 1 and 0.0002 <= copies[0] <= 0.0008 for copies in delays)


def test_a_rule_is_for_its_paths_in_its_direction_while_it_stands() -> None:
    links = Links(LAN, random.Random(1))
    rule = Rule(frozenset({0}), frozenset({1}), Link(loss=1))
    links.add(rule, 10.0)
    assert not any(passed(links, 0, 1))
    assert all(passed(links, 1, 0))
    assert links.cut_since(1, 0, 10.0)
    assert not links.cut_since(1, 0, 9.0)
    assert links.past(1, 0, 11.0).loss == 1
    links.end(rule, 12.0)
    assert all(passed(links, 0, 1))
    assert links.past(1, 0, 11.0).loss == 1
    assert links.past(1, 0, 12.5).clean


def test_loss_copies_disorder_delay_and_mtu() -> None:
    links = Links(LAN, random.Random(1))
    links.add(Rule(None, None, Link(0.01, 0.0, loss=0.2, duplicate=0.3, reorder=0.1, mtu=600)), 0.0)
    delays = passed(links, 0, 1)
    assert 0.15 < sum(not copies for copies in delays) / 2000 < 0.25
    assert 0.25 < sum(len(copies) == 2 for copies in delays) / 1600 < 0.35
    assert 0.07 < sum(copies[0] > 0.025 for copies in delays if copies) / 1600 < 0.13
    assert all(copies[0] > 0.01 for copies in delays if copies)
    assert not any(passed(links, 0, 1, size=573))
    assert any(passed(links, 0, 1, size=572))


# -- nodes


def test_a_crash_is_known_in_time_and_a_boot_brings_it_back() -> None:
    world, watch = settled()
    node = world.by_name["n2"]
    world.crash(node)
    world.run(1.2)
    assert {verdict.subject.node for verdict in watch.verdicts} == {"n2"}
    world.power_on(node)
    world.run(4)
    assert watch.unsettled() is None
    assert world.roster.epoch == 2
    assert not watch.broken


def test_a_stopped_process_is_answered_for_by_its_kernel_and_its_socket_keeps_what_fits() -> None:
    world, watch = settled()
    node = world.by_name["n2"]
    world.freeze(node)
    world.run(100)
    assert len(node.backlog) == BACKLOG
    assert state(world, "n1", "n2") is RingState.AGENT_DOWN
    world.thaw(node)
    assert not node.backlog
    assert world.now < node.late_until
    world.run(3)
    assert watch.unsettled() is None
    assert not watch.verdicts


def test_a_suspended_hosts_clock_stands_still_and_its_agent_hears_of_it() -> None:
    world, watch = settled()
    node = world.by_name["n2"]
    before = node.clock(world.now)
    world.suspend(node)
    world.run(5)
    assert node.clock(world.now) == before
    assert state(world, "n1", "n2") is RingState.UNREACHABLE
    world.resume(node, 5.0)
    world.run(1.0)
    assert node.late_until > world.now - 1.0
    world.run(5)
    assert watch.unsettled() is None


def test_a_slow_clock_is_late_by_its_rate() -> None:
    world, watch = settled()
    node = world.by_name["n2"]
    before = node.clock(world.now)
    world.set_rate(node, 0.5)
    world.run(4)
    assert node.clock(world.now) - before == pytest.approx(2.0)
    assert watch.unsettled() is None


def test_without_disk_and_api_an_agent_says_nothing_until_the_api_is_back() -> None:
    world, watch = settled()
    node = world.by_name["n2"]
    node.api += 1
    world.lose_disk(node)
    world.stop_agent(node)
    world.start_agent(node)
    sent = node.sent
    world.run(5)
    assert node.sent == sent
    assert state(world, "n1", "n2") is RingState.AGENT_DOWN
    node.api -= 1
    world.fetch([node])
    world.run(4)
    assert watch.unsettled() is None


def epoch(world: World, name: str) -> int:
    swim = world.by_name[name].swim
    assert swim is not None
    assert swim.roster is not None
    return swim.roster.epoch


def test_an_agent_without_the_api_learns_a_new_roster_from_its_peers_and_keeps_it() -> None:
    world, watch = settled()
    cut_off = world.by_name["n1"]
    cut_off.api += 1
    world.crash(world.by_name["n2"])
    world.power_on(world.by_name["n2"])
    assert world.run(3, lambda: epoch(world, "n3") == 2), "the others learn from the API"
    assert epoch(world, "n1") == 1
    assert world.run(4, lambda: epoch(world, "n1") == 2)
    world.stop_agent(cut_off)
    world.start_agent(cut_off)
    assert epoch(world, "n1") == 2, "from its disk"
    assert not watch.broken


@pytest.mark.parametrize("outwards", [True, False])
def test_no_roster_comes_over_a_path_that_is_cut_in_one_direction(outwards: bool) -> None:
    world, _ = settled(3)
    world.by_name["n1"].api += 1
    one, others = frozenset({0}), frozenset({1, 2})
    cut = Rule(one if outwards else others, others if outwards else one, Link(loss=1.0))
    world.links.add(cut, world.now)
    world.crash(world.by_name["n3"])
    world.power_on(world.by_name["n3"])
    assert not world.run(20, lambda: epoch(world, "n1") == 2)
    assert epoch(world, "n2") == 2
    world.links.end(cut, world.now)
    assert world.run(6, lambda: epoch(world, "n1") == 2)
