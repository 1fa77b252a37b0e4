"""B21c: a node whose userspace hangs for minutes, its link up: `Hung`. Its zone says `onHung: Fence`, and its storage slot is silent.

Each takes three minutes of a silent virt-handler and one of the hold: an hour has no room for many of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.storage import heartbeat, slots
from e2e.stories import came_back, guarded_vm, orders, wait_verdict, watch_quietly
from lab.cluster import Lab

pytestmark = [pytest.mark.lab, pytest.mark.more]

HANGS_AFTER, HOLD = 180, 60
"""Seconds until it is `Hung`, and for which it is looked at then beyond the usual hold."""


@contextmanager
def hanging_nodes_are_fenced(lab: Lab) -> Iterator[None]:
    with heartbeat(lab):
        zone = {"spec": {"onHung": "Fence"}}
        lab.kubectl("patch", "hazone", "lab", "--type=merge", "-p", json.dumps(zone))
        yield


def hung(lab: Lab, victim: str) -> None:
    """Stop all of its processes, and wait until that is found."""
    lab.node(victim).freeze()
    wait_verdict(lab, victim, "AgentDown", 30)
    wait_verdict(lab, victim, "Hung", HANGS_AFTER + 60)
    assert slots(lab)[victim] == "silent"


def test_it_is_fenced_after_its_hold_and_its_vm_runs_elsewhere(lab: Lab) -> None:
    victim = lab.quiet_node()
    with hanging_nodes_are_fenced(lab):
        instance = guarded_vm(lab, "db", victim, storage="block")
        since = time.time()
        hung(lab, victim)
        lab.wait_phase(victim, "Holding", seconds=10)
        assert orders(lab, victim, since) == []
        came_back(lab, "db", victim, instance)
        failover = lab.wait_phase(victim, "Recovered", "Closed", seconds=60)
        assert failover["status"]["verdict"]["state"] == "Hung"
        (proof,) = failover["status"]["proofs"]
        assert (proof["kind"], proof["variant"]) == ("PoweredOff", "ordered")
        (order,) = orders(lab, victim, since)
        assert order["t"] - since > HANGS_AFTER + HOLD
        lab.wait_phase(victim, "Closed", seconds=180)


def test_one_that_goes_on_within_the_hold_is_left_alone(lab: Lab) -> None:
    victim = lab.quiet_node()
    with hanging_nodes_are_fenced(lab):
        instance = guarded_vm(lab, "db", victim)
        since = time.time()
        hung(lab, victim)
        lab.wait_phase(victim, "Holding", seconds=10)
        lab.node(victim).thaw()
        lab.wait_phase(victim, "Withdrawn", seconds=20)
        assert orders(lab, victim, since) == []
        lab.kubectl("delete", "failovers", "--all", "--wait=false", check=False)
        watch_quietly(lab, 15, "db", victim, instance)
        wait_verdict(lab, victim, "Healthy", 60)
