"""The doctor on a real cluster: nothing is broken while all is well, what is broken has its name; the chart's two questions are pods that end."""

from __future__ import annotations

import base64
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from apiserver.chart import documents
from e2e.stories import ringfence
from lab.cluster import NAMESPACE, Lab
from lab.wait import until

pytestmark = pytest.mark.lab


def findings(lab: Lab, *more: str) -> list[dict[str, str]]:
    told: list[dict[str, str]] = json.loads(ringfence(lab, "doctor", "-o", "json", *more).stdout)
    return told


def broken(lab: Lab) -> list[str]:
    return [f"{one['about']}: {one['sentence']}" for one in findings(lab) if one["level"] == "broken"]


def ended(lab: Lab, template: str) -> str:
    """Run one of the chart's hooks as helm does; how its pod ended."""
    port = lab.layout.api.rpartition(":")[2]
    settings = (
        "image.tag=lab",
        "image.pullPolicy=Never",
        f"apiServer.host={lab.layout.host}",
        f"apiServer.port={port}",
    )
    (hook,) = documents(*settings, more=("--show-only", f"templates/{template}.yaml"))
    spec: dict[str, Any] = hook["spec"] if hook["kind"] == "Pod" else hook["spec"]["template"]["spec"]
    name = f"hook-{template}"
    metadata = {"name": name, "namespace": NAMESPACE}
    lab.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def phase() -> str | None:
        now = str((lab.get("pod", name, NAMESPACE) or {}).get("status", {}).get("phase", ""))
        return now if now in {"Succeeded", "Failed"} else None

    try:
        return until(f"the pod of {template} to end", phase, 90, every=0.5)
    finally:
        lab.kubectl("-n", NAMESPACE, "delete", "pod", name, "--wait=true")


def test_what_is_well_and_what_is_not(lab: Lab, tmp_path: Path) -> None:
    lab.create_vm("db", node="n1")
    lab.protect("db")
    lab.wait_vm_running("db")
    lab.wait_condition("protectedvm", "db", "Protected", "True", namespace="default")
    until("the doctor to find nothing broken", lambda: not broken(lab) or None, 60, every=1.0)
    assert not [one for one in findings(lab) if one["level"] == "unknown"]
    assert ended(lab, "test") == "Succeeded"
    assert ended(lab, "uninstall") == "Succeeded"

    lab.apply(lab.fence_device("n2", secret="missing"))
    until(
        "the doctor to name the device",
        lambda: any(word.startswith("bmc-n2 for n2") for word in broken(lab)) or None,
        150,
        every=1.0,
    )
    assert ringfence(lab, "doctor").returncode == 7
    lab.apply(lab.fence_device("n2"))

    target = tmp_path / "bundle.tar.gz"
    assert ringfence(lab, "support-bundle", "--file", str(target)).returncode == 0
    password = lab.get("secret", "bmc-credentials", NAMESPACE)["data"]["password"]
    with tarfile.open(target) as archive:
        names = [member.name.partition("/")[2] for member in archive.getmembers()]
        texts = [
            file.read().decode() for member in archive.getmembers() if (file := archive.extractfile(member))
        ]
    assert any(name.startswith("logs/ringfence-agent") for name in names)
    assert not [text for text in texts if base64.b64decode(password).decode() in text]
