"""B2: the kubelet is dead for eight minutes on a node that the ring hears. No fence; the VM runs on, also afterwards."""

from __future__ import annotations

import pytest

from e2e.stories import guarded_vm, wait_verdict, watch_quietly
from lab.cluster import Lab

pytestmark = pytest.mark.lab
EIGHT_MINUTES = 480


def test_the_vm_outlives_its_kubelet(lab: Lab) -> None:
    instance = guarded_vm(lab, "db", "n1")
    lab.node("n1").kill_kubelet()
    wait_verdict(lab, "n1", "ControlPathLost", 90)
    watch_quietly(lab, EIGHT_MINUTES, "db", "n1", instance)
    lab.node("n1").start_kubelet()
    wait_verdict(lab, "n1", "Healthy", 90)
    watch_quietly(lab, 30, "db", "n1", instance)
