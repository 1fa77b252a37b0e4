"""A13: the controller is killed as soon as the proof is stored, or at another dangerous moment. The next leader goes on; there is no second fence."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from e2e.stories import came_back, guarded_vm, leader_away_from, orders
from lab.cluster import Lab
from lab.wait import until

pytestmark = pytest.mark.lab


def test_the_next_leader_recovers_without_a_second_fence(lab: Lab) -> None:
    victim = lab.quiet_node()
    leader = leader_away_from(lab, victim)
    instance = guarded_vm(lab, "db", victim)
    since = time.time()
    lab.node(victim).cut()
    until(
        "the proof to be stored",
        lambda: any(f.get("status", {}).get("proofs") for f in lab.failovers(victim)),
        60,
        every=0.02,
    )
    assert lab.kill_controller(leader)
    came_back(lab, "db", victim, instance)
    lab.wait_phase(victim, "Closed", seconds=120)
    assert len(orders(lab, victim, since)) == 1


def test_killed_while_the_order_works(lab: Lab) -> None:
    """The BMC takes its time; the leader dies meanwhile. The next one finds the order on record and reads."""
    victim = lab.quiet_node()
    leader = leader_away_from(lab, victim)
    instance = guarded_vm(lab, "db", victim)
    since = time.time()
    lab.bmc(victim).mode("slow", delay=3.0)
    lab.node(victim).cut()
    until("the order to reach the BMC", lambda: orders(lab, victim, since), 60, every=0.02)
    assert lab.kill_controller(leader)
    came_back(lab, "db", victim, instance)
    lab.bmc(victim).mode("ok")
    lab.wait_phase(victim, "Closed", seconds=120)
    assert len(orders(lab, victim, since)) == 1


def _opened(lab: Lab, victim: str, _since: float) -> bool:
    return bool(lab.failovers(victim))


def _marked(lab: Lab, victim: str, _since: float) -> bool:
    taints = lab.get("node", victim)["spec"].get("taints", [])
    return any(taint["key"] == "node.kubernetes.io/out-of-service" for taint in taints)


def _deleted(lab: Lab, victim: str, _since: float) -> bool:
    return not any(pod["spec"].get("nodeName") == victim for pod in lab.launchers("db"))


def _ordered_on(lab: Lab, victim: str, since: float) -> bool:
    return bool(orders(lab, victim, since, "On"))


@pytest.mark.more
@pytest.mark.parametrize(
    "come_to", [_opened, _marked, _deleted, _ordered_on], ids=["opened", "marked", "deleted", "ordered on"]
)
def test_killed_at_any_other_dangerous_moment(lab: Lab, come_to: Callable[[Lab, str, float], bool]) -> None:
    victim = lab.quiet_node()
    leader = leader_away_from(lab, victim)
    instance = guarded_vm(lab, "db", victim)
    since = time.time()
    lab.node(victim).cut()
    until("the moment to come", lambda: come_to(lab, victim, since), 90, every=0.02)
    assert lab.kill_controller(leader)
    came_back(lab, "db", victim, instance)
    lab.wait_phase(victim, "Closed", seconds=120)
    assert len(orders(lab, victim, since)) == 1
    assert len(lab.failovers(victim)) == 1
