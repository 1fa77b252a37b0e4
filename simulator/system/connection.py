"""One process' way to the virtual API server: what a request and a watch go through, and what goes wrong there.

It stands where :class:`ringfence.kube.client.ApiServer` stands, so KubeCluster and the reflectors above it are the product's own. What was
sent arrives, whether or not its sender still runs; what meets a cut path is sent again, as TCP does, for as long as somebody waits.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ringfence.ports import Clock, ClusterError, Conflict, Json, Refused, TooLate, Unavailable
from simulator.system.apiserver import ApiServer, Event, Watcher, address_of
from simulator.system.processes import Agenda

WAY = 0.01
"""Seconds from a process to the API server, or back."""
AGAIN = 0.5
"""Seconds after which TCP sends again what was lost."""
BUSY = 429
_ANY_TIME = frozenset({"leases", "events"})
"""What may be written without a deadline: the Lease that gives the right to write, under its own version, and Events."""


@dataclass
class Weather:
    """What is wrong between all processes and the API server."""

    dice: random.Random
    out: bool = False
    """It answers nobody, and its watches have broken off."""
    write_needs: float = 0.03
    """Seconds that it takes for a write."""
    refusing: float = 0.0
    """The part of the writes that come to nothing, or whose answer is lost."""
    late: float = 0.0
    """Seconds by which watches tell later."""
    still: bool = False
    """Watches tell nothing, and don't break off either."""
    hidden: frozenset[str] = frozenset()
    """Namespaces that it doesn't answer for."""


@dataclass
class Connection:
    """See the module. Once ``closed`` nothing goes out any more."""

    agenda: Agenda
    server: ApiServer
    weather: Weather
    clock: Clock
    reaches: Callable[[], bool]
    """Whether packets pass between the process' node and the API server."""
    turned_down: Callable[[str], None] = lambda _about: None
    """Told of each write that comes to nothing, conflicts aside."""
    closed: bool = False
    _watches: list[_Watch] = field(default_factory=list)

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
        """As :meth:`ringfence.kube.client.ApiServer.request`."""
        if method != "GET" and deadline is None and address_of(path).plural not in _ANY_TIME:
            raise AssertionError(f"{method} {path} may be sent at any time, also by a leader that was frozen")
        if deadline is not None and (late := self.clock.monotonic() - deadline) >= 0:
            raise TooLate(f"not sent: the right to send it ended {late:.3f} s ago")
        if self.closed:
            raise Unavailable(f"{method} {path}: the process is no more")
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()

        def handle() -> Json:
            return self.server.answer(method, path, query or {}, body, content_type)

        self._send(method, path, handle, answer, about=_about(path, body))
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise Unavailable(f"{method} {path}: no answer within {timeout:g} s") from None

    def _send(
        self,
        method: str,
        path: str,
        handle: Callable[[], Json],
        answer: asyncio.Future[Json],
        about: str = "",
    ) -> None:
        writes = method != "GET"
        needs = self.weather.write_needs if writes else 0.005

        def arrive() -> None:
            if answer.done() and not writes:
                return
            if not self.reaches() and not self.closed:
                if not answer.done():
                    self.agenda.after(AGAIN, arrive)
                return
            self.agenda.after(needs, serve)

        def serve() -> None:
            fate = self._fate(method, path)
            found: Json | ClusterError
            try:
                found = fate if isinstance(fate, ClusterError) else handle()
            except ClusterError as error:
                found = error
            if writes and isinstance(found, Refused | Unavailable):
                self.turned_down(about)
            if isinstance(fate, ClusterError):
                self._give(answer, fate)
            elif fate is None:
                self._give(answer, found)

        self.agenda.after(WAY, arrive)

    def _fate(self, method: str, path: str) -> ClusterError | str | None:
        """An error: it comes to nothing. ``"lost"``: it is carried out, and nobody hears of it. None: it goes well."""
        weather = self.weather
        if weather.out:
            return Unavailable(f"{method} {path}: connection refused")
        at = address_of(path)
        if at.namespace in weather.hidden:
            return Unavailable(f"{method} {path}: the server is overloaded", status=503)
        if method == "GET" or weather.dice.random() >= weather.refusing:
            return None
        return weather.dice.choice(
            (
                Conflict(f"{at.plural} {at.name!r}: the object has been modified", status=409),
                Unavailable(f"{method} {path}: too many requests", status=BUSY, retry_after=1.0),
                Unavailable(f"{method} {path}: etcd leader changed", status=500),
                "lost",
            )
        )

    def _give(self, answer: asyncio.Future[Json], found: Json | ClusterError) -> None:
        def deliver() -> None:
            if answer.done():
                return
            if not self.reaches():
                self.agenda.after(AGAIN, deliver)
            elif isinstance(found, ClusterError):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        self.agenda.after(WAY, deliver)

    # --- watches -------------------------------------------------------------------------------------------------

    async def lines(
        self, path: str, *, query: Mapping[str, str], silence: float
    ) -> AsyncGenerator[bytes, None]:
        """As :meth:`ringfence.kube.client.ApiServer.lines`."""
        version, lasts = int(query["resourceVersion"]), float(query["timeoutSeconds"])
        watch = _Watch(self, asyncio.get_running_loop())
        await self._knock(path, silence)
        watch.open(path, version, lasts)
        self._watches.append(watch)
        try:
            while True:
                for line in watch.take():
                    yield line
                if watch.ended:
                    return
                try:
                    async with asyncio.timeout(silence):
                        await watch.news()
                except TimeoutError:
                    raise Unavailable(f"GET {path}: nothing came for {silence:g} s") from None
        finally:
            self._watches.remove(watch)
            watch.close()

    async def _knock(self, path: str, patience: float) -> None:
        """The way there and the first bytes of the answer."""
        opened: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._send("GET", path, dict, opened)
        try:
            async with asyncio.timeout(patience):
                await opened
        except TimeoutError:
            raise Unavailable(f"GET {path}: no connection") from None

    def flush(self) -> None:
        """The way is open again, or watches go on: what was held up comes now."""
        for watch in self._watches:
            watch.flush()


def _about(path: str, body: object) -> str:
    """What is written: the path, and of a Failover that is to be made the node, since several are at one path."""
    spec = body.get("spec") if isinstance(body, dict) else None
    node = spec.get("node", "") if isinstance(spec, dict) else ""
    return f"{path} {node}".rstrip()


class _Watch:
    """One stream of events."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._on_way: deque[tuple[float, bytes]] = deque()
        self._here: deque[bytes] = deque()
        self._news: asyncio.Future[None] | None = None
        self._error: ClusterError | None = None
        self._open = True
        self.ended = False

    def open(self, path: str, version: int, lasts: float) -> None:
        at = address_of(path)
        self._watcher = Watcher(at.plural, at.namespace, self._tell, self._lose)
        self._version = version
        for event in self._connection.server.watch(path, version, self._watcher):
            self._tell(event)
        self._connection.agenda.after(lasts, self._end)

    def close(self) -> None:
        self._open = False
        self._connection.server.unwatch(self._watcher)

    def take(self) -> list[bytes]:
        """What has come. Raises what it broke off with, once all that came before is taken."""
        lines = list(self._here)
        self._here.clear()
        if not lines and self._error is not None:
            raise self._error
        return lines

    async def news(self) -> None:
        if not (self._here or self.ended or self._error):
            self._news = self._loop.create_future()
            await self._news

    def _tell(self, event: Event) -> None:
        agenda, way = self._connection.agenda, WAY + self._connection.weather.late
        self._on_way.append((agenda.now + way, event.line()))
        self._version = event.version
        agenda.after(way, self.flush)

    def flush(self) -> None:
        """What has been long enough on its way is here, if the way is open."""
        connection = self._connection
        if not self._open or connection.weather.still or not connection.reaches():
            return
        while self._on_way and self._on_way[0][0] <= connection.agenda.now:
            self._here.append(self._on_way.popleft()[1])
        if self._here:
            self._wake()

    def _end(self) -> None:
        """As its time-out asks: with a bookmark."""
        connection = self._connection
        if not self._open:
            return
        if connection.weather.still or not connection.reaches() or self._on_way:
            connection.agenda.after(AGAIN, self._end)
            return
        mark = {"metadata": {"resourceVersion": str(self._version)}}
        self._here.append(json.dumps({"type": "BOOKMARK", "object": mark}).encode())
        self.ended = True
        self._wake()

    def _lose(self, why: ClusterError) -> None:
        self._error = why
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


def event_of(line: bytes) -> tuple[str, Any]:
    """Type and object of one line of a watch."""
    event = json.loads(line)
    return event["type"], event["object"]
