"""The ring's members as the acting controller sees them, as rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ringfence.cli.document import Document


@dataclass(frozen=True, slots=True)
class MemberRow:
    name: str
    zone: str
    verdict: str
    rtt: str
    """Milliseconds, the shortest that an agent reports."""
    heard: str
    """Seconds since any of those agents heard it."""
    agent: str
    """``well``, ``abstains``, or empty where its own stream isn't followed."""
    epoch: str
    version: str
    observers: tuple[str, ...]
    states: tuple[str, ...]
    """``reporter=state`` for each agent that the controller listens to."""
    sentence: str


def member_rows(answer: Mapping[str, object]) -> list[MemberRow]:
    """Rows by name."""
    rows = []
    for one in Document(answer).parts("members"):
        healthy = one.at("healthy")
        rows.append(
            MemberRow(
                name=one.text("name"),
                zone=one.text("zone"),
                verdict=one.text("verdict"),
                rtt=one.text("rttMillis"),
                heard=one.text("heardAge"),
                agent="" if healthy is None else "well" if healthy else "abstains",
                epoch=one.text("epoch"),
                version=one.text("agentVersion"),
                observers=one.texts("observers"),
                states=tuple(f"{reporter}={state}" for reporter, state in one.part("states").leaves()),
                sentence=one.text("sentence"),
            )
        )
    return rows
