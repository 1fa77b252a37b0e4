"""The real ring inside the whole system: each agent is the product's own machine, on virtual links that are as broken as the plant is.

It stands where the detector's model stands (:class:`~simulator.system.voices.Voices`). The ring's simulator carries it; the roster is the one that the
controllers publish, so votes are signed, gossiped, counted and believed end to end.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ringfence.core.gossip.members import Roster
from ringfence.core.gossip.report import AgentView, Hearing
from simulator.links import Link, Rule
from simulator.node import Node as Machine
from simulator.system.node import Node
from simulator.system.voices import Voices
from simulator.world import World

_CUT = Link(delay=0.0, jitter=0.0, loss=1.0)
_LOSSY = Link(delay=0.0, jitter=0.0, loss=0.6)
CLUSTER = "ringfence-system"


class _Ring(World):
    """The ring's world without its registrar: rosters come from outside."""

    def __init__(self, voices: Voices) -> None:
        self._voices = voices
        super().__init__(len(voices.plant.nodes), seed=1, zones=1, make_crypto=voices.keyring.make)

    def _make_roster(self, epoch: int) -> Roster:
        """What an agent finds on its disk before anything is published."""
        return replace(super()._make_roster(epoch), epoch=0, cluster=CLUSTER)

    def publish(self) -> None:
        """The controllers do."""

    def take(self, roster: Roster) -> None:
        """A roster was published: every agent that reaches the API server fetches it."""
        self.roster = roster
        self.fetch(self.nodes)


@dataclass
class RingVoices(Voices):
    """What the real agents say."""

    _ring: _Ring = field(init=False)
    _begun: float = field(init=False)
    _paths: tuple[object, ...] = ()
    _rules: list[Rule] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ring = _Ring(self)
        self._begun = self.plant.now

    def tick(self) -> None:
        """Break and mend what the plant has broken and mended, then let the ring live until now."""
        ring, plant = self._ring, self.plant
        for node in plant.nodes.values():
            self._machine(node, ring.by_name[node.name])
        self._cut()
        roster = self.roster()
        if roster is not None and roster is not ring.roster:
            ring.take(roster)
        ring.run(plant.now - self._begun - ring.now)

    def _machine(self, node: Node, machine: Machine) -> None:
        ring, now = self._ring, self.plant.now
        if machine.kernel and not (node.powered and machine.boot == node.number):
            ring.crash(machine)
        if node.powered and not machine.kernel and now >= node.booted_at:
            machine.boot = node.number - 1
            ring.power_on(machine)
        if node.suspended and machine.kernel and not machine.suspended:
            self._slept[node.name] = ring.now
            ring.suspend(machine)
        elif machine.suspended and not node.suspended:
            ring.resume(machine, ring.now - self._slept[node.name])
        if node.left and node.agent and node.name not in self._left:
            self._left.add(node.name)
            ring.leave(machine)
        if not node.agent and machine.swim is not None:
            ring.stop_agent(machine)
        elif node.agent and machine.kernel and machine.swim is None:
            self._left.discard(node.name)
            ring.start_agent(machine)
        away = int(not (node.linked and node.api) or self.plant.api_out)
        if machine.api and not away:
            machine.api = away
            ring.fetch([machine])
        machine.api = away

    _slept: dict[str, float] = field(default_factory=dict)
    """Since when (the ring's time) each suspended machine stands still."""
    _left: set[str] = field(default_factory=set)

    def _cut(self) -> None:
        """The links as the plant has them."""
        nodes = list(self.plant.nodes.values())
        paths = tuple((n.linked and n.peers, n.name in self.plant.apart, n.doubted) for n in nodes)
        if paths == self._paths:
            return
        self._paths = paths
        ring = self._ring
        for rule in self._rules:
            ring.links.end(rule, ring.now)
        silent = frozenset(i for i, (through, _, _) in enumerate(paths) if not through)
        apart = frozenset(i for i, (_, apart, _) in enumerate(paths) if apart)
        lossy = frozenset(i for i, (_, _, lossy) in enumerate(paths) if lossy)
        others = frozenset(range(len(nodes))) - apart
        self._rules = [Rule(silent, None, _CUT), Rule(None, silent, _CUT)] if silent else []
        self._rules += [Rule(apart, others, _CUT), Rule(others, apart, _CUT)] if apart else []
        self._rules += [Rule(lossy, None, _LOSSY), Rule(None, lossy, _LOSSY)] if lossy else []
        for rule in self._rules:
            ring.links.add(rule, ring.now)

    # --- what is heard ------------------------------------------------------------------------------------------------

    def runs(self, name: str) -> bool:
        return self._ring.by_name[name].listens

    def process(self, name: str) -> int:
        return self._ring.by_name[name].process

    def version(self, name: str) -> int:
        swim = self._ring.by_name[name].swim
        return swim.version if swim is not None else -1

    def view(self, name: str) -> AgentView:
        machine = self._ring.by_name[name]
        assert machine.swim is not None
        return machine.swim.view(machine.clock(self._ring.now))

    def hearing(self, name: str, uid: str) -> Hearing | None:
        machine = self._ring.by_name[name]
        return machine.swim.hearing(uid, machine.clock(self._ring.now)) if machine.swim is not None else None
