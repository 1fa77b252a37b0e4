"""`helm upgrade`, and `helm rollback`, while a node dies in the middle: its VM comes back, after one order."""

from __future__ import annotations

import time

import pytest

from e2e.helm import none_installed, pods_of
from e2e.stories import came_back, guarded_vm, orders
from lab import earlier
from lab.build import cache_root
from lab.cluster import NAMESPACE, Lab
from lab.wait import until

pytestmark = [pytest.mark.lab, pytest.mark.more]

HELM = ("--namespace", NAMESPACE)
MADE_BY_CONTROLLERS = (
    "secret/ringfence-gossip",
    "secret/ringfence-group-keys",
    "configmap/ringfence-roster",
    "lease/ringfence-controller",
)


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


def images_of(lab: Lab) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in lab.get("pods", namespace=NAMESPACE) or []}


def test_no_failover_is_lost_from_one_release_to_the_next(bare: Lab) -> None:
    """Chart, CRDs and image of an earlier commit (`lab/earlier.py`), upgraded as the page says; a node dies half-way, its VM comes back.

    Needs a clone that reaches back to that commit.
    """
    lab = bare
    before = earlier.tree(cache_root())
    for node in lab.nodes.values():
        node.import_image(earlier.archive(cache_root()))
    with none_installed(lab):
        lab.kubectl("-n", NAMESPACE, "delete", "--ignore-not-found", *MADE_BY_CONTROLLERS)
        lab.apply_kinds(before)
        lab.helm("install", *lab.chart_words({"image.tag": "earlier"}, before))
        lab.declare()
        lab.wait_armed()
        assert images_of(lab) == {earlier.IMAGE}
        victim = lab.quiet_node()
        instance = guarded_vm(lab, "db", victim)
        agents, controllers = pods_of(lab, "agent"), pods_of(lab, "controller")
        since = time.time()
        lab.apply_kinds()
        lab.helm("upgrade", *lab.chart_words())
        until(
            "the roll-out to have begun",
            lambda: (pods_of(lab, "agent") != agents and pods_of(lab, "controller") != controllers) or None,
            60,
        )
        lab.node(victim).cut()
        came_back(lab, "db", victim, instance, 240)
        failover = lab.wait_phase(victim, "Recovered", "Closed", seconds=120)
        print(
            f"from {earlier.COMMIT[:9]}: {failover['status']['timings']} (seconds since the doubt)",
            flush=True,
        )
        assert len(orders(lab, victim, since)) == 1
        lab.wait_phase(victim, "Closed", seconds=180)
        lab.kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/ringfence-agent", "--timeout=180s")
        lab.wait_armed()
        assert not set(agents) & set(pods_of(lab, "agent")), "an agent of the former release still runs"
        assert earlier.IMAGE not in images_of(lab)
