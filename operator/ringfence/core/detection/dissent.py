"""Where a replica that doesn't lead finds something else of a node than the one that does: one of them is missing evidence."""

from __future__ import annotations

from collections.abc import Mapping

from ringfence.core.model import Verdict

DIFFERS_FOR = 30.0
"""Seconds before it is told: verdicts reach the zone's status a moment later, and evidence one replica before the other."""


class Dissent:
    """What one replica has seen of it, on its own clock."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def nodes(self, own: Mapping[str, Verdict], told: Mapping[str, str], now: float) -> frozenset[str]:
        """The nodes about which the two have differed all the time for :data:`DIFFERS_FOR`.

        Args:
            own: what this replica finds of each node.
            told: what the HAZones say that the leader finds. A node of which only one says anything is no dissent.
            now: monotonic.
        """
        differ = {node for node, verdict in own.items() if told.get(node, verdict.value) != verdict.value}
        self._since = {node: self._since.get(node, now) for node in differ}
        return frozenset(node for node, since in self._since.items() if now - since >= DIFFERS_FOR)
