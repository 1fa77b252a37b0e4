"""Failovers that were deleted while no controller ran: what their nodes' taints tell one that starts."""

from __future__ import annotations

from ringfence.controller.failovers import SUSPECT, label_value
from ringfence.controller.forgotten import REMEMBERED, Forgotten
from ringfence.kube.objects import NodeObject

WORKS = 12.0


def node(name: str, taint: str = "") -> NodeObject:
    taints = [{"key": SUSPECT, "effect": "NoSchedule", "value": taint}] if taint else []
    return NodeObject.from_raw({"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": {"taints": taints}})


def failovers(*names: str) -> list[tuple[str, str]]:
    return [("", name) for name in names]


def test_a_taint_whose_failover_nobody_knows_counts_for_as_long_as_an_order_works() -> None:
    forgotten = Forgotten()
    forgotten.watch([node("n1", "n1-a"), node("n2")], failovers("n2-b"), 100.0)
    assert forgotten.at_work("n1", WORKS, 100.0) == forgotten.at_work("n1", WORKS, 111.9) == "n1-a"
    assert forgotten.at_work("n1", WORKS, 112.0) == ""
    assert forgotten.at_work("n2", WORKS, 100.0) == ""


def test_the_next_incident_of_the_node_writes_over_the_taint_and_not_over_what_is_known() -> None:
    forgotten = Forgotten()
    forgotten.watch([node("n1", "n1-a")], (), 100.0)
    forgotten.watch([node("n1", "n1-b")], failovers("n1-b"), 101.0)
    assert forgotten.at_work("n1", WORKS, 111.0) == "n1-a"
    forgotten.watch([node("n1", "n1-b")], failovers("n1-b"), 101.0 + REMEMBERED)
    assert forgotten.at_work("n1", 2 * REMEMBERED, 102.0 + REMEMBERED) == ""


def test_a_failover_that_is_heard_of_after_its_taint_is_not_forgotten() -> None:
    """A controller that starts lists the Nodes first, as likely as not."""
    forgotten = Forgotten()
    forgotten.watch([node("n1", "n1-a")], (), 100.0)
    forgotten.watch([node("n1", "n1-a")], failovers("n1-a"), 100.1)
    assert forgotten.at_work("n1", WORKS, 100.1) == ""


def test_who_has_seen_it_deleted_knows_what_it_had_begun() -> None:
    forgotten = Forgotten()
    name = "n1-" + "x" * 80
    forgotten.watch([node("n1", label_value(name))], failovers(name), 100.0)
    forgotten.seen_deleted(name)
    forgotten.watch([node("n1", label_value(name))], (), 101.0)
    assert forgotten.at_work("n1", WORKS, 101.0) == ""
