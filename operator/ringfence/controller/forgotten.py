"""Incidents that are on record nowhere: somebody has deleted a Failover while no controller ran.

A replica that has watched knows what it has seen deleted, and the next leader writes that anew
(:mod:`ringfence.controller.loop`). One that has started since knows what the dead one left on the cluster: the suspect taint of
the node, whose value is the incident's name. That is stored after the Failover and before any order, so a taint whose
Failover nobody knows may mean an order at work. Until it can do nothing any more no other order goes to that node.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringfence.controller.failovers import SUSPECT, label_value
from ringfence.kube.objects import NodeObject

REMEMBERED = 600.0
"""Seconds; more than any device's order lasts."""


class Forgotten:
    """What one replica has seen of them, on its own clock."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[str, float]] = {}
        """By node: the Failover that it was tainted for, and since when this replica has known that nobody knows it."""
        self._deleted: set[str] = set()
        """Taints of Failovers that this replica has seen deleted: what they had begun it knows."""

    def seen_deleted(self, failover: str) -> None:
        self._deleted.add(label_value(failover))

    def watch(self, nodes: Iterable[NodeObject], failovers: Iterable[tuple[str, str]], now: float) -> None:
        """Look at every node's taint. ``failovers``: all that are known, also those that can't be read."""
        borne = {node.name: t.value for node in nodes for t in node.taints if t.key == SUSPECT and t.value}
        if not borne and not self._since:
            return
        self._deleted &= set(borne.values())
        known = {label_value(name) for _, name in failovers} | self._deleted
        for node, name in borne.items():
            if name not in known and self._since.get(node, ("", 0.0))[0] != name:
                self._since[node] = (name, now)
        # The next incident of the node writes its own name over that: it is remembered for as long as it counts, and longer.
        self._since = {
            node: (name, at)
            for node, (name, at) in self._since.items()
            if name not in known and (borne.get(node) == name or now - at < REMEMBERED)
        }

    def at_work(self, node: str, works: float, now: float) -> str:
        """The name of a forgotten incident whose order may take effect yet, ``works`` seconds after its decision; or nothing."""
        name, since = self._since.get(node, ("", now - works))
        return name if now - since < works else ""
