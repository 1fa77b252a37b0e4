"""Random schedules of faults: a cluster and what goes wrong in it, drawn from a seed; a text that can be played again.

::

    seed 17
    3.25 isolate n2
    9.00 bmc n2 hang
    60.00 mend
    120.00 end

The cluster follows from the seed: five nodes in one zone, or seven in two, thirty VMs, three controllers, one of the ladders of `LADDERS`.
In every third cluster with a heartbeat a node hangs, for minutes, and the zone's policy may be to fence it.
``mend`` ends whatever is still wrong; what is left of the schedule shows whether all comes right again by itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ringfence.core import timing
from ringfence.core.model import OnHung
from simulator.system import plans

NODES = ("n1", "n2", "n3", "n4", "n5")
ZONES = {"a": ("n1", "n2", "n3", "n4"), "b": ("n5", "n6", "n7")}
"""In every eighth cluster."""
CONTROLLERS = ("n1", "n2", "n3")
VMS = 30
MEND = 60.0
END = 120.0
HUNG_LATER = 230.0
"""Seconds by which a schedule is longer in which a node hangs: for so long one is looked at before a policy has it fenced."""
LADDERS = (
    "bmc", "bmc", "bmc", "pdu", "pdu", "slot", "slot", "watchdog", "watchdog", "storage", "storage", "two-proofs", "chassis",
    "leases", "hedge",
)  # fmt: skip
_STRATEGIES = ("Always",) * 6 + ("RerunOnFailure", "RerunOnFailure", "Manual", "Once")
_VOLUMES = ("", "", "", "rwx", "rwo")


class ScheduleError(ValueError):
    """This text is no schedule; the sentence says which line."""


@dataclass(frozen=True, slots=True)
class Act:
    """One line: when, and the words of the fault."""

    at: float
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.at:.2f} {' '.join(self.words)}"


@dataclass(frozen=True, slots=True)
class Cluster:
    ladder: str
    vms: dict[str, str]
    strategies: dict[str, str]
    volumes: dict[str, str]
    verdict_after: float
    isolation: tuple[float, float, float]
    """Of the watchdogs: isolation, time-out, assumed after (seconds)."""
    nodes: tuple[str, ...] = NODES
    zones: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Empty: one zone of all nodes."""
    priority: dict[str, int] = field(default_factory=dict)
    after: dict[str, list[str]] = field(default_factory=dict)
    """VM: those that are to be ready before it starts."""
    boots: dict[str, float] = field(default_factory=dict)
    """VM: the seconds from Running to ready."""
    on_hung: OnHung = OnHung.ALERT


@dataclass(frozen=True, slots=True)
class Schedule:
    seed: int
    acts: tuple[Act, ...]

    @property
    def cluster(self) -> Cluster:
        dice = random.Random(f"cluster {self.seed}")
        names = [f"vm{number:02}" for number in range(1, VMS + 1)]
        drawn = {name: dice.choice(_VOLUMES) for name in names}
        layout = random.Random(f"layout {self.seed}")
        zones = dict(ZONES) if layout.random() < 1 / 8 else {}
        nodes = tuple(node for members in zones.values() for node in members) or NODES
        ladder = dice.choice(LADDERS)
        return Cluster(
            ladder,
            {name: nodes[place % len(nodes)] for place, name in enumerate(names)},
            {name: dice.choice(_STRATEGIES) for name in names},
            {name: kind for name, kind in drawn.items() if kind},
            round(dice.uniform(0.5, 1.2), 2),
            (5.0, 15.0, 30.0),
            nodes,
            zones,
            *_order(layout, names),
            _on_hung(self.seed, ladder),
        )

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}", *(str(act) for act in self.acts)])


def _order(
    dice: random.Random, names: list[str]
) -> tuple[dict[str, int], dict[str, list[str]], dict[str, float]]:
    """In every third cluster some VMs are more urgent than others, and some are to be ready before others start."""
    if dice.random() >= 1 / 3:
        return {}, {}, {}
    priority = {name: dice.choice((10, 500)) for name in names if dice.random() < 1 / 3}
    after = {
        name: dice.sample(names[:10], dice.choice((1, 2))) for name in names[10:] if dice.random() < 1 / 4
    }
    boots = {name: dice.choice((2.0, 8.0)) for name in names[:10]}
    return priority, after, boots


def read(text: str) -> Schedule:
    """A schedule from its text. Raises ScheduleError."""
    seed, acts = None, []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            if words[0] == "seed":
                seed = int(words[1])
            else:
                acts.append(Act(float(words[0]), (words[1], *words[2:])))
        except (ValueError, IndexError):
            raise ScheduleError(
                f"line {number}: {line!r} is neither `seed NUMBER` nor `SECONDS FAULT ...`"
            ) from None
    if seed is None:
        raise ScheduleError("no line `seed NUMBER`: the cluster follows from it")
    return Schedule(seed, tuple(sorted(acts, key=lambda act: act.at)))


def draw(seed: int) -> Schedule:
    """The random schedule of this seed."""
    dice = random.Random(f"faults {seed}")
    cluster = Schedule(seed, ()).cluster
    ladder = cluster.ladder
    acts: list[Act] = []
    for _ in range(dice.choice((1, 1, 2, 2, 3, 3, 4, 5, 6))):
        at = round(dice.uniform(1.0, 45.0), 2)
        acts += _fault(dice, ladder, at)
        if dice.random() < 0.35:  # two at once
            acts += _fault(dice, ladder, round(at + dice.choice((0.0, 0.3, 1.0, 2.5, 4.0)), 2))
    acts += _weather(random.Random(f"weather {seed}")) + _chain(random.Random(f"chain {seed}"), ladder)
    setting = plans.Setting(ladder, cluster.nodes, cluster.zones, cluster.vms)
    acts += [
        Act(at, tuple(words.split())) for at, words in plans.draw(random.Random(f"plans {seed}"), setting)
    ]
    set_back = any(act.words == ("restore",) for act in acts)
    if not set_back:  # of a store that is set back what registers is the backup's, and no stand-in for that
        acts += [
            Act(at, tuple(words.split()))
            for at, words in plans.nodes_anew(random.Random(f"nodes {seed}"), setting)
        ]
    mend, end = MEND, END + timing.STORE_SETTLES if set_back else END
    if _hangs(seed, ladder):
        acts = _hang(random.Random(f"hang {seed}"), acts)
        mend, end = mend + HUNG_LATER, end + HUNG_LATER
    if ladder == "slot":
        acts = [act for act in acts if not _beyond_belief(act, acts)]
    acts = [act for act in acts if 0.0 <= act.at < mend]
    return Schedule(seed, (*sorted(acts, key=lambda act: act.at), Act(mend, ("mend",)), Act(end, ("end",))))


def _hangs(seed: int, ladder: str) -> bool:
    return ladder == "slot" and random.Random(f"hangs {seed}").random() < 1 / 3


def _on_hung(seed: int, ladder: str) -> OnHung:
    fenced = _hangs(seed, ladder) and random.Random(f"on hung {seed}").random() < 2 / 3
    return OnHung.FENCE if fenced else OnHung.ALERT


def _hang(dice: random.Random, acts: list[Act]) -> list[Act]:
    """The schedule's other faults come while the node begins to hang, or about when its policy has it fenced."""
    node, later = dice.choice(NODES), dice.choice((0.0, HUNG_LATER - 40.0, HUNG_LATER - 5.0))
    lines = [Act(round(dice.uniform(1.0, 20.0), 2), ("hang", node))]
    if dice.random() < 0.5:
        lines.append(Act(round(dice.uniform(170.0, 280.0), 2), ("unhang", node)))
    return lines + [replace(act, at=round(act.at + later, 2)) for act in acts if act.at >= 0.0]


def _beyond_belief(act: Act, acts: list[Act]) -> bool:
    """Whether it is a BMC's lie about a node that is silent on its storage too. Nothing could show that one: it is what `PoweredOff`
    assumes (DESIGN §3), and no schedule breaks by it.
    """
    if act.words[0] != "bmc" or act.words[2] not in ("lie", "says-off"):
        return False
    silent = ("cut-storage", "suspend", "hang")
    return any(other.words[0] in silent and other.words[1] == act.words[1] for other in acts)


def _chain(dice: random.Random, ladder: str) -> list[Act]:
    """In every third schedule: what belongs together, since one alone would hardly lead there."""
    if dice.random() >= 1 / 3:
        return []
    at, node = round(dice.uniform(1.0, 20.0), 2), dice.choice(NODES)
    match ladder:
        case "slot":  # a node that has lost its storage, for long enough to be told
            lines = [(0.0, f"cut-storage {node}"), (dice.uniform(15.0, 35.0), f"heal-storage {node}")]
        case "leases":  # a node that another remediator has just begun to mend
            lines = [(0.0, f"lease {node} nhc 30"), (dice.uniform(0.5, 3.0), f"isolate {node}")]
            lines += [(dice.uniform(15.0, 30.0), f"rejoin {node}")]
        case _:  # a dead node whose devices tell nothing: it is waited for a person, who looks and says so
            lines = [(0.0, f"bmc {node} hang"), (0.0, f"pdu {node} hang"), (0.1, f"power-cut {node}")]
            lines += [(dice.uniform(15.0, 38.0), f"confirm {node}")]
    return [Act(round(at + after, 2), tuple(words.split())) for after, words in lines]


def _weather(dice: random.Random) -> list[Act]:
    """What goes wrong between real replicas and the API server beside it, in every third schedule; others don't notice."""
    acts: list[Act] = []
    while dice.random() < 1 / 3:
        at = round(dice.uniform(0.5, 45.0), 2)
        begin, *end = dice.choice(
            (
                ("history-gone",),
                (f"watches-late {dice.choice((0.3, 1, 3))}", "watches-late 0"),
                ("admission denies", "admission ok"),
            )
        )
        acts.append(Act(at, tuple(begin.split())))
        lasts = round(at + dice.choice((1.0, 4.0, 15.0)), 2)
        acts += [Act(lasts, tuple(words.split())) for words in end]
    return acts


def _fault(dice: random.Random, ladder: str, at: float) -> list[Act]:
    kind = dice.choices(tuple(_GRAMMAR), [weight for weight, _ in _GRAMMAR.values()])[0]
    lasts = round(at + dice.choice((0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)) * dice.uniform(0.7, 1.3), 2)
    drawn = _GRAMMAR[kind][1](dice, ladder)
    return [
        Act(at if place == 0 else lasts, tuple(words.split())) for place, words in enumerate(drawn) if words
    ]


Draw = Callable[[random.Random, str], tuple[str, ...]]
"""The words of the fault, and of its end."""


def _on_node(*words: str) -> Draw:
    def draw_node(dice: random.Random, _ladder: str) -> tuple[str, ...]:
        node = dice.choice(NODES)
        return tuple(f"{one} {node}" for one in words)

    return draw_node


def _on_controller(dice: random.Random, _ladder: str) -> tuple[str, ...]:
    return (f"kill-controller {dice.choice(CONTROLLERS)} {dice.choice((0.5, 2, 5, 20))}",)


def _on_leader(dice: random.Random, _ladder: str) -> tuple[str, ...]:
    phase = dice.choice(("Holding", "Fencing", "Recovering", "Recovered", "Held"))
    if dice.random() < 0.5:
        return (f"kill-leader-when {phase}",)
    return (f"freeze-leader-when {phase}", "thaw-leader")


def _bmc(dice: random.Random, ladder: str) -> tuple[str, ...]:
    node = dice.choice(NODES)
    modes = ["ignore", "refuse", "hang", "slow", "flap", "unauthorized"]
    if ladder in ("slot", "two-proofs"):
        modes += ["lie", "says-off"]
    device = "pdu" if ladder in ("pdu", "two-proofs", "hedge", "chassis") and dice.random() < 0.4 else "bmc"
    if device == "pdu":
        modes = ["ignore", "refuse", "hang", "slow", "flap"]
    return f"{device} {node} {dice.choice(modes)}", f"{device} {node} ok"


def _split(dice: random.Random, _ladder: str) -> tuple[str, ...]:
    some = sorted(dice.sample(NODES, dice.choice((1, 2, 2))))
    return f"split {','.join(some)}", "join"


def _api(dice: random.Random, _ladder: str) -> tuple[str, ...]:
    return dice.choice(
        (
            ("api-out", "api-back"),
            (f"api-needs {dice.choice((0.5, 2, 5))}", "api-needs 0.03"),
            (f"api-refuses {dice.choice((0.2, 0.5, 0.9))}", "api-refuses 0"),
            ("caches-stand", "caches-follow"),
        )
    )


def _user(dice: random.Random, _ladder: str) -> tuple[str, ...]:
    node, vm = dice.choice(NODES), f"vm{dice.randint(1, VMS):02}"
    return dice.choice(
        (
            (f"user-stops {vm}",),
            (f"user-stops {vm}",),
            (f"user-deletes {vm}",),
            (f"cordon {node}", f"uncordon {node}"),
            (f"delete-failover {node}",),
            ("delete-zone", "make-zone"),
            (f"mode {dice.choice(('Paused', 'Disarmed', 'DryRun'))}", "mode Active"),
            (f"force-delete-launcher {vm}",),
            (f"late-start {vm}",),
            ("csi hangs", "csi ok"),
        )
    )


def _lease(dice: random.Random, ladder: str) -> tuple[str, ...]:
    if ladder != "leases":
        return ()
    return dice.choice(
        ((f"lease {dice.choice(NODES)} nhc {dice.choice((3, 10, 30))}",), ("leases away", "leases ok"))
    )


_GRAMMAR: dict[str, tuple[float, Draw]] = {
    "power": (5, _on_node("power-cut", "power-on")),
    "power for good": (3, _on_node("power-cut")),
    "gap": (2, lambda dice, _: (f"power-gap {dice.choice(NODES)} {dice.choice((0.2, 1, 2, 5))}",)),
    "network": (6, _on_node("isolate", "rejoin")),
    "peers": (3, _on_node("cut-peers", "heal-peers")),
    "api of one": (3, _on_node("cut-api", "heal-api")),
    "split": (3, _split),
    "lossy": (2, _on_node("doubt", "trust")),
    "frozen": (3, _on_node("suspend", "resume")),
    "kubelet": (2, _on_node("kill-kubelet", "start-kubelet")),
    "agent": (2, _on_node("kill-agent", "start-agent")),
    "upgrade": (1, _on_node("upgrade-agent")),
    "storage": (1, _on_node("cut-storage", "heal-storage")),
    "controller": (3, _on_controller),
    "leader": (4, _on_leader),
    "device": (6, _bmc),
    "api": (5, _api),
    "user": (5, _user),
    "lease": (2, _lease),
}
