"""A mapping as the API server sent it, read tolerantly.

A person's command line meets objects of any age: written by the previous release, by the next one, or half filled
because the controller was killed. Nothing of that may end in a traceback in the middle of an incident, so a missing
or odd field reads as empty here; what is *valid* is the business of ``ringfence.api``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Document:
    """One object, or a part of one."""

    content: Mapping[str, object]

    def at(self, *path: str) -> object:
        """What stands at ``path``, None where nothing does."""
        value: object = self.content
        for key in path:
            if not isinstance(value, Mapping):
                return None
            value = value.get(key)
        return value

    def text(self, *path: str) -> str:
        """The value as text: empty if there is none."""
        value = self.at(*path)
        if value is None or isinstance(value, Mapping):
            return ""
        if isinstance(value, Sequence) and not isinstance(value, str):
            return ", ".join(str(item) for item in value)
        return str(value)

    def time(self, *path: str) -> datetime | None:
        """The instant at ``path``, if it is one (RFC 3339)."""
        return instant(self.at(*path))

    def part(self, *path: str) -> Document:
        value = self.at(*path)
        return Document(value if isinstance(value, Mapping) else {})

    def parts(self, *path: str) -> tuple[Document, ...]:
        """The mappings of the list at ``path``."""
        value = self.at(*path)
        if not isinstance(value, Sequence) or isinstance(value, str):
            return ()
        return tuple(Document(item) for item in value if isinstance(item, Mapping))

    def texts(self, *path: str) -> tuple[str, ...]:
        """The plain items of the list at ``path``."""
        value = self.at(*path)
        if not isinstance(value, Sequence) or isinstance(value, str):
            return ()
        return tuple(str(item) for item in value if not isinstance(item, Mapping))

    def condition(self, kind: str) -> Document:
        """The status condition of that type, an empty document if there is none."""
        found = (c for c in self.parts("status", "conditions") if c.text("type") == kind)
        return next(found, Document({}))

    def leaves(self) -> Iterator[tuple[str, str]]:
        """Name and text of the plain fields, in their order."""
        for key in self.content:
            if text := self.text(key):
                yield key, text

    @property
    def name(self) -> str:
        return self.text("metadata", "name")


def instant(value: object) -> datetime | None:
    """Read a Kubernetes time (``Time`` or ``MicroTime``); None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        read = datetime.fromisoformat(value)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
