"""B19: somebody force-deleted the launcher of a node that still lives; the new start fails on the image lock.

When the node is fenced later, the stuck instance is deleted once the proof stands, and the VM runs within a minute:
KubeVirt alone would try again after five.
"""

from __future__ import annotations

import pytest

from e2e.stories import came_back, guarded_vm
from lab.cluster import Lab
from lab.wait import until

pytestmark = [pytest.mark.lab, pytest.mark.image_lock_refuses]


@pytest.mark.parametrize("run_strategy", ["Always", pytest.param("RerunOnFailure", marks=pytest.mark.more)])
def test_the_stuck_instance_is_cleared(lab: Lab, run_strategy: str) -> None:
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim, run_strategy=run_strategy)
    uid = lab.get("vmi", "db", "default")["metadata"]["uid"]
    lab.kubectl("cordon", victim)
    lab.node(victim).cut_api()
    (launcher,) = lab.launchers("db")
    lab.kubectl("delete", "pod", launcher["metadata"]["name"], "--force", "--grace-period=0")

    def refused() -> bool:
        vmi = lab.get("vmi", "db", "default")
        conditions = (vmi or {}).get("status", {}).get("conditions", [])
        return (
            bool(vmi)
            and vmi["metadata"]["uid"] != uid
            and any("lock" in c.get("message", "") for c in conditions)
        )

    until("the new instance to fail on the image lock", refused, 90, every=0.5)
    lab.node(victim).cut()
    came_back(lab, "db", victim, instance)
    lab.node(victim).heal_api()
    lab.wait_phase(victim, "Closed", seconds=120)
    lab.kubectl("uncordon", victim)
