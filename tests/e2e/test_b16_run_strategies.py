"""B16: each VM comes back by its own rule: Manual and Once run again, Halted is left alone. (Always, RerunOnFailure: A1, B19)"""

from __future__ import annotations

import pytest

from lab.cluster import Lab

pytestmark = [pytest.mark.lab, pytest.mark.more]
START = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines/{}/start"


def test_each_by_its_rule(lab: Lab) -> None:
    victim = lab.quiet_node()
    lab.create_vm("asked", run_strategy="Manual", node=victim)
    lab.create_vm("single", run_strategy="Once", node=victim)
    lab.create_vm("resting", run_strategy="Halted", node=victim)
    for name in ("asked", "single", "resting"):
        lab.protect(name)
    lab.kubectl("replace", "--raw", START.format("asked"), "-f", "-", stdin="{}")
    instances = {}
    for name in ("asked", "single"):
        assert lab.wait_vm_running(name, 120) == victim, "the lab placed the VM elsewhere"
        lab.wait_condition("protectedvm", name, "Protected", "True", namespace="default")
        instances[name] = lab.wait_tick(name, 120).instance

    lab.node(victim).cut()
    for name, instance in instances.items():
        lab.wait_vm_running(name, 180, elsewhere_than=victim)
        lab.wait_tick(name, 120, other_than=instance)
    lab.wait_phase(victim, "Closed", seconds=120)
    assert lab.get("vmi", "resting", "default") is None, "a halted VM was started"
    assert lab.ticks("resting") == []
    for name, strategy in (("asked", "Manual"), ("single", "Once"), ("resting", "Halted")):
        assert lab.get("vm", name, "default")["spec"]["runStrategy"] == strategy
