"""B1: agents are deleted, rolled out and killed for want of memory. Their nodes live: nobody is fenced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.stories import guarded_vm, wait_verdict, watch_quietly
from lab.cluster import NAMESPACE, Lab
from lab.wait import until

pytestmark = pytest.mark.lab

ROUNDS = int(os.environ.get("RINGFENCE_ROUNDS", "1"))
AGENTS = "daemonset/ringfence-agent"


def test_an_agents_pod_is_deleted(lab: Lab) -> None:
    instance = guarded_vm(lab, "db", "n1")
    for _ in range(ROUNDS):
        lab.kubectl(
            "-n", NAMESPACE, "delete", "pod", "-l", "app.kubernetes.io/component=agent",
            "--field-selector=spec.nodeName=n1", "--wait=true", "--timeout=60s",
        )  # fmt: skip
        watch_quietly(lab, 5, "db", "n1", instance)
        rolled_out(lab)
    wait_verdict(lab, "n1", "Healthy", 60)


def test_all_agents_are_rolled_out(lab: Lab) -> None:
    instance = guarded_vm(lab, "db", "n1")
    for _ in range(ROUNDS):
        lab.kubectl("-n", NAMESPACE, "rollout", "restart", AGENTS)
        watch_quietly(lab, 10, "db", "n1", instance)
        rolled_out(lab)
    wait_verdict(lab, "n1", "Healthy", 60)


@pytest.mark.more
def test_agents_run_out_of_memory(lab: Lab) -> None:
    instance = guarded_vm(lab, "db", "n1")
    with memory_limit(lab, "20Mi"):
        until("an agent to be killed for want of memory", lambda: killed_for_memory(lab), 120, every=0.5)
        watch_quietly(lab, 15, "db", "n1", instance)
    wait_verdict(lab, "n1", "Healthy", 90)
    watch_quietly(lab, 3, "db", "n1", instance)


def rolled_out(lab: Lab) -> None:
    lab.kubectl("-n", NAMESPACE, "rollout", "status", AGENTS, "--timeout=120s")


@contextmanager
def memory_limit(lab: Lab, limit: str) -> Iterator[None]:
    """While it lasts the agents get so much memory and no more; afterwards what the chart gives them."""
    lab.kubectl(
        "-n", NAMESPACE, "set", "resources", AGENTS, f"--limits=memory={limit}", f"--requests=memory={limit}"
    )
    try:
        yield
    finally:
        lab.kubectl("-n", NAMESPACE, "rollout", "undo", AGENTS)
        # Pods of the revision that can't start don't give way by themselves.
        lab.kubectl(
            "-n", NAMESPACE, "delete", "pod", "-l", "app.kubernetes.io/component=agent", "--wait=false"
        )
        rolled_out(lab)


def killed_for_memory(lab: Lab) -> bool:
    return any(
        state.get("terminated", {}).get("reason") == "OOMKilled"
        for pod in lab.get("pods", namespace=NAMESPACE)
        for status in pod["status"].get("containerStatuses", [])
        for state in (status.get("state", {}), status.get("lastState", {}))
    )
