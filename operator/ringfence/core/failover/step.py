"""What one step comes to, and the two pens that write a record's story and its timings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ringfence.core.failover.commands import Command
from ringfence.core.failover.look import Look
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import Moment, Record


@dataclass(frozen=True, slots=True)
class Step:
    record: Record
    commands: tuple[Command, ...] = ()


def enter(record: Record, phase: Phase, sentence: str, look: Look) -> Record:
    """The one writer of phase and sentence; each change is a line of the story."""
    if phase == record.phase and sentence == record.sentence:
        return record
    story = (*record.story, Moment(look.wall, phase, sentence))[-64:]
    return replace(record, phase=phase, sentence=sentence, story=story)


def timed(record: Record, what: str, wall: float) -> Record:
    if any(name == what for name, _ in record.timings):
        return record
    return replace(record, timings=(*record.timings, (what, round(max(0.0, wall - record.doubted_wall), 3))))
