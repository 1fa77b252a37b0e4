"""KubeVirt as its own operator would install it, on the lab's nodes: controllers as Deployments, so that they die with one."""

from __future__ import annotations

import json
from pathlib import Path

from lab import processes
from lab.controlplane import Kubectl
from lab.layout import API_PORT, Layout
from lab.roots import KUBEVIRT_IMAGE
from lab.wait import until

VERSION = "v1.7.0"


class KubeVirt:
    def __init__(self, layout: Layout, programs: Path, kubectl: Kubectl) -> None:
        self._layout = layout
        self._program = str(programs / "kubevirt")
        self._kubectl = kubectl

    def _manifests(self, part: str) -> str:
        return processes.run(
            self._program, f"-part={part}", f"-image={KUBEVIRT_IMAGE}", f"-api-host={self._layout.host}",
            f"-api-port={API_PORT}", f"-ca={self._layout.root / 'kubevirt-ca.pem'}",
        )  # fmt: skip

    def install(self) -> None:
        """Definitions, accounts, programs. The webhooks come with :meth:`wait`, when virt-api answers."""
        self._kubectl("create", "-f", "-", stdin=self._manifests("crds"))
        self._kubectl("create", "-f", "-", stdin=self._manifests("base"))
        until(
            "KubeVirt's kinds",
            lambda: "kubevirts" in self._kubectl("api-resources", "--api-group=kubevirt.io", check=False),
            30,
        )
        self._kubectl("create", "-f", "-", stdin=json.dumps(self._declaration()))
        # Without a phase KubeVirt ignores the whole configuration; without the architecture it refuses every VM.
        status = {
            "phase": "Deployed",
            "defaultArchitecture": "amd64",
            "operatorVersion": VERSION,
            "observedKubeVirtVersion": VERSION,
            "targetKubeVirtVersion": VERSION,
        }
        self._kubectl(
            "-n", "kubevirt", "patch", "kubevirt", "kubevirt", "--subresource=status", "--type=merge",
            "-p", json.dumps({"status": status}),
        )  # fmt: skip
        self._kubectl("create", "-f", "-", stdin=self._manifests("programs"))

    @staticmethod
    def _declaration() -> dict[str, object]:
        return {
            "apiVersion": "kubevirt.io/v1",
            "kind": "KubeVirt",
            "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
            "spec": {
                "imagePullPolicy": "Never",
                "configuration": {
                    "imagePullPolicy": "Never",
                    "evictionStrategy": "LiveMigrate",
                    "developerConfiguration": {
                        "useEmulation": True,
                        "featureGates": ["HotplugVolumes", "Snapshot"],
                    },
                },
            },
        }

    def wait(self, nodes: int) -> None:
        """Until every node can take VMs and virt-api answers through the API server."""

        def ready() -> bool:
            text = self._kubectl(
                "-n", "kubevirt", "get", "deploy", "-o", "json", "--request-timeout=5s", check=False
            )
            items = json.loads(text)["items"] if text.strip() else []
            return len(items) == 2 and all(d["status"].get("availableReplicas") == 2 for d in items)

        until("virt-api and virt-controller to be available", ready, 180, every=0.3)
        self._kubectl("create", "-f", "-", stdin=self._manifests("webhooks"))
        until("virt-api's subresources", self.answers, 60, every=0.2)
        until(f"{nodes} schedulable nodes", lambda: self.schedulable() >= nodes, 180, every=0.3)

    def answers(self) -> bool:
        return "resources" in self._kubectl(
            "get", "--raw", "/apis/subresources.kubevirt.io/v1", "--request-timeout=3s", check=False
        )

    def schedulable(self) -> int:
        names = self._kubectl(
            "get",
            "node",
            "-l",
            "kubevirt.io/schedulable=true",
            "-o",
            "name",
            "--request-timeout=5s",
            check=False,
        )
        return len(names.split())
