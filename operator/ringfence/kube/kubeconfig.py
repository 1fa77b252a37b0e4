"""The command line's way to the cluster: a kubeconfig, plain requests, no watch.

The processes have their own asynchronous client; a person's command asks a handful of lists and ends. Here the
official synchronous client is worth its import (a second) because a person's kubeconfig may hold anything: several
files, exec plug-ins, OIDC.

Objects go out as the plain mappings that the API server sent.

Errors are those of ``ringfence.ports``, and KubeconfigError for what is the person's own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from ringfence.ports import ClusterError, Conflict, Forbidden, NotFound, Refused, Unavailable

GROUP = "ringfence.io"
VERSION = "v1alpha1"
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 15.0
"""Seconds; a person waits for the answer, and an API server that needs longer is the news."""

CLUSTER_NAME = "default"
LEASE = "ringfence-controller"
CONTROLLER_PORT = 7949
DRILL = "ringfence.io/drill"
"""The annotation that asks for a drill."""


class KubeconfigError(ClusterError):
    """The kubeconfig, or the context in it, can't be used."""


class KubeconfigReader:
    """Reads ringfence's objects with the rights of the kubeconfig's user; writes a confirmation, or a wish for new keys."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        """Take the named file, else ``$KUBECONFIG`` or ``~/.kube/config``, else the pod's service account.

        Raises KubeconfigError.
        """
        configuration = client.Configuration()
        # 429 with Retry-After is how a server says that it is still starting (a new CRD's storage, for one).
        configuration.retries = urllib3.Retry(total=4, connect=1, read=1)
        try:
            if kubeconfig is None and context is None and _is_inside_a_pod():
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                config.load_kube_config(kubeconfig, context, configuration)  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError) as error:
            raise KubeconfigError(f"kubeconfig: {error}") from error
        api = self._api = client.ApiClient(configuration)
        self._objects = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)
        self._coordination = client.CoordinationV1Api(api)
        self._authentication = client.AuthenticationV1Api(api)

    def list_objects(self, plural: str, namespace: str | None = None) -> Sequence[Mapping[str, object]]:
        """All objects of one of our kinds; ``namespace`` narrows a namespaced kind. Raises ClusterError."""
        if namespace is None:
            answer = _asked(self._objects.list_custom_object_for_all_namespaces, GROUP, VERSION, plural)
        else:
            answer = _asked(self._objects.list_namespaced_custom_object, GROUP, VERSION, namespace, plural)
        return _items(answer)

    def list_nodes(self) -> Sequence[Mapping[str, object]]:
        """All Nodes. Raises ClusterError."""
        return _items(_asked(self._core.list_node))

    def list_events(self) -> Sequence[Mapping[str, object]]:
        """The Events that ringfence's controllers have recorded and the API server still keeps. Raises ClusterError."""
        return _items(
            _asked(
                self._core.list_event_for_all_namespaces,
                field_selector="reportingComponent=ringfence.io/ringfence-controller",
            )
        )

    def members(self, namespace: str) -> Mapping[str, object]:
        """What the acting controller of that release says of the ring, by the API server's proxy to its pod.

        Raises ClusterError; NotFound where nobody leads.
        """
        lease = _asked(self._coordination.read_namespaced_lease, LEASE, namespace)
        leader = (lease.get("spec") or {}).get("holderIdentity")
        if not leader:
            raise NotFound(f"nobody leads: the Lease {namespace}/{LEASE} has no holder", status=404)
        answer = _asked(
            self._core.connect_get_namespaced_pod_proxy_with_path,
            f"{leader}:{CONTROLLER_PORT}",
            namespace,
            "members",
        )
        return answer if isinstance(answer, dict) else {}

    def fetch(self, path: str) -> Mapping[str, object]:
        """What the API server answers to a GET of this path of its own, such as ``/api/v1/nodes``. Raises ClusterError."""
        answer = _asked(self._get, path)
        return answer if isinstance(answer, dict) else {}

    def fetch_text(self, path: str) -> str:
        """The same for what is no JSON: a pod's log. Raises ClusterError."""
        return _answered(self._get, path).decode("utf-8", errors="replace")

    def _get(
        self, path: str, *, _preload_content: bool, _request_timeout: tuple[float, float]
    ) -> urllib3.BaseHTTPResponse:
        """Any path, as the client's generated calls do it: authentication included, errors as its exceptions."""
        asked = self._api.param_serialize("GET", path, auth_settings=["BearerToken"])
        answer = self._api.call_api(*asked, _request_timeout=_request_timeout)
        if not 200 <= answer.status <= 299:
            raise ApiException(http_resp=answer, body=answer.response.data)
        raw: urllib3.BaseHTTPResponse = answer.response
        return raw

    def get_lease(self, namespace: str, name: str) -> Mapping[str, object] | None:
        """A Lease, None if there is none of that name. Raises ClusterError."""
        try:
            found: Mapping[str, object] = _asked(self._coordination.read_namespaced_lease, name, namespace)
        except NotFound:
            return None
        return found

    def get_vm(self, namespace: str, name: str) -> Mapping[str, object]:
        """A VirtualMachine of KubeVirt's. Raises ClusterError."""
        found: Mapping[str, object] = _asked(
            self._objects.get_namespaced_custom_object,
            *("kubevirt.io", "v1", namespace, "virtualmachines", name),
        )
        return found

    def whoami(self) -> str:
        """The user name that the API server sees in our requests (SelfSubjectReview). Raises ClusterError."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = _asked(self._authentication.create_self_subject_review, review)
        return str(answer["status"]["userInfo"]["username"])

    def confirm_failover(self, name: str, uid: str, statement: str, confirmed_by: str) -> None:
        """Write ``spec.confirm`` of the Failover with this UID.

        A Failover made anew under the same name has another UID, and the API server refuses the patch. No
        resourceVersion is asked for: the controller goes on writing the status while the person reads.

        Raises ClusterError.
        """
        self._add(name, uid, {"confirm": {"statement": statement, "confirmedBy": confirmed_by}})

    def release_failover(self, name: str, uid: str, reason: str, by: str) -> None:
        """Write ``spec.release`` likewise. Raises ClusterError."""
        self._add(name, uid, {"release": {"reason": reason, "by": by}})

    def _add(self, name: str, uid: str, word: Mapping[str, object]) -> None:
        patch = {"metadata": {"uid": uid}, "spec": word}
        _asked(
            self._objects.patch_cluster_custom_object,
            *(GROUP, VERSION, "failovers", name, patch),
            field_manager="ringfence-cli",
        )

    def ask_for_drill(self, device: str, uid: str, request: str) -> None:
        """Write the annotation of the FenceDevice with this UID that asks for a drill. Raises ClusterError."""
        patch = {"metadata": {"uid": uid, "annotations": {DRILL: request}}}
        _asked(
            self._objects.patch_cluster_custom_object,
            *(GROUP, VERSION, "fencedevices", device, patch),
            field_manager="ringfence-cli",
        )

    def ask_for_keys(self, generation: int, without: Sequence[str]) -> None:
        """Write ``spec.gossip`` of the HACluster: the generation of group keys that there shall be. Raises ClusterError."""
        patch = {"spec": {"gossip": {"keyGeneration": generation, "rotateWithout": list(without)}}}
        _asked(
            self._objects.patch_cluster_custom_object,
            *(GROUP, VERSION, "haclusters", CLUSTER_NAME, patch),
            field_manager="ringfence-cli",
        )


def _asked(call: Callable[..., Any], *arguments: object, **options: object) -> Any:
    """Make one request and return its JSON, with the client's errors in our words."""
    return json.loads(_answered(call, *arguments, **options))


def _answered(call: Callable[..., Any], *arguments: object, **options: object) -> bytes:
    try:
        response = call(
            *arguments,
            **options,
            _preload_content=False,
            _request_timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
        )
        body: bytes = response.data
    except ApiException as error:
        raise _refusal(error) from error
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise Unavailable(f"the API server does not answer: {reason}") from error
    return body


def _refusal(error: ApiException) -> ClusterError:
    try:
        sentence = str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        sentence = f"{error.status} {error.reason}"
    status = int(error.status or 0)
    match status:
        case 401 | 403:
            return Forbidden(sentence, status=status)
        case 404:
            return NotFound(sentence, status=status)
        case 409:
            return Conflict(sentence, status=status)
        case _ if status == 429 or status >= 500:
            return Unavailable(sentence, status=status)
        case _:
            return Refused(sentence, status=status)


def _items(answer: Any) -> Sequence[Mapping[str, object]]:
    return tuple(answer.get("items") or ())


def _is_inside_a_pod() -> bool:
    """Nothing names a kubeconfig, and the kubelet left a service account here."""
    if os.environ.get("KUBECONFIG") or (Path.home() / ".kube" / "config").exists():
        return False
    return "KUBERNETES_SERVICE_HOST" in os.environ
