"""What ringfence has told the cluster in Events: verdicts, acts and refusals, oldest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ringfence.cli.document import Document

LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EventRow:
    uid: str
    at: str
    warning: bool
    kind: str
    namespace: str
    name: str
    reason: str
    sentence: str

    @property
    def regarding(self) -> str:
        """The object that it is about."""
        return "/".join(filter(None, (self.kind, self.namespace, self.name)))


def event_rows(raws: Sequence[Mapping[str, object]]) -> list[EventRow]:
    """Events of the core API as rows, oldest first."""
    documents = sorted(
        (Document(raw) for raw in raws),
        key=lambda one: (
            one.time("eventTime") or one.time("metadata", "creationTimestamp") or LONG_AGO,
            one.name,
        ),
    )
    return [
        EventRow(
            uid=one.text("metadata", "uid"),
            at=one.text("eventTime") or one.text("metadata", "creationTimestamp"),
            warning=one.text("type") == "Warning",
            kind=one.text("involvedObject", "kind"),
            namespace=one.text("involvedObject", "namespace"),
            name=one.text("involvedObject", "name"),
            reason=one.text("reason"),
            sentence=one.text("message"),
        )
        for one in documents
    ]
