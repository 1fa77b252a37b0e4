"""The port :class:`ringfence.ports.Cluster` on a real API server.

Each write is guarded by what it was decided on: deletions by UID, taints and requests by the version that was read,
tolerations by JSON-patch tests. Where a guard fails because somebody else wrote first, the small read-modify-write
operations read again, a bounded number of times; everything else reports ``Conflict`` to whoever decided.

Nothing is retried that failed otherwise: the executor knows how long it is worth trying.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from ringfence.kube import kinds
from ringfence.kube.client import JSON_PATCH, MERGE_PATCH, Api, path_of
from ringfence.kube.objects import LeaseObject
from ringfence.ports import (
    ClusterError,
    Conflict,
    Json,
    Kind,
    LeaseRecord,
    NotFound,
    ObjectRef,
    Refused,
    SecretRecord,
    Taint,
    Unavailable,
)

logger = logging.getLogger(__name__)

TRIES: Final = 5
"""Reads of one read-modify-write; a kubelet writes its node every few seconds, not five times in a row."""
PAGE: Final = 500
DRY_RUN: Final = {"dryRun": "All"}
LONGEST_NOTE: Final = 1024
"""Bytes that the API allows in an Event's note."""

_ENDLESS: Final = frozenset({"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})


class KubeCluster:
    """See :class:`ringfence.ports.Cluster`."""

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        component: str,
        instance: str,
        timeout: float = 5.0,
        lease_timeout: float = 2.0,
    ) -> None:
        """``namespace`` is the release's; ``component`` and ``instance`` sign our Events; time-outs in seconds."""
        self._api = api
        self._namespace = namespace
        self._component = component
        self._instance = instance
        self._timeout = timeout
        self._lease_timeout = lease_timeout

    # --- any kind ---

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        return await self._api.request("GET", path_of(kind, namespace, name), timeout=self._timeout)

    async def list(
        self, kind: Kind, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[Json, ...]:
        query = {"limit": str(PAGE)}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        found: list[Json] = []
        while True:
            answer = await self._api.request(
                "GET", path_of(kind, namespace), query=query, timeout=6 * self._timeout
            )
            items = answer.get("items")
            found += [raw for raw in items if isinstance(raw, dict)] if isinstance(items, list) else []
            meta = answer.get("metadata")
            more = meta.get("continue") if isinstance(meta, dict) else None
            if not more:
                return tuple(found)
            query["continue"] = str(more)

    async def create(
        self,
        kind: Kind,
        obj: Json,
        *,
        deadline: float | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Json:
        return await self._api.request(
            "POST",
            path_of(kind, str(obj["metadata"].get("namespace", ""))),
            query=DRY_RUN if dry_run else None,
            body={"apiVersion": kind.api_version, "kind": kind.kind, **obj},
            timeout=self._timeout if timeout is None else timeout,
            deadline=deadline,
        )

    async def replace_status(self, kind: Kind, obj: Json, *, deadline: float | None = None) -> Json:
        meta = obj["metadata"]
        if not meta.get("resourceVersion"):
            # Without one the server would overwrite whatever stands there.
            raise ValueError(
                f"{kind.kind} {meta.get('name')}: a status is replaced at a version or not at all"
            )
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
        path = path_of(kind, str(meta.get("namespace", "")), str(meta["name"]), "status")
        return await self._api.request("PUT", path, body=body, timeout=self._timeout, deadline=deadline)

    async def patch_status(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        status: Json,
        *,
        deadline: float | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Json:
        return await self._patch(
            kind,
            namespace,
            name,
            {"status": status},
            subresource="status",
            deadline=deadline,
            dry_run=dry_run,
            timeout=timeout,
        )

    async def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        changes: Json,
        *,
        deadline: float | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Json:
        return await self._patch(
            kind, namespace, name, changes, deadline=deadline, dry_run=dry_run, timeout=timeout
        )

    # --- deletions ---

    async def delete_pod(
        self,
        namespace: str,
        name: str,
        uid: str,
        grace_seconds: int | None,
        *,
        deadline: float | None = None,
    ) -> bool:
        return await self._delete(kinds.POD, namespace, name, uid, grace=grace_seconds, deadline=deadline)

    async def delete_vmi(self, namespace: str, name: str, uid: str, *, deadline: float | None = None) -> bool:
        return await self._delete(kinds.VMI, namespace, name, uid, grace=None, deadline=deadline)

    async def delete(
        self, kind: Kind, name: str, uid: str, namespace: str = "", *, deadline: float | None = None
    ) -> bool:
        return await self._delete(kind, namespace, name, uid, grace=None, deadline=deadline)

    async def _delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        uid: str,
        *,
        version: str = "",
        grace: int | None,
        deadline: float | None,
    ) -> bool:
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": _said(uid)}}
        if version:
            options["preconditions"]["resourceVersion"] = version
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        path = path_of(kind, namespace, name)
        try:
            await self._api.request("DELETE", path, body=options, timeout=self._timeout, deadline=deadline)
        except NotFound:
            return False
        except Conflict:
            # Most likely the UID; but a 409 that says something else must not read as "gone".
            try:
                _uid_is(await self.get(kind, name, namespace), uid)
            except NotFound:
                return False
            raise
        return True

    # --- read, modify, write ---

    async def add_taint(
        self, node: str, uid: str, taint: Taint, *, over: bool = True, deadline: float | None = None
    ) -> bool:
        def change(raw: Json) -> Json | None:
            stand = _taints(raw)
            same = [t for t in stand if (t.get("key"), t.get("effect")) == (taint.key, taint.effect)]
            if same and (not over or same[0].get("value", "") == taint.value):
                return None
            ours = {"key": taint.key, "effect": taint.effect} | (
                {"value": taint.value} if taint.value else {}
            )
            return {"spec": {"taints": [t for t in stand if t not in same] + [ours]}}

        return await self._amend(kinds.NODE, "", node, uid, change=change, deadline=deadline)

    async def remove_taint(
        self,
        node: str,
        uid: str,
        key: str,
        effect: str,
        *,
        value: str | None = None,
        deadline: float | None = None,
    ) -> bool:
        def change(raw: Json) -> Json | None:
            stand = _taints(raw)
            keep = [
                t
                for t in stand
                if (t.get("key"), t.get("effect")) != (key, effect) or value not in {None, t.get("value", "")}
            ]
            return None if len(keep) == len(stand) else {"spec": {"taints": keep or None}}

        return await self._amend(kinds.NODE, "", node, uid, change=change, deadline=deadline)

    async def request_start(
        self, namespace: str, vm: str, uid: str, stop_uid: str | None = None, *, deadline: float | None = None
    ) -> bool:
        wanted: list[Json] = [{"action": "Stop", "uid": stop_uid}] if stop_uid else []
        wanted.append({"action": "Start"})

        def change(raw: Json) -> Json | None:
            status = raw.get("status")
            pending = status.get("stateChangeRequests") if isinstance(status, dict) else None
            if pending == wanted:
                return None
            if pending:
                raise Conflict(f"VM {namespace}/{vm}: another request is pending: {pending}")
            return {"status": {"stateChangeRequests": wanted}}

        return await self._amend(
            kinds.VM, namespace, vm, uid, change=change, subresource="status", deadline=deadline
        )

    async def lift_tolerations(
        self, namespace: str, pod: str, uid: str, *, deadline: float | None = None
    ) -> bool:
        # Not by resourceVersion: kubelet and virt-controller write a live pod's status often. What must still be
        # true is tested in the patch itself: the same pod, and at each index the toleration that we read there.
        refused: Refused | None = None
        for _ in range(TRIES):
            raw = await self.get(kinds.POD, pod, namespace)
            _uid_is(raw, uid)
            steps = _lifting(raw)
            if not steps:
                return False
            steps.insert(0, {"op": "test", "path": "/metadata/uid", "value": uid})
            try:
                await self._api.request(
                    "PATCH",
                    path_of(kinds.POD, namespace, pod),
                    body=steps,
                    content_type=JSON_PATCH,
                    timeout=self._timeout,
                    deadline=deadline,
                )
            except Refused as err:
                if err.status != 422:  # a failed test is "unprocessable"; so is what validation refuses
                    raise
                refused = err
            else:
                return True
        assert refused is not None
        raise refused

    async def _amend(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        uid: str,
        *,
        change: Callable[[Json], Json | None],
        subresource: str = "",
        deadline: float | None,
    ) -> bool:
        """Merge-patch what ``change`` makes of the object, at exactly the version that it saw."""
        lost: Conflict | None = None
        for _ in range(TRIES):
            raw = await self.get(kind, name, namespace)
            _uid_is(raw, uid)
            changes = change(raw)
            if changes is None:
                return False
            changes["metadata"] = {"resourceVersion": raw["metadata"]["resourceVersion"]}
            try:
                await self._patch(kind, namespace, name, changes, subresource=subresource, deadline=deadline)
            except Conflict as err:
                lost = err
            else:
                return True
        assert lost is not None
        raise lost

    async def _patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        changes: Json,
        *,
        subresource: str = "",
        deadline: float | None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Json:
        return await self._api.request(
            "PATCH",
            path_of(kind, namespace, name, subresource),
            query=DRY_RUN if dry_run else None,
            body=changes,
            content_type=MERGE_PATCH,
            timeout=self._timeout if timeout is None else timeout,
            deadline=deadline,
        )

    # --- events ---

    async def record_event(self, regarding: ObjectRef, type_: str, reason: str, message: str) -> None:
        kind = regarding.kind
        about = {"apiVersion": kind.api_version, "kind": kind.kind, "name": regarding.name}
        about |= {"namespace": regarding.namespace} if regarding.namespace else {}
        about |= {"uid": regarding.uid} if regarding.uid else {}
        event: Json = {
            "metadata": {
                "name": f"{regarding.name[:220]}.{uuid4().hex[:16]}",
                # The API wants events about cluster-scoped objects here.
                "namespace": regarding.namespace or "default",
            },
            "eventTime": micro_time(self._api.clock.wall()),
            "reportingController": f"ringfence.io/{self._component}",
            "reportingInstance": self._instance[:128],
            "action": reason[:128],
            "reason": reason[:128],
            "type": type_,
            "regarding": about,
            "note": message.encode()[:LONGEST_NOTE].decode(errors="ignore"),
        }
        try:
            await self.create(kinds.EVENT, event)
        except ClusterError as err:
            logger.warning("event %s about %s %s is lost: %s", reason, kind.kind, regarding.name, err)

    # --- things of the release's own namespace ---

    async def read_secret(self, name: str) -> dict[str, bytes]:
        return dict((await self.get_secret(name)).data)

    async def create_secret(
        self, name: str, data: Mapping[str, bytes], *, immutable: bool = True, deadline: float | None = None
    ) -> None:
        secret: Json = {
            "metadata": {"name": name, "namespace": self._namespace},
            "type": "Opaque",
            "data": _encoded(data),
        }
        if immutable:
            secret["immutable"] = True
        await self.create(kinds.SECRET, secret, deadline=deadline)

    async def get_secret(self, name: str) -> SecretRecord:
        return _secret(await self.get(kinds.SECRET, name, self._namespace))

    async def replace_secret(
        self, name: str, secret: SecretRecord, *, deadline: float | None = None
    ) -> SecretRecord:
        # Read first, so that labels and annotations of others stay.
        raw = await self.get(kinds.SECRET, name, self._namespace)
        if raw["metadata"]["resourceVersion"] != secret.resource_version:
            raise Conflict(f"Secret {name} has been changed by somebody else", status=409)
        raw["data"] = _encoded(secret.data)
        path = path_of(kinds.SECRET, self._namespace, name)
        return _secret(
            await self._api.request("PUT", path, body=raw, timeout=self._timeout, deadline=deadline)
        )

    async def apply_configmap(
        self, name: str, data: Mapping[str, str], *, deadline: float | None = None
    ) -> bool:
        lost: Conflict | None = None
        for _ in range(TRIES):
            try:
                raw = await self.get(kinds.CONFIG_MAP, name, self._namespace)
                if raw.get("data", {}) == dict(data) and not raw.get("binaryData"):
                    return False
                raw["data"] = dict(data)
                raw.pop("binaryData", None)
                path = path_of(kinds.CONFIG_MAP, self._namespace, name)
                await self._api.request("PUT", path, body=raw, timeout=self._timeout, deadline=deadline)
            except NotFound:
                fresh = {"metadata": {"name": name, "namespace": self._namespace}, "data": dict(data)}
                try:
                    await self.create(kinds.CONFIG_MAP, fresh, deadline=deadline)
                except Conflict as err:
                    lost = err
                    continue
            except Conflict as err:
                lost = err
                continue
            return True
        assert lost is not None
        raise lost

    async def get_lease(self, name: str, namespace: str = "") -> LeaseRecord | None:
        path = path_of(kinds.LEASE, namespace or self._namespace, name)
        try:
            return LeaseObject.from_raw(await self._api.request("GET", path, timeout=self._lease_timeout))
        except NotFound:
            return None

    async def create_lease(self, lease: LeaseRecord, *, deadline: float | None = None) -> LeaseRecord:
        raw = _lease(lease)
        return LeaseObject.from_raw(
            await self._api.request(
                "POST",
                path_of(kinds.LEASE, raw["metadata"]["namespace"]),
                body=raw,
                timeout=self._lease_timeout,
                deadline=deadline,
            )
        )

    async def replace_lease(self, lease: LeaseRecord, *, deadline: float | None = None) -> LeaseRecord:
        raw = _lease(lease)
        raw["metadata"]["resourceVersion"] = _said(lease.resource_version)
        return LeaseObject.from_raw(
            await self._api.request(
                "PUT",
                path_of(kinds.LEASE, lease.namespace, lease.name),
                body=raw,
                timeout=self._lease_timeout,
                deadline=deadline,
            )
        )

    async def delete_lease(self, lease: LeaseRecord, *, deadline: float | None = None) -> bool:
        return await self._delete(
            kinds.LEASE,
            lease.namespace,
            lease.name,
            lease.uid,
            version=_said(lease.resource_version),
            grace=None,
            deadline=deadline,
        )


def micro_time(wall: float) -> str:
    """Seconds since the epoch as the API's MicroTime."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _said(guard: str) -> str:
    """An empty guard guards nothing: the server takes it for "any"."""
    if not guard:
        raise ValueError("a write without the UID or version that it was decided on")
    return guard


def _uid_is(raw: Json, uid: str) -> None:
    meta = raw["metadata"]
    if meta.get("uid") != _said(uid):
        raise NotFound(
            f"{raw.get('kind')} {meta.get('name')} is another one now (UID {meta.get('uid')}, not {uid})"
        )


def _taints(raw: Json) -> list[Json]:
    """The node's taints as they stand, with fields that we don't know."""
    spec = raw.get("spec")
    taints = spec.get("taints") if isinstance(spec, dict) else None
    return [t for t in taints if isinstance(t, dict)] if isinstance(taints, list) else []


def _lifting(raw: Json) -> list[Json]:
    """JSON-patch steps that lift ``tolerationSeconds`` of the two taints of a lost node; empty: nothing to do."""
    spec = raw.get("spec")
    tolerations = spec.get("tolerations") if isinstance(spec, dict) else None
    steps: list[Json] = []
    for index, one in enumerate(tolerations if isinstance(tolerations, list) else ()):
        if isinstance(one, dict) and one.get("key") in _ENDLESS and one.get("tolerationSeconds") is not None:
            path = f"/spec/tolerations/{index}"
            steps += [
                {"op": "test", "path": path, "value": one},
                {"op": "remove", "path": f"{path}/tolerationSeconds"},
            ]
    return steps


def _lease(lease: LeaseRecord) -> Json:
    meta: Json = {"name": lease.name, "namespace": _said(lease.namespace)}
    if lease.uid:
        meta["uid"] = lease.uid
    if lease.labels:
        meta["labels"] = dict(lease.labels)
    spec: Json = {
        "holderIdentity": lease.holder or None,
        "leaseDurationSeconds": lease.duration_seconds or None,
        "acquireTime": lease.acquire_time or None,
        "renewTime": lease.renew_time or None,
        "leaseTransitions": lease.transitions,
    }
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}


def _encoded(data: Mapping[str, bytes]) -> dict[str, str]:
    return {key: base64.b64encode(value).decode() for key, value in data.items()}


def _secret(raw: Json) -> SecretRecord:
    data = raw.get("data")
    try:
        decoded = {
            key: base64.b64decode(value, validate=True)
            for key, value in (data if isinstance(data, dict) else {}).items()
            if isinstance(value, str)
        }
    except binascii.Error:  # the API server refuses such Secrets: the answer was mangled
        raise Unavailable("a Secret's data is no base64") from None
    return SecretRecord(decoded, str(raw["metadata"]["resourceVersion"]))
