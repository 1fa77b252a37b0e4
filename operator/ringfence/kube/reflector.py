"""A live copy of one kind of foreign objects: list, replace, watch, and begin again; no ghost survives.

The loop::

    list (consistent, in pages) ──▶ replace the store: changes and *sweep* what is gone ──▶ synced
      ──▶ watch from the list's version ──▶ events, bookmarks ──▶ the server ends it: watch on from the last version
      ──▶ 410 Gone, or any error *in* the stream ──▶ list again

Why not kopf's index: it is quadratic at start, tells nobody when it is complete, and an object deleted while the
watch was down stays in it for ever. For a controller that decides on what is *not* there (no pod left, no
attachment left) the sweep is the point.

``fresh_at`` is the last instant at which the server proved that the stream lives: a page, an event, a bookmark, the
orderly end of a watch. A quiet kind proves little in between, so ``watch_seconds`` bounds how old ``fresh_at`` gets
while all is well. Before an irreversible step read consistently with :meth:`ringfence.ports.Cluster.get`; the
reflector is for noticing.

A store that was set back (etcd restored from a backup) has lower versions than were seen. A watch from a version that is yet to come says
nothing, for as long as it takes, and misses all of it; so whoever has lost a watch, or heard nothing in one, asks for the store's version
first. One that is lower than what was reached raises :class:`WentBack`: everything in this process is of a store that is no more.

Raw objects become typed at the door, so that only what decisions read stays in memory. ``on_change`` is called
synchronously, for real changes only (old != new); what it raises ends :meth:`Reflector.run`, hence the process.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final, Generic, TypeVar

from ringfence.kube.client import Api, Expired, path_of
from ringfence.kube.store import Key, Store
from ringfence.ports import ClusterError, Json, Kind, Unavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 15.0
BURST: Final = 1.0
"""Seconds within which a watch has told all that it was kept from telling, once it can."""
SHORTEST_WATCH: Final = 0.9
"""Seconds; a server that ends watches sooner is in trouble and is asked with back-off."""


class WentBack(Exception):
    """The cluster's store is older than what was read of it before."""


def pause_after(failures: int, wish: float | None, jitter: float) -> float:
    """Seconds to wait after so many failures in a row; ``wish`` is the server's Retry-After, ``jitter`` in [0, 1).

    Doubles from 0.2 s up to 15 s, of which a random half is taken off: replicas that lost the same server must not
    come back as one.
    """
    bound = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10))
    pause = bound * (0.5 + jitter / 2)
    return pause if wish is None else min(max(pause, wish), 2 * LONGEST_PAUSE)


class Reflector(Generic[T]):
    """See the module. One :meth:`run` at a time."""

    def __init__(
        self,
        api: Api,
        kind: Kind,
        parse: Callable[[object], T],
        *,
        jitter: Callable[[], float],
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        on_change: Callable[[Key, T | None, T | None], None] | None = None,
        page: int = 500,
        watch_seconds: int = 30,
        grace: float = 10.0,
    ) -> None:
        """``jitter()`` gives a random number in [0, 1); ``grace`` is how many seconds after ``watch_seconds`` of
        silence the connection counts as dead.
        """
        self.kind = kind
        self.store: Store[T] = Store()
        """Complete once ``synced`` is set; read only."""
        self.synced = asyncio.Event()
        self.fresh_at = float("-inf")
        """CLOCK_BOOTTIME of the last proof of contact."""
        self.happened_after = float("-inf")
        """CLOCK_BOOTTIME of when the stream had last told all, `BURST` before what it tells now: that has happened since.
        How late a change is told nobody says; after a cut it may be as old as the cut.
        """
        self._told_all_at = float("-inf")
        self.trouble: ClusterError | None = None
        """Why it has failed since then; None: it has not."""
        self.relists = 0
        """Lists completed since the start."""
        self._version = ""
        """Up to where the store is complete; empty: list first."""
        self.reached = 0
        """The version of the last list or event: the store is as new as that, or newer; kept when ``_version`` is given up."""
        self._unsure = False
        """The last watch was lost, or said nothing: it may have been from a version that is yet to come."""
        self._api = api
        self._parse = parse
        self._jitter = jitter
        self._on_change = on_change
        self._path = path_of(kind, namespace)
        self._page = page
        self._watch_seconds = watch_seconds
        self._silence = watch_seconds + grace
        self._selectors = {
            name: text
            for name, text in (("labelSelector", label_selector), ("fieldSelector", field_selector))
            if text
        }

    async def run(self) -> None:
        """Follow the kind until cancelled."""
        failures = 0
        while True:
            contact, began = self.fresh_at, self._api.clock.monotonic()
            trouble: ClusterError
            try:
                if not self._version:
                    await self._relist()
                elif self._unsure:
                    await self._compare()
                self._unsure = True
                await self._watch()
            except Expired as err:
                logger.info("%s: the watch's version is gone, listing again (%s)", self.kind.plural, err)
                self._version, trouble = "", err
            except ClusterError as err:
                if failures == 0 or self.fresh_at > contact:
                    logger.warning("%s: %s; trying again", self.kind.plural, err)
                self.trouble = trouble = err
            else:
                if self._api.clock.monotonic() - began >= SHORTEST_WATCH:
                    self._told_all()  # an orderly end is the server's own word
                    failures = 0
                    continue
                trouble = Unavailable("the server ends each watch at once")
            failures = 1 if self.fresh_at > contact else failures + 1
            wish = trouble.retry_after if isinstance(trouble, Unavailable) else None
            await asyncio.sleep(pause_after(failures, wish, self._jitter()))

    async def _relist(self) -> None:
        """Replace the store by a consistent list."""
        found: dict[Key, T] = {}
        query = {**self._selectors, "limit": str(self._page)}
        while True:
            answer = await self._api.request("GET", self._path, query=query, timeout=30.0)
            self._contact()
            items, meta = answer.get("items"), answer.get("metadata")
            meta = meta if isinstance(meta, dict) else {}
            for raw in items if isinstance(items, list) else ():
                if (key := key_of(raw)) is not None:
                    found[key] = self._parse(raw)
            more, version = meta.get("continue"), meta.get("resourceVersion")
            if not more:
                break
            query["continue"] = str(more)
        self.reached = self._has(version)
        for key in self.store.keys() - found.keys():
            self._put(key, None)
        for key, new in found.items():
            self._put(key, new)
        self._told_all()
        self.relists += 1
        self._version = str(version)
        self.synced.set()

    async def _compare(self) -> None:
        """Ask which version the store has now: by a list, which is consistent, of one object."""
        answer = await self._api.request("GET", self._path, query={"limit": "1"}, timeout=30.0)
        self._contact()
        meta = answer.get("metadata")
        self._has(meta.get("resourceVersion") if isinstance(meta, dict) else None)

    def _has(self, version: object) -> int:
        """The version that the store has. Raises WentBack."""
        if not isinstance(version, str) or not version.isdecimal():
            raise Unavailable(f"GET {self._path}: a list without a version")
        if int(version) < self.reached:
            raise WentBack(
                f"{self.kind.plural}: the store has version {version}, and had {self.reached}: it was set back"
            )
        return int(version)

    async def _watch(self) -> None:
        """Follow the changes until the server ends the watch.

        The version reached is kept with every event, also for the watch after a disconnection: to resume from an
        older one would play back the past and show, for a moment, objects that are long gone.
        """
        query = {
            **self._selectors,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(self._watch_seconds),
        }
        async with aclosing(self._api.lines(self._path, query=query, silence=self._silence)) as lines:
            async for line in lines:
                self._event(line)

    def _event(self, line: bytes) -> None:
        try:
            event: Any = json.loads(line)
            type_, raw = event["type"], event["object"]
            version = raw["metadata"]["resourceVersion"] if type_ != "ERROR" else ""
        except (ValueError, KeyError, TypeError) as err:
            # What was missed here nobody says again: only a list can.
            raise Expired(f"the watch sent no event: {line[:200]!r}") from err
        if type_ == "ERROR":
            status = raw if isinstance(raw, dict) else {}
            raise Expired(str(status.get("message") or "error in the watch"), status=_code(status))
        self._told_all()
        if not str(version).isdecimal() or int(version) < self.reached:
            raise Expired(f"the watch is at version {version}, and was at {self.reached} before")
        self._unsure = False
        key = key_of(raw)
        if type_ == "DELETED" and key is not None:
            self._put(key, None)
        elif type_ in {"ADDED", "MODIFIED"} and key is not None:
            self._put(key, self._parse(raw))
        self._version, self.reached = str(version), int(version)

    def _contact(self) -> None:
        self.fresh_at, self.trouble = self._api.clock.monotonic(), None

    def _told_all(self) -> None:
        """Contact in which nothing older than `BURST` is left untold; a page of a list or a question for its version is not."""
        self._contact()
        if self.fresh_at - self._told_all_at >= BURST:
            self.happened_after, self._told_all_at = self._told_all_at, self.fresh_at

    def _put(self, key: Key, new: T | None) -> None:
        old = self.store.get(key)
        if old == new:
            return
        if new is None:
            del self.store[key]
        else:
            self.store[key] = new
        if self._on_change is not None:
            self._on_change(key, old, new)


def _code(status: Json) -> int:
    code = status.get("code")
    return code if isinstance(code, int) else 0


def key_of(raw: object) -> Key | None:
    """Namespace and name of a raw object, or None where it has no name."""
    meta: Json | None = raw.get("metadata") if isinstance(raw, dict) else None
    if not isinstance(meta, dict):
        return None
    name, namespace = meta.get("name"), meta.get("namespace", "")
    return (namespace, name) if isinstance(name, str) and name and isinstance(namespace, str) else None
