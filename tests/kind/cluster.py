"""A kind cluster with KubeVirt, ringfence and a BMC for each worker: brought up step by step, and taken away."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

from kind import power
from kind.engine import Machine, gateway, program, run
from lab.build import KUBEVIRT
from lab.console import say
from lab.helm import helm
from lab.pki import Pki

PROJECT = Path(__file__).resolve().parents[2]
HOME = Path("/var/tmp/ringfence-kind")
NAME = "ringfence"
NAMESPACE = "ringfence-system"
CONTEXT = f"kind-{NAME}"
IMAGE = "docker.io/local/ringfence:kind"
WORKERS = tuple(f"{NAME}-worker{number}" for number in ("", "2", "3"))
RELEASE = f"https://github.com/kubevirt/kubevirt/releases/download/{KUBEVIRT}"
EMULATION = {"spec": {"configuration": {"developerConfiguration": {"useEmulation": True}}}}
VALUES = {
    "image.repository": IMAGE.rpartition(":")[0],
    "image.tag": IMAGE.rpartition(":")[2],
    "image.pullPolicy": "Never",
    "agent.bootIdPath": "/run/boot_id",
}
"""See boot-id.conf for the last."""


def kubectl(*words: str, stdin: str | None = None) -> str:
    return run("kubectl", "--context", CONTEXT, *words, stdin=stdin)


def up() -> None:
    """Everything; minutes, most of them for downloads."""
    for needed in (program(), "kind", "kubectl"):
        if shutil.which(needed) is None:
            raise SystemExit(f"kind-up: no `{needed}` in PATH: install it first (docs/try-it-on-kind.md)")
    (HOME / "shared").mkdir(parents=True, exist_ok=True)
    say("the image is built by docker")
    run(program(), "build", "--tag", IMAGE, "--file", str(PROJECT / "Containerfile"), str(PROJECT))
    say("kind makes the cluster")
    run("kind", "create", "cluster", "--config", str(PROJECT / "kind-config.yaml"), "--wait", "180s")
    run("kind", "load", "docker-image", IMAGE, "--name", NAME)
    say(f"KubeVirt {KUBEVIRT} is installed, with emulation")
    kubectl("apply", "-f", f"{RELEASE}/kubevirt-operator.yaml")
    kubectl("apply", "-f", f"{RELEASE}/kubevirt-cr.yaml")
    kubectl(
        "-n", "kubevirt", "patch", "kubevirt", "kubevirt", "--type=merge", "--patch", json.dumps(EMULATION)
    )
    kubectl("-n", "kubevirt", "wait", "--for=condition=Available", "kubevirt/kubevirt", "--timeout=900s")
    say("ringfence is installed")
    kubectl("apply", "--server-side", "-f", str(PROJECT / "crds"))
    run(str(helm()), "upgrade", "--install", NAME, str(PROJECT / "charts/ringfence"), *release_words())
    say("each worker gets a BMC, and is declared")
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": declared()}))
    kubectl("apply", "-f", str(PROJECT / "tests/kind/vm.yaml"))
    kubectl("wait", "--for=condition=Ready", "fencedevices", "--all", "--timeout=300s")
    kubectl("wait", "--for=condition=Protected", "protectedvm/demo", "--timeout=600s")
    say("the VM demo is protected. Next: make kind-demo")


def release_words() -> list[str]:
    sets = [word for key, value in VALUES.items() for word in ("--set", f"{key}={value}")]
    return ["--kube-context", CONTEXT, "--namespace", NAMESPACE, "--create-namespace", "--wait", *sets]


def declared() -> list[dict[str, Any]]:
    """HACluster, a zone of the workers, and before each a BMC that runs beside docker."""
    pki, listen = Pki(HOME / "pki"), gateway()
    power.stop(HOME)
    words = {"username": power.USER, "password": power.PASSWORD}
    data = {key: base64.b64encode(word.encode()).decode() for key, word in words.items()}
    meta = {"name": "bmc", "namespace": NAMESPACE}
    items: list[dict[str, Any]] = [{"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data}]
    for number, name in enumerate(WORKERS, 1):
        uuid = kubectl("get", "node", name, "-o", "jsonpath={.status.nodeInfo.systemUUID}")
        bmc = power.start(HOME, Machine(name), uuid, listen, power.FIRST_PORT + number, pki)
        redfish = {"address": bmc.address, "caBundle": pki.ca, "secretRef": {"name": "bmc"}}
        items.append(
            _ours("FenceDevice", f"bmc-{name}", {"driver": "redfish", "nodes": [name], "redfish": redfish})
        )
    levels = [{"devices": [f"bmc-{name}" for name in WORKERS]}]
    items.append(_ours("HAZone", "kind", {"nodes": {"names": [*WORKERS]}, "fencing": {"levels": levels}}))
    items.append(_ours("HACluster", "default", {"mode": "Active"}))
    return items


def _ours(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "ringfence.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def down() -> None:
    """The cluster, the BMCs and what they kept."""
    power.stop(HOME)
    run("kind", "delete", "cluster", "--name", NAME)
    shutil.rmtree(HOME, ignore_errors=True)
