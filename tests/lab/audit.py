"""The API's audit trail: who wrote what, when. The invariants are read from it, not from our own logs."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
  namespaces: [ringfence-system]
  verbs: [create, update, patch, delete, deletecollection]
  resources: [{group: coordination.k8s.io, resources: [leases]}]
- level: Request
  users: ["system:serviceaccount:ringfence-system:ringfence-controller"]
  verbs: [create, update, patch, delete, deletecollection]
  resources: [{group: coordination.k8s.io, resources: [leases]}]
- level: None
  resources: [{group: coordination.k8s.io}, {group: "", resources: [events]}, {group: events.k8s.io}]
- level: Request
  verbs: [create, update, patch, delete, deletecollection]
  resources:
  - {group: "", resources: [pods, nodes, pods/eviction, pods/binding]}
  - {group: kubevirt.io, resources: [virtualmachineinstances, virtualmachines]}
  - {group: storage.k8s.io, resources: [volumeattachments]}
  - {group: ringfence.io}
- level: None
"""


@dataclass(frozen=True, slots=True)
class Write:
    """One write that the API server answered; *at* is wall time, when the request came."""

    at: float
    user: str
    pod: str
    """The pod that the user's token was made for, if any."""
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    body: dict[str, Any]
    """What was sent; a JSON patch stands under ``patch``."""
    uri: str = ""

    @property
    def succeeded(self) -> bool:
        return 200 <= self.code < 300

    @property
    def dry(self) -> bool:
        """Whether the server was asked not to store it."""
        return bool(self.body.get("dryRun")) or "dryRun=" in self.uri


def epoch(timestamp: str) -> float:
    """Seconds since 1970 of a timestamp as the API writes it."""
    return dt.datetime.fromisoformat(timestamp).timestamp()


def writes(log: Path, since: float = 0.0) -> Iterator[Write]:
    """The writes in *log* (its rotated files too) since *since*, wall time."""
    files = [*sorted(log.parent.glob(f"{log.stem}-*{log.suffix}")), log]
    for file in files:
        if not file.exists():
            continue
        with file.open() as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # the line being written now
                write = _write(event)
                if write is not None and write.at >= since:
                    yield write


def _write(event: dict[str, Any]) -> Write | None:
    target = event.get("objectRef")
    if not target:
        return None
    body = event.get("requestObject")
    extra = event.get("user", {}).get("extra", {})
    return Write(
        at=epoch(event["requestReceivedTimestamp"]),
        user=event["user"].get("username", ""),
        pod=next(iter(extra.get("authentication.kubernetes.io/pod-name", [])), ""),
        verb=event["verb"],
        group=target.get("apiGroup", ""),
        resource=target.get("resource", ""),
        subresource=target.get("subresource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=int(event.get("responseStatus", {}).get("code", 0)),
        body=body if isinstance(body, dict) else {"patch": body} if body else {},
        uri=event.get("requestURI", ""),
    )
