"""The ring as this replica sees it, for people: served as JSON at ``/members``, shown by ``ringfence members``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringfence.controller.evidence import Witness
from ringfence.core.detection.verdict import Judgement
from ringfence.core.gossip.rings import rings_of


def members(
    witness: Witness, judgements: Mapping[str, Judgement], versions: Mapping[str, str], now: float
) -> dict[str, Any]:
    """Every roster member with what this replica and the agents that it listens to say of it.

    Ages are seconds, round-trip times milliseconds; None where none of those agents knows.
    """
    roster = witness.roster
    if roster is None:
        return {"rosterEpoch": 0, "reporters": [], "members": []}
    views = witness.fresh_views(now)
    rings = rings_of(roster)
    rows = []
    for member in sorted(roster.members, key=lambda one: one.name):
        said = {v.reporter.node: s for v in views for s in v.subjects if s.subject.node == member.name}
        own = next((v for v in views if v.reporter.node == member.name), None)
        judgement = judgements.get(member.name)
        heard = [s.heard_age for s in said.values() if s.heard_age is not None]
        trips = [s.rtt for s in said.values() if s.rtt is not None]
        rows.append(
            {
                "name": member.name,
                "zone": member.zone,
                "bootID": member.boot_id,
                "verdict": judgement.verdict.value if judgement else "",
                "sentence": judgement.sentence if judgement else "",
                "agentVersion": versions.get(member.name, ""),
                "healthy": own.healthy if own else None,
                "epoch": own.roster_epoch if own else None,
                "heardAge": round(min(heard), 1) if heard else None,
                "rttMillis": round(1000 * min(trips), 2) if trips else None,
                "observers": sorted(observer.name for observer in rings.observers(member.uid)),
                "states": {reporter: view.state.value for reporter, view in sorted(said.items())},
            }
        )
    return {
        "rosterEpoch": roster.epoch,
        "reporters": sorted(view.reporter.node for view in views),
        "members": rows,
    }
