"""What the audit trail says, and that the policy makes it say that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from lab.audit import POLICY, epoch, writes
from lab.invariants import CONTROLLER


def event(second: int, **more: Any) -> str:
    row = {
        "requestReceivedTimestamp": f"1970-01-01T00:00:{second:02}.250000Z",
        "requestURI": "/api/v1/namespaces/default/pods/p",
        "user": {
            "username": "system:serviceaccount:ringfence-system:ringfence-controller",
            "extra": {"authentication.kubernetes.io/pod-name": ["c-1"]},
        },
        "verb": "delete",
        "objectRef": {"resource": "pods", "namespace": "default", "name": "p"},
        "responseStatus": {"code": 200},
        "requestObject": {"gracePeriodSeconds": 0},
        **more,
    }
    return json.dumps(row) + "\n"


def log(folder: Path, *lines: str) -> Path:
    (folder / "audit.log").write_text("".join(lines))
    return folder / "audit.log"


def test_a_write_says_who_did_what_to_whom(tmp_path: Path) -> None:
    (write,) = writes(log(tmp_path, event(7)))
    assert (write.at, write.pod, write.verb, write.resource) == (7.25, "c-1", "delete", "pods")
    assert (write.namespace, write.name, write.code) == ("default", "p", 200)
    assert write.user.endswith(":ringfence-controller")
    assert write.body == {"gracePeriodSeconds": 0}
    assert write.succeeded
    assert not write.dry


def test_refused_and_dry_ones_are_told_apart(tmp_path: Path) -> None:
    trail = log(
        tmp_path,
        event(1, responseStatus={"code": 409}),
        event(2, requestURI="/api/v1/nodes/n1?dryRun=All"),
        event(3, requestObject={"dryRun": ["All"]}),
    )
    refused, by_address, by_body = writes(trail)
    assert not refused.succeeded
    assert by_address.dry
    assert by_body.dry


def test_a_json_patch_is_kept(tmp_path: Path) -> None:
    patch = [{"op": "add", "path": "/spec/taints/-", "value": {"key": "k"}}]
    (write,) = writes(log(tmp_path, event(1, verb="patch", requestObject=patch)))
    assert write.body == {"patch": patch}


def test_no_user_name_no_body_no_target_and_half_a_line(tmp_path: Path) -> None:
    trail = log(
        tmp_path,
        event(1, user={}, requestObject=None),
        event(2, objectRef=None),
        event(3)[:-40],
    )
    (write,) = writes(trail)
    assert (write.user, write.pod, write.body) == ("", "", {})


def test_rotated_files_come_first_and_old_writes_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "audit-2026.log").write_text(event(1) + event(2))
    assert [write.at for write in writes(log(tmp_path, event(3)), since=2)] == [2.25, 3.25]
    assert list(writes(tmp_path / "none" / "audit.log")) == []


def test_times_are_utc() -> None:
    assert epoch("1970-01-01T00:01:00.500000Z") == 60.5


def level(verb: str, group: str, resource: str, namespace: str = "default", user: str = "kim") -> str:
    """The level that the policy gives a request: the first rule that fits, as the API server does it."""
    for rule in yaml.safe_load(POLICY)["rules"]:
        fits = (
            verb in rule.get("verbs", [verb])
            and namespace in rule.get("namespaces", [namespace])
            and user in rule.get("users", [user])
        )
        kinds = rule.get("resources", [{"group": group}])
        if fits and any(k["group"] == group and resource in k.get("resources", [resource]) for k in kinds):
            return str(rule["level"])
    return "None"


def test_the_policy_keeps_what_the_invariants_read() -> None:
    assert level("create", "", "pods/binding") == "Request"
    assert level("delete", "", "pods") == "Request"
    assert level("patch", "", "nodes", "") == "Request"
    assert level("delete", "kubevirt.io", "virtualmachineinstances") == "Request"
    assert level("patch", "ringfence.io", "failovers/status", "") == "Request"
    # With the body, for whom the Lease names: a holder that gives it back writes it too.
    assert level("update", "coordination.k8s.io", "leases", "ringfence-system") == "Request"
    assert level("update", "coordination.k8s.io", "leases", "kubevirt", CONTROLLER) == "Request"


def test_the_policy_keeps_no_chatter() -> None:
    assert level("get", "", "pods") == "None"
    assert level("watch", "ringfence.io", "failovers", "") == "None"
    assert level("update", "coordination.k8s.io", "leases", "kube-node-lease") == "None"
    assert level("update", "coordination.k8s.io", "leases", "kubevirt") == "None"
    assert level("create", "", "events") == "None"
    assert level("patch", "", "nodes/status", "") == "None"
    assert yaml.safe_load(POLICY)["omitStages"] == ["RequestReceived"]
