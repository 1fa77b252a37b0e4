"""csi-addons' part in the lab does what its source does; the kubectl that it speaks through notes what was asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.csiaddons import FINALIZER, reconcile, shut_out

ADDRESSES = {"n1": "10.77.0.11", "n2": "10.77.0.12"}


class Notes:
    """What was patched, and which nodes were shut out or let in."""

    def __init__(self) -> None:
        self.patches: list[Any] = []
        self.shuts: list[tuple[str, bool]] = []

    def __call__(self, *words: str, check: bool = True) -> str:  # noqa: ARG002 - as kubectl is called
        self.patches.append(json.loads(words[-1]))
        return ""

    def shut(self, node: str, *, out: bool) -> None:
        self.shuts.append((node, out))


def fence(state: str = "Fenced", message: str = "", **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "f", "finalizers": [FINALIZER], **meta},
        "spec": {"cidrs": ["10.77.0.11/32"], "fenceState": state},
        "status": {"message": message} if message else {},
    }


def run(found: dict[str, Any], mode: str = "ok") -> Notes:
    notes = Notes()
    reconcile(found, notes, notes, ADDRESSES, mode)  # type: ignore[arg-type]
    return notes


def test_blocks_name_nodes() -> None:
    assert shut_out(["10.77.0.12/32"], ADDRESSES) == ["n2"]
    assert shut_out(["10.77.0.0/24", "fd00::/8"], ADDRESSES) == ["n1", "n2"]


def test_the_deed_comes_before_the_result() -> None:
    notes = run(fence())
    assert notes.shuts == [("n1", True)]
    assert notes.patches == [{"status": {"result": "Succeeded", "message": "fencing operation successful"}}]
    assert run(fence(message="fencing operation successful")).shuts == []
    assert run(fence("Unfenced", "fencing operation successful")).shuts == [("n1", False)]


def test_a_deletion_lifts_nothing() -> None:
    notes = run(fence(deletionTimestamp="2030-01-01T00:00:00Z"))
    assert notes.shuts == []
    assert notes.patches == [{"metadata": {"finalizers": None}}]


@pytest.mark.parametrize(("mode", "shuts", "patches"), [("ignore", 0, 0), ("fail", 0, 1), ("lie", 0, 1)])
def test_how_it_misbehaves(mode: str, shuts: int, patches: int) -> None:
    notes = run(fence(), mode)
    assert (len(notes.shuts), len(notes.patches)) == (shuts, patches)
