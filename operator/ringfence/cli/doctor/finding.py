"""What the doctor says about one thing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters for the next failover."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing."""
    WARNING = "warning"
    """A failover would go through, but worse or later than it could."""
    BROKEN = "broken"
    """A failover would not go through, or not for all VMs."""
    UNKNOWN = "unknown"
    """It could not be looked at."""


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    about: str
    """The thing: a node, a device, a pod."""
    sentence: str
    """What was found, and the mend."""
    part: str = ""

    def of(self, part: str) -> Finding:
        return replace(self, part=part)


def ok(about: str, sentence: str) -> Finding:
    return Finding(Level.OK, about, sentence)


def note(about: str, sentence: str) -> Finding:
    return Finding(Level.NOTE, about, sentence)


def warning(about: str, sentence: str) -> Finding:
    return Finding(Level.WARNING, about, sentence)


def broken(about: str, sentence: str) -> Finding:
    return Finding(Level.BROKEN, about, sentence)
