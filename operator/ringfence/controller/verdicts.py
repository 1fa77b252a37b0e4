"""Which verdicts are news: an Event on the Node when what was told of it last no longer holds.

All replicas judge, one tells. A replica that doesn't lead takes it that the leader tells what it sees itself; when it
comes to lead it tells again what still stands, because the leader may have died with the node before it could.
"""

from __future__ import annotations

from collections.abc import Mapping

from ringfence.core.model import Verdict


class ToldVerdicts:
    """What this replica knows to have been told."""

    def __init__(self) -> None:
        self._told: dict[str, Verdict] = {}
        self._led = False

    def due(self, verdicts: Mapping[str, Verdict], *, leads: bool) -> tuple[str, ...]:
        """The nodes of which this replica must tell their verdict now.

        A mere suspicion is no news, or each lost packet would be; health is, after something else was told.
        """
        if leads and not self._led:
            self._told = {node: told for node, told in self._told.items() if verdicts.get(node) is not told}
        self._led = leads
        news = [
            node
            for node, verdict in verdicts.items()
            if verdict is not Verdict.SUSPECT and verdict is not self._told.get(node, Verdict.HEALTHY)
        ]
        self._told = {node: told for node, told in self._told.items() if node in verdicts}
        self._told |= {node: verdicts[node] for node in news}
        return tuple(news) if leads else ()
