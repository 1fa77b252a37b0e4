"""Every command that the pages show people: in code blocks, and in the middle of sentences."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md")
PROGRAMS = ("ringfence", "kubectl", "helm", "make")

_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^(?: {4}.*\n(?:\n(?= {4}))?)+", re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")
_COMMAND = re.compile(rf"(?:{'|'.join(PROGRAMS)}) [a-z-]")


@dataclass(frozen=True, slots=True, order=True)
class Shown:
    """One command, as a shell would get it."""

    page: str
    line: str
    whole: bool
    """From a code block: to be typed as it stands. In a sentence its arguments may be left out."""

    @property
    def program(self) -> str:
        return self.line.split()[0]

    @property
    def words(self) -> list[str]:
        """What follows the program's name."""
        return shlex.split(self.line)[1:]


def commands(*programs: str) -> tuple[Shown, ...]:
    """The commands of these programs, each once a page."""
    return tuple(sorted({one for page in PAGES for one in _of(page) if one.program in programs}))


def indented(page: Path) -> tuple[str, ...]:
    """The code blocks of a page that are not fenced: commands and what they print, but for what is YAML or a story."""
    prose = _FENCED.sub("\n", page.read_text(encoding="utf-8"))
    return tuple(textwrap.dedent(found[0]) for found in _INDENTED.finditer(prose))


def lines_of(block: str) -> list[str]:
    """Its lines as a shell takes them, without empty ones."""
    return [line.strip() for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def is_command(line: str) -> bool:
    """Whether a test of the pages sees a command in it."""
    return next(_read("", line.removeprefix("$ "), whole=True), None) is not None


def _of(page: Path) -> Iterator[Shown]:
    text = page.read_text(encoding="utf-8")
    prose = _INDENTED.sub("\n", _FENCED.sub("\n", text))
    for block in (*(found[1] for found in _FENCED.finditer(text)), *indented(page)):
        for line in lines_of(block):
            yield from _read(page.name, line.removeprefix("$ "), whole=True)
    for found in _INLINE.finditer(prose):
        yield from _read(page.name, " ".join(found[1].split()), whole=False)


def _read(page: str, line: str, *, whole: bool) -> Iterator[Shown]:
    """The commands of one line; pipes and lists are several."""
    bare = re.sub(r"\s+#.*$", "", line)
    for part in re.split(r"\s(?:\||&&|;|>)\s|<\(|\)$", bare):
        command = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", part.strip())
        if _COMMAND.match(command):
            yield Shown(page, command, whole)
