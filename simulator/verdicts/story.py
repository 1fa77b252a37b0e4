"""Stories of the detector: the agents' own machines in virtual time, and controllers that judge by what these say.

``cluster.yaml`` says ``ring: {nodes, zones, controllers, hazones}``; a script's line is a time and either a fault of
`simulator.script` or one of the words below. The log has one line per change: of a controller's verdict about a node,
of who leads, of whether a verdict may be acted upon. A node that is ordered off is off a second later (the ladder has
stories of its own, in `virtual`).

On each tick: nobody is judged Down for longer than a look takes who is well and has been for a second; no order goes to a node that answers the
controller that gives it; only one controller may act.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ringfence.core.detection.verdict import Judgement
from ringfence.core.failover import limits
from ringfence.core.model import Verdict
from simulator import faults
from simulator.crypto import Keyring
from simulator.node import Node
from simulator.script import read
from simulator.story import SETTLING
from simulator.verdicts import attacks
from simulator.verdicts.api import Api, Incident
from simulator.verdicts.controller import Controller
from simulator.world import World, boot_id

TICK = 0.05
HOLD = 2.0
FENCE_TAKES = 1.0
LOOK_TAKES = 0.06
"""A controller that is shown a verdict asks the node itself: so long it may believe one that is false."""
WELL_AFTER = 1.0
"""Seconds that a controller may need to notice that a node is back (a verdict's withdrawal: GOSSIP §10.7)."""


class Broken(AssertionError):
    """An invariant does not hold."""


class RingStory:
    """One story. ``log`` is how it was told; times count from when the ring has settled."""

    def __init__(self, setup: dict[str, Any]) -> None:
        ring = setup["ring"]
        keys = Keyring()
        self.head = f"nodes {ring['nodes']} zones {ring.get('zones', 1)} seed {ring.get('seed', 1)}"
        self.world = World(
            ring["nodes"], zones=ring.get("zones", 1), seed=ring.get("seed", 1), make_crypto=keys.make
        )
        self.api = Api(self.world.roster)
        each = ring.get("hazones") == "each"
        zones = {node.name: node.zone if each else "all" for node in self.world.nodes}
        self.controllers = {
            name: Controller(self.world.by_name[name], self.world, self.api, keys.verify, zones)
            for name in ring["controllers"]
        }
        self._began = 0.0
        self.log: list[str] = []
        self.attacker = attacks.Attacker(self.world, tuple(self.controllers.values()), keys.verify)
        self._told: dict[tuple[str, str], str] = {}
        self._false_since: dict[tuple[str, str], float] = {}
        self._well_since = {node.name: 0.0 for node in self.world.nodes}
        settled = ring.get("settled", SETTLING)
        while self.world.now < settled:
            self._turn()
        self._began = self.world.now
        self._first_look()

    @property
    def now(self) -> float:
        return self.world.now - self._began

    def say(self, line: str) -> None:
        self.log.append(f"{self.now:7.2f} {line}")

    # --- the script ------------------------------------------------------------------------------------

    def do(self, words: list[str]) -> None:
        self.say("fault: " + " ".join(words))
        match words:
            case ["power-on", name]:
                self.world.power_on(self.world.by_name[name])
            case ["delete", name]:
                self.api.nodes.pop(name, None)
                self.api.incidents.pop(name, None)
                self.world.delete(self.world.by_name[name])
            case ["pause-controller", name, "for", seconds]:
                self.controllers[name].pause(float(seconds))
            case ["restart-controller", name]:
                self.controllers[name].restart()
            case ["lie" | "spread", *_]:
                for line in self.attacker.begin(words):
                    self.say(line)
            case _:
                text = f"{self.head}\n0 {' '.join(words)}"
                faults.begin(self.world, read(text).faults[0])

    def tick(self) -> None:
        self._turn()
        self._tell()
        self._act()
        self._check()

    def end(self) -> None:
        """The last lines: what every controller makes of every node."""
        for controller in self.controllers.values():
            self.say(f"{controller.name} ends with {_summary(controller)}")

    # --- time ------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self.world.run(TICK)
        self.api.turn(self.world)
        for node in self.world.nodes:
            if node.swim is not None:
                node.swim.window = any(c.runs and node.name in c.read for c in self.controllers.values())
        for controller in self.controllers.values():
            if controller.runs:
                controller.turn()
        self.attacker.watch()
        for name, incident in tuple(self.api.incidents.items()):
            known = self.api.nodes.get(name)
            if known is None or known.boot_id != incident.boot:
                del self.api.incidents[name]  # a later boot: that one is over

    def _first_look(self) -> None:
        for controller in self.controllers.values():
            for node, judgement in controller.judgements.items():
                self._told[controller.name, node] = judgement.verdict
            self._told[controller.name, "leads"] = str(controller.leads)
            self._told[controller.name, "side"] = ""
            leads = "leads, " if controller.leads else ""
            self.say(
                f"{controller.name} {leads}reads {', '.join(controller.read)}, finds {_summary(controller)}"
            )

    def _news(self, who: str, what: str, told: str) -> bool:
        before = self._told.get((who, what))
        self._told[who, what] = told
        return before != told

    def _tell(self) -> None:
        for controller in self.controllers.values():
            if not controller.home.kernel or not controller.runs:
                continue
            name = controller.name
            if self._news(name, "leads", str(controller.leads)):
                self.say(f"{name} {'leads' if controller.leads else 'leads no longer'}")
            if controller.judgements:
                self._tell_side(controller)
            for node in sorted(self._told_of(name) - controller.judgements.keys()):
                del self._told[name, node]
                self.say(f"{name} knows no node {node} any more")
            self._tell_verdicts(controller)

    def _tell_verdicts(self, controller: Controller) -> None:
        """What changed; of several nodes in one line, if the same is said of each."""
        alike: dict[tuple[str, str], list[str]] = {}
        for node, judgement in sorted(controller.judgements.items()):
            if self._news(controller.name, node, judgement.verdict):
                self._told.pop((controller.name, f"act on {node}"), None)
                of_it = re.sub(rf"\b{node}\b", "each", judgement.sentence)
                alike.setdefault((judgement.verdict, of_it), []).append(node)
        for (verdict, of_it), nodes in alike.items():
            sentence = of_it if len(nodes) > 1 else controller.judgements[nodes[0]].sentence
            self.say(f"{controller.name} finds {', '.join(nodes)} {verdict}: {sentence}")

    def _told_of(self, name: str) -> set[str]:
        return {what for who, what in self._told if who == name and what in self.world.by_name}

    def _tell_side(self, controller: Controller) -> None:
        """Its side, where that alone forbids to act."""
        any_node = next(iter(controller.judgements))
        side = limits.minority(controller.situation(any_node)) or ""
        if self._news(controller.name, "side", side):
            self.say(f"{controller.name}: {side or 'our side is the majority again'}")

    # --- what may be acted upon ------------------------------------------------------------------------

    def _act(self) -> None:
        may: set[str] = set()
        for controller in self.controllers.values():
            if not controller.runs:
                continue
            for node, judgement in sorted(controller.judgements.items()):
                self._withdraw(controller, node, judgement)
                if not judgement.may_be_fenced:
                    continue
                if controller.leads and self.api.reached_by(controller.home):
                    boot = self.api.nodes[node].boot_id
                    self.api.incidents.setdefault(node, Incident(node, boot, self.now))
                since = controller.witness.down(node, may_be_fenced=True, now=self.world.now)
                if self.world.now - since < HOLD + judgement.hold_more or self._ordered(node):
                    continue
                reason = controller.why_not(node)
                if reason is None:
                    may.add(controller.name)
                if self._news(controller.name, f"act on {node}", reason or "may"):
                    self.say(
                        f"{controller.name} {f'may not act on {node}: {reason}' if reason else f'may act on {node}'}"
                    )
                if reason is None:
                    self._order(controller, node)
        if len(may) > 1:
            raise Broken(f"{self.now:.2f}: {' and '.join(sorted(may))} may act at once")

    def _ordered(self, node: str) -> bool:
        incident = self.api.incidents.get(node)
        return incident is not None and incident.ordered_by is not None

    def _withdraw(self, controller: Controller, node: str, judgement: Judgement) -> None:
        if controller.leads and not judgement.may_be_fenced and not self._ordered(node):
            self.api.incidents.pop(node, None)

    def _order(self, controller: Controller, name: str) -> None:
        node, incident = self.world.by_name[name], self.api.incidents[name]
        if controller.reaches(node):
            raise Broken(f"{self.now:.2f}: {controller.name} orders {name} off, which answers it")
        incident.ordered_by = controller.name
        self.say(f"{controller.name} orders {name} off")

        def off(_: None) -> None:
            incident.proved = True
            if node.kernel and boot_id(name, node.boot) == incident.boot:
                self.world.crash(node)
            self.say(f"{name} is off")

        self.world.later(FENCE_TAKES, off)

    # --- invariants ------------------------------------------------------------------------------------

    def _check(self) -> None:
        for node in self.world.nodes:
            if not self._well(node):
                self._well_since[node.name] = float("inf")
            elif self._well_since[node.name] == float("inf"):
                self._well_since[node.name] = self.world.now
        for controller in self.controllers.values():
            for name, judgement in controller.judgements.items():
                well = self.world.now - self._well_since[name] >= WELL_AFTER
                false = well and judgement.verdict is Verdict.DOWN and self._current(controller, name)
                if not false or not controller.runs:
                    self._false_since.pop((controller.name, name), None)
                elif (
                    self.world.now - self._false_since.setdefault((controller.name, name), self.world.now)
                    > LOOK_TAKES
                ):
                    raise Broken(f"{self.now:.2f}: {controller.name}, falsely: {judgement.sentence}")

    def _current(self, controller: Controller, name: str) -> bool:
        boot = controller.witness.boot(name)
        return boot is not None and boot.boot_id == boot_id(name, self.world.by_name[name].boot)

    def _well(self, node: Node) -> bool:
        """Whether its kernel answers everybody."""
        cut: Callable[[int, int, float], bool] = self.world.links.cut_since
        return (
            node.kernel
            and not node.suspended
            and not any(cut(node.index, other.index, self.world.now) for other in self.world.nodes)
        )


def _summary(controller: Controller) -> str:
    by_verdict: dict[str, list[str]] = {}
    for node, judgement in sorted(controller.judgements.items()):
        by_verdict.setdefault(judgement.verdict, []).append(node)
    if list(by_verdict) == [Verdict.HEALTHY]:
        return "all Healthy"
    return "; ".join(f"{', '.join(nodes)} {verdict}" for verdict, nodes in by_verdict.items())


def play(setup: dict[str, Any], script: list[tuple[float, list[str]]], end: float) -> list[str]:
    """One story from its beginning to its end."""
    story = RingStory(setup)
    for at, words in script:
        while story.now < at - TICK / 2:
            story.tick()
        story.do(words)
    while story.now < end - TICK / 2:
        story.tick()
    story.end()
    return story.log
