"""A reflector's store and what is found in it by an index."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ringfence.kube.store import Index, Store

KEYS = st.tuples(st.just("shop"), st.sampled_from("abcd"))
NODES = st.frozensets(st.sampled_from(["n1", "n2", "n3"]))


def nodes(of: frozenset[str]) -> Iterable[str]:
    return of


class Writes(RuleBasedStateMachine):
    """Whatever is written, and in whichever way a dict can be written to, an index finds what a walk would."""

    def __init__(self) -> None:
        super().__init__()
        self.store: Store[frozenset[str]] = Store()
        self.indices: list[Index[frozenset[str]]] = [self.store.index(nodes)]

    @rule(key=KEYS, on=NODES)
    def put(self, key: tuple[str, str], on: frozenset[str]) -> None:
        self.store[key] = on

    @rule(key=KEYS)
    def delete(self, key: tuple[str, str]) -> None:
        if key in self.store:
            del self.store[key]

    @rule(key=KEYS)
    def pop(self, key: tuple[str, str]) -> None:
        self.store.pop(key, None)

    @rule(others=st.dictionaries(KEYS, NODES))
    def update(self, others: dict[tuple[str, str], frozenset[str]]) -> None:
        self.store.update(others)

    @rule(others=st.dictionaries(KEYS, NODES))
    def merge(self, others: dict[tuple[str, str], frozenset[str]]) -> None:
        self.store |= others

    @rule(key=KEYS, on=NODES)
    def setdefault(self, key: tuple[str, str], on: frozenset[str]) -> None:
        self.store.setdefault(key, on)

    @rule()
    def popitem(self) -> None:
        if self.store:
            self.store.popitem()

    @rule()
    def clear(self) -> None:
        self.store.clear()

    @rule()
    def index(self) -> None:
        """Of what is there already."""
        if len(self.indices) < 3:
            self.indices.append(self.store.index(nodes))

    @invariant()
    def is_found(self) -> None:
        for index in self.indices:
            for node in ("n1", "n2", "n3"):
                assert index.of(node) == {key: on for key, on in self.store.items() if node in on}
            assert index.terms() == frozenset().union(*self.store.values())


TestWrites = Writes.TestCase


def test_an_object_that_changes_and_stays_keeps_its_place() -> None:
    """The order in which pods are looked at is the order in which they are deleted."""
    store: Store[str] = Store()
    by_first = store.index(lambda text: text[:1])
    for name, text in (("a", "x1"), ("b", "x2"), ("c", "y"), ("a", "x3")):
        store["shop", name] = text
    assert list(by_first.of("x").values()) == ["x3", "x2"]
    store["shop", "c"] = "x4"
    assert list(by_first.of("x").values()) == ["x3", "x2", "x4"]
    assert not by_first.of("y")
    assert by_first.terms() == {"x"}
