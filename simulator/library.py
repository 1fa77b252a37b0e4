"""The stories of ``tests/scenarios``, and a person's own: found, read, played. Each is a folder.

``cluster.yaml`` says what there is, ``script.txt`` what goes wrong and when, ``README.md`` what it shows. An installed
package carries them beside this module; in a checkout they are where they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ringfence.core.model import Mode, OnHung
from simulator.system.device import LadderSetup
from simulator.system.scheduler import Placement
from simulator.system.watchdogs import kennel
from simulator.system.world import World
from simulator.verdicts import story as verdicts

CLUSTER, SCRIPT, README = "cluster.yaml", "script.txt", "README.md"
DEVICE_MODES = (
    "ok",
    "ignore",
    "refuse",
    "hang",
    "slow",
    "flap",
    "unauthorized",
    "lie",
    "says-off",
    "restart",
)
"""How a BMC or an outlet may behave."""
_FIELDS = (
    *("nodes", "vms", "bmcs", "mode", "volumes", "watchdog", "heartbeat", "storageFence", "nodeLeases"),
    *("pdus", "hedgeAfterSeconds", "delaySeconds", "maxConcurrentOrders", "controllers"),
    *("kubevirtPods", "placement", "zones", "verdicts", "onHung"),
)
_RING_FIELDS = ("nodes", "zones", "controllers", "hazones", "seed", "settled")
_LONGEST = 3600.0
"""Seconds of virtual time: an hour plays in a minute."""


class StoryError(Exception):
    """This folder is no story; the sentence names the file, the place and what would mend it."""


class BrokenError(Exception):
    """An invariant didn't hold. Carries the story as far as it went."""

    def __init__(self, sentence: str, log: tuple[str, ...]) -> None:
        super().__init__(sentence)
        self.log = log


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of a script."""

    number: int
    """Of the line, from 1."""
    at: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Story:
    name: str
    title: str
    """The README's heading."""
    prose: str
    """What stands below it."""
    cluster: Mapping[str, Any]
    faults: tuple[Fault, ...]
    end: float
    """Seconds of virtual time."""


def shelf() -> Path:
    """Where the stories are. Raises StoryError where this installation has none."""
    here = Path(__file__).parent
    for folder in (here / "scenarios", here.parent / "tests" / "scenarios"):
        if folder.is_dir():
            return folder
    raise StoryError(f"this installation carries no stories: there is no {here / 'scenarios'}")


def names() -> tuple[str, ...]:
    """Every story's name, in their order. Raises StoryError."""
    return tuple(sorted(path.parent.name for path in shelf().glob(f"*/{SCRIPT}")))


def title(name: str) -> str:
    """The heading of that story's README. Raises StoryError."""
    return _readme(shelf() / name)[0]


def find(name: str) -> Story:
    """The story of that name. Raises StoryError; `LookupError` where there is none of that name."""
    if name not in names():
        raise LookupError(f"there is no story {name}")
    return read(shelf() / name)


def read(folder: Path) -> Story:
    """The story in this folder. Raises StoryError."""
    heading, prose = _readme(folder)
    try:
        cluster = yaml.safe_load(_text(folder / CLUSTER))
    except yaml.YAMLError as error:
        raise StoryError(f"{CLUSTER} is no YAML: {' '.join(str(error).split())}") from error
    _check(cluster)
    *faults, end = _script(_text(folder / SCRIPT))
    return Story(folder.resolve().name, heading, prose, cluster, tuple(faults), end.at)


def play(story: Story) -> tuple[str, ...]:
    """Play it to its end: its log, line by line. Two kinds: of the detector's verdicts, and of failovers.

    Raises BrokenError where an invariant doesn't hold, StoryError where a line of the script can't be done.
    """
    stage = verdicts.RingStory(dict(story.cluster)) if "ring" in story.cluster else world(story.cluster)
    try:
        play_on(stage, story)
    except AssertionError as error:
        raise BrokenError(str(error), tuple(stage.log)) from error
    if isinstance(stage, verdicts.RingStory):
        stage.end()
    return tuple(stage.log)


def play_on(
    stage: World | verdicts.RingStory, story: Story, after_tick: Callable[[], None] = lambda: None
) -> None:
    """Let it happen on this stage. Raises AssertionError where an invariant doesn't hold, and StoryError."""
    for fault in story.faults:
        _until(stage, fault.at, after_tick)
        _do(stage, fault)
    _until(stage, story.end, after_tick)


def _until(stage: World | verdicts.RingStory, at: float, after_tick: Callable[[], None]) -> None:
    # A ring's time is a sum of ticks, a world's is rounded.
    slack = verdicts.TICK / 2 if isinstance(stage, verdicts.RingStory) else 0.0
    while stage.now < at - slack:
        stage.tick()
        after_tick()


def _do(stage: World | verdicts.RingStory, fault: Fault) -> None:
    line = f"{SCRIPT}, line {fault.number}: {' '.join(fault.words)!r}"
    try:
        stage.do(list(fault.words))
    except KeyError as error:
        raise StoryError(
            f"{line}: there is no {error.args[0]} in {CLUSTER} that this could be about"
        ) from error
    except IndexError as error:
        raise StoryError(f"{line}: a word is missing behind {fault.words[-1]!r}") from error
    except ValueError as error:
        raise StoryError(f"{line}: {error}") from error


def world(cluster: Mapping[str, Any], **led: Any) -> World:
    """The world of a story about failovers. ``led``: by whom, as :class:`World` takes it; else by the stand-in."""
    watchdog = cluster.get("watchdog")
    return World(
        cluster["nodes"],
        cluster["vms"],
        cluster.get("bmcs", {}),
        cluster.get("mode", "Active"),
        cluster.get("volumes"),
        kennel(watchdog) if watchdog else None,
        heartbeat=cluster.get("heartbeat"),
        on_hung=OnHung(cluster.get("onHung", OnHung.ALERT)),
        storage_fence=cluster.get("storageFence"),
        node_leases=cluster.get("nodeLeases", False),
        ladder=LadderSetup(
            cluster.get("pdus", {}),
            tuple(cluster.get("hedgeAfterSeconds", ())),
            cluster.get("delaySeconds", 0.0),
            cluster.get("maxConcurrentOrders"),
        ),
        kubevirt_pods=cluster.get("kubevirtPods"),
        placement=Placement(**cluster.get("placement", {})),
        zones=cluster.get("zones"),
        **{
            "controllers": cluster.get("controllers"),
            "tells_verdicts": cluster.get("verdicts", False),
            **led,
        },
    )


# --- reading ---------------------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StoryError(f"there is no {path}: a story is a folder with {CLUSTER} and {SCRIPT}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StoryError(f"{path} can't be read: {error}") from error


def _readme(folder: Path) -> tuple[str, str]:
    """Heading and prose; a person's own story needs none."""
    if not (folder / README).exists():
        return "", ""
    head, _, prose = _text(folder / README).partition("\n")
    return head.lstrip("# ").strip(), prose.strip()


def _script(text: str) -> list[Fault]:
    """Its lines in their order, the last of which is `end`."""
    read_: list[Fault] = []
    for number, raw in enumerate(text.splitlines(), 1):
        at, *words = raw.partition("#")[0].split() or ("",)
        if not at:
            continue
        try:
            fault = Fault(number, float(at), tuple(words))
        except ValueError:
            raise StoryError(
                f"{SCRIPT}, line {number}: {at!r} is no time; write `SECONDS FAULT ...`"
            ) from None
        if not words:
            raise StoryError(f"{SCRIPT}, line {number}: nothing happens at {at}; write `SECONDS FAULT ...`")
        if not 0 <= fault.at <= _LONGEST or (read_ and fault.at < read_[-1].at):
            raise StoryError(
                f"{SCRIPT}, line {number}: times go from 0 to {_LONGEST:g} seconds and never back, {at} doesn't"
            )
        read_.append(fault)
    ends = [fault.number for fault in read_ if fault.words == ("end",)]
    if not ends or ends != [read_[-1].number]:
        raise StoryError(f"{SCRIPT}: its last line says when it ends, and no other: `60 end`")
    return read_


def _check(cluster: Any) -> None:
    """Whether a world can be made of it. Raises StoryError."""
    if not isinstance(cluster, dict):
        raise StoryError(f"{CLUSTER} is no mapping; begin with `nodes: [n1, n2, n3]`")
    ring = cluster.get("ring")
    if ring is not None:
        _check_ring(cluster, ring)
        return
    _known(cluster, _FIELDS, "")
    nodes = _list(cluster.get("nodes"), "nodes", "n1, n2, n3")
    vms = _mapping(cluster.get("vms"), "vms", "db: n1")
    for vm, node in vms.items():
        _one_of(node, nodes, f"vms.{vm}")
    for field in ("bmcs", "pdus"):
        for node, mode in _mapping(cluster.get(field, {}), field, "n1: ok").items():
            _one_of(node, nodes, field)
            if not (mode is None and field == "bmcs"):
                _one_of(mode, DEVICE_MODES, f"{field}.{node}")
    for vm, kind in _mapping(cluster.get("volumes", {}), "volumes", "db: rwo").items():
        _one_of(vm, vms, "volumes")
        _one_of(kind, ("rwo", "rwx"), f"volumes.{vm}")
    for vm in _list(cluster.get("storageFence", []), "storageFence", "db"):
        _one_of(vm, vms, "storageFence")
    for node in _list(cluster.get("controllers", []), "controllers", "n1, n2"):
        _one_of(node, nodes, "controllers")
    watchdog = cluster.get("watchdog")
    if watchdog is not None:
        for node in _list(_mapping(watchdog, "watchdog", "nodes: [n1]").get("nodes"), "watchdog.nodes", "n1"):
            _one_of(node, nodes, "watchdog.nodes")
    _one_of(cluster.get("mode", "Active"), [mode.value for mode in Mode], "mode")
    on_hung = cluster.get("onHung", OnHung.ALERT)
    _one_of(on_hung, [one.value for one in OnHung], "onHung")
    if on_hung == OnHung.FENCE and cluster.get("heartbeat") is None:
        raise StoryError(f"{CLUSTER}: onHung is Fence, which needs slots; write `heartbeat: {{}}`")


def _check_ring(cluster: Mapping[str, Any], ring: Any) -> None:
    _known(cluster, ("ring",), "")
    _known(_mapping(ring, "ring", "nodes: 5"), _RING_FIELDS, "ring.")
    count = ring.get("nodes")
    if not isinstance(count, int) or not 2 <= count <= 100:
        raise StoryError(f"{CLUSTER}: ring.nodes is {count!r}; write how many there are, from 2 to 100")
    known = [f"n{number}" for number in range(1, count + 1)]
    for node in _list(ring.get("controllers"), "ring.controllers", "n1, n2"):
        _one_of(node, known, "ring.controllers")


def _known(given: Mapping[str, Any], fields: Collection[str], where: str) -> None:
    for field in given:
        if field not in fields:
            raise StoryError(f"{CLUSTER}: {where}{field} is none of {', '.join(fields)}")


def _list(value: Any, field: str, example: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise StoryError(f"{CLUSTER}: {field} is no list of names; write `{field}: [{example}]`")
    return value


def _mapping(value: Any, field: str, example: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise StoryError(f"{CLUSTER}: {field} is no mapping; write `{field}: {{{example}}}`")
    return value


def _one_of(value: Any, known: Collection[str], field: str) -> None:
    if value not in known:
        raise StoryError(f"{CLUSTER}: {field}: {value!r} is none of {', '.join(known)}")
