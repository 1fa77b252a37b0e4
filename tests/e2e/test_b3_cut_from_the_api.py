"""B3: a node is cut from the API server only. ControlPathLost; no fence, and no restart when it heals."""

from __future__ import annotations

import pytest

from e2e.stories import guarded_vm, wait_verdict, watch_quietly
from lab.cluster import Lab

pytestmark = pytest.mark.lab


def test_the_vm_runs_on(lab: Lab) -> None:
    instance = guarded_vm(lab, "db", "n2")
    lab.node("n2").cut_api()
    wait_verdict(lab, "n2", "ControlPathLost", 90)
    watch_quietly(lab, 60, "db", "n2", instance)
    lab.node("n2").heal_api()
    wait_verdict(lab, "n2", "Healthy", 120)
    watch_quietly(lab, 20, "db", "n2", instance)
