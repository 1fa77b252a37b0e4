"""B2 and B3, for the same eight minutes: one node's kubelet is dead, another is cut from the API server only.

The ring hears both: ControlPathLost, no fence, and the VMs run on, also when it heals.
"""

from __future__ import annotations

import pytest

from e2e.stories import guarded_vm, wait_verdict, watch_quietly
from lab.cluster import Lab

pytestmark = pytest.mark.lab
EIGHT_MINUTES = 480


@pytest.mark.more
def test_the_vms_outlive_kubelet_and_api_path(lab: Lab) -> None:
    db, web = guarded_vm(lab, "db", "n1"), guarded_vm(lab, "web", "n2")
    lab.node("n1").kill_kubelet()
    lab.node("n2").cut_api()
    for node in ("n1", "n2"):
        wait_verdict(lab, node, "ControlPathLost", 90)
    watch_quietly(lab, EIGHT_MINUTES, "db", "n1", db)
    watch_quietly(lab, 5, "web", "n2", web)
    lab.node("n1").start_kubelet()
    lab.node("n2").heal_api()
    for node in ("n1", "n2"):
        wait_verdict(lab, node, "Healthy", 120)
    watch_quietly(lab, 30, "db", "n1", db)
    watch_quietly(lab, 5, "web", "n2", web)
