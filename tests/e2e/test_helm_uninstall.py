"""`helm uninstall` refuses while something would stay behind; then it leaves nothing, and VMs run on."""

from __future__ import annotations

import pytest

from e2e.helm import gone, none_installed, uninstalled
from e2e.stories import guarded_vm
from lab.cluster import NAMESPACE, Lab
from lab.prepare import PROJECT
from lab.wait import until

pytestmark = [pytest.mark.lab, pytest.mark.more]

KEPT = {
    "secret/ringfence-gossip",
    "secret/ringfence-group-keys",
    "configmap/ringfence-roster",
    "configmap/kube-root-ca.crt",
    "secret/bmc-credentials",
}
"""What docs/uninstall.md says stays in the namespace; the last two are Kubernetes' and the lab's own."""


def test_nothing_is_left(bare: Lab) -> None:
    lab = bare
    with none_installed(lab):
        lab.helm("install", *lab.chart_words())
        lab.declare()
        lab.wait_armed()
        instance = guarded_vm(lab, "db", "n1")
        uid = lab.get("vmi", "db", "default")["metadata"]["uid"]

        lab.kubectl("taint", "node", "n2", "ringfence.io/suspect=somebody:PreferNoSchedule")
        refused = uninstalled(lab)
        assert refused.returncode != 0, refused.stdout
        said = lab.kubectl("-n", NAMESPACE, "logs", "job/ringfence-uninstall")
        assert "n2" in said
        assert "carries our taint ringfence.io/suspect" in said
        lab.wait_armed()
        lab.kubectl("taint", "node", "n2", "ringfence.io/suspect-")

        done = uninstalled(lab)
        assert done.returncode == 0, done.stderr
        gone(lab)
        named = lab.kubectl("-n", NAMESPACE, "get", "secrets,configmaps", "-o", "name").split()
        assert set(named) <= KEPT
        assert not lab.get("pods", namespace=NAMESPACE)
        for node in lab.get("nodes"):
            assert not node["spec"].get("taints"), node["metadata"]["name"]

        lab.kubectl("delete", "-f", str(PROJECT / "crds"), "--timeout=60s")
        lab.kubectl("delete", "namespace", NAMESPACE, "--timeout=90s")
        everywhere = lab.kubectl("api-resources", "--verbs=list", "--no-headers", "-o", "name").split()
        assert not [kind for kind in everywhere if kind.endswith("ringfence.io")]
        for kind in ("nodes", "vms", "vmis", "pods"):
            marked = [
                one["metadata"]["name"]
                for one in lab.get(kind)
                if any("ringfence" in word for word in one["metadata"].get("finalizers", []))
            ]
            assert marked == [], kind

        assert lab.get("vmi", "db", "default")["metadata"]["uid"] == uid, "the VM was restarted"
        last = lab.ticks("db")[-1]
        assert last.instance == instance
        until(
            "the guest to tick on",
            lambda: lab.ticks("db")[-1].last.sequence > last.last.sequence or None,
            30,
            every=0.5,
        )
        lab.delete_vm("db", "default")
