"""Taints of ours on nodes that no open failover is about.

A taint may land after its failover has ended: its write was on its way when the node was found alive, and an ended record
tries nothing again; or somebody has deleted the Failover. The failover is always stored before its taint, so a taint
without one is a stray. An out-of-service taint that is left behind keeps a living node empty for ever.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringfence.controller.failovers import OUT_OF_SERVICE, OUT_OF_SERVICE_VALUE, SUSPECT
from ringfence.kube.objects import NodeObject
from ringfence.ports import Taint

STRAY_FOR = 5.0
"""Seconds for which the out-of-service taint must have been without a failover: a new leader may hear of one late."""


class Strays:
    """What one replica has seen of them, on its own clock."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def due(
        self,
        nodes: Iterable[NodeObject],
        busy: frozenset[str],
        now: float,
        quarantined: frozenset[str] = frozenset(),
    ) -> tuple[tuple[NodeObject, Taint], ...]:
        """The taints to take off now. ``busy``: the nodes that an open failover is about; ``quarantined``: those that keep
        the suspect taint for having flapped, until their hour is over.
        """
        found: list[tuple[NodeObject, Taint]] = []
        since: dict[str, float] = {}
        for node in nodes:
            if node.name in busy:
                continue
            for taint in node.taints:
                if (taint.key, taint.effect) == (SUSPECT, "NoSchedule") and node.name not in quarantined:
                    found.append((node, taint))
                elif (taint.key, taint.value) == (OUT_OF_SERVICE, OUT_OF_SERVICE_VALUE):
                    since[node.uid] = self._since.get(node.uid, now)
                    if now - since[node.uid] >= STRAY_FOR:
                        found.append((node, taint))
        self._since = since
        return tuple(found)
