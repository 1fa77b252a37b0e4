"""Each folder here is a story: ``cluster.yaml`` and ``script.txt`` go in, ``expected.log`` must come out, whole.

Write the logs anew with ``RINGFENCE_REGENERATE=1 pytest tests/scenarios`` and review the difference as prose.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from scenarios import ring_story
from simulator.system.device import LadderSetup
from simulator.system.watchdogs import kennel
from simulator.system.world import World

HERE = Path(__file__).parent
STORIES = sorted(p.parent for p in HERE.glob("*/script.txt"))


def play(story: Path) -> list[str]:
    """Play one story to its end; the invariants hold on every tick. Two kinds: of the detector, and of the failover."""
    setup = yaml.safe_load((story / "cluster.yaml").read_text())
    lines = [line.split() for line in (story / "script.txt").read_text().splitlines() if line.strip()]
    *faults, end = [(float(first), rest) for first, *rest in lines]
    assert end[1] == ["end"], "the last line of a script says when it ends"
    if "ring" in setup:
        return ring_story.play(setup, faults, end[0])
    watchdog = setup.get("watchdog")
    world = World(
        setup["nodes"],
        setup["vms"],
        setup.get("bmcs", {}),
        setup.get("mode", "Active"),
        setup.get("volumes"),
        kennel(watchdog) if watchdog else None,
        heartbeat=setup.get("heartbeat"),
        storage_fence=setup.get("storageFence"),
        node_leases=setup.get("nodeLeases", False),
        ladder=LadderSetup(
            setup.get("pdus", {}),
            tuple(setup.get("hedgeAfterSeconds", ())),
            setup.get("delaySeconds", 0.0),
            setup.get("maxConcurrentOrders"),
        ),
        controllers=setup.get("controllers"),
        zones=setup.get("zones"),
        tells_verdicts=setup.get("verdicts", False),
    )
    for at, words in faults:
        while world.now < at:
            world.tick()
        world.do(words)
    while world.now < end[0]:
        world.tick()
    return world.log


@pytest.mark.parametrize("story", STORIES, ids=lambda p: p.name)
def test_story(story: Path) -> None:
    log = "\n".join(play(story)) + "\n"
    expected = story / "expected.log"
    if os.environ.get("RINGFENCE_REGENERATE"):
        expected.write_text(log)
    assert log == expected.read_text()


def test_every_story_is_told() -> None:
    assert STORIES
    for story in STORIES:
        assert (story / "README.md").read_text().strip(), f"{story.name} has no README"
