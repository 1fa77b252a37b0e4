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
from urllib.parse import urlencode

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from ringfence.kube.access import Access
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

DEFAULT = Access()
_OPTIONS = "of the command line's options"
"""Name of the context that --cluster and --user make."""


class KubeconfigError(ClusterError):
    """The kubeconfig, or the context in it, can't be used."""


class KubeconfigReader:
    """Reads ringfence's objects with the rights of the kubeconfig's user; writes a confirmation, or a wish for new keys."""

    def __init__(self, access: Access = DEFAULT) -> None:
        """By what ``access`` names, else ``$KUBECONFIG`` or ``~/.kube/config``, else the pod's service account.

        Raises KubeconfigError.
        """
        configuration, self.namespace = configured(access)
        api = self._api = client.ApiClient(configuration)
        if access.as_user is not None:
            rest: Any = api.rest_client
            rest.pool_manager = _Impersonating(rest.pool_manager, access)
        self._patience = _patience(access.request_timeout)
        self._objects = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)
        self._coordination = client.CoordinationV1Api(api)
        self._authentication = client.AuthenticationV1Api(api)

    def _asked(self, call: Callable[..., Any], *arguments: object, **options: object) -> Any:
        """Make one request and return its JSON, with the client's errors in our words."""
        return json.loads(self._answered(call, *arguments, **options))

    def _answered(self, call: Callable[..., Any], *arguments: object, **options: object) -> bytes:
        try:
            response = call(*arguments, **options, _preload_content=False, _request_timeout=self._patience)
            body: bytes = response.data
        except ApiException as error:
            raise _refusal(error) from error
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise Unavailable(f"the API server does not answer: {reason}") from error
        return body

    def list_objects(self, plural: str, namespace: str | None = None) -> Sequence[Mapping[str, object]]:
        """All objects of one of our kinds; ``namespace`` narrows a namespaced kind. Raises ClusterError."""
        if namespace is None:
            answer = self._asked(self._objects.list_custom_object_for_all_namespaces, GROUP, VERSION, plural)
        else:
            answer = self._asked(
                self._objects.list_namespaced_custom_object, GROUP, VERSION, namespace, plural
            )
        return _items(answer)

    def list_nodes(self) -> Sequence[Mapping[str, object]]:
        """All Nodes. Raises ClusterError."""
        return _items(self._asked(self._core.list_node))

    def list_events(self) -> Sequence[Mapping[str, object]]:
        """The Events that ringfence's controllers have recorded and the API server still keeps. Raises ClusterError."""
        return _items(
            self._asked(
                self._core.list_event_for_all_namespaces,
                field_selector="reportingComponent=ringfence.io/ringfence-controller",
            )
        )

    def members(self, namespace: str) -> Mapping[str, object]:
        """What the acting controller of that release says of the ring, by the API server's proxy to its pod.

        Raises ClusterError; NotFound where nobody leads.
        """
        return self._ask_leader(namespace, "members")

    def dry_run(self, namespace: str, nodes: Sequence[str]) -> Mapping[str, object]:
        """What the acting controller would decide if all of these nodes fell silent now, by the same way.

        Raises ClusterError; NotFound where nobody leads, or who leads is of a version that can't say.
        """
        return self._ask_leader(namespace, "dry-run?" + urlencode([("node", node) for node in nodes]))

    def _ask_leader(self, namespace: str, question: str) -> Mapping[str, object]:
        lease = self._asked(self._coordination.read_namespaced_lease, LEASE, namespace)
        leader = (lease.get("spec") or {}).get("holderIdentity")
        if not leader:
            raise NotFound(f"nobody leads: the Lease {namespace}/{LEASE} has no holder", status=404)
        pod = f"/api/v1/namespaces/{namespace}/pods/{leader}:{CONTROLLER_PORT}"
        try:
            return self.fetch(f"{pod}/proxy/{question}")
        except NotFound as error:
            raise NotFound(
                f"the acting controller, {leader}, can't be asked that: it is gone, or older than this command ({error})",
                status=error.status,
            ) from error

    def fetch(self, path: str) -> Mapping[str, object]:
        """What the API server answers to a GET of this path of its own, such as ``/api/v1/nodes``. Raises ClusterError."""
        answer = self._asked(self._get, path)
        return answer if isinstance(answer, dict) else {}

    def fetch_text(self, path: str) -> str:
        """The same for what is no JSON: a pod's log. Raises ClusterError."""
        return self._answered(self._get, path).decode("utf-8", errors="replace")

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
            found: Mapping[str, object] = self._asked(
                self._coordination.read_namespaced_lease, name, namespace
            )
        except NotFound:
            return None
        return found

    def get_vm(self, namespace: str, name: str) -> Mapping[str, object]:
        """A VirtualMachine of KubeVirt's. Raises ClusterError."""
        found: Mapping[str, object] = self._asked(
            self._objects.get_namespaced_custom_object,
            *("kubevirt.io", "v1", namespace, "virtualmachines", name),
        )
        return found

    def whoami(self) -> str:
        """The user name that the API server sees in our requests (SelfSubjectReview). Raises ClusterError."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = self._asked(self._authentication.create_self_subject_review, review)
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
        self._asked(
            self._objects.patch_cluster_custom_object,
            *(GROUP, VERSION, "failovers", name, patch),
            field_manager="ringfence-cli",
        )

    def ask_for_drill(self, device: str, uid: str, request: str) -> None:
        """Write the annotation of the FenceDevice with this UID that asks for a drill. Raises ClusterError."""
        patch = {"metadata": {"uid": uid, "annotations": {DRILL: request}}}
        self._asked(
            self._objects.patch_cluster_custom_object,
            *(GROUP, VERSION, "fencedevices", device, patch),
            field_manager="ringfence-cli",
        )

    def ask_for_keys(self, generation: int, without: Sequence[str]) -> None:
        """Write ``spec.gossip`` of the HACluster: the generation of group keys that there shall be. Raises ClusterError."""
        patch = {"spec": {"gossip": {"keyGeneration": generation, "rotateWithout": list(without)}}}
        self._asked(
            self._objects.patch_cluster_custom_object,
            *(GROUP, VERSION, "haclusters", CLUSTER_NAME, patch),
            field_manager="ringfence-cli",
        )


def configured(access: Access) -> tuple[client.Configuration, str]:
    """The client's configuration, and the namespace that the context names. Raises KubeconfigError."""
    configuration = client.Configuration()
    # 429 with Retry-After is how a server says that it is still starting (a new CRD's storage, for one).
    configuration.retries = urllib3.Retry(total=4, connect=1, read=1)
    named = (access.kubeconfig, access.context, access.cluster, access.user, access.server)
    namespace = "default"
    try:
        if named == (None,) * len(named) and _is_inside_a_pod():
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        elif access.server is None or access.kubeconfig is not None or _has_kubeconfig():
            namespace = _load(access, configuration)
    except (config.ConfigException, OSError, yaml.YAMLError) as error:
        raise KubeconfigError(f"kubeconfig: {error}") from error
    _override(access, configuration)
    return configuration, namespace


def _load(access: Access, configuration: client.Configuration) -> str:
    """Read the kubeconfig into it, with the chosen context, or one made of the chosen cluster and user."""
    files = access.kubeconfig or str(config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION)
    merger = config.kube_config.KubeConfigMerger(files)  # type: ignore[no-untyped-call]
    if (merged := merger.config) is None:
        raise config.ConfigException(f"there is none at {files}")

    def loader_of(context: str | None) -> Any:
        # What a token's refresh gives is written back, as kubectl does.
        return config.kube_config.KubeConfigLoader(  # type: ignore[no-untyped-call]
            merged, context, config_persister=merger.save_changes
        )

    loader = loader_of(access.context)
    context = dict(loader.current_context.get("context") or {})
    if access.cluster is not None or access.user is not None:
        chosen = {"cluster": access.cluster or context.get("cluster")}
        if access.user or context.get("user"):
            chosen["user"] = access.user or context.get("user")
        node = config.kube_config.ConfigNode("options", {"name": _OPTIONS, "context": chosen})  # type: ignore[no-untyped-call]
        merged.value["contexts"].append(node)
        if chosen.get("user") is not None:
            merged["users"].get_with_name(chosen["user"])  # its absence is passed over silently else
        loader = loader_of(_OPTIONS)
    loader.load_and_set(configuration)
    return str(context.get("namespace") or "default")


def _override(access: Access, configuration: client.Configuration) -> None:
    """What was said on the command line counts more than the file."""
    if access.server is not None:
        configuration.host = access.server.rstrip("/")
    if access.certificate_authority is not None:
        if not Path(access.certificate_authority).is_file():
            raise KubeconfigError(f"--certificate-authority: there is no file {access.certificate_authority}")
        configuration.ssl_ca_cert, configuration.verify_ssl = access.certificate_authority, True
    if access.insecure_skip_tls_verify is not None:
        configuration.verify_ssl = not access.insecure_skip_tls_verify
    if not configuration.verify_ssl:
        # Who asked for it knows; kubectl doesn't say so at each request either.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    if access.token is not None:
        # It alone: a server believes a certificate before it looks at the token.
        configuration.cert_file = configuration.key_file = None
        configuration.refresh_api_key_hook = None
        configuration.api_key = {"authorization": f"Bearer {access.token}"}
        return
    loose: Any = configuration  # its annotations know no hook
    if (refresh := loose.refresh_api_key_hook) is not None:
        # With each request the client's hook takes over all of the kubeconfig again, the server's address included.
        def refreshed(anew: client.Configuration) -> None:
            refresh(anew)
            _override(access, anew)

        loose.refresh_api_key_hook = refreshed


def _patience(seconds: float | None) -> tuple[float | None, float | None]:
    """How long a request waits for a connection, and for each part of its answer."""
    if seconds is None:
        return CONNECT_TIMEOUT, READ_TIMEOUT
    return (min(seconds, CONNECT_TIMEOUT), seconds) if seconds > 0 else (None, None)


class _Impersonating:
    """The client's connections, each request in another's name. Its own headers can't be repeated, and groups are."""

    def __init__(self, pool: Any, access: Access) -> None:
        self._pool = pool
        self._names = [("Impersonate-User", access.as_user or "")]
        self._names += [("Impersonate-Group", group) for group in access.as_group]

    def request(self, method: str, url: str, *, headers: Mapping[str, str], **options: Any) -> Any:
        both = urllib3.HTTPHeaderDict(headers)
        for name, value in self._names:
            both.add(name, value)
        return self._pool.request(method, url, headers=both, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


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


def _has_kubeconfig() -> bool:
    return bool(os.environ.get("KUBECONFIG")) or (Path.home() / ".kube" / "config").exists()


def _is_inside_a_pod() -> bool:
    """Nothing names a kubeconfig, and the kubelet left a service account here."""
    return not _has_kubeconfig() and "KUBERNETES_SERVICE_HOST" in os.environ
