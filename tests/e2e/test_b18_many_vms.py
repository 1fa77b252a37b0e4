"""B18: as many VMs on one node as the lab's machine carries. All come back, the important ones are let go first, and each
launcher is deleted once. (A hundred: on stand-in nodes, ``test_b18_a_hundred_vms``, and in virtual time, the scenario of that name.)
"""

from __future__ import annotations

import time

import pytest

from e2e.stories import came_back, guarded_vm
from lab.audit import writes
from lab.cluster import Lab
from lab.invariants import CONTROLLER

pytestmark = [pytest.mark.lab, pytest.mark.more]
VMS = 6
IMPORTANT = 2


def test_all_come_back_in_their_order(lab: Lab) -> None:
    victim = lab.quiet_node()
    names = [f"vm{number}" for number in range(VMS)]
    important = names[-IMPORTANT:]  # not the first by name
    instances = {name: guarded_vm(lab, name, victim) for name in names}
    for name in important:
        patch = '{"spec": {"priority": 900}}'
        lab.kubectl("-n", "default", "patch", "protectedvm", name, "--type=merge", "-p", patch)
    launchers = {name: lab.launchers(name)[0]["metadata"]["name"] for name in names}
    since = time.time()
    lab.node(victim).cut()
    for name, instance in instances.items():
        came_back(lab, name, victim, instance, seconds=300)
    failover = lab.wait_phase(victim, "Closed", seconds=180)
    assert {vm["state"] for vm in failover["status"]["vms"]} == {"Running"}
    ours = [w for w in writes(lab.layout.logs / "audit.log", since) if w.user == CONTROLLER]
    deleted = [w.name for w in ours if (w.resource, w.verb) == ("pods", "delete") and w.succeeded]
    order = [name for pod in deleted for name in names if launchers[name] == pod]
    assert sorted(order) == names, "each launcher is deleted once"
    assert set(order[:IMPORTANT]) == set(important), f"let go in the order {order}"
    assert len(ours) < 60 * VMS, "the API server was flooded"
