"""`helm upgrade`, and `helm rollback`, while a node dies in the middle: its VM comes back, after one order."""

from __future__ import annotations

import time

import pytest

from e2e.helm import none_installed, pods_of
from e2e.stories import came_back, guarded_vm, orders
from lab.cluster import NAMESPACE, Lab
from lab.wait import until

pytestmark = [pytest.mark.lab, pytest.mark.more]

HELM = ("--namespace", NAMESPACE)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("upgrade", id="upgrade"),
        "rollback",
    ],
)
def test_no_failover_is_lost(bare: Lab, how: str) -> None:
    lab = bare
    with none_installed(lab):
        lab.helm("install", *lab.chart_words())
        lab.declare()
        lab.wait_armed()
        changed = lab.chart_words({"agent.logLevel": "DEBUG", "controller.logLevel": "DEBUG"})
        if how == "rollback":
            lab.helm("upgrade", *changed)
            lab.kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/ringfence-agent", "--timeout=180s")
            lab.wait_armed()
        victim = lab.quiet_node()
        instance = guarded_vm(lab, "db", victim)
        agents, controllers = pods_of(lab, "agent"), pods_of(lab, "controller")
        since = time.time()
        if how == "rollback":
            lab.helm("rollback", "ringfence", "1", *HELM)
        else:
            lab.helm("upgrade", *changed)
        until(
            "the roll-out to have begun",
            lambda: (pods_of(lab, "agent") != agents and pods_of(lab, "controller") != controllers) or None,
            60,
        )
        lab.node(victim).cut()
        came_back(lab, "db", victim, instance, 240)
        failover = lab.wait_phase(victim, "Recovered", "Closed", seconds=120)
        print(f"{how}: {failover['status']['timings']} (seconds since the doubt)", flush=True)
        assert len(orders(lab, victim, since)) == 1
        lab.wait_phase(victim, "Closed", seconds=180)
        lab.kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/ringfence-agent", "--timeout=180s")
        lab.wait_armed()
        assert not set(agents) & set(pods_of(lab, "agent")), "an agent of the former release still runs"
