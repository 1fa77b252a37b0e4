"""`helm uninstall --no-hooks` with every watchdog armed: agents sign off while their release is taken away, and no node is reset."""

from __future__ import annotations

import time

import pytest
import yaml

from e2e.stories import guarded_vm
from e2e.test_b4_watchdog import ISOLATION, TIMEOUT, WATCHDOGS, bites, dogs, pass_time
from lab.cluster import Lab
from lab.wait import until

pytestmark = [pytest.mark.lab, pytest.mark.more]
__all__ = ["dogs"]


def test_no_node_is_reset(dogs: Lab) -> None:
    lab = dogs
    instance = guarded_vm(lab, "db", "n1")
    boots = {name: node.boot_id for name, node in lab.nodes.items()}
    since = time.time()
    # What helm deletes, all at once as helm does; it leaves what is marked so.
    release = [
        document
        for document in yaml.safe_load_all(lab.rendered(WATCHDOGS))
        if document and document["metadata"].get("annotations", {}).get("helm.sh/resource-policy") != "keep"
    ]
    lab.kubectl("delete", "--wait=false", "-f", "-", stdin=yaml.dump_all(release))

    def signed_off() -> bool:
        reports = lab.get("nodereports")
        return len(reports) == len(lab.nodes) and not any(
            report["status"]["watchdog"]["armed"] for report in reports
        )

    until("every agent to have signed off", lambda: signed_off() or None, 60, every=0.5)
    pass_time(ISOLATION + TIMEOUT + 5)
    assert {name: bites(lab, name, since) for name in lab.nodes} == {name: [] for name in lab.nodes}
    assert {name: node.boot_id for name, node in lab.nodes.items()} == boots
    assert lab.ticks("db")[-1].instance == instance
