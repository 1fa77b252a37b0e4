"""Which nodes an HAZone claims, by name or by their labels.

Each turn asks it of every node and zone, and the answer changes when somebody edits a zone or a node's labels: it is worked out
again for those alone. By what they *say*, not by which objects they are: a zone's status is written with each verdict.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringfence.api.v1alpha1.hazone import HAZone, ZoneNodes
from ringfence.kube.objects import Labels, NodeObject


class Membership:
    """See the module."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[ZoneNodes, dict[str, tuple[Labels, bool]]]] = {}
        """By zone: its spec.nodes, and of each node the labels that it had and whether it was claimed."""

    def of(self, zone: HAZone, nodes: Iterable[NodeObject]) -> list[NodeObject]:
        """Those of the nodes that the zone, enabled or not, is about."""
        known, found = self._of(zone), []
        for node in nodes:
            before = known.get(node.name)
            if before is None or (before[0] is not node.labels and before[0] != node.labels):
                before = known[node.name] = node.labels, claims(zone.spec.nodes, node)
            if before[1]:
                found.append(node)
        return found

    def forget(self, node: str) -> None:
        """The node is gone."""
        for _, known in self._known.values():
            known.pop(node, None)

    def keep(self, zones: frozenset[str]) -> None:
        """Forget all other zones."""
        for gone in self._known.keys() - zones:
            del self._known[gone]

    def _of(self, zone: HAZone) -> dict[str, tuple[Labels, bool]]:
        said, known = self._known.get(zone.metadata.name, (None, {}))
        if said is not zone.spec.nodes:
            if said != zone.spec.nodes:
                known = {}
            self._known[zone.metadata.name] = zone.spec.nodes, known
        return known


def claims(nodes: ZoneNodes, node: NodeObject) -> bool:
    """Whether a zone's ``spec.nodes`` is about this node."""
    if node.name in nodes.names:
        return True
    return nodes.selector is not None and nodes.selector.selects(node.labels)
