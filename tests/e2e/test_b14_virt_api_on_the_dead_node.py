"""B14: virt-api's only pod was on the dead node. Its pod is cleared first, and the VM comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from e2e.stories import came_back, guarded_vm
from lab.audit import writes
from lab.cluster import Lab
from lab.invariants import CONTROLLER
from lab.wait import until

pytestmark = [pytest.mark.lab, pytest.mark.more]


def _virt_apis(lab: Lab) -> list[tuple[str, str]]:
    """Pods of virt-api that are not on their way out: name and node."""
    return [
        (pod["metadata"]["name"], pod["spec"].get("nodeName", ""))
        for pod in lab.get("pods")
        if pod["metadata"].get("labels", {}).get("kubevirt.io") == "virt-api"
        and "deletionTimestamp" not in pod["metadata"]
    ]


@pytest.fixture
def only_api(lab: Lab) -> Iterator[tuple[str, str]]:
    """KubeVirt with one virt-api; its pod and node."""
    before = lab.get("deployment", "virt-api", "kubevirt")["spec"]["replicas"]
    scale = ("-n", "kubevirt", "scale", "deployment", "virt-api")
    lab.kubectl(*scale, "--replicas=1")
    try:
        until("one virt-api to be left", lambda: len(_virt_apis(lab)) == 1, 60, every=0.5)
        lab.wait_well()
        yield _virt_apis(lab)[0]
    finally:
        lab.kubectl(*scale, f"--replicas={before}")


def test_its_pod_goes_before_any_launcher(lab: Lab, only_api: tuple[str, str]) -> None:
    pod, victim = only_api
    instance = guarded_vm(lab, "db", victim)
    (launcher,) = (p["metadata"]["name"] for p in lab.launchers("db"))
    since = time.time()
    lab.node(victim).cut()
    came_back(lab, "db", victim, instance)
    lab.wait_phase(victim, "Closed", seconds=120)
    ours = [w for w in writes(lab.layout.logs / "audit.log", since) if w.user == CONTROLLER]
    deleted = [w.name for w in ours if (w.resource, w.verb) == ("pods", "delete") and w.succeeded]
    assert deleted.index(pod) < deleted.index(launcher)
