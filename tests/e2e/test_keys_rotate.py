"""The group key is changed: nobody is disturbed by it, a node that is cut meanwhile is found and recovered as ever.

Each of the three steps waits for the kubelets, which bring a changed Secret within a minute and a half.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from e2e.stories import (
    came_back,
    guarded_vm,
    launcher_uids,
    orders,
    ringfence,
    verdict,
    wait_verdict,
    watch_quietly,
)
from lab.cluster import NAMESPACE, Lab
from lab.wait import until

pytestmark = pytest.mark.lab

STEP = 150
"""Seconds for one step: 90 for the slowest kubelet, the rest for reports and a busy machine."""


def told(lab: Lab) -> dict[str, Any]:
    """What the HACluster says of the keys."""
    found: dict[str, Any] = (lab.get("hacluster", "default") or {}).get("status", {}).get("keys", {})
    return found


def rotate(lab: Lab) -> int:
    """Ask for a rotation; the generation that there will be."""
    before = until("the leader to tell of the keys", lambda: told(lab) or None, 60)
    assert before["step"] == "Settled", before
    said = ringfence(lab, "keys", "rotate", "--no-wait")
    assert said.returncode == 0, said.stderr
    return int(before["generation"]) + 1


def wait_step(lab: Lab, generation: int, *steps: str, seconds: float = STEP) -> None:
    def there() -> bool:
        keys = told(lab)
        return keys.get("generation") == generation and keys.get("step") in steps

    until(f"generation {generation} to be {' or '.join(steps)}", there, seconds, every=0.5)


def secret_keys(lab: Lab) -> dict[str, Any]:
    secret = lab.get("secret", "ringfence-group-keys", NAMESPACE)
    kept: dict[str, Any] = json.loads(base64.b64decode(secret["data"]["group-keys.json"]))
    return kept


def reported(lab: Lab) -> dict[str, Any]:
    return {r["metadata"]["name"]: r["status"].get("keys") for r in lab.get("nodereports")}


def check_settled(lab: Lab, generation: int) -> None:
    """One key, which all hold and use; and none of all keys stands in anybody's log."""
    kept = secret_keys(lab)
    (key,) = kept["keys"]
    assert (kept["generation"], kept["used"]) == (generation, key["id"])
    alone = {"held": [key["id"]], "used": key["id"]}
    until(
        "all agents to report the new key alone",
        lambda: reported(lab).keys() == lab.nodes.keys() and all(r == alone for r in reported(lab).values()),
        STEP,
    )
    lab.wait_condition("hacluster", "default", "KeysSettled", "True", reason="Settled", seconds=30)
    for pod in lab.get("pods", namespace=NAMESPACE):
        log = lab.kubectl("-n", NAMESPACE, "logs", pod["metadata"]["name"], "--tail=-1", check=False)
        assert key["key"] not in log, pod["metadata"]["name"]


@pytest.mark.more
def test_a_rotation_disturbs_nobody(lab: Lab) -> None:
    instance = guarded_vm(lab, "db", "n1")
    generation = rotate(lab)
    for _ in range(3 * STEP // 15):
        watch_quietly(lab, 15, "db", "n1", instance)
        assert {verdict(lab, name) for name in lab.nodes} == {"Healthy"}
        if told(lab)["step"] == "Settled" and told(lab)["generation"] == generation:
            break
    check_settled(lab, generation)
    shown = ringfence(lab, "keys", "status")
    assert shown.returncode == 0
    assert "Settled" in shown.stdout


@pytest.mark.parametrize("step", ["Installing", pytest.param("Using", marks=pytest.mark.more)])
def test_a_node_that_is_cut_in_a_rotation_is_found_and_recovered(lab: Lab, step: str) -> None:
    instance = guarded_vm(lab, "db", "n1")
    generation = rotate(lab)
    wait_step(lab, generation, step, seconds=2 * STEP)
    lab.node("n1").cut()
    came_back(lab, "db", "n1", instance)
    failover = lab.wait_phase("n1", "Closed", seconds=120)
    assert set(failover["status"]["verdict"]["voters"]) == {"n2", "n3"}
    (proof,) = failover["status"]["proofs"]
    assert (proof["kind"], proof["variant"]) == ("PoweredOff", "ordered")
    wait_step(lab, generation, "Settled", seconds=3 * STEP)
    check_settled(lab, generation)
    wait_verdict(lab, "n1", "Healthy", 60)


@pytest.mark.more
def test_a_rotation_goes_on_without_a_dead_node_which_gets_the_new_key_when_it_is_back(bare: Lab) -> None:
    lab = bare
    lab.declare(devices=False)
    lab.create_vm("db", node="n1")
    lab.protect("db")
    assert lab.wait_vm_running("db") == "n1"
    wait_verdict(lab, "n1", "Healthy")
    lab.wait_tick("db")
    before = launcher_uids(lab, "db")
    since = time.time()
    lab.node("n1").cut()
    lab.wait_phase("n1", "AwaitingConfirmation", seconds=60)
    generation = rotate(lab)
    wait_step(lab, generation, "Settled", seconds=3 * STEP)
    held = reported(lab)
    assert held["n1"] != held["n2"] == held["n3"]
    lab.node("n1").heal()
    check_settled(lab, generation)
    wait_verdict(lab, "n1", "Healthy", STEP)
    assert launcher_uids(lab, "db") == before
    assert not orders(lab, "n1", since)
    assert lab.wait_phase("n1", "Withdrawn", seconds=60)
