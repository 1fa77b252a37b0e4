"""The ring as this replica sees it, for people: served as JSON at ``/members``, shown by ``ringfence members``.

This replica follows five agents. What an agent says of itself is known of those five; of a path, what its own end says.
In a ring of up to eight these observe everybody; in a larger one they observe some, and hear of the others only what
concerns a controller: verdicts, with their votes. Nothing is made up for the rest: it is None here.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any

from ringfence.api.v1alpha1.nodereport import NodeReportStatus
from ringfence.controller.evidence import Witness
from ringfence.core.detection.verdict import Judgement, signs_of_life
from ringfence.core.gossip.members import Member
from ringfence.core.gossip.report import AgentView, SubjectView
from ringfence.core.gossip.rings import rings_of
from ringfence.core.model import MANAGEMENT, NetworkState

_NO_ANSWER = frozenset({NetworkState.SILENT, NetworkState.DEAD})
_Said = dict[str, tuple[SubjectView, float]]
"""By reporter: its word about one member, and how long ago it came (seconds)."""


def members(
    witness: Witness,
    judgements: Mapping[str, Judgement],
    reports: Mapping[str, NodeReportStatus],
    now: float,
    *,
    named: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Every roster member with what this replica and the agents that it listens to say of it.

    Ages are seconds, round-trip times milliseconds, loss per cent; None where none of those agents knows.
    ``named`` are the further networks that each node's zone names.
    """
    roster = witness.roster
    if roster is None:
        return {"rosterEpoch": 0, "reporters": [], "members": []}
    views = {view.reporter.node: (view, age) for view, age in witness.views(now)}
    about: defaultdict[str, _Said] = defaultdict(dict)
    for reporter, (view, age) in sorted(views.items()):
        for subject in view.subjects:
            about[subject.subject.node][reporter] = (subject, age)
    rings = rings_of(roster)
    rows = []
    for member in sorted(roster.members, key=lambda one: one.name):
        said = about[member.name]
        own = views[member.name][0] if member.name in views else None
        judgement, report = judgements.get(member.name), reports.get(member.name)
        heard = [s.heard_age + age for s, age in said.values() if s.heard_age is not None]
        trips = [s.rtt for s, _ in said.values() if s.rtt is not None]
        losses = [s.loss for s, _ in said.values() if s.loss is not None]
        rows.append(
            {
                "name": member.name,
                "zone": member.zone,
                "bootID": member.boot_id,
                "verdict": judgement.verdict.value if judgement else "",
                "sentence": judgement.sentence if judgement else "",
                "agentVersion": (report.agent_version or "") if report else "",
                "permitted": report.permitted if report else {},
                "healthy": own.healthy if own else None,
                "awareness": _awareness(own),
                "epoch": own.roster_epoch if own else None,
                "heardAge": round(min(heard), 1) if heard else None,
                "rttMillis": _millis(min(trips, default=None)),
                "lossPercent": _per_cent(max(losses, default=None)),
                "observers": sorted(observer.name for observer in rings.observers(member.uid)),
                "states": {reporter: view.state.value for reporter, (view, _) in said.items()},
                "paths": {
                    reporter: {"rttMillis": _millis(view.rtt), "lossPercent": _per_cent(view.loss)}
                    for reporter, (view, _) in said.items()
                    if view.loss is not None
                },
                "round": _round(said),
                "life": _life(witness, member.name, now),
                "networks": _networks(witness, member, said, named.get(member.name, ()), now),
            }
        )
    return {"rosterEpoch": roster.epoch, "reporters": sorted(views), "members": rows}


def _life(witness: Witness, node: str, now: float) -> list[dict[str, Any]]:
    """Every sign of life of its present boot that this replica has seen; ``fresh`` forbids a person's word against it."""
    evidence = witness.evidence(node, now, device_proved=False)
    signs = signs_of_life(evidence, now) if evidence is not None else ()
    return [{"sign": one.what, "age": round(one.age, 1), "fresh": one.fresh} for one in signs]


def _networks(
    witness: Witness, member: Member, said: _Said, named: Collection[str], now: float
) -> dict[str, Any]:
    """Each further network of a member, and the management network where votes call that dead."""
    dead = {one.network: one for one in witness.dead_networks(member.name, now)}
    told = dict.fromkeys(named) | dict(member.networks)
    if MANAGEMENT in dead:
        told[MANAGEMENT] = next(iter(member.addresses), None)
    rows = {}
    for network, address in sorted(told.items()):
        seen = [one for view, _ in said.values() for one in view.networks if one.network == network]
        states = {one.state for one in seen}
        found = dead.get(network)
        rows[network] = {
            "address": address,
            "state": "no address" if address is None else "dead" if found else _network_state(states).value,
            "rttMillis": _millis(min((one.rtt for one in seen if one.rtt is not None), default=None)),
            "sentence": found.sentence if found else "",
        }
    return rows


def _network_state(states: AbstractSet[NetworkState]) -> NetworkState:
    """Who got an answer knows best; what an agent's own votes call dead is not dead before ours do."""
    if NetworkState.ANSWERS in states:
        return NetworkState.ANSWERS
    return NetworkState.SILENT if states & _NO_ANSWER else NetworkState.UNKNOWN


def _awareness(own: AgentView | None) -> dict[str, Any] | None:
    if own is None or own.itself is None:
        return None
    itself = own.itself
    return {
        "isolated": itself.isolated,
        "carrier": itself.carrier,
        "lagMillis": _millis(itself.lag),
        "stretch": round(itself.stretch, 2),
    }


def _round(said: _Said) -> dict[str, Any] | None:
    """The latest round about a member, by the reporter who has most of its votes."""
    known = [
        (-view.round_age - age, len(view.votes), reporter)
        for reporter, (view, age) in said.items()
        if view.round_age is not None and view.votes
    ]
    if not known:
        return None
    latest = max(began for began, _, _ in known)
    # Each reporter joins a round at its own moment; 0.5 s apart it is another one.
    _, reporter = max((count, who) for began, count, who in known if latest - began < 0.5)
    view, age = said[reporter]
    assert view.round_age is not None
    ages = [*view.vote_ages, *[None] * len(view.votes)]
    return {
        "reporter": reporter,
        "age": round(view.round_age + age, 2),
        "votes": [
            {
                "voter": vote.voter,
                "vote": vote.vote.value,
                "columns": {column.network: column.answer.value for column in vote.columns},
                "age": None if came is None else round(came + age, 2),
                "rosterEpoch": vote.roster_epoch,
                "round": base64.b64encode(vote.round_id).decode(),
                "signature": base64.b64encode(vote.signature).decode(),
            }
            for vote, came in zip(view.votes, ages, strict=False)
        ],
    }


def _millis(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)


def _per_cent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 1)
