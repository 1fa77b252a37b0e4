"""What goes wrong, and when: a text of one line a fault, that can be read, stored, shortened and played again.

    nodes 100 zones 3 seed 17
    3.250 crash n7 for 6.000
    4.000 cut n1,n2 > n3,n4 for 5.000
    4.500 loss * > * for 3.000 by 0.2
    5.000 split n7 > * for 6.000 on storage

`at` counts from the end of the quiet seconds in which the ring settles. ``for`` is how long it lasts (without it: for
ever), ``by`` is what the kind of fault makes of it, ``on`` the only network that it is about. ``*`` is every node.
``networks 2`` in the first line puts all nodes on a second network, ``storage``, three on ``migration`` too.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace


class ScriptError(ValueError):
    """This text is no script; the sentence says which line."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. Nodes are names; empty means all where the kind allows it."""

    at: float
    kind: str
    nodes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    seconds: float | None = None
    amount: float = 0.0
    network: str | None = None
    """The only one that a fault of paths is about."""

    @property
    def end(self) -> float:
        """When it is over; one that stays is over when it has happened."""
        return self.at + (self.seconds or 0.0)

    def __str__(self) -> str:
        words = [f"{self.at:.3f}", self.kind, ",".join(self.nodes) or "*"]
        if self.others or self.kind in PATHS:
            words += [">", ",".join(self.others) or "*"]
        if self.seconds is not None:
            words += ["for", f"{self.seconds:.3f}"]
        if self.amount:
            words += ["by", f"{self.amount:g}"]
        if self.network is not None:
            words += ["on", self.network]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Script:
    """A world and its faults."""

    nodes: int
    zones: int
    seed: int
    faults: tuple[Fault, ...]
    networks: int = 1

    @property
    def further(self) -> tuple[str, ...]:
        """The networks beside the management network."""
        return FURTHER[: self.networks - 1]

    def __str__(self) -> str:
        head = f"nodes {self.nodes} zones {self.zones} seed {self.seed}"
        if self.networks > 1:
            head += f" networks {self.networks}"
        return "\n".join([head, *(str(fault) for fault in sorted(self.faults, key=lambda one: one.at))])


FURTHER = ("storage", "migration")
PATHS = frozenset({"cut", "split", "loss", "delay", "jitter", "duplicate", "reorder", "mtu"})
"""Kinds that are about the paths from the nodes to the others."""


def read(text: str) -> Script:
    """The script that this text says. Raises ScriptError."""
    lines = [line for line in (raw.split("#")[0].strip() for raw in text.splitlines()) if line]
    try:
        words = lines[0].split()
        head = dict(zip(words[::2], map(int, words[1::2]), strict=True))
        return Script(
            *(head["nodes"], head["zones"], head["seed"]),
            tuple(_fault(line.split()) for line in lines[1:]),
            head.get("networks", 1),
        )
    except (IndexError, KeyError, ValueError) as error:
        raise ScriptError(f"not a script: {error!r}") from error


def _fault(words: list[str]) -> Fault:
    at, kind, nodes, *rest = words
    others: tuple[str, ...] = ()
    seconds: float | None = None
    amount = 0.0
    network: str | None = None
    for key, value in zip(rest[::2], rest[1::2], strict=True):
        match key:
            case ">":
                others = _names(value)
            case "for":
                seconds = float(value)
            case "by":
                amount = float(value)
            case "on":
                network = value
            case _:
                raise ScriptError(f"{key!r} in {' '.join(words)!r}")
    return Fault(float(at), kind, _names(nodes), others, seconds, amount, network)


def _names(word: str) -> tuple[str, ...]:
    return () if word == "*" else tuple(word.split(","))


# -- chance -------------------------------------------------------------------------------------------------------

WINDOW = 12.0
"""Faults begin within so many seconds."""


def random_script(seed: int, nodes: int = 100, zones: int = 3) -> Script:
    """One to six faults of any kinds, exactly as its text says them (so that the text replays it).

    Every fourth world has further networks, and up to three faults more that are about one network each.
    """
    dice = random.Random(f"{seed} script")
    names = [f"n{number}" for number in range(1, nodes + 1)]
    kinds = [dice.choice(_KINDS) for _ in range(dice.randint(1, 6))]
    faults = [_draw(dice, kind, names, zones) for kind in kinds]
    networks, faults = _networked(seed, names, zones, faults)
    return read(str(Script(nodes, zones, seed, (*faults, *_rotation(seed, names)), networks)))


def _rotation(seed: int, names: list[str]) -> tuple[Fault, ...]:
    """Beside them, in a third of all scripts, a change of the group keys, often with some late nodes.

    By dice of its own: what else a seed's script says has stories to tell (`test_found`).
    """
    dice = random.Random(f"{seed} rotation")
    if dice.random() >= 1 / 3:
        return ()
    late = dice.sample(names, dice.choice((0, 1, max(1, len(names) // 20))))
    amount = dice.choice((0.5, 1.0, 2.0))
    return (
        Fault(
            round(dice.random() * WINDOW, 3), "rotate", tuple(late), seconds=3 * amount + 9.0, amount=amount
        ),
    )


def _networked(seed: int, names: list[str], zones: int, faults: list[Fault]) -> tuple[int, list[Fault]]:
    """In every fourth script, how many networks there are; faults about one of them; and up to three more such.

    By dice of its own, as `_rotation`.
    """
    if seed % 4 != 3:
        return 1, faults
    dice = random.Random(f"{seed} networks")
    networks = dice.choice((2, 2, 3))
    which = ("management", *FURTHER[: networks - 1])
    faults = [
        replace(fault, network=dice.choice(which)) if fault.kind in PATHS and dice.random() < 0.4 else fault
        for fault in faults
    ]
    for _ in range(dice.randint(1, 3)):
        kind = dice.choice(("isolate", "isolate", "one-way", "deaf", "mute", "partition", "loss"))
        faults.append(replace(_draw(dice, kind, names, zones), network=dice.choice(which)))
    return networks, faults


_KINDS = (
    *("crash", "crash", "crash", "cycle", "cycle", "mass", "zone"),
    *("kill", "rollout", "pause", "pause", "starve", "starve", "suspend", "rate", "jump", "disk", "api"),
    *("one-way", "isolate", "deaf", "mute", "partition", "partition", "three", "partial"),
    *("loss", "lossy-node", "delay", "jitter", "duplicate", "reorder", "mtu"),
    *("replay", "forge", "garbage"),
)


def _draw(dice: random.Random, what: str, names: list[str], zones: int) -> Fault:
    at = round(dice.random() * WINDOW, 3)
    seconds = round(dice.choice((0.2, 0.6, 1.0, 2.0, 4.0, 8.0)) * (0.5 + dice.random()), 3)
    few = tuple(dice.sample(names, dice.randint(1, max(1, len(names) // 20))))
    share = tuple(dice.sample(names, round(len(names) * dice.choice((0.1, 0.3, 0.4, 0.5)))))
    rest = tuple(name for name in names if name not in set(share))
    others = tuple(name for name in names if name not in set(few))
    match what:
        case "crash":
            return Fault(at, "crash", few[:1])
        case "cycle":
            return Fault(at, "crash", few, seconds=seconds + 1)
        case "mass":
            return Fault(at, "crash", tuple(dice.sample(names, max(1, len(names) // 10))))
        case "zone":
            zone = dice.randrange(zones)
            return Fault(at, "crash", tuple(names[zone::zones]), seconds=seconds + 1)
        case "kill":
            return Fault(at, "kill", few, seconds=dice.choice((seconds, None)))
        case "rollout":
            return Fault(at, "rollout", (), seconds=max(seconds, 2.0), amount=dice.choice((0.3, 1.0, 3.0)))
        case "pause":
            return Fault(at, "pause", dice.choice((few, share)), seconds=seconds)
        case "starve":
            return Fault(at, "starve", dice.choice((few, share)), seconds=seconds + 2, amount=0.95)
        case "suspend":
            return Fault(at, "suspend", few, seconds=seconds)
        case "rate":
            return Fault(at, "rate", few, seconds=seconds, amount=dice.choice((0.99, 0.999, 1.001, 1.01)))
        case "jump":
            return Fault(at, "jump", few, amount=dice.choice((-3600.0, 3600.0, 0.4)))
        case "disk":
            return Fault(at, "disk", few)
        case "api":
            return Fault(at, "api", dice.choice((few, share, ())), seconds=seconds)
        case "one-way":
            return Fault(at, "cut", few, tuple(dice.sample(others, min(len(others), 5))), seconds)
        case "isolate":
            return Fault(at, "split", few, others, seconds)
        case "deaf":
            return Fault(at, "cut", others, few, seconds)
        case "mute":
            return Fault(at, "cut", few, others, seconds)
        case "partition":
            return Fault(at, "split", share, rest, seconds)
        case "three":
            return Fault(at, "split", (*names[0::3],), (*names[1::3],), seconds)
        case "partial":
            return Fault(at, "split", share, rest[: len(rest) // 2], seconds)
        case "loss":
            return Fault(at, "loss", (), (), seconds, dice.choice((0.05, 0.1, 0.2)))
        case "lossy-node":
            return Fault(at, "loss", few, (), seconds, dice.choice((0.3, 0.8)))
        case "delay":
            return Fault(at, "delay", dice.choice((few, ())), (), seconds, dice.choice((0.005, 0.03, 0.1)))
        case "jitter":
            return Fault(at, "jitter", dice.choice((few, ())), (), seconds, dice.choice((0.005, 0.03)))
        case "duplicate" | "reorder":
            return Fault(at, what, (), (), seconds, 0.2)
        case "mtu":
            return Fault(at, "mtu", dice.choice((few, ())), (), seconds, dice.choice((600, 1280)))
        case "garbage":
            return Fault(at, "garbage", few[:1], seconds=min(seconds, 2.0))
        case "replay":
            return Fault(at, "replay", (), seconds=seconds)
        case _:
            return Fault(at, "forge", few[:1], few[-1:], seconds=seconds)
