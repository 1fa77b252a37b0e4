"""B1: the gossip agent of a living node is killed, and stays away. Its kernel answers: AgentDown, never fenced."""

from __future__ import annotations

import os
import signal
import time

import pytest

from e2e.storage import heartbeat
from e2e.stories import guarded_vm, orders, wait_verdict, watch_quietly
from lab import processes
from lab.cluster import Lab
from lab.wait import until

pytestmark = pytest.mark.lab


def test_a_frozen_agent_is_not_a_dead_node(lab: Lab) -> None:
    instance = guarded_vm(lab, "db", "n1")
    agents = lab.node("n1").pids_with(b"ringfence.agent")
    assert agents
    for pid in agents:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_verdict(lab, "n1", "AgentDown", 30)
        watch_quietly(lab, 30, "db", "n1", instance)
    finally:
        for pid in agents:
            os.kill(pid, signal.SIGCONT)
    wait_verdict(lab, "n1", "Healthy", 30)


@pytest.mark.more
def test_a_killed_agent_comes_back(lab: Lab) -> None:
    instance = guarded_vm(lab, "db", "n2")
    agents = lab.node("n2").pids_with(b"ringfence.agent")
    assert agents
    processes.kill(agents)
    watch_quietly(lab, 20, "db", "n2", instance)
    wait_verdict(lab, "n2", "Healthy", 60)


def test_a_frozen_node_is_not_fenced(lab: Lab) -> None:
    """B21b: the whole node stands still for a minute with its link up, its storage heartbeat too; then the guest goes on."""
    with heartbeat(lab):
        instance = guarded_vm(lab, "db", "n3")
        since = time.time()
        lab.node("n3").freeze()
        wait_verdict(lab, "n3", "AgentDown", 30)
        until(
            "a minute to pass",
            lambda: time.time() >= since + 60 or lab.failovers("n3"),
            90,
            every=0.5,
        )
        assert lab.failovers("n3") == []
        assert orders(lab, "n3", since) == []
        lab.node("n3").thaw()
        watch_quietly(lab, 15, "db", "n3", instance)
        wait_verdict(lab, "n3", "Healthy", 60)
