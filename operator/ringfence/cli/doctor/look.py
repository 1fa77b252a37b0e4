"""What the doctor looks with: each list is asked for once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Protocol

from ringfence.cli.document import Document
from ringfence.ports import NotFound

OWN = "/apis/ringfence.io/v1alpha1"
CORE = "/api/v1"


class Source(Protocol):
    """What the doctor needs of a cluster; errors are those of ``ringfence.ports``."""

    def fetch(self, path: str) -> Mapping[str, object]: ...

    def members(self, namespace: str) -> Mapping[str, object]: ...


class Look:
    """One look at a cluster. ``release`` is ringfence's namespace, ``now`` this machine's time."""

    def __init__(self, source: Source, release: str, now: datetime) -> None:
        self._source, self.release, self.now = source, release, now
        self.one = cache(self._one)
        self.items = cache(self._items)

    def _one(self, path: str) -> Document:
        return Document(self._source.fetch(path))

    def _items(self, path: str) -> tuple[Document, ...]:
        return self.one(path).parts("items")

    def own(self, plural: str) -> tuple[Document, ...]:
        """All objects of a kind of ours. Raises ClusterError; NotFound where the kind is not served."""
        return self.items(f"{OWN}/{plural}")

    def there(self, path: str) -> tuple[Document, ...]:
        """A list of a kind that need not be served: then empty. Raises ClusterError."""
        try:
            return self.items(path)
        except NotFound:
            return ()

    def nodes(self) -> tuple[Document, ...]:
        return self.items(f"{CORE}/nodes")

    def pods(self, namespace: str = "") -> tuple[Document, ...]:
        return self.items(f"{CORE}/namespaces/{namespace}/pods" if namespace else f"{CORE}/pods")

    def leases(self, namespace: str) -> tuple[Document, ...]:
        return self.items(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")

    def members(self) -> Document:
        """What the acting controller says of the ring. Raises ClusterError; NotFound where nobody leads."""
        return Document(self._source.members(self.release))

    def watched(self) -> frozenset[str]:
        """The nodes that are in a zone."""
        return frozenset(name for zone in self.own("hazones") for name in zone.texts("status", "nodes"))

    def protected(self) -> Mapping[tuple[str, str], Document]:
        """The VirtualMachines that ProtectedVMs name, where they are, by namespace and name."""
        named = {
            (one.text("metadata", "namespace"), one.text("spec", "vm", "name"))
            for one in self.own("protectedvms")
        }
        vms = self.items("/apis/kubevirt.io/v1/virtualmachines") if named else ()
        by_name = {(vm.text("metadata", "namespace"), vm.name): vm for vm in vms}
        return {name: by_name[name] for name in sorted(named & by_name.keys())}


def age(then: datetime | None, now: datetime) -> float:
    """Seconds; infinite for never."""
    return float("inf") if then is None else (now - then).total_seconds()


def named(names: Sequence[str], most: int = 5) -> str:
    """A list that stays readable."""
    shown = ", ".join(sorted(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
