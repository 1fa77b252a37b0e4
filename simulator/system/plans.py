"""What people and tools do on purpose, and rarer faults that need several lines: drawn beside a schedule's others, which don't notice.

Each is the story of one folder of `tests/scenarios`, with other numbers, in whatever else goes wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Line = tuple[float, str]
"""Seconds after the plan's begin, and the fault."""
_MARKS = (
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
    "medik8s.io/drain",
    "weave.works/kured-reboot-in-progress now",
    "harvesterhci.io/maintain-status running",
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a plan may name."""

    ladder: str
    nodes: tuple[str, ...]
    zones: Mapping[str, tuple[str, ...]]
    """Empty: one zone of all nodes."""
    vms: Mapping[str, str]
    """VM: its node."""


Plan = Callable[[random.Random, Setting], list[Line]]


def draw(dice: random.Random, setting: Setting) -> list[Line]:
    """The plans of a schedule, with the seconds at which their lines are due: in every other schedule one or more."""
    lines: list[Line] = []
    while dice.random() < 0.5:
        plans = [plan for plan in _PLANS if _fits(plan, setting)]
        plan = dice.choices(plans, [_PLANS[one] for one in plans])[0]
        begin = dice.uniform(1.0, 25.0)
        lines += [(round(begin + after, 2), words) for after, words in plan(dice, setting)]
    return lines


def nodes_anew(dice: random.Random, setting: Setting) -> list[Line]:
    """In every tenth schedule: a person deletes a Node object, of a node that dies or of one that lives, and its kubelet makes it anew."""
    if dice.random() >= 1 / 10:
        return []
    node, begin = dice.choice(setting.nodes), dice.uniform(1.0, 20.0)
    lines = _dies(dice, node, begin) if dice.random() < 0.8 else []
    deleted = begin + dice.choice((-2.0, 1.0, 3.0, 6.0, 12.0)) * dice.uniform(0.5, 1.5)
    lines.append((deleted, f"delete-node {node}"))
    if dice.random() < 0.7:
        lines.append((deleted + dice.choice((1.0, 4.0, 15.0)), f"register-node {node}"))
    return [(round(max(at, 0.0), 2), words) for at, words in lines]


def _fits(plan: Plan, setting: Setting) -> bool:
    match plan:
        case _ if plan in (_storage_gone, _back_without_storage):
            return setting.ladder == "slot"
        case _ if plan is _set_back:
            return setting.ladder != "storage"  # a cut whose record is lost is the story b25-restored-cut
        case _ if plan is _feeder:
            return setting.ladder == "watchdog"
        case _ if plan in (_zone_gone, _claimed_twice, _rack):
            return bool(setting.zones)
    return True


def _dies(dice: random.Random, node: str, at: float) -> list[Line]:
    """It falls silent, and is back later or not."""
    begin, end = dice.choice(
        (("power-cut", "power-on"), ("isolate", "rejoin"), ("power-cut", ""), ("hang", "unhang"))
    )
    lines = [(at, f"{begin} {node}")]
    return [*lines, (at + dice.uniform(5.0, 30.0), f"{end} {node}")] if end else lines


def _maintenance(dice: random.Random, setting: Setting) -> list[Line]:
    """Planned work that begins before the node falls silent, or too late; and ends, or not."""
    node = dice.choice(setting.nodes)
    lines = [
        (0.0, f"maintain {node} work a DIMM is swapped"),
        *_dies(dice, node, dice.choice((-3.0, -1.0, 1.0, 4.0))),
    ]
    return [*lines, (dice.uniform(8.0, 35.0), f"end-maintenance {node}")] if dice.random() < 0.7 else lines


def _shutdown(dice: random.Random, setting: Setting) -> list[Line]:
    """Its operating system says that it goes down; it boots again, or stays off."""
    node, goes = dice.choice(setting.nodes), dice.uniform(0.3, 8.0)
    off = f"power-gap {node} {dice.choice((3, 10, 25))}" if dice.random() < 0.6 else f"power-cut {node}"
    return [(0.0, f"announce {node}"), (goes, off)]


def _marked(dice: random.Random, setting: Setting) -> list[Line]:
    """A tool says that it takes the node away; it goes, and a person may take the mark off, or overrule it."""
    node, mark = dice.choice(setting.nodes), dice.choice(_MARKS)
    lines = [(0.0, f"mark {node} {mark}"), *_dies(dice, node, dice.choice((-2.0, 0.4, 2.0, 6.0)))]
    after = dice.uniform(5.0, 30.0)
    if dice.random() < 0.5:
        lines.append((after, f"unmark {node} {mark.split()[0]}"))
    if dice.random() < 0.4:
        lines.append((after + 2.0, f"release {node}"))
    return lines


def _drained(dice: random.Random, setting: Setting) -> list[Line]:
    node = dice.choice(setting.nodes)
    return [(0.0, f"drain {node}"), *_dies(dice, node, dice.uniform(0.5, 6.0)), (30.0, f"uncordon {node}")]


def _foreign_taint(dice: random.Random, setting: Setting) -> list[Line]:
    """Somebody else has the node out of service, before we do or while we do."""
    node = dice.choice(setting.nodes)
    lines = [(0.0, f"taint {node}"), *_dies(dice, node, dice.choice((-6.0, -3.0, 0.5, 2.0)))]
    return [*lines, (dice.uniform(8.0, 30.0), f"untaint {node}")]


def _flaps(dice: random.Random, setting: Setting) -> list[Line]:
    """It is gone for so long that an incident is opened, and back before it is shot at: five times."""
    node = dice.choice(setting.nodes)
    lines: list[Line] = []
    at = 0.0
    for _ in range(4):
        lines += [(at, f"isolate {node}"), (at + dice.uniform(1.6, 2.6), f"rejoin {node}")]
        at += dice.uniform(5.0, 7.0)
    lines += _dies(dice, node, at)
    return [*lines, (at + dice.uniform(4.0, 8.0), f"release {node}")] if dice.random() < 0.5 else lines


def _edited_zone(dice: random.Random, setting: Setting) -> list[Line]:
    """A person takes the node out of its HAZone while it is looked at, ordered off or recovered; and puts it back."""
    node = dice.choice(setting.nodes)
    out = dice.uniform(0.0, 9.0)
    return [
        *_dies(dice, node, 0.5),
        (out, f"zone-without {node}"),
        (out + dice.uniform(2.0, 20.0), f"zone-with {node}"),
    ]


def _edited_failover(dice: random.Random, setting: Setting) -> list[Line]:
    """A person deletes the Failover in the middle of it, releases it, or both."""
    node = dice.choice(setting.nodes)
    lines = _dies(dice, node, 0.0)
    for _ in range(dice.choice((1, 2, 3))):
        lines.append((dice.uniform(0.8, 14.0), f"{dice.choice(('delete-failover', 'release'))} {node}"))
    return lines


def _starts_fail(dice: random.Random, setting: Setting) -> list[Line]:
    """Some of a node's VMs don't start at once elsewhere, or not before a person has done something."""
    node = dice.choice(setting.nodes)
    here = [vm for vm, home in setting.vms.items() if home == node]
    lines = [(0.0, f"starts-fail {vm} {dice.choice((1, 1, 2))}") for vm in dice.sample(here, 2)]
    if dice.random() < 0.3:
        vm = dice.choice(here)
        lines += [(0.0, f"blocked {vm}"), (dice.uniform(15.0, 30.0), f"unblocked {vm}")]
    return [*lines, *_dies(dice, node, 0.3)]


def _little_room(dice: random.Random, setting: Setting) -> list[Line]:
    """The other nodes have room for a few more VMs only, for a while."""
    node = dice.choice(setting.nodes)
    others = [name for name in setting.nodes if name != node]
    room = len(setting.vms) // len(setting.nodes) + dice.choice((0, 1))
    lines = [(0.0, f"capacity {name} {room}") for name in others]
    lines += [(dice.uniform(20.0, 35.0), f"capacity {name} {len(setting.vms)}") for name in others]
    return [*lines, *_dies(dice, node, 0.3)]


def _migration(dice: random.Random, setting: Setting) -> list[Line]:
    """A live migration whose source or target dies."""
    vm = dice.choice(sorted(setting.vms))
    source = setting.vms[vm]
    target = dice.choice([name for name in setting.nodes if name != source])
    dead = dice.choice((source, target))
    return [
        (0.0, f"migrate {vm} {target} {dice.choice((3, 8, 20))}"),
        *_dies(dice, dead, dice.uniform(0.5, 6.0)),
    ]


def _storage_gone(dice: random.Random, setting: Setting) -> list[Line]:
    """No node writes its slot any more; one dies in it."""
    lines: list[Line] = []
    for name in setting.nodes:
        lines += [(0.0, f"cut-storage {name}"), (dice.uniform(25.0, 32.0), f"heal-storage {name}")]
    return [*lines, *_dies(dice, dice.choice(setting.nodes), dice.choice((0.5, 4.0, 9.0)))]


def _back_without_storage(dice: random.Random, setting: Setting) -> list[Line]:
    """A node loses its storage and then its networks, and is back in the same boot without its storage: within the hold, under an
    order that its BMC takes and doesn't carry out, or while it is waited for.
    """
    node = dice.choice(setting.nodes)
    silent, away = dice.uniform(8.5, 12.0), dice.choice((1.8, 2.4, 5.0, 9.0, 16.0, 25.0))
    lines: list[Line] = [(0.0, f"cut-storage {node}"), (silent, f"isolate {node}")]
    lines.append((silent + away, f"rejoin {node}"))
    lines.append((silent + away + dice.uniform(6.0, 25.0), f"heal-storage {node}"))
    if away > 3.0 or dice.random() < 0.3:
        lines.append((0.0, f"bmc {node} {dice.choice(('ignore', 'hang', 'refuse'))}"))
        lines.append((silent + away + dice.uniform(0.0, 15.0), f"bmc {node} ok"))
    return lines


def _feeder(dice: random.Random, setting: Setting) -> list[Line]:
    """The process that feeds a node's watchdog is killed."""
    node = dice.choice(setting.nodes)
    return [(0.0, f"kill-feeder {node}"), (dice.choice((1.0, 6.0, 20.0)), f"start-feeder {node}")]


def _newer_roster(dice: random.Random, setting: Setting) -> list[Line]:
    """Agents go by a roster that the leader has not read yet, while one of them dies."""
    lines: list[Line] = [(0.0, "roster newer"), (dice.uniform(4.0, 15.0), "roster known")]
    return [*lines, *_dies(dice, dice.choice(setting.nodes), dice.uniform(0.2, 2.0))]


def _set_back(dice: random.Random, setting: Setting) -> list[Line]:
    """The cluster's store is restored from a backup of an earlier instant of an incident."""
    node = dice.choice(setting.nodes)
    phase = dice.choice(("Holding", "Fencing", "Recovering", "Recovering"))
    return [(0.0, f"backup-when {phase}"), *_dies(dice, node, 0.2), (dice.uniform(12.0, 32.0), "restore")]


def _zone_gone(dice: random.Random, setting: Setting) -> list[Line]:
    """A switch or a room's power: every node of the zone at once, or nearly."""
    begin, end = dice.choice((("isolate", "rejoin"), ("power-cut", "power-on"), ("power-cut", "")))
    lines: list[Line] = []
    back = dice.choice((6.0, 20.0, 40.0, 45.0))
    for name in setting.zones["b"]:
        lines.append((dice.choice((0.0, 0.0, 0.5)), f"{begin} {name}"))
        if end:
            lines.append((back, f"{end} {name}"))
    if dice.random() < 0.3:
        lines.append((dice.uniform(5.0, 20.0), f"release {dice.choice(setting.zones['b'])}"))
    return lines


def _rack(dice: random.Random, setting: Setting) -> list[Line]:
    """Two nodes of one zone at once: a storm, where the zone is small."""
    lines: list[Line] = []
    chosen = dice.sample(setting.zones["a"], 2)
    for name in chosen:
        lines += _dies(dice, name, dice.choice((0.0, 0.3, 2.0)))
    return [*lines, (dice.uniform(5.0, 20.0), f"release {chosen[0]}")] if dice.random() < 0.5 else lines


def _claimed_twice(dice: random.Random, setting: Setting) -> list[Line]:
    """Two HAZones claim a node, before it dies or while it is dealt with."""
    node = dice.choice(setting.zones["a"])
    lines = [(0.0, f"join-zone {node} b"), (dice.uniform(5.0, 25.0), f"leave-zone {node} b")]
    return [*lines, *_dies(dice, node, dice.choice((-4.0, 0.5)))]


_PLANS: dict[Plan, float] = {
    _maintenance: 3,
    _shutdown: 3,
    _marked: 3,
    _drained: 1,
    _foreign_taint: 1,
    _flaps: 2,
    _edited_zone: 2,
    _edited_failover: 2,
    _starts_fail: 2,
    _little_room: 1,
    _migration: 1,
    _storage_gone: 6,
    _back_without_storage: 6,
    _feeder: 3,
    _newer_roster: 1,
    _set_back: 1,
    _zone_gone: 8,
    _rack: 4,
    _claimed_twice: 3,
}
