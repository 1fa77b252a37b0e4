"""The ring's members as the acting controller sees them, as rows, and what it can't know of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ringfence.cli.document import Document


@dataclass(frozen=True, slots=True)
class MemberRow:
    name: str
    zone: str
    verdict: str
    state: str
    """What the followed agents call it; where they differ, how many each. Empty: none of them has to do with it."""
    rtt: str
    """Milliseconds, the shortest that an agent reports."""
    loss: str
    """Per cent of the probes of about the last minute, the most that an agent reports."""
    heard: str
    """Seconds since any of those agents heard it."""
    agent: str
    """``healthy``, ``abstains``, ``isolated``, ``no link``; empty where its own stream isn't followed."""
    lag: str
    """Milliseconds that a timer of its agent was late of late, the most."""
    stretch: str
    """How many times longer than usual its agent waits for answers."""
    epoch: str
    version: str
    permitted: tuple[str, ...]
    """What its kernel lets its agent do, by its NodeReport; a ``-`` before what it doesn't."""
    networks: tuple[str, ...]
    """``network=state`` for each further network that its zone names; the management network only where it is dead."""
    observers: tuple[str, ...]
    states: tuple[str, ...]
    """``reporter=state`` for each followed agent that has to do with it, with its path where it probes it."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Ring:
    """What ``members`` shows."""

    roster_epoch: str
    followed: tuple[str, ...]
    """The agents that the controller listens to."""
    note: str
    """What it can't know; empty where it knows all."""
    members: tuple[MemberRow, ...]
    """By name."""


def ring(answer: Mapping[str, object]) -> Ring:
    """The controller's answer, read tolerantly: it may be of another release."""
    told = Document(answer)
    rows = tuple(_row(one) for one in told.parts("members"))
    followed = told.texts("reporters")
    return Ring(told.text("rosterEpoch"), followed, _note(rows, followed), rows)


def _row(one: Document) -> MemberRow:
    states = {
        reporter: state for reporter, state in one.part("states").leaves() if state and state != "unknown"
    }
    return MemberRow(
        name=one.text("name"),
        zone=one.text("zone"),
        verdict=one.text("verdict"),
        state=_agreed(list(states.values())),
        rtt=one.text("rttMillis"),
        loss=one.text("lossPercent"),
        heard=one.text("heardAge"),
        agent=_opinion(one),
        lag=one.text("awareness", "lagMillis"),
        stretch=one.text("awareness", "stretch"),
        epoch=one.text("epoch"),
        version=one.text("agentVersion"),
        permitted=tuple(
            what if may is True else f"-{what}" for what, may in sorted(one.part("permitted").content.items())
        ),
        networks=tuple(
            f"{name}={one.text('networks', name, 'state')}" for name in sorted(one.part("networks").content)
        ),
        observers=one.texts("observers"),
        states=tuple(
            f"{reporter}={state}{_path(one.part('paths', reporter))}" for reporter, state in states.items()
        ),
        sentence=one.text("sentence"),
    )


def _agreed(states: list[str]) -> str:
    if len(set(states)) <= 1:
        return states[0] if states else ""
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _opinion(one: Document) -> str:
    """What its agent holds of itself."""
    healthy = one.at("healthy")
    if healthy is None:
        return ""
    if one.at("awareness", "isolated") is True:
        return "isolated"
    if one.at("awareness", "carrier") is False:
        return "no link"
    return "healthy" if healthy else "abstains"


def _path(path: Document) -> str:
    parts = [
        f"{value}{unit}"
        for key, unit in (("rttMillis", "ms"), ("lossPercent", "%"))
        if (value := path.text(key))
    ]
    return f"[{','.join(parts)}]" if parts else ""


def _note(rows: tuple[MemberRow, ...], followed: tuple[str, ...]) -> str:
    """Which cells are empty because nobody here can know, and where to look instead."""
    if not rows:
        return "the controller has no roster yet"
    if not followed:
        return "the controller hears no agent: all but verdicts and versions is unknown"
    parts = []
    if any(not row.agent for row in rows):
        parts.append(
            f"how an agent holds itself and its roster epoch are known of those that the controller follows ({', '.join(followed)})"
        )
    unseen = [row for row in rows if not row.loss and row.name not in followed]
    if unseen:
        parts.append(
            f"none of these observes {len(unseen)} of the {len(rows)} members: only verdicts are known of them"
        )
    if not parts:
        return ""
    return f"{'; '.join(parts)}. Each agent's own metrics (port 7948) tell the rest."
