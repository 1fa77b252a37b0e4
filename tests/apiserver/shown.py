"""Every command that is shown to people: by the pages, in code blocks and in the middle of sentences; by the comments of the examples and of
the chart's values; by what helm says after an installation."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md")
NOTES = ROOT / "charts/ringfence/templates/NOTES.txt"
COMMENTED = (
    *sorted((ROOT / "docs/examples").glob("*.yaml")),
    ROOT / "charts/ringfence/values.yaml",
    ROOT / "kind-config.yaml",
)
PROGRAMS = (
    *("ringfence", "kubectl", "helm", "make"),
    *("docker", "etcdctl", "ln", "modprobe", "pip", "podman", "python", "python3", "virtctl"),
)

_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^(?: {4}.*\n(?:\n(?= {4}))?)+", re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")
_COMMENT = re.compile(r"^ *#(.*)$", re.MULTILINE)
_RELEASE = (("{{ .Release.Name }}", "ringfence"), ("{{ .Release.Namespace }}", "ringfence-system"))
"""What the chart's notes say of an installation as the pages make it."""
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
    return tuple(sorted({one for one in _all() if one.program in programs}))


def _all() -> Iterator[Shown]:
    for page in PAGES:
        yield from _of(page)
    for file in COMMENTED:
        yield from _commented(file)
    yield from notes()


def notes() -> Iterator[Shown]:
    """Those of the chart's notes, an indented line each."""
    text = re.sub(r"{{-? (?:if|end)\b.*?}}(?:[^\n]*{{ end }})?", "", NOTES.read_text(encoding="utf-8"))
    for word, value in _RELEASE:
        text = text.replace(word, value)
    for line in re.findall(r"^  (\S.*)$", text, re.MULTILINE):
        yield from _read(NOTES.name, line, whole=True)


def indented(page: Path) -> tuple[str, ...]:
    """The code blocks of a page that are not fenced: commands and what they print, but for what is YAML or a story."""
    prose = _FENCED.sub("\n", page.read_text(encoding="utf-8"))
    return tuple(textwrap.dedent(found[0]) for found in _INDENTED.finditer(prose))


def lines_of(block: str) -> list[str]:
    """Its lines as a shell takes them, without empty ones."""
    return [line.strip() for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines() if line.strip()]


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


def _commented(file: Path) -> Iterator[Shown]:
    """Of a comment's lines those that are indented in it, and what stands in backticks."""
    lines: list[str] = _COMMENT.findall(file.read_text(encoding="utf-8"))
    for line in lines:
        if line.startswith("   "):
            yield from _read(file.name, re.split(r"\s{2,}", line.strip())[0], whole=True)
    for found in _INLINE.finditer(" ".join(lines)):
        yield from _read(file.name, " ".join(found[1].split()), whole=False)


def _read(page: str, line: str, *, whole: bool) -> Iterator[Shown]:
    """The commands of one line; pipes and lists are several."""
    bare = re.sub(r"\s+#.*$", "", line)
    for part in re.split(r"\s(?:\||&&|;|>)\s|<\(|\)$", bare):
        command = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", part.strip())
        if _COMMAND.match(command):
            yield Shown(page, command, whole)
