"""The stories of `tests/scenarios` once more, led by the controller's own loops instead of the stand-in that takes its steps.

They come to the same end: the same incidents in the same last phases, the same VMs running, as many orders to each device. Where they don't,
`OTHERWISE` says why. In time they differ, so no log is compared: real replicas read, store and hear with pauses.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from simulator import library
from simulator.library import Story
from simulator.system.invariants import Invariants
from simulator.system.replicas import WARM_UP, Replicas
from simulator.system.world import World

RESTORES = "the cluster's store is set back, which the virtual API server can't"
LIES = "its BMC lies of a node that runs and that nobody hears: no schedule assumes that (DESIGN §3), nor do the invariants here"
GAP = "a power gap shorter than a real replica's reads are apart: it misses it, as a slow BMC would (SCENARIOS B20)"
BEHIND = "there the volumes of all VMs are behind the storage's fence, not those of some"
LIFTED = "that somebody lifts a NetworkFence by hand is not mirrored"
SIDE = "whose side is small is said to the stand-in, and not played"
OTHERWISE: dict[str, str] = {
    "a11-clears-while-they-come-back": "its slow BMC is read sooner, so n1 is proved off before the others are back, and they go in their turn",
    "a11-five-of-ten-vanish": "half of its observers are gone with it, so the fifth may be found down seconds after the others, and four may be fenced",
    "a14b-proved-off-and-heard-later": LIES,
    "a14b-slot-voids-the-proof": LIES,
    "a14b-word-stops-the-guest": LIES,
    "a16-both-ends-die": "migrations are not mirrored",
    "a2-nobody-to-hand-over-to": "its only replica has lost the API server with its node, and writes nothing",
    "b20-power-back-after-two-seconds": "its kernel answers before the device is read twice: the node lives",
    "b20-power-back-and-the-leader-dies": GAP,
    "b20-power-back-beside-a-second-level": GAP,
    "b20-power-back-in-a-later-incident": GAP,
    "b25-restored-cut": RESTORES,
    "b25-restored-cut-and-its-fence": RESTORES,
    "b25-restored-promise": RESTORES,
    "b25-restored-proof": RESTORES,
    "b25-restored-revocation": RESTORES,
    "b4-watchdog-not-armed": "its feeder is killed when time begins, and ten seconds before that it has armed the watchdog",
    "b6-minority-beside-a-node-that-is-back": SIDE,
    "bmc-takes-the-order-for-a-restart": "its later boot is known in the same moment, and ends it as recovered",
    "edited-node-deleted-after-the-proof": "a real replica has not read its device as off by then: what is told is the story of right after the order",
    "fenced-by-word": "its orders are further apart: three in place of four before the person speaks",
    "hedge-storage-beside-a-hanging-bmc": BEHIND,
    "hedge-storage-late-bmc": BEHIND,
    "limits-cache-too-old": "when its watches tell again, a renewal of long ago is news, and voids the proof once",
    "minority-side": SIDE,
    "storage-fence-heard-again-with-one-left": BEHIND,
    "storage-fence-lifted-by-hand": LIFTED,
    "storage-fence-unfenced-while-nobody-led": LIFTED,
    "void-proof-after-taint": LIES,
    "void-proof-late-taint": "its API server is slow: the Failover that somebody deletes is not there yet",
}
"""Stories that come to another end, and why."""
FEW = 2
"""Replicas of the controller, as the chart has them."""


def _told(story: Story) -> bool:
    """Whether it is about failovers, and not about verdicts alone."""
    return "ring" not in story.cluster


STORIES = [name for name in library.names() if _told(library.find(name))]


def _own_loops(story: Story) -> dict[str, Any]:
    """Replicas on the story's own nodes; where it names none, on the last of those to which nothing happens."""
    nodes, words = list(story.cluster["nodes"]), {word for fault in story.faults for word in fault.words}
    names = (
        story.cluster.get("controllers") or ([n for n in reversed(nodes) if n not in words] or nodes)[:FEW]
    )
    return {
        "controllers": list(names),
        "control": lambda plant, memory: Replicas(plant, memory, tuple(names), seed=1),
        "warm_up": WARM_UP,
        "spread": True,
        "tells_verdicts": False,
    }


def _end(stage: World) -> dict[str, object]:
    phases: dict[str, Counter[str]] = {}
    for record in stage.memory.stored.values():
        phases.setdefault(record.boot.node, Counter())[record.phase.value] += 1
    return {
        "incidents": phases,
        "VMs": {vm.name: (vm.phase, len(vm.qemu)) for vm in stage.plant.vms.values()},
        "orders": {name: box.orders for name, box in stage.plant.bmcs.items() if box.orders},
    }


@pytest.mark.more
@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in STORIES if name not in OTHERWISE])
def test_the_products_own_loops_come_to_the_same_end(name: str) -> None:
    story = library.find(name)
    stand_in = library.world(story.cluster)
    library.play_on(stand_in, story)
    own = library.world(story.cluster, **_own_loops(story))
    try:
        library.play_on(own, story, Invariants(own, real=True).tick)
    finally:
        assert isinstance(own.controller, Replicas)
        own.controller.close()
    assert _end(own) == _end(stand_in), "\n".join(own.log)


def test_what_ends_otherwise_is_a_story() -> None:
    assert set(OTHERWISE) <= set(STORIES)
