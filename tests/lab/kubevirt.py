"""KubeVirt without its operator: what that would install, and the status that it would write.

Without ``status.phase`` KubeVirt ignores its whole configuration; without ``defaultArchitecture`` it refuses every VM.
"""

from __future__ import annotations

import json
from typing import Any

from lab.build import KUBEVIRT, Programs
from lab.controlplane import Api
from lab.plan import Plan
from lab.process import run
from lab.roots import KUBEVIRT_IMAGE
from lab.wait import until

_PARTS = ("virt-handler", "virt-api", "virt-controller")


class KubeVirt:
    """KubeVirt in one lab."""

    def __init__(self, api: Api, programs: Programs) -> None:
        self.api = api
        self.plan: Plan = api.plan
        self.printer = programs["kubevirt"]

    def _print(self, part: str) -> str:
        where = ("-api-host", self.plan.address, "-api-port", str(self.plan.api_port))
        authority = ("-ca", self.plan.pki / "kubevirt.crt")
        return run(self.printer, "-part", part, "-image", KUBEVIRT_IMAGE, *where, *authority)

    def install(self) -> None:
        """Create everything but the webhooks; nodes may come up meanwhile."""
        self.api.kubectl("create", "-f", "-", text=self._print("crds"))
        self.api.kubectl("create", "-f", "-", text=self._print("base"))
        self.api.kubectl("wait", "--for=condition=Established", "crd/kubevirts.kubevirt.io", "--timeout=30s")
        self.api.kubectl("create", "-f", "-", text=json.dumps(_settings()))
        status = {
            "phase": "Deployed",
            "defaultArchitecture": "amd64",
            "operatorVersion": KUBEVIRT,
            "observedKubeVirtVersion": KUBEVIRT,
            "targetKubeVirtVersion": KUBEVIRT,
        }
        self.api.kubectl(
            *("--namespace=kubevirt", "patch", "kubevirt", "kubevirt", "--subresource=status", "--type=merge"),
            *("--patch", json.dumps({"status": status})),
        )
        self.api.kubectl("create", "-f", "-", text=self._print("programs"))

    def open_doors(self) -> None:
        """Install the webhooks once virt-api answers, and return when its subresources do too."""
        until("virt-api is ready", lambda: self.ready("deployment/virt-api", "readyReplicas") > 0, 120, every=0.3)
        self.api.kubectl("create", "-f", "-", text=self._print("webhooks"))

        def served() -> bool:
            return "virtualmachineinstances/" in self.api.kubectl(
                "get", "--raw", "/apis/subresources.kubevirt.io/v1", check=False
            )

        until("KubeVirt's subresources are served", served, 60, every=0.3)

    def ready(self, workload: str, field: str) -> int:
        """How many pods of *workload* its status counts in *field*."""
        path = "{.status." + field + "}"
        answer = self.api.kubectl(
            "--namespace=kubevirt", "get", workload, "--output", f"jsonpath={path}", check=False
        )
        return int(answer or 0)

    def whole(self) -> bool:
        """Whether both replicas of virt-api and of virt-controller are up (a virt-controller that isn't the leader
        never calls itself ready)."""
        return (
            self.ready("deployment/virt-api", "readyReplicas") == 2
            and self.ready("deployment/virt-controller", "readyReplicas") >= 1
            and self.ready("deployment/virt-controller", "updatedReplicas") == 2
        )


def _settings() -> dict[str, Any]:
    configuration = {
        "imagePullPolicy": "Never",
        "evictionStrategy": "LiveMigrate",
        "developerConfiguration": {"useEmulation": True},
    }
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {"imagePullPolicy": "Never", "configuration": configuration},
    }
