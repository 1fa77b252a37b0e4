"""One story from all logs, in the right order and without the chatter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.timeline import of_logs, told


def event(at: str, verb: str, resource: str, name: str, body: object = None, **more: Any) -> dict[str, Any]:
    return {
        "requestReceivedTimestamp": at,
        "user": {"username": "system:serviceaccount:ringfence-system:ringfence-controller"},
        "verb": verb,
        "objectRef": {"resource": resource, "name": name, "namespace": "default"},
        "responseStatus": {"code": 200},
        "requestObject": body,
        **more,
    }


def test_an_attachment_tells_its_volume_and_node(tmp_path: Path) -> None:
    spec = {"nodeName": "n2", "source": {"persistentVolumeName": "pv-db"}}
    line = event("1970-01-01T00:00:12.000000Z", "create", "volumeattachments", "csi-1", {"spec": spec})
    line["objectRef"]["namespace"] = ""
    (tmp_path / "audit.log").write_text(json.dumps(line) + "\n")
    (only,) = of_logs(tmp_path)
    assert only.what == "attaches pv-db to n2 (volumeattachments/csi-1)"


def test_the_story(tmp_path: Path) -> None:
    trail = [
        event("1970-01-01T00:00:12.000000Z", "delete", "pods", "p", {"gracePeriodSeconds": 0}),
        event(
            "1970-01-01T00:00:13.000000Z",
            "update",
            "virtualmachineinstances",
            "v",
            {"status": {"phase": "Failed"}},
        ),
        event(
            "1970-01-01T00:00:14.000000Z",
            "update",
            "virtualmachineinstances",
            "v",
            {"status": {"phase": "Failed"}},
        ),
        event(
            "1970-01-01T00:00:15.000000Z",
            "patch",
            "failovers",
            "f",
            [{"op": "test", "path": "/status/phase"}],
        ),
        event("1970-01-01T00:00:16.000000Z", "delete", "pods", "q", responseStatus={"code": 409}),
    ]
    (tmp_path / "audit.log").write_text("".join(json.dumps(row) + "\n" for row in trail))
    (tmp_path / "power.jsonl").write_text(json.dumps({"t": 11.0, "node": "n1", "what": "off"}) + "\n")
    reads = [{"t": 9.0, "node": "n1", "what": "read", "state": "On", "mode": "ok"}]
    reads.append({"t": 11.5, "node": "n1", "what": "read", "state": "Off", "mode": "ok"})
    (tmp_path / "bmc-n1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reads))
    assert list(told(of_logs(tmp_path, since=10.0), zero=10.0)) == [
        "   +1.000  power n1                     off",
        "   +1.500  bmc n1                       read state=Off mode=ok",
        "   +2.000  ringfence-controller         deletes pods/default/p (grace 0)",
        "   +3.000  ringfence-controller         virtualmachineinstances/default/v is Failed",
    ]


def test_an_empty_run_has_no_story(tmp_path: Path) -> None:
    assert of_logs(tmp_path) == []
