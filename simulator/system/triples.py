"""Which (verdict, limit, phase) an incident can be in, and why the others are impossible.

``verdict`` is the node's at the step, ``limit`` the name of the first limit that would forbid to act ("-": none), ``phase``
the incident's after the step. Committed before the runs: a triple that is seen though it is called impossible, or whose
limit is unknown, breaks the schedule; how many of the possible ones were seen is told as coverage.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.core.failover import limits
from ringfence.core.failover.phase import Phase
from ringfence.core.model import Verdict

NO_LIMIT = "-"
Triple = tuple[Verdict, str, Phase]
Sight = tuple[Verdict, str]
"""Verdict and limit, as the leader sees them."""

_VERDICTS = {
    Verdict.GUEST_NET_LOST: "the schedules' nodes are on one network",
    Verdict.ISOLATED: "no rule gives it: a node that nobody hears is Down or Suspect",
    Verdict.MAINTENANCE: "no rule gives it: a NodeMaintenance is a limit, what is found of the node is told all the same",
}
_LIMITS = {
    "not_writable": "who can't renew the Lease does not lead, and only a leader takes steps",
    "cache_too_old": "caches are stale for 40 s at most, the limit begins at 90",
}
_ANSWERING = frozenset({Verdict.HEALTHY, Verdict.STORAGE_LOST, Verdict.CONTROL_PATH_LOST})
"""Verdicts on a node whose agent is heard."""


def name_of(situation: limits.Situation) -> str:
    """The name of the first limit that holds."""
    return next((one.__name__ for one in limits.LIMITS if one(situation) is not None), NO_LIMIT)


def impossible(triple: Triple) -> str | None:
    """Why it can't be; None: it can."""
    verdict, limit, phase = triple
    if limit not in _NAMES:
        return f"there is no limit {limit}"
    if phase is Phase.WITHDRAWN and verdict is Verdict.DOWN:
        return "only a node that is not Down is let go"
    if (why := _of_one_instant(triple)) is not None:
        return why
    return _VERDICTS.get(verdict) or _LIMITS.get(limit)


def _of_one_instant(triple: Triple) -> str | None:
    """Why it can't be, if verdict, limit and phase are of one instant."""
    verdict, limit, phase = triple
    if limit == "storage_gone" and phase is Phase.FENCING:
        return "a fence that has begun is finished, and says itself what it waits for"
    if limit == "whole_zone" and verdict in _ANSWERING:
        return "a zone of which one is heard is not gone as a whole"
    return None


def torn(triple: Triple) -> bool:
    """Whether it is impossible of one instant only: where its parts are of several it may be seen."""
    return _of_one_instant(triple) is not None


def all_possible() -> Iterator[Triple]:
    for verdict in Verdict:
        for limit in _NAMES:
            for phase in Phase:
                if impossible((verdict, limit, phase)) is None:
                    yield verdict, limit, phase


_NAMES = (NO_LIMIT, *(one.__name__ for one in limits.LIMITS))
