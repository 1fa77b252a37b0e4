"""What a cycle of chaos is: its plan, drawn from a seed and the cycle's number, and how its end is called.

Pure: :mod:`lab.chaos` plays the plans. The same seed and number give the same plan, so that one cycle can be played again
alone. Kinds of faults, storages and the BMC's modes are dealt like cards, not thrown like dice: each round of seven cycles
has every kind once, each pair one block volume, so nothing depends on luck and everything is drawn within 35 cycles.

An end is one of four. ``recovered``: the VM was moved under a proof. ``waiting``: a Failover waits and says for what.
``refused``: nobody was moved, for a reason that is told (withdrawn, held by a limit, or nothing called for it). ``stuck`` is none
of these within its bound, or a VM that doesn't run again when all is healed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from ringfence.core.failover.phase import Phase


class Kind(StrEnum):
    """What a cycle is about."""

    CUT = "cut"
    POWER_CUT = "power cut"
    FREEZE = "freeze and thaw"
    KUBELET = "kubelet stopped"
    BMC = "BMC mode"
    LEADER = "leader killed"
    TWO = "two faults at once"


class Deed(StrEnum):
    """One thing that is done to one place."""

    CUT = "cut"
    POWER_OFF = "power off"
    FREEZE = "freeze"
    STOP_KUBELET = "stop kubelet"
    BMC = "bmc"
    KILL_LEADER = "kill leader"


class Place(StrEnum):
    """Where: the VM's node as it is when the cycle begins, or one of the two others by name. A leader is where it is."""

    VM = "the VM's node"
    OTHER = "another node"
    THIRD = "the third node"


MODES = ("ignore", "refuse", "hang", "slow", "flap")
"""Of :data:`lab.bmc.MODES`, without ``lie``: a lying BMC is a stated assumption of zones without a second proof."""
STORAGES = ("block", "file")
NODES = 3
LONGEST_LATE = 8.0
"""Seconds by which a BMC carries an order out late: within what ringfence allows it (``fencing/redfish.py``)."""
Card = TypeVar("Card")


@dataclass(frozen=True, slots=True)
class Fault:
    deed: Deed
    place: Place
    at: float
    """Seconds since the cycle's first fault could begin."""
    lasts: float | None = None
    """Seconds until it heals by itself; None: until the cycle heals everything."""
    mode: str = ""
    delay: float = 0.0
    """Of a BMC: its mode, and the seconds that ``hang`` and ``slow`` take."""

    @property
    def is_outage(self) -> bool:
        """Whether the node is out of everybody's reach meanwhile."""
        return self.deed in (Deed.CUT, Deed.POWER_OFF)

    def __str__(self) -> str:
        what = f"bmc {self.mode}" + (f" {self.delay:.1f} s" if self.delay else "") if self.mode else self.deed
        where = "" if self.deed is Deed.KILL_LEADER else f" {self.place}"
        span = "" if self.lasts is None else f" for {self.lasts:.1f} s"
        return f"{what}{where} at {self.at:.1f} s{span}"


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    number: int
    kind: Kind
    storage: str
    start: int
    """Which node a new VM starts on, by its place in the sorted names."""
    faults: tuple[Fault, ...]
    watch: float
    """Seconds after the last fault in which something could still come of it."""

    @property
    def spares_vm(self) -> bool:
        """Whether the VM's node is never out of reach: whatever happens, nobody may touch the VM."""
        return not any(fault.is_outage and fault.place is Place.VM for fault in self.faults)

    def __str__(self) -> str:
        faults = "; ".join(str(fault) for fault in self.faults)
        return f"seed {self.seed} cycle {self.number}: {self.storage} volume, {self.kind}: {faults}"


@dataclass(frozen=True, slots=True)
class Act:
    """A fault's beginning, or its end."""

    at: float
    fault: Fault
    begins: bool


def draw(seed: int, number: int) -> Plan:
    """The plan of a cycle, numbered from 0."""
    kind = _dealt(tuple(Kind), seed, number)
    dice = random.Random(f"{seed}/{number}")
    mode = _dealt(MODES, seed, number // len(Kind))
    faults = tuple(sorted(_faults(kind, mode, dice), key=lambda fault: fault.at))
    return Plan(
        seed=seed,
        number=number,
        kind=kind,
        storage=_dealt(STORAGES, seed, number),
        start=dice.randrange(NODES),
        faults=faults,
        watch=round(dice.uniform(8, 15), 1),
    )


def acts(plan: Plan) -> tuple[Act, ...]:
    """What is done when, in order."""
    found = [Act(fault.at, fault, begins=True) for fault in plan.faults]
    found += [Act(f.at + f.lasts, f, begins=False) for f in plan.faults if f.lasts is not None]
    return tuple(sorted(found, key=lambda act: act.at))


def _dealt(cards: Sequence[Card], seed: int, number: int) -> Card:
    """The card of that number, where each round deals all cards in an order of its own."""
    turn, place = divmod(number, len(cards))
    order = list(cards)
    random.Random(f"{seed}/{'/'.join(map(str, cards))}/{turn}").shuffle(order)
    return order[place]


def _faults(kind: Kind, mode: str, dice: random.Random) -> Iterable[Fault]:
    match kind:
        case Kind.CUT:
            return [_fault(Deed.CUT, _place(dice), dice)]
        case Kind.POWER_CUT:
            return [_fault(Deed.POWER_OFF, _place(dice), dice)]
        case Kind.FREEZE:
            return [_fault(Deed.FREEZE, _place(dice), dice)]
        case Kind.KUBELET:
            return [_fault(Deed.STOP_KUBELET, _place(dice), dice)]
        case Kind.BMC:
            outage = dice.choice((Deed.CUT, Deed.CUT, Deed.POWER_OFF))
            before = dice.random() < 0.7  # else it goes mad while the fence runs
            return [
                Fault(outage, Place.VM, 0.0 if not before else _seconds(dice, 0.3, 2)),
                _bmc(mode, Place.VM, dice, 0.0 if before else _seconds(dice, 0.5, 4)),
            ]
        case Kind.LEADER:
            killed = [Fault(Deed.KILL_LEADER, Place.VM, 0.0)]
            if dice.random() < 0.5:
                killed.append(Fault(Deed.KILL_LEADER, Place.VM, _seconds(dice, 2, 7)))
            return killed
        case Kind.TWO:
            return _two(mode, dice)


def _two(mode: str, dice: random.Random) -> list[Fault]:
    first, second = dice.sample(list(Deed), 2)
    place = _place(dice)
    # Most of what two faults can do to each other they do on one node, or when one of them hits who acts.
    beside = place if dice.random() < 0.5 else dice.choice(list(Place))
    found = []
    for deed, where, at in ((first, place, 0.0), (second, beside, _seconds(dice, 0, 5))):
        if deed is Deed.BMC:
            found.append(_bmc(mode, where, dice, at))
        else:
            found.append(_fault(deed, where, dice, at))
    return found


def _place(dice: random.Random) -> Place:
    return dice.choices(list(Place), weights=(8, 1, 1))[0]


def _fault(deed: Deed, place: Place, dice: random.Random, at: float = 0.0) -> Fault:
    short = dice.random() < 0.25
    lasts: float | None = None
    match deed:
        case Deed.CUT:
            lasts = _seconds(dice, 0.5, 8) if short else None
        case Deed.POWER_OFF:
            lasts = _seconds(dice, 1, 10) if short else None
        case Deed.FREEZE:
            lasts = _seconds(dice, 2, 25)
        case Deed.STOP_KUBELET:
            lasts = _seconds(dice, 5, 20)
        case Deed.KILL_LEADER | Deed.BMC:
            pass
    return Fault(deed, place, at, lasts)


def _bmc(mode: str, place: Place, dice: random.Random, at: float) -> Fault:
    delay = {"hang": _seconds(dice, 5, 20), "slow": _seconds(dice, 1, LONGEST_LATE)}.get(mode, 0.0)
    return Fault(Deed.BMC, place, at, mode=mode, delay=delay)


def _seconds(dice: random.Random, least: float, most: float) -> float:
    return round(dice.uniform(least, most), 1)


# --- how it ends ------------------------------------------------------------------------------------------


class End(StrEnum):
    RECOVERED = "recovered"
    WAITING = "waiting"
    REFUSED = "refused"
    STUCK = "stuck"


STANDS = 4.0
"""Seconds after which a hold or a wait is the state of things, and no moment between two leaders."""
READS_ON = 25.0
"""Seconds of a fence without any order, after which its sentence is what it waits for (a BMC that says `off` and `on` in turn)."""


@dataclass(frozen=True, slots=True)
class Incident:
    """The newest Failover of a node, as it stands."""

    node: str
    phase: str
    sentence: str
    since: float
    """Seconds for which it has been in that phase."""
    orders: int = 0
    home_broken: bool = False
    """KubeVirt has put the VM's new launcher on a node that this cycle has broken too."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What stands when somebody looks."""

    incidents: tuple[Incident, ...]
    out: frozenset[str]
    """Nodes that are cut or off now."""
    stricken: bool
    """The VM's own node is cut or off, and stays so until it is healed by hand."""
    watched: bool
    """The last fault is longer ago than the plan's ``watch``."""
    said: str = ""
    """What the leader says of the broken nodes."""


def judge(sight: Sight) -> tuple[End, str] | None:
    """How the cycle has ended, and the sentence that says so; None: something is still under way."""
    ends = [_end(incident) for incident in sight.incidents]
    minority = 2 * (NODES - len(sight.out)) < NODES
    standing = all(incident.since >= READS_ON for incident in sight.incidents)
    if minority and sight.watched and standing and End.RECOVERED not in {end[0] for end in ends if end}:
        out = ", ".join(sorted(sight.out))
        return End.REFUSED, f"the rest is a minority and acts on nothing: out of reach are {out}"
    if any(end is None for end in ends):
        return None
    found = [end for end in ends if end is not None]
    for wanted in (End.WAITING, End.RECOVERED, End.REFUSED):
        for end, why in found:
            if end is wanted and (end is not End.REFUSED or sight.watched):
                return (end, why) if why else None
    if found or not sight.watched:
        return None
    if sight.stricken:
        return None
    return End.REFUSED, f"nothing called for it: {sight.said}"


def _end(incident: Incident) -> tuple[End, str] | None:
    sentence = incident.sentence
    match Phase(incident.phase) if incident.phase else None:
        case Phase.RECOVERED | Phase.CLOSED:
            return End.RECOVERED, sentence
        case Phase.AWAITING_CONFIRMATION if incident.since >= STANDS:
            return End.WAITING, sentence
        case Phase.HELD | Phase.WITHDRAWN if incident.since >= STANDS or incident.phase == Phase.WITHDRAWN:
            return End.REFUSED, sentence
        case Phase.FENCING if incident.since >= READS_ON and not incident.orders:
            return End.WAITING, sentence
        case Phase.RECOVERING if incident.home_broken and incident.since >= READS_ON:
            return End.WAITING, f"{sentence}; KubeVirt starts it on a node that is broken too"
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Result:
    """One cycle, over."""

    plan: Plan
    end: End
    why: str
    broken: tuple[str, ...] = ()
    """Each rule that was broken, as a sentence; of :mod:`lab.invariants`, or of the cycle itself."""
    took: float = 0.0

    @property
    def failed(self) -> bool:
        return bool(self.broken) or self.end is End.STUCK


def summed(results: Sequence[Result]) -> str:
    """The last line of a run. ``overlaps`` counts cycles that broke any rule: a second writer is the worst of them."""
    count = {end: sum(result.end is end for result in results) for end in End}
    overlaps = sum(bool(result.broken) for result in results)
    return (
        f"chaos: cycles={len(results)} overlaps={overlaps} stuck={count[End.STUCK]}"
        f" recovered={count[End.RECOVERED]} waiting={count[End.WAITING]} refused={count[End.REFUSED]}"
    )
