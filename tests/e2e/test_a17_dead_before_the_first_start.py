"""A17: the node is dead already when the controller starts for the first time. It is handled like any other."""

from __future__ import annotations

import pytest

from e2e.stories import came_back, guarded_vm
from lab.cluster import NAMESPACE, Lab
from lab.wait import until

pytestmark = pytest.mark.lab


def test_a_node_that_died_unseen_is_fenced(lab: Lab) -> None:
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim)
    scale = ("-n", NAMESPACE, "scale", "deployment", "ringfence-controller")
    lab.kubectl(*scale, "--replicas=0")
    try:
        select = ("-n", NAMESPACE, "get", "pod", "-l", "app.kubernetes.io/component=controller", "-o", "name")
        until("the controllers to be gone", lambda: not lab.kubectl(*select).strip(), 60, every=0.5)
        lab.node(victim).power_off()
    finally:
        lab.kubectl(*scale, "--replicas=2")
    came_back(lab, "db", victim, instance)
    lab.wait_phase(victim, "Closed", seconds=120)
