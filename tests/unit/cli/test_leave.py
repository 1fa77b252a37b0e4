"""A person's leave to fence though many nodes are down at once; nothing else can be overruled."""

from __future__ import annotations

import pytest

from .cluster import FakeReader, Object, failover
from .conftest import Run

NAME = "n2-b0075678-x1"
STORM = "too many nodes of zone hall are down at once: n1, n2, n3 (at most 2 of 5)"


def held(reason: str = STORM, phase: str = "Held", **spec: object) -> FakeReader:
    one: Object = failover(NAME, phase, **spec)
    status = one["status"]
    assert isinstance(status, dict)
    status["heldReason"] = reason
    return FakeReader(objects={"failovers": [one]})


@pytest.mark.parametrize("name", [NAME, "n2"])
def test_a_leave_is_written_in_the_users_name_after_what_is_at_stake_was_shown(run: Run, name: str) -> None:
    reader = held()
    shown = run(reader, "failover", "release", name, "--reason", "the rack's PDU is gone", answer="y\n")
    assert shown.exit_code == 0, shown.stderr
    for told in ("as alice", STORM, "VM        shop/db", "mend that instead"):
        assert told in shown.stdout
    assert reader.released == [(NAME, f"uid-of-{NAME}", "the rack's PDU is gone", "alice")]


def test_who_says_no_has_released_nothing(run: Run) -> None:
    reader = held()
    assert run(reader, "failover", "release", "n2", "--reason", "x", answer="n\n").exit_code == 1
    assert reader.released == []


@pytest.mark.parametrize(
    ("reader", "code", "words"),
    [
        (
            held("our side is the minority: it sees 2 of 5 nodes alive"),
            1,
            "which nobody's leave ends: our side",
        ),
        (held(phase="Fencing"), 1, "is not held; it is in Fencing"),
        (held(release={"by": "bob", "reason": "as said"}), 1, "was released by bob already: 'as said'"),
        (FakeReader(objects={"failovers": []}), 4, "there is no Failover n2, and no open one"),
    ],
    ids=["another limit", "not held", "already", "nothing there"],
)
def test_what_no_leave_ends_is_refused(run: Run, reader: FakeReader, code: int, words: str) -> None:
    shown = run(reader, "failover", "release", "n2", "--reason", "x", "--yes")
    assert shown.exit_code == code
    assert words in shown.stderr
    assert reader.released == []


def test_a_leave_needs_a_reason(run: Run) -> None:
    reader = held()
    shown = run(reader, "failover", "release", "n2", "--yes")
    assert shown.exit_code == 2
    assert "say why the limit need not hold now" in shown.stderr
    assert reader.released == []
