"""kopf's part: our own kinds' events, stored and poked, and the API server's questions about them. A table of contents;
nothing is decided or written here.

Only event-level handlers: kopf then puts no finalizer and no annotation on any object. One explicit registry.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import kopf

from ringfence.controller.admission import KINDS, Admission
from ringfence.controller.webhook import Door
from ringfence.controller.world import MANY, OWN, OwnKinds


class Shared:
    """What the handlers share. kopf copies its memo for every object: this one stays itself."""

    def __init__(self, own: OwnKinds, admission: Admission) -> None:
        self.own = own
        self.admission = admission

    def __copy__(self) -> Shared:
        return self


registry = kopf.OperatorRegistry()


def _watch(plural: str) -> None:
    async def seen(type: str | None, event: Any, memo: Any, **_: Any) -> None:  # noqa: A002 - kopf's own name
        memo.own.seen(plural, dict(event["object"]), deleted=type == "DELETED")

    kopf.on.event("ringfence.io", "v1alpha1", plural, id=f"{plural}-seen", registry=registry)(seen)


for _plural in OWN.keys() - {MANY}:
    _watch(_plural)


ASKED = "asked"
"""The path at which the API server asks, in the chart's configuration: kopf takes it for a handler's id."""


def _admit(plural: str) -> None:
    async def asked(body: Any, warnings: list[str], memo: Any, **more: Any) -> None:
        old = more["old"]
        answer = await memo.admission.answer(plural, dict(body), None if old is None else dict(old))
        warnings.extend(answer.warnings)
        if answer.refusals:
            raise kopf.AdmissionError("; ".join(answer.refusals), code=422)

    kopf.on.validate(
        "ringfence.io",
        "v1alpha1",
        plural,
        id=ASKED,
        operations=["CREATE", "UPDATE"],
        registry=registry,
    )(asked)


for _plural in KINDS:
    _admit(_plural)


SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@kopf.on.login(id="login", registry=registry)
async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account at the address that the pod was given; outside a cluster whatever KUBECONFIG says.

    kopf's own login goes to ``kubernetes.default.svc``: a cluster whose DNS has just died with a node needs us most.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (SERVICE_ACCOUNT / "token").exists():
        return kopf.login_with_kubeconfig(**kwargs)
    return kopf.ConnectionInfo(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca_path=str(SERVICE_ACCOUNT / "ca.crt"),
        scheme="Bearer",
        token=(SERVICE_ACCOUNT / "token").read_text().strip(),
    )


def settings(door: Door) -> kopf.OperatorSettings:
    """Kopf's settings, in code: no peering, no posting of events, workers that free their place at once."""
    chosen = kopf.OperatorSettings()
    chosen.admission.server = door
    chosen.peering.standalone = True
    chosen.posting.enabled = False
    chosen.batching.idle_timeout = 0.5
    chosen.batching.batch_window = 0.0
    chosen.watching.server_timeout = 60
    chosen.watching.client_timeout = 90
    chosen.watching.reconnect_backoff = 0.2
    chosen.execution.max_workers = 2
    return chosen
