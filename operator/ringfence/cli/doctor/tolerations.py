"""Tolerations that defeat us: pods that would stay on a dead node although its taints say that they must not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ringfence.cli.doctor.finding import Finding, broken, ok, warning
from ringfence.cli.doctor.look import Look
from ringfence.cli.document import Document

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
UNREACHABLE = "node.kubernetes.io/unreachable"
SUSPECT = "ringfence.io/suspect"
VITAL = ("virt-api", "virt-controller", "csi-attacher", "csi-provisioner")
"""Pods and containers without which no VM starts elsewhere, by how their names begin."""


def _vms(look: Look) -> Iterator[Finding]:
    vms = look.protected()
    bad = 0
    for (namespace, name), vm in vms.items():
        own = vm.parts("spec", "template", "spec", "tolerations")
        about = f"VM {namespace}/{name}"
        if tolerates(own, OUT_OF_SERVICE, "NoExecute"):
            bad += 1
            yield broken(
                about,
                "tolerates node.kubernetes.io/out-of-service: Kubernetes leaves its pod on a dead node, and its volumes"
                " attached there; name the keys that it needs instead of operator Exists",
            )
        elif tolerates(own, SUSPECT, "NoSchedule"):
            bad += 1
            yield warning(
                about, "tolerates ringfence.io/suspect: it may be started on the very node that is in doubt"
            )
    if vms and not bad:
        yield ok("VMs", f"none of {len(vms)} tolerates what must move it")


def _vital_pods(look: Look) -> Iterator[Finding]:
    """DaemonSets' pods belong to their node; those of all others must leave a dead one."""
    for pod in look.pods():
        owners = {owner.text("kind") for owner in pod.parts("metadata", "ownerReferences")}
        names = [pod.name, *(one.text("name") for one in pod.parts("spec", "containers"))]
        if "DaemonSet" in owners or not any(name.startswith(VITAL) for name in names):
            continue
        own = pod.parts("spec", "tolerations")
        if tolerates(own, UNREACHABLE, "NoExecute", for_ever=True):
            yield warning(
                f"{pod.text('metadata', 'namespace')}/{pod.name}",
                "tolerates an unreachable node for ever: if its node dies Kubernetes makes no other until our"
                " out-of-service taint; give that toleration some tolerationSeconds",
            )


def tolerates(tolerations: Sequence[Document], key: str, effect: str, *, for_ever: bool = False) -> bool:
    """Whether one of them matches a taint of that key without a value, as Kubernetes matches them."""
    return any(
        (one.text("key") == key or (not one.text("key") and one.text("operator") == "Exists"))
        and one.text("effect") in {"", effect}
        and not (for_ever and one.at("tolerationSeconds") is not None)
        for one in tolerations
    )


CHECKS = (_vms, _vital_pods)
