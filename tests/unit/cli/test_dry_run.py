"""`ringfence dry-run`: the controller's answer, in its places."""

from __future__ import annotations

import json

from .cluster import FakeReader, Object
from .conftest import Run

NODE: Object = {
    "node": "n1",
    "bootID": "boot-n1",
    "verdict": "Healthy",
    "sentence": "n1 is alive",
    "openFailover": "",
    "supposed": {"verdict": "Down", "sentence": "n1 is down: supposed: 2 of 2 peers: n2, n3"},
    "outcome": "n1 would be fenced, and 1 VM restarted elsewhere",
    "phase": "Fencing",
    "phaseSentence": "fencing, level 1: bmc-n1 is ordered off",
    "refusals": [],
    "fence": {
        "first": "fencing, level 1: bmc-n1 is ordered off",
        "proofsRequired": 2,
        "orderDelaySeconds": 3.0,
        "levels": [
            {
                "level": 1,
                "hedgeAfterSeconds": 5.0,
                "devices": [{"name": "bmc-n1", "unusable": "", "error": "", "how": "power"}],
            },
            {
                "level": 2,
                "hedgeAfterSeconds": None,
                "devices": [
                    {
                        "name": "ceph",
                        "unusable": "it is not allowed",
                        "error": "no answer",
                        "how": "storage",
                    }
                ],
            },
        ],
    },
    "deletions": [
        {"role": "VIRT_API", "pods": ["kubevirt/virt-api-1"]},
        {"role": "LAUNCHER", "pods": ["shop/virt-launcher-db", "shop/virt-launcher-web"]},
    ],
    "vms": [
        {
            "namespace": "shop",
            "name": "db",
            "runStrategy": "Always",
            "then": "the old launcher is gone",
            "protected": "False",
            "reason": "VolumeNotShared",
            "message": "claim db [local] can't be attached",
        }
    ],
    "left": [{"namespace": "shop", "name": "loose", "reason": "no ProtectedVM names it"}],
    "targets": ["n2", "n3"],
}

ANSWER: Object = {
    "supposedDown": ["n1"],
    "controller": "controller-a",
    "mode": "Active",
    "holdSeconds": 2.0,
    "nodes": [NODE],
}


def answering(**changes: object) -> FakeReader:
    return FakeReader(suppositions={"ringfence-system": {**ANSWER, "nodes": [{**NODE, **changes}]}})


def test_everything_has_its_place(run: Run) -> None:
    reader = answering()
    shown = run(reader, "dry-run", "--kill", "n1")
    assert shown.exit_code == 0
    assert reader.supposed == [("n1",)]
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    for told in (
        "now Healthy n1 is alive",
        "would be Down n1 is down: supposed: 2 of 2 peers: n2, n3",
        "held for 2.0 s",
        "then Fencing: fencing, level 1: bmc-n1 is ordered off",
        "level 1 bmc-n1 (power) usable; the next level beside it after 5.0 s",
        "level 2 ceph (storage) NOT usable: it is not allowed, last failure: no answer",
        "proofs 2 are demanded",
        "delay 3.0 s",
        "1. virt-api kubevirt/virt-api-1",
        "2. launcher shop/virt-launcher-db, shop/virt-launcher-web",
        "shop/db Always; Protected=False VolumeNotShared: claim db [local] can't be attached; the old launcher is gone; on one of: n2, n3",
        "shop/loose no ProtectedVM names it",
    ):
        assert told in lines
    assert lines[-1] == "n1 would be fenced, and 1 VM restarted elsewhere"
    assert "refused now" not in shown.stdout


def test_a_refusal_is_named_and_ends_with_7(run: Run) -> None:
    refusal = {"limit": "storm", "sentence": "too many nodes", "whenFoundOff": False}
    reader = answering(phase="Held", refusals=[refusal], outcome="n1 would not be fenced: too many nodes")
    shown = run(reader, "dry-run", "--kill", "n1", "--kill", "n2")
    assert shown.exit_code == 7
    assert reader.supposed == [("n1", "n2")]
    assert "too many nodes (not where it is found off without an order)" in shown.stdout
    assert shown.stdout.splitlines()[-1] == "n1 would not be fenced: too many nodes"


def test_a_node_without_devices_says_so(run: Run) -> None:
    shown = run(
        answering(phase="AwaitingConfirmation", fence={"first": "?", "levels": [], "proofsRequired": 1}),
        *("dry-run", "--kill", "n1"),
    )
    assert shown.exit_code == 7
    assert "none: after its death a person must confirm" in shown.stdout


def test_json_is_what_the_controller_said(run: Run) -> None:
    assert json.loads(run(answering(), "dry-run", "--kill", "n1", "-o", "json").stdout) == ANSWER


def test_what_it_can_not_say_is_exit_code_4(run: Run) -> None:
    reader = FakeReader(
        suppositions={"ringfence-system": {"trouble": "no node n9: Kubernetes doesn't know it"}}
    )
    shown = run(reader, "dry-run", "--kill", "n9")
    assert (shown.exit_code, shown.stderr) == (4, "ringfence: no node n9: Kubernetes doesn't know it\n")
    assert run(FakeReader(), "dry-run", "--kill", "n1").exit_code == 4


def test_nobody_to_kill_is_a_usage_error(run: Run) -> None:
    assert run(answering(), "dry-run").exit_code == 2
