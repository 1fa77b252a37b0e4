"""The watch sees what it is there to see: each world here is broken on purpose. And the real ring, by chance scripts."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from ringfence.core.gossip.corroboration import H
from ringfence.core.gossip.events import KernelProbe
from ringfence.core.gossip.keys import GroupKey, KeySet
from ringfence.core.model import Vote
from simulator import faults, story
from simulator.__main__ import main
from simulator.crypto import FakeCrypto, Keyring, MakeCrypto, Rekeyed
from simulator.invariants import Watch
from simulator.node import Node
from simulator.script import Fault, random_script, read
from simulator.story import Outcome, play, shorten
from simulator.world import World

STARVED = 3600.0
"""Seconds: these run behind the lab's stories (`beside`), on what they leave of the processors."""


class SilentKernels(World):
    """No kernel answers anybody."""

    def _kernel_asked(self, question: tuple[Node, int, Node, KernelProbe]) -> None:
        pass


class NoVotes(World):
    """What is longer than a question is lost."""

    def send(self, node: Node, datagram: bytes, address: str) -> None:
        if len(datagram) < 150:
            super().send(node, datagram, address)


class Blabbing(World):
    """Every agent says everything eighty times."""

    def send(self, node: Node, datagram: bytes, address: str) -> None:
        for _ in range(80):
            super().send(node, datagram, address)


class Gullible(FakeCrypto):
    """Takes any signature for anybody's."""

    def verify(self, payload: bytes, signature: bytes, public_key: bytes) -> bool:  # noqa: ARG002
        return True


def gullible(name: str, boot: int) -> tuple[Rekeyed, bytes]:
    ring = Keyring()
    _, public = ring.make(name, boot)
    return Gullible(ring, public), public


class Boasting(World):
    """Every agent has reported keys that it has not been given yet."""

    def change_group(self, keys: KeySet, without: Iterable[str]) -> None:
        super().change_group(keys, without)
        for node in self.nodes:
            node.reported = (node.boot, keys)

    def report_keys(self, node: Node) -> None:
        pass


class Babel(World):
    """With the first step everybody gets a key of their own."""

    def change_group(self, keys: KeySet, without: Iterable[str]) -> None:
        super().change_group(keys, without)
        for node in self.nodes:
            if node.crypto is not None:
                node.crypto.rekey(KeySet((GroupKey(node.index, b"%032d" % node.index),), node.index))


class Hoarding(FakeCrypto):
    """Lets go of no key."""

    def rekey(self, keys: KeySet) -> None:
        kept = getattr(self, "_keys", {})
        super().rekey(keys)
        self._keys = {**kept, **self._keys}
        self.held = frozenset(self._keys)


def hoarding() -> MakeCrypto:
    ring = Keyring()

    def make(name: str, boot: int) -> tuple[Rekeyed, bytes]:
        seed = f"{name} {boot}".encode()
        public = ring.make(name, boot)[1]
        return Hoarding(ring, seed.ljust(32)), public

    return make


def watched(world: World, *fault: Fault, seconds: float = 8.0) -> Watch:
    watch = Watch(world)
    world.run(3)
    for one in fault:
        world.later(one.at, lambda one: faults.begin(world, one), one)
    world.run(seconds)
    return watch


def broken_in(world: World, *fault: Fault, seconds: float = 8.0) -> set[int]:
    return {one.number for one in watched(world, *fault, seconds=seconds).broken}


def sentences(world: World, *fault: Fault, seconds: float) -> str:
    return "\n".join(one.sentence for one in watched(world, *fault, seconds=seconds).broken)


@pytest.mark.parametrize("count", [5, 20])
def test_a_paused_agent_called_unreachable_breaks_5(count: int) -> None:
    pause = Fault(0.0, "pause", ("n2",), seconds=4.0)
    assert 5 in broken_in(SilentKernels(count), pause)
    assert broken_in(World(count), pause) == set()


def test_a_forged_verdict_breaks_1() -> None:
    forge = Fault(0.0, "forge", ("n1",), ("n9",), seconds=2.0)
    assert 1 in broken_in(World(20, make_crypto=gullible), forge)
    assert broken_in(World(20), forge) == set()


@pytest.mark.parametrize("count", [5, 20])
def test_a_crash_that_nobody_learns_of_breaks_3(count: int) -> None:
    crash = Fault(0.0, "crash", ("n2",))
    assert broken_in(NoVotes(count), crash) == {3}
    assert broken_in(World(count), crash) == set()


class Walking(Watch):
    """Asks each machine about everybody, where a watch goes by what it is told."""

    seen = 0

    def changed(self, node: Node) -> None:
        super().changed(node)
        assert node.swim is not None
        for subject in node.swim.subjects:
            shown = subject.shown
            if shown is not None and sum(vote.vote is Vote.NONE for vote in shown.votes.values()) >= H:
                assert shown.round_id in self._counted, f"{node.name} shows a verdict that nobody has judged"
                self.seen += 1


@pytest.mark.parametrize("restarted", [0, 30])
def test_no_verdict_that_a_view_shows_is_missed(restarted: int) -> None:
    """Nor of windows, which are told by others, nor of processes that are younger than the watch."""
    world = World(30)
    watch = Walking(world)
    world.run(3)
    for node in world.nodes[:restarted]:
        world.stop_agent(node)
        world.start_agent(node)
    world.run(3)
    world.crash(world.by_name["n20"])
    world.run(3)
    assert any(verdict.subject.node == "n20" for verdict in watch.verdicts)
    assert watch.seen
    assert not watch.broken


ROTATE = Fault(0.0, "rotate", amount=1.0)


def test_a_step_that_has_not_waited_for_all_breaks_12() -> None:
    assert 12 in broken_in(Boasting(9), ROTATE)
    assert broken_in(World(9), ROTATE, seconds=15.0) == set()


def test_a_verdict_that_is_lost_in_a_rotation_breaks_12() -> None:
    crash, rotate = Fault(0.0, "crash", ("n2",)), Fault(2.0, "rotate", amount=4.0)
    assert "lost the verdict" in sentences(Babel(9), crash, rotate, seconds=8.0)
    assert sentences(World(9), crash, rotate, seconds=20.0) == ""


def test_a_removed_key_that_opens_breaks_12() -> None:
    assert "has removed" in sentences(World(9, make_crypto=hoarding()), ROTATE, seconds=15.0)


def test_too_many_packets_break_9() -> None:
    assert broken_in(Blabbing(5), seconds=3.0) == {9}


def test_a_ring_that_does_not_come_to_rest_breaks_8() -> None:
    outcome = play(read("nodes 5 zones 1 seed 1\n0.5 cut n1 > n2\n3.0 loss n3 > n4 for 0.1 by 0.01"))
    assert [one.number for one in outcome.broken] == [8]
    assert "n1 calls n2" in outcome.broken[0].sentence or "n2 calls n1" in outcome.broken[0].sentence


def test_what_comes_out_of_the_machine_as_an_error_is_a_finding() -> None:
    outcome = play(read("nodes 5 zones 1 seed 1\n1.0 no-such-fault n1"))
    assert [one.number for one in outcome.broken] == [0]
    assert "no-such-fault" in outcome.broken[0].sentence


def test_a_failing_script_is_shortened_to_what_makes_it_fail() -> None:
    script = read(
        "nodes 5 zones 1 seed 1\n0.5 pause n3 for 0.5\n1.0 cut n1,n4 > n2\n1.2 loss * > * for 1.0 by 0.05"
    )
    short = shorten(play(script), 8)
    assert [fault.kind for fault in short.script.faults] == ["cut"]
    assert len(short.script.faults[0].nodes) == 1
    assert play(read(str(short.script))).broken == short.broken


def test_the_command_prints_seed_script_and_shortest_and_ends_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "CONVERGED", 0.0)  # no ring comes to rest in no time
    assert main(["fuzz", "--seeds", "1", "--first", "17", "--n", "9", "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    assert "seed 17: invariant 8 broken" in said
    assert "nodes 9 zones 3 seed 17" in said
    assert "the shortest for invariant 8" in said
    assert said.splitlines()[-1] == "1 seeds x 9 nodes: broken invariants: 8 in 1"


def test_several_seeds_are_played_at_once() -> None:
    command = [sys.executable, "-m", "simulator", "fuzz", "--seeds", "3", "--n", "5", "--jobs", "2"]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=STARVED,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "3 seeds x 5 nodes: broken invariants: none"


@pytest.mark.parametrize("seed", range(1000, 1010))
def test_random_scripts_on_twenty_nodes(seed: int) -> None:
    outcome = play(random_script(seed, 20))
    assert not outcome.broken, f"{outcome.broken}\n{outcome.script}"


FIFTY = range(50)


@pytest.fixture(scope="module")
def played() -> Iterator[dict[int, Future[Outcome]]]:
    """The fifty scripts, on all cores."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        yield {seed: pool.submit(play, random_script(seed)) for seed in FIFTY}
        pool.shutdown(cancel_futures=True)


@pytest.mark.long
@pytest.mark.parametrize("seed", FIFTY)
def test_random_scripts_on_a_hundred_nodes(played: dict[int, Future[Outcome]], seed: int) -> None:
    outcome = played[seed].result(timeout=STARVED)
    assert not outcome.broken, f"{outcome.broken[:5]}\n{outcome.script}"
