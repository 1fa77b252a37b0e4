"""Stories of `simulator.library` for people: what there is, and one of them played.

The simulator lies beside the product and is in the wheel, but not in the image: there this says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.library import Story


class NoStageError(Exception):
    """Nothing can be played in this installation, or there is no such story."""


class BadScriptError(Exception):
    """The person's own story can't be played as it is written."""


@dataclass(frozen=True, slots=True)
class StoryRow:
    name: str
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """What happened at ``at`` seconds of virtual time; ``kind`` is ``fault``, ``order``, ``world``, a phase, or empty."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Played:
    name: str
    title: str
    about: str
    seconds: float
    """Of virtual time."""
    lines: tuple[Line, ...]
    broken: str = ""
    """The invariant that did not hold; empty: all did."""


def rows() -> tuple[StoryRow, ...]:
    """Every story. Raises NoStageError."""
    from simulator.library import StoryError, names, title  # noqa: PLC0415

    try:
        return tuple(StoryRow(name, title(name)) for name in names())
    except StoryError as error:
        raise NoStageError(str(error)) from error


def known(begun: str) -> Sequence[str]:
    """Names that begin so, for the shell; none where there is no simulator."""
    try:
        return [row.name for row in stories() if row.name.startswith(begun)]
    except NoStageError:
        return []


def stories() -> tuple[StoryRow, ...]:
    """As :func:`rows`, and a sentence where the simulator or what it needs isn't installed. Raises NoStageError."""
    try:
        return rows()
    except ModuleNotFoundError as error:
        raise NoStageError(_missing(error)) from error


def perform(which: str) -> Played:
    """Play the story of that name, or the one in that folder. Raises NoStageError, BadScriptError."""
    try:
        from simulator import library  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise NoStageError(_missing(error)) from error
    try:
        story = library.read(Path(which)) if Path(which).is_dir() else library.find(which)
        log, broken = library.play(story), ""
    except LookupError as error:
        raise NoStageError(
            f"{error.args[0]}, nor a folder of that name; `ringfence simulate` lists the stories"
        ) from error
    except library.StoryError as error:
        raise BadScriptError(str(error)) from error
    except library.BrokenError as error:
        log, broken = error.log, str(error)
    return _told(story, log, broken)


def _told(story: Story, log: Sequence[str], broken: str) -> Played:
    lines = tuple(_line(line) for line in log)
    return Played(story.name, story.title, story.prose, story.end, lines, broken)


def _line(told: str) -> Line:
    at, _, text = told.strip().partition(" ")
    kind, colon, rest = text.partition(": ")
    if colon and " " not in kind:
        return Line(float(at), kind, rest)
    return Line(float(at), "", text)


def _missing(error: ModuleNotFoundError) -> str:
    if (error.name or "").partition(".")[0] == "simulator":
        return "the simulator is not part of this installation (images leave it out); install the wheel: pip install 'ringfence[cli]'"
    return f"the simulator needs {error.name}, which is not installed: pip install 'ringfence[cli]'"
