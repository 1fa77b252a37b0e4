"""A mistake in one of our objects is refused at once, with field and mend; and stored where no controller answers."""

from __future__ import annotations

import json
import subprocess

import pytest

from lab.cluster import NAMESPACE, Lab
from lab.wait import until

pytestmark = pytest.mark.lab

TWICE = {
    "apiVersion": "ringfence.io/v1alpha1",
    "kind": "HAZone",
    "metadata": {"name": "other"},
    "spec": {"nodes": {"names": ["n1"]}},
}


def applied(lab: Lab) -> subprocess.CompletedProcess[str]:
    command = [*lab.kubectl._command, "apply", "-f", "-"]
    return subprocess.run(
        command, input=json.dumps(TWICE), capture_output=True, text=True, check=False, timeout=60
    )


def test_a_second_zone_for_a_node(lab: Lab) -> None:
    def refused() -> str:
        done = applied(lab)
        if done.returncode == 0:  # a certificate made anew reaches the pods within two minutes
            lab.kubectl("delete", "hazone", "other")
        return done.stderr if done.returncode else ""

    said = until("the API server to ask a controller", refused, 180, every=5.0)
    assert "objects.ringfence.io" in said
    assert "spec.nodes: n1 also in zone lab: take them out of one" in said

    lab.kubectl("-n", NAMESPACE, "scale", "deployment", "ringfence-controller", "--replicas=0")
    try:
        lab.kubectl(
            "-n", NAMESPACE, "wait", "--for=delete", "pod", "--timeout=60s",
            "-l", "app.kubernetes.io/component=controller",
        )  # fmt: skip
        assert applied(lab).returncode == 0, "nobody answers, so nobody stands in the way"
        lab.kubectl("delete", "hazone", "other")
    finally:
        lab.kubectl("-n", NAMESPACE, "scale", "deployment", "ringfence-controller", "--replicas=2")
    lab.wait_armed()
