"""B10: the user stops the VM while its node is down. It stays stopped, and its node is not fenced on its account."""

from __future__ import annotations

import json
import time

import pytest

from e2e.stories import guarded_vm, orders
from lab.cluster import Lab
from lab.wait import until

pytestmark = pytest.mark.lab


def test_it_stays_stopped(lab: Lab) -> None:
    # Without a virt-api: over a dead connection to one the stop itself would take its webhook ten seconds.
    victim = lab.quiet_node()
    guarded_vm(lab, "db", victim)
    uid = lab.get("vmi", "db", "default")["metadata"]["uid"]
    since = time.time()
    lab.node(victim).cut()
    patch = json.dumps({"spec": {"runStrategy": "Halted"}})
    lab.kubectl("-n", "default", "patch", "vm", "db", "--type=merge", "-p", patch)
    until("half a minute to pass", lambda: time.time() - since > 30, 60, every=1.0)
    vmi = lab.get("vmi", "db", "default")
    assert vmi is None or vmi["metadata"]["uid"] == uid, "HA brought back a VM that its user had stopped"
    assert orders(lab, victim, since) == [], "a node was fenced on account of a VM that its user had stopped"
