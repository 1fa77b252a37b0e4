"""What a reflector holds: objects by namespace and name, with indices kept beside them.

A decision asks which pods are on one node, which instances hold one claim. Of tens of thousands of objects a walk for each question
is most of what a turn costs; so each write to the store tells the indices, and a question is a look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Generic, Self, TypeVar

Key = tuple[str, str]
"""(namespace, name); the namespace is empty for cluster-scoped kinds."""

T = TypeVar("T")

_NOTHING: Mapping[Key, Any] = MappingProxyType({})


class Index(Generic[T]):
    """The objects of a store by the terms that each is to be found by; made by :meth:`Store.index`."""

    def __init__(self, terms: Callable[[T], Iterable[Hashable]]) -> None:
        self._terms = terms
        self._found: dict[Hashable, dict[Key, T]] = {}

    def of(self, term: Hashable) -> Mapping[Key, T]:
        """The objects with this term, in the order in which they came to have it. Not to be kept: it changes with the store."""
        return self._found.get(term, _NOTHING)

    def terms(self) -> frozenset[Hashable]:
        """Those that any object has."""
        return frozenset(self._found)

    def moved(self, key: Key, old: T | None, new: T | None) -> None:
        """The store has another object under this key, or none."""
        before = frozenset(self._terms(old)) if old is not None else frozenset()
        after = tuple(dict.fromkeys(self._terms(new))) if new is not None else ()
        for term in before.difference(after):
            found = self._found[term]
            del found[key]
            if not found:
                del self._found[term]
        for term in after:
            assert new is not None
            self._found.setdefault(term, {})[key] = new


class Store(dict[Key, T]):
    """A dict whose every change is told to its indices."""

    def __init__(self) -> None:
        super().__init__()
        self._indices: list[Index[T]] = []

    def index(self, terms: Callable[[T], Iterable[Hashable]]) -> Index[T]:
        """An index by these terms, of what the store holds now and from now on."""
        made = Index(terms)
        for key, one in self.items():
            made.moved(key, None, one)
        self._indices.append(made)
        return made

    def __setitem__(self, key: Key, new: T) -> None:
        old = self.get(key)
        super().__setitem__(key, new)
        for index in self._indices:
            index.moved(key, old, new)

    def __delitem__(self, key: Key) -> None:
        old = self[key]
        super().__delitem__(key)
        for index in self._indices:
            index.moved(key, old, None)

    # dict's own would go past the two above.

    def pop(self, key: Key, *default: Any) -> Any:
        if key not in self and default:
            return default[0]
        found = self[key]
        del self[key]
        return found

    def popitem(self) -> tuple[Key, T]:
        key = next(reversed(self))
        return key, self.pop(key)

    def clear(self) -> None:
        for key in list(self):
            del self[key]

    def update(self, *given: Any, **more: Any) -> None:
        for key, new in dict(*given, **more).items():
            self[key] = new

    def setdefault(self, key: Key, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def __ior__(self, others: Any) -> Self:  # type: ignore[misc, override] # dict's own `|` makes a plain dict
        self.update(others)
        return self
