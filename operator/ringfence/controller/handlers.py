"""kopf's part: our own kinds' events, stored and poked. A table of contents; nothing is decided or written here.

Only event-level handlers: kopf then puts no finalizer and no annotation on any object. One explicit registry.
"""

from __future__ import annotations

from typing import Any

import kopf

from ringfence.controller.world import OWN, OwnKinds


class Shared:
    """What the handlers share. kopf copies its memo for every object: this one stays itself."""

    def __init__(self, own: OwnKinds) -> None:
        self.own = own

    def __copy__(self) -> Shared:
        return self


registry = kopf.OperatorRegistry()


def _watch(plural: str) -> None:
    async def seen(type: str | None, event: Any, memo: Any, **_: Any) -> None:  # noqa: A002 - kopf's own name
        memo.own.seen(plural, dict(event["object"]), deleted=type == "DELETED")

    kopf.on.event("ringfence.io", "v1alpha1", plural, id=f"{plural}-seen", registry=registry)(seen)


for _plural in OWN:
    _watch(_plural)


def settings() -> kopf.OperatorSettings:
    """Kopf's settings, in code: no peering, no posting of events, workers that free their place at once."""
    chosen = kopf.OperatorSettings()
    chosen.peering.standalone = True
    chosen.posting.enabled = False
    chosen.batching.idle_timeout = 0.5
    chosen.batching.batch_window = 0.0
    chosen.watching.server_timeout = 60
    chosen.watching.client_timeout = 90
    chosen.watching.reconnect_backoff = 0.2
    chosen.execution.max_workers = 2
    return chosen
