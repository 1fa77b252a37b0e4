"""The agent's small window to the API server: one ConfigMap to watch, one NodeReport and one Lease to write.

urllib3 in threads, because the big client costs more memory than the whole agent may have. Nothing here is needed for
detection: when the API is away, calls fail with ApiError, the caller tries again, and the ring goes on with the roster
that it has.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any
from urllib.parse import quote

import urllib3

from ringfence.core.fencing.selffence import revocation

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ROSTER = "ringfence-roster"
LEASE_SECONDS = 15
RENEW_EVERY = 5.0
_WATCH_SECONDS = 60
_INACTIVITY = _WATCH_SECONDS + 10.0
_TIMEOUT = urllib3.Timeout(connect=2.0, read=4.0)
_CONFLICT, _NOT_FOUND, _GONE, _EXISTS = 409, 404, 410, 409


class ApiError(Exception):
    """The API server could not be reached or has refused; ``status`` is 0 or its HTTP status."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class LeaseState(Enum):
    """What has become of a renewal."""

    HELD = auto()
    LOST = auto()
    """Somebody else has emptied or changed the holder: revoked. It is not taken back in this boot."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is and how to speak to it. The token is read anew for each request: it rotates."""

    server: str
    token_path: Path
    ca_path: Path

    @classmethod
    def in_cluster(cls, environ: Mapping[str, str] = os.environ) -> Access | None:
        """What a pod is given; None outside of one."""
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            return None
        host = f"[{host}]" if ":" in host else host
        return cls(f"https://{host}:{port}", SERVICE_ACCOUNT / "token", SERVICE_ACCOUNT / "ca.crt")

    def node_uid(self) -> str | None:
        """The UID of the node that the token is bound to, if the token says so (Kubernetes 1.32 and later)."""
        # The claim is not checked here: the token is ours, and the API server checks it with every write.
        import base64  # noqa: PLC0415 (once, at start)

        try:
            payload = self.token_path.read_text(encoding="ascii").split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            uid = claims["kubernetes.io"]["node"]["uid"]
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            return None
        return uid if isinstance(uid, str) else None


class NodeApi:
    """Blocking calls; each thread may use it."""

    def __init__(self, access: Access, namespace: str) -> None:
        self._access = access
        self._namespace = namespace
        self._pool = urllib3.PoolManager(
            num_pools=1, maxsize=2, block=False, ca_certs=str(access.ca_path), timeout=_TIMEOUT, retries=False
        )
        self._closing = threading.Event()

    def close(self) -> None:
        """End watches at their next line or time-out."""
        self._closing.set()
        self._pool.clear()

    def watch_roster(self) -> Iterator[str]:
        """The signed roster's text, at once and at each change, until the watch ends. Raises ApiError."""
        path = f"/api/v1/namespaces/{self._namespace}/configmaps"
        one = f"fieldSelector={quote(f'metadata.name={ROSTER}')}"
        listed = self._call("GET", f"{path}?{one}")
        for item in listed.get("items") or []:
            yield from _roster_of(item)
        version = quote(str((listed.get("metadata") or {}).get("resourceVersion", "")))
        query = f"{path}?{one}&watch=true&resourceVersion={version}&timeoutSeconds={_WATCH_SECONDS}"
        for event in self._stream(query):
            kind = event.get("type")
            if kind == "ERROR":
                raise ApiError("the watch has expired", _GONE)
            if kind in {"ADDED", "MODIFIED"}:
                yield from _roster_of(event.get("object") or {})

    def report(self, node: str, status: Mapping[str, Any], version: str = "") -> str:
        """Write this node's NodeReport status over just that version; make the object if there is none.

        Without ``version`` it is read first. Returns the version written. Raises ApiError, status 409 where somebody has
        written since: so a write that a slow server carries out late never undoes a later one (``watchdog.armed``).
        """
        path = "/apis/ringfence.io/v1alpha1/nodereports"
        version = version or self._report_version(node, path)
        patch = {
            "metadata": {"resourceVersion": version},
            "status": {**status, "updatedAt": _timestamp()},
        }
        return _version_of(
            self._call("PATCH", f"{path}/{quote(node)}/status", patch, "application/merge-patch+json")
        )

    def _report_version(self, node: str, path: str) -> str:
        try:
            return _version_of(self._call("GET", f"{path}/{quote(node)}"))
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
        body = {"apiVersion": "ringfence.io/v1alpha1", "kind": "NodeReport", "metadata": {"name": node}}
        return _version_of(self._call("POST", path, {**body, "spec": {}}))

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, content: str = "application/json"
    ) -> dict[str, Any]:
        try:
            response = self._pool.request(
                method,
                self._access.server + path,
                body=None if body is None else json.dumps(body),
                headers=self._headers(content),
            )
            document = json.loads(response.data) if response.data else {}
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ApiError(f"{method} {path}: {error}") from error
        if response.status >= 300:
            raise ApiError(f"{method} {path}: {document.get('message', response.status)}", response.status)
        return document if isinstance(document, dict) else {}

    def _stream(self, path: str) -> Iterator[dict[str, Any]]:
        try:
            response = self._pool.request(
                "GET",
                self._access.server + path,
                headers=self._headers("application/json"),
                preload_content=False,
                timeout=urllib3.Timeout(connect=2.0, read=_INACTIVITY),
            )
            try:
                if response.status >= 300:
                    raise ApiError(f"GET {path}: {response.status}", response.status)
                rest = b""
                for piece in response.stream(65_536, decode_content=False):
                    if self._closing.is_set():
                        return
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        if line.strip():
                            yield json.loads(line)
            finally:
                response.close()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ApiError(f"watch {path}: {error}") from error

    def _headers(self, content: str) -> dict[str, str]:
        token = self._access.token_path.read_text(encoding="ascii").strip()
        return {"Authorization": f"Bearer {token}", "Content-Type": content, "Accept": "application/json"}

    # -- the agent's Lease, see AgentLease

    def read_lease(self, name: str) -> dict[str, Any] | None:
        """The Lease, or None."""
        try:
            return self._call("GET", f"{self._leases}/{quote(name)}")
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def write_lease(self, name: str, holder: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
        """Create the Lease, or renew it if it still is the one known. Raises ApiError, status 409 if it isn't."""
        spec = {"holderIdentity": holder, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": _timestamp()}
        meta: dict[str, Any] = {"name": name, "namespace": self._namespace}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
        if known is None:
            spec["acquireTime"] = spec["renewTime"]
            return self._call("POST", self._leases, body)
        meta.update({k: v for k, v in known["metadata"].items() if k != "managedFields"})
        body["spec"] = {**(known.get("spec") or {}), **spec}
        return self._call("PUT", f"{self._leases}/{quote(name)}", body)

    @property
    def _leases(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases"


class AgentLease:
    """The agent's leg to the API: a Lease that it renews and that the controller may revoke.

    Renewal is by compare-and-swap on what was last written. Once somebody else has changed the holder, this boot never
    takes the Lease back: the controller counts from the revocation. Its marker tells a later process of this boot so.
    """

    def __init__(self, api: NodeApi, node: str, holder: str) -> None:
        self._api = api
        self._name = f"ringfence-agent-{node}"
        self._holder = holder
        self._known: dict[str, Any] | None = None
        self._lost = False
        self.contested = False
        """What stood there was not what was written last, and the holder was the same; for its reader to take back."""

    def renew(self) -> LeaseState:
        """Renew once. Raises ApiError where the API did not answer; that is neither held nor lost."""
        if self._lost:
            return LeaseState.LOST
        if self._known is None:
            # Our first renewal: of an earlier process of this boot, of an earlier boot, or of nobody.
            found = self._api.read_lease(self._name)
            if found is not None and (found.get("spec") or {}).get("holderIdentity") == revocation(
                self._holder
            ):
                self._lost = True
                return LeaseState.LOST
            self._known = self._api.write_lease(self._name, self._holder, found)
            return LeaseState.HELD
        try:
            self._known = self._api.write_lease(self._name, self._holder, self._known)
        except ApiError as error:
            if error.status not in {_CONFLICT, _NOT_FOUND}:
                raise
            return self._look_again()
        return LeaseState.HELD

    def _look_again(self) -> LeaseState:
        """Somebody has changed or removed it: see whether we are still its holder."""
        found = self._api.read_lease(self._name)
        if found is not None and (found.get("spec") or {}).get("holderIdentity") != self._holder:
            self._lost = True
            return LeaseState.LOST
        self._known = self._api.write_lease(self._name, self._holder, found)
        self.contested = True
        return LeaseState.HELD


def _version_of(obj: Mapping[str, Any]) -> str:
    return str((obj.get("metadata") or {}).get("resourceVersion", ""))


def _roster_of(config_map: Mapping[str, Any]) -> Iterator[str]:
    text = (config_map.get("data") or {}).get("roster.json")
    if isinstance(text, str):
        yield text


def _timestamp() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
