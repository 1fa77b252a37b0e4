"""One of our own objects as the API server has it, in the least that has to be kept of it.

Who wrote which field when (``managedFields``) is more than the rest of it, and nobody here asks. What there may be tens of thousands
of is kept as text: as dicts it takes four times as much.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self, cast

from ringfence.ports import Json


@dataclass(frozen=True, slots=True)
class Stored:
    """See the module."""

    uid: str
    version: int
    """Versions of one object grow; Kubernetes >= 1.35 promises that they compare as numbers."""
    content: bytes | Json

    @classmethod
    def of(cls, raw: Json, *, packed: bool = False) -> Self:
        """The object as it was read; ``packed``: as text."""
        meta = raw.get("metadata") or {}
        kept = {**raw, "metadata": {key: value for key, value in meta.items() if key != "managedFields"}}
        content = json.dumps(kept, separators=(",", ":")).encode() if packed else kept
        return cls(str(meta.get("uid") or ""), int(meta.get("resourceVersion") or 0), content)

    @classmethod
    def from_raw(cls, raw: object) -> Self:
        """The same of whatever a watch shows, as text."""
        return cls.of(raw if isinstance(raw, dict) else {}, packed=True)

    @property
    def raw(self) -> Json:
        """As the API has it. Not to be changed."""
        return cast("Json", json.loads(self.content)) if isinstance(self.content, bytes) else self.content
