"""Which taints of ours are swept from nodes, and when."""

from __future__ import annotations

from ringfence.controller.failovers import OUT_OF_SERVICE, OUT_OF_SERVICE_VALUE, SUSPECT
from ringfence.controller.strays import STRAY_FOR, Strays
from ringfence.kube.objects import NodeObject

NOBODY: frozenset[str] = frozenset()


def node(*taints: tuple[str, str, str]) -> NodeObject:
    return NodeObject.from_raw(
        {
            "metadata": {"name": "n1", "uid": "u1"},
            "spec": {"taints": [{"key": k, "effect": e, "value": v} for k, e, v in taints]},
        }
    )


SUSPECTED = (SUSPECT, "NoSchedule", "n1-b1-aa")
OURS = (OUT_OF_SERVICE, "NoExecute", OUT_OF_SERVICE_VALUE)
THEIRS = (OUT_OF_SERVICE, "NoExecute", "nodeshutdown")
OTHER = ("node.kubernetes.io/unreachable", "NoExecute", "")


def swept(strays: Strays, one: NodeObject, busy: frozenset[str], now: float) -> list[str]:
    return [taint.key for _, taint in strays.due([one], busy, now)]


def test_a_suspect_taint_goes_at_once_and_an_out_of_service_taint_when_it_has_stood_for_a_while() -> None:
    strays, tainted = Strays(), node(SUSPECTED, OURS, OTHER)
    assert swept(strays, tainted, NOBODY, 10.0) == [SUSPECT]
    assert swept(strays, node(OURS), NOBODY, 10.0 + STRAY_FOR - 0.1) == []
    assert swept(strays, node(OURS), NOBODY, 10.0 + STRAY_FOR) == [OUT_OF_SERVICE]


def test_what_an_open_failover_is_about_stays_and_its_time_counts_from_its_end() -> None:
    strays, tainted = Strays(), node(SUSPECTED, OURS)
    assert swept(strays, tainted, NOBODY, 0.0) == [SUSPECT]
    assert swept(strays, tainted, frozenset({"n1"}), STRAY_FOR) == []
    assert swept(strays, tainted, NOBODY, STRAY_FOR + 1) == [SUSPECT]
    assert swept(strays, tainted, NOBODY, 2 * STRAY_FOR + 1) == [SUSPECT, OUT_OF_SERVICE]


def test_somebody_elses_taint_is_never_touched() -> None:
    strays, tainted = Strays(), node(THEIRS, OTHER)
    assert [swept(strays, tainted, NOBODY, now) for now in (0.0, 60.0)] == [[], []]


def test_a_node_in_quarantine_keeps_the_suspect_taint_until_its_hour_is_over() -> None:
    strays, tainted = Strays(), node(SUSPECTED, OURS)
    kept = strays.due([tainted], NOBODY, 0.0, frozenset({"n1"}))
    later = strays.due([tainted], NOBODY, STRAY_FOR, frozenset({"n1"}))
    assert kept == ()
    assert [taint.key for _, taint in later] == [OUT_OF_SERVICE], "that one keeps nobody out for good"
    assert SUSPECT in swept(strays, tainted, NOBODY, STRAY_FOR + 1)
