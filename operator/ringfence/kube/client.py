"""The one file that meets the official client: connect, send one request, read one answer or one stream of lines.

Of ``kubernetes.aio`` we use what is tedious to write well (kubeconfigs, service-account tokens that are read again as
they rotate, TLS) and leave its generated models alone: requests and answers are plain JSON. Errors are the tree of
:mod:`ringfence.ports`; no exception of the client or of aiohttp leaves this file.

**When a request is sent.** Between "send this" and the first byte lie the wait for a free connection and a TLS
handshake; a frozen process or server makes that long. So the deadline is looked at a last time when the connection
stands, right before the bytes go out, not only at the start.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self, cast
from urllib.parse import quote, urlencode
from weakref import WeakSet

import aiohttp
from aiohttp.connector import Connection
from kubernetes.aio import config as untyped_config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.rest import RESTClientObject

from ringfence.ports import (
    AlreadyExists,
    Clock,
    ClusterError,
    Conflict,
    Forbidden,
    Json,
    Kind,
    NotFound,
    Refused,
    TooLate,
    Unavailable,
)

kube_config: Any = untyped_config
ConfigException: type[Exception] = untyped_config.ConfigException

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
MAX_LINE: Final = 16 * 1024 * 1024
"""Bytes of one watch event: etcd keeps objects below 1.5 MiB, JSON may be some times that."""

_send_by: ContextVar[float | None] = ContextVar("send_by", default=None)


class Expired(Conflict):
    """HTTP 410: the version or the continuation that was asked for is compacted away; list afresh."""


class ConfigError(Exception):
    """No usable way to an API server: outside a pod without a kubeconfig, or an unreadable one."""


def path_of(kind: Kind, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The URL path of a collection, an object or its subresource."""
    parts = ["apis", kind.group, kind.version] if kind.group else ["api", kind.version]
    if kind.namespaced and namespace:
        parts += ["namespaces", namespace]
    parts += [kind.plural, name, subresource]
    return "/" + "/".join(quote(part, safe="") for part in parts if part)


def error_of(status: int, body: bytes, retry_after: str = "") -> ClusterError:
    """What an answer with an HTTP status of 400 and above means, with the server's own sentence."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    message, reason = answer.get("message"), answer.get("reason")
    sentence = (
        message if isinstance(message, str) and message else body[:300].decode("utf-8", "replace").strip()
    )
    sentence = sentence or f"HTTP {status}"
    match status:
        case 401 | 403:
            return Forbidden(sentence, status=status)
        case 404:
            return NotFound(sentence, status=status)
        case 409 if reason == "AlreadyExists":
            return AlreadyExists(sentence, status=status)
        case 409:
            return Conflict(sentence, status=status)
        case 410:
            return Expired(sentence, status=status)
        case 408 | 429:
            return Unavailable(sentence, status=status, retry_after=_seconds(retry_after))
        case _ if status >= 500:
            return Unavailable(sentence, status=status, retry_after=_seconds(retry_after))
        case _:
            return Refused(sentence, status=status)


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdecimal() else None


class _GatedConnector(aiohttp.TCPConnector):
    """Asks ``gate()`` once more when a connection is at hand, new or pooled; what it raises stops the request."""

    def __init__(self, gate: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._gate = gate
        self._transports: WeakSet[asyncio.Transport] = WeakSet()

    async def connect(self, *args: Any, **kwargs: Any) -> Connection:
        connection = await super().connect(*args, **kwargs)
        try:
            self._gate()
        except TooLate:
            connection.release()
            raise
        if connection.transport is not None:
            self._transports.add(connection.transport)
        return connection

    async def close(self, *, abort_ssl: bool = False) -> None:
        await super().close(abort_ssl=abort_ssl)
        # A connection that timed out says farewell in TLS, for which the silent other end would keep us waiting.
        for transport in self._transports:
            transport.abort()
        await asyncio.sleep(0)


class _GatedRest(RESTClientObject):
    def __init__(self, configuration: Configuration, gate: Callable[[], None]) -> None:
        super().__init__(configuration)
        self._gate = gate

    def _create_connector(self) -> aiohttp.TCPConnector:
        return _GatedConnector(self._gate, limit=self.maxsize, ssl=self.ssl_context)


class Api(Protocol):
    """What reflectors and :class:`~ringfence.kube.cluster.KubeCluster` ask of an API server."""

    @property
    def clock(self) -> Clock:
        """The clock that deadlines are compared with."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        timeout: float = 10.0,
        deadline: float | None = None,
    ) -> Json:
        """See :meth:`ApiServer.request`."""

    def lines(self, path: str, *, query: Mapping[str, str], silence: float) -> AsyncGenerator[bytes, None]:
        """See :meth:`ApiServer.lines`."""


class ApiServer:
    """One API server behind one pool of connections. Use as an async context manager, or :meth:`close` it."""

    def __init__(self, configuration: Configuration, clock: Clock, *, connections: int = 64) -> None:
        self.clock = clock
        configuration.connection_pool_maxsize = connections
        # No proxy stands between a controller and its API server, and looking for .netrc takes a thread each request.
        configuration.client_session_kwargs = {"trust_env": False}
        configuration.retries = None  # who retries is decided where the consequence is known
        self._client: Any = ApiClient(configuration)
        self._client.rest_client = _GatedRest(configuration, self._gate)

    @classmethod
    async def connect(
        cls,
        clock: Clock,
        *,
        kubeconfig: str | Path | None = None,
        context: str | None = None,
        connections: int = 64,
    ) -> Self:
        """Take the pod's service account, or a kubeconfig where one is named; opens no connection yet.

        Raises ConfigError.
        """
        configuration = Configuration()
        try:
            if kubeconfig is None:
                kube_config.load_incluster_config(client_configuration=configuration)
            else:
                await kube_config.load_kube_config(
                    config_file=str(kubeconfig),
                    context=context,
                    client_configuration=configuration,
                    persist_config=False,
                )
        except (ConfigException, OSError, ValueError) as err:
            raise ConfigError(str(err)) from err
        return cls(configuration, clock, connections=connections)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up."""
        await self._client.close()

    def _gate(self) -> None:
        self._check(_send_by.get())

    def _check(self, deadline: float | None) -> None:
        if deadline is None:
            return
        late = self.clock.monotonic() - deadline
        if late >= 0:
            raise TooLate(f"not sent: the right to send it ended {late:.3f} s ago")

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        timeout: float = 10.0,
        deadline: float | None = None,
    ) -> Json:
        """Send one request, once, and give the answer's JSON; ``timeout`` (seconds) covers all of it.

        Raises ClusterError, TooLate.
        """
        limits = aiohttp.ClientTimeout(total=timeout)
        response = await self._send(method, path, query, body, content_type, limits, deadline)
        try:
            data = await response.read()
            answer = json.loads(data)
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise Unavailable(f"{method} {path}: the answer broke off: {_why(err)}") from err
        except ValueError as err:
            raise Unavailable(f"{method} {path}: the answer is no JSON") from err
        finally:
            response.release()
        if not isinstance(answer, dict):
            raise Unavailable(f"{method} {path}: the answer is no object")
        return answer

    async def lines(
        self, path: str, *, query: Mapping[str, str], silence: float
    ) -> AsyncGenerator[bytes, None]:
        """GET a stream and yield its lines; ends when the server ends it.

        Raises ClusterError; Unavailable as well when nothing at all came for ``silence`` seconds.
        """
        limits = aiohttp.ClientTimeout(total=None, connect=10.0, sock_read=silence)
        response = await self._send("GET", path, query, None, "application/json", limits, None)
        try:
            rest = b""
            async for chunk in response.content.iter_any():
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    if line:
                        yield line
                if len(rest) > MAX_LINE:
                    raise Unavailable(f"GET {path}: a line of more than {MAX_LINE} bytes")
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise Unavailable(f"GET {path}: the stream broke off: {_why(err)}") from err
        finally:
            # Whatever the server still wants to say; a farewell in TLS would wait for a server that may be frozen.
            if response.connection is not None and response.connection.transport is not None:
                response.connection.transport.abort()
            response.close()

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: object,
        content_type: str,
        limits: aiohttp.ClientTimeout,
        deadline: float | None,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": "ringfence"}
        url = self._client.configuration.host + path + ("?" + urlencode(query) if query else "")
        token = _send_by.set(deadline)
        try:
            await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            self._check(deadline)
            answer = await self._client.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=limits
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise Unavailable(f"{method} {path}: {_why(err)}") from err
        except ConfigException as err:  # the token's file is being rotated, or gone
            raise Unavailable(f"{method} {path}: {err}") from err
        finally:
            _send_by.reset(token)
        response = cast("aiohttp.ClientResponse", answer.response)
        if response.status >= 400:
            try:
                said = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError):
                said = b""
            finally:
                response.release()
            raise error_of(response.status, said, response.headers.get("Retry-After", ""))
        return response


def _why(err: BaseException) -> str:
    return str(err) or type(err).__name__


def dumps(obj: Any) -> str:
    """JSON in one canonical form, to compare what we would write with what stands there."""
    return json.dumps(obj, sort_keys=True, separators=(",", ":"))
