"""The Leases by which remediators keep out of each other's way: what stands there, and what the controller knows of it."""

from __future__ import annotations

from ringfence.core import timing
from ringfence.core.failover.node_lease import HOLDER, Held, NodeLeaseLook, foreign
from simulator.system.timeline import Timeline


class Remediators:
    """``used``: other remediators of the cluster go by Leases, and so do we."""

    def __init__(self, timeline: Timeline, *, used: bool) -> None:
        self._time = timeline
        self.used = used
        self._asked: dict[str, float] = {}
        self.leases: dict[str, Held] = {}
        self.answer = True

    def acts(self, node: str) -> str | None:
        """Who else holds the node's Lease now."""
        held = self.leases.get(node)
        others = held is not None and held.holder != HOLDER and held.valid(self._time.now)
        return held.holder if self.answer and held is not None and others else None

    def look(self, node: str) -> NodeLeaseLook:
        if not self.used:
            return NodeLeaseLook()
        now = self._time.now
        held, asked = self.leases.get(node), self._asked.get(node)
        valid = held is not None and held.valid(now) and self.answer and asked is not None
        ours = held is not None and held.holder == HOLDER and valid
        other = (
            foreign(node, held.holder, f"medik8s-leases/node-{node}") if held and valid and not ours else None
        )
        if other is not None:
            self._asked[node] = asked = now
        return NodeLeaseLook(
            used=True,
            ours=ours,
            renewal_due=ours and held is not None and now - (held.renewed or 0.0) >= timing.NODE_LEASE_RENEW,
            foreign=other,
            settled=ours
            or other is not None
            or (asked is not None and now - asked >= timing.NODE_LEASE_WAIT),
        )

    def take(self, node: str) -> None:
        """Anybody's that has expired may be taken; what somebody else holds is seen by asking."""
        now = self._time.now
        self._asked.setdefault(node, now)
        held = self.leases.get(node)
        if not self.answer or (held is not None and held.holder != HOLDER and held.valid(now)):
            return
        if held is None or held.holder != HOLDER:
            self._time.say(f"lease: node-{node} is ours")
        self.leases[node] = Held(HOLDER, now, timing.NODE_LEASE_DURATION)

    def release(self, node: str) -> None:
        self._time.say(f"lease: node-{node} is given back")
        self.leases.pop(node, None)
        self._asked.pop(node, None)
