"""A virtual API server: versions, conflicts, preconditions, lists, watches with a history that is compacted, admission.

It keeps raw objects and answers as the real one does where ringfence can tell the difference. Stored objects are never changed in
place: a write puts another there. What is not in here: schemas (the real API server's tests have them), rights, fields' managers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ringfence.kube.client import Expired
from ringfence.ports import AlreadyExists, ClusterError, Conflict, Json, NotFound, Refused

Key = tuple[str, str, str]
"""Plural, namespace, name."""
HISTORY = 2000
"""Events that a watch may begin before."""
_SHARED_STATUS = frozenset({"nodes", "pods", "virtualmachines", "virtualmachineinstances"})


@dataclass(frozen=True, slots=True)
class Address:
    """A request's path, taken apart."""

    plural: str
    namespace: str
    name: str
    subresource: str


@lru_cache(maxsize=4096)
def address_of(path: str) -> Address:
    parts = path.strip("/").split("/")
    parts = parts[3:] if parts[0] == "apis" else parts[2:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    parts += [""] * (3 - len(parts))
    return Address(parts[0], namespace, parts[1], parts[2])


@dataclass(slots=True)
class Event:
    """One change, as watches tell it."""

    version: int
    type: str
    key: Key
    raw: Json
    _line: bytes = b""

    def line(self) -> bytes:
        if not self._line:
            self._line = json.dumps({"type": self.type, "object": self.raw}).encode()
        return self._line


@dataclass
class Watcher:
    """One open watch: told of each event of its collection."""

    plural: str
    namespace: str
    tell: Callable[[Event], None]
    lose: Callable[[ClusterError], None]


Deed = Callable[[Json, Json], Json | None]
"""What a write means to the world: the object before, and as it is wanted; gives what is stored (None: just that)."""


@dataclass
class ApiServer:
    """``deeds`` and ``ends`` are what the world does beside the store when somebody writes to, or deletes, an object of a kind."""

    objects: dict[Key, Json] = field(default_factory=dict)
    version: int = 1000
    deeds: dict[str, Deed] = field(default_factory=dict)
    ends: dict[str, Callable[[Json, Json], None]] = field(default_factory=dict)
    admits: Callable[[str, Json], str | None] = lambda _plural, _raw: None
    """Why an object may not be created."""
    _kinds: dict[str, dict[Key, None]] = field(default_factory=dict)
    _history: list[Event] = field(default_factory=list)
    _compacted: int = 1000
    _watchers: list[Watcher] = field(default_factory=list)
    _uids: int = 0

    # --- the world's own writes ---------------------------------------------------------------------------------

    def put(self, plural: str, name: str, body: Json, namespace: str = "") -> Json:
        """Store it as it is given, with a version; whoever stands in for a kubelet or a controller knows what it does."""
        key = (plural, namespace, name)
        before = self.objects.get(key)
        meta: Json = {"name": name, "uid": f"uid-{plural}-{name}", **body.get("metadata", {})}
        if namespace:
            meta["namespace"] = namespace
        meta["generation"] = _generation(before, body)
        return self._store(key, {**body, "metadata": meta})

    def take(self, plural: str, name: str, namespace: str = "") -> None:
        """The object is gone, if it was there."""
        key = (plural, namespace, name)
        gone = self.objects.pop(key, None)
        if gone is None:
            return
        del self._kinds[plural][key]
        self.version += 1
        last = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.version)}}
        self._tell(Event(self.version, "DELETED", key, last))

    def find(self, plural: str, name: str, namespace: str = "") -> Json | None:
        return self.objects.get((plural, namespace, name))

    def of(self, plural: str, namespace: str = "") -> Iterator[Json]:
        """All of the kind; of one namespace, where it is named."""
        for key in self._kinds.get(plural, {}):
            if not namespace or key[1] == namespace:
                yield self.objects[key]

    # --- requests ------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Any, content_type: str) -> Json:
        """Raises ClusterError, as the client would."""
        at = address_of(path)
        match method:
            case "GET" if at.name:
                return self._found(at)
            case "GET":
                wanted = _selector(query.get("labelSelector", ""))
                items = [raw for raw in self.of(at.plural, at.namespace) if _carries(raw, wanted)]
                return {"items": items, "metadata": {"resourceVersion": str(self.version)}}
            case "POST":
                return self._create(at, body, dry="dryRun" in query)
            case "PUT" | "PATCH":
                return self._write(at, method, body, content_type, dry="dryRun" in query)
            case "DELETE":
                return self._delete(at, body or {})
        raise Refused(f"{method} {path}: not known here", status=405)

    def _found(self, at: Address) -> Json:
        found = self.objects.get((at.plural, at.namespace, at.name))
        if found is None:
            raise NotFound(f"{at.plural} {at.name!r} not found", status=404)
        return found

    def _create(self, at: Address, body: Json, *, dry: bool) -> Json:
        if at.plural == "events":
            return body
        name = body["metadata"].get("name") or f"{body['metadata']['generateName']}{self._uids + 1}"
        key = (at.plural, at.namespace, name)
        if (why := self.admits(at.plural, body)) is not None:
            raise Refused(why, status=422)
        if key in self.objects:
            raise AlreadyExists(f"{at.plural} {name!r} already exists", status=409)
        if dry:
            return body
        self._uids += 1
        uid = f"uid-{at.plural}-{name}-{self._uids}"
        meta = {"uid": uid, **body["metadata"], "name": name, "generation": 1}
        wanted = {**body, "metadata": meta}
        if (deed := self.deeds.get(at.plural)) is not None:
            wanted = deed({}, wanted) or wanted
        return self._store(key, wanted)

    def _write(self, at: Address, method: str, body: Any, content_type: str, *, dry: bool) -> Json:
        before = self._found(at)
        if content_type.startswith("application/json-patch"):
            raise Refused("no JSON patch is known here", status=415)
        asked = body.get("metadata", {})
        version, uid = asked.get("resourceVersion"), asked.get("uid")
        if version and version != before["metadata"]["resourceVersion"]:
            raise Conflict(f"{at.plural} {at.name!r}: the object has been modified", status=409)
        if uid and uid != before["metadata"]["uid"]:
            raise Conflict(f"{at.plural} {at.name!r}: another UID", status=409)
        wanted = dict(body) if method == "PUT" else merged(before, body)
        if at.subresource == "status":
            wanted = {**before, "status": wanted.get("status", {})}
        elif at.plural not in _SHARED_STATUS and "status" in before:
            wanted = {**wanted, "status": before["status"]}
        meta = {**wanted.get("metadata", {}), "uid": before["metadata"]["uid"], "name": at.name}
        meta["generation"] = _generation(before, wanted)
        wanted = {**wanted, "metadata": meta}
        if dry:
            return wanted
        if (deed := self.deeds.get(at.plural)) is not None:
            wanted = deed(before, wanted) or wanted
        return self._store((at.plural, at.namespace, at.name), wanted)

    def _delete(self, at: Address, options: Json) -> Json:
        found = self._found(at)
        wanted = options.get("preconditions") or {}
        for name in ("uid", "resourceVersion"):
            if wanted.get(name) and wanted[name] != found["metadata"][name]:
                raise Conflict(f"{at.plural} {at.name!r}: the precondition on {name} failed", status=409)
        if (end := self.ends.get(at.plural)) is not None:
            end(found, options)
        else:
            self.take(at.plural, at.name, at.namespace)
        return {"kind": "Status", "status": "Success"}

    def _store(self, key: Key, wanted: Json) -> Json:
        before = self.objects.get(key)
        self.version += 1
        stored = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": str(self.version)}}
        self.objects[key] = stored
        self._kinds.setdefault(key[0], {})[key] = None
        self._tell(Event(self.version, "MODIFIED" if before is not None else "ADDED", key, stored))
        return stored

    # --- watches -------------------------------------------------------------------------------------------------

    def watch(self, path: str, version: int, watcher: Watcher) -> list[Event]:
        """Begin a watch after this version; gives what it has missed. Raises Expired."""
        if version < self._compacted:
            raise Expired(f"too old resource version: {version} ({self._compacted})", status=410)
        at = address_of(path)
        self._watchers.append(watcher)
        return [e for e in self._history if e.version > version and _concerns(e, at.plural, at.namespace)]

    def unwatch(self, watcher: Watcher) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def compact(self) -> None:
        """Forget the history: whoever watches on is told 410, at once."""
        self._history.clear()
        self._compacted = self.version + 1
        self.version += 1
        self.lose_watches(Expired("too old resource version", status=410))

    def lose_watches(self, why: ClusterError) -> None:
        """Each open watch breaks off."""
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.lose(why)

    def _tell(self, event: Event) -> None:
        self._history.append(event)
        if len(self._history) > HISTORY:
            self._compacted = self._history[HISTORY // 2].version
            del self._history[: HISTORY // 2]
        for watcher in self._watchers:
            if _concerns(event, watcher.plural, watcher.namespace):
                watcher.tell(event)


def _concerns(event: Event, plural: str, namespace: str) -> bool:
    return event.key[0] == plural and (not namespace or event.key[1] == namespace)


def _generation(before: Json | None, wanted: Json) -> int:
    if before is None:
        return 1
    known = int(before["metadata"].get("generation", 1))
    return known if before.get("spec") == wanted.get("spec") else known + 1


def merged(before: Any, changes: Any) -> Any:
    """RFC 7386."""
    if not isinstance(changes, dict):
        return changes
    result = dict(before) if isinstance(before, dict) else {}
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _selector(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (one.partition("=") for one in text.split(",") if one)
    return tuple((key, value) for key, _, value in pairs)


def _carries(raw: Json, wanted: tuple[tuple[str, str], ...]) -> bool:
    labels = raw["metadata"].get("labels", {}) if wanted else {}
    return all(labels.get(key) == value for key, value in wanted)
