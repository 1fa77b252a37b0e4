"""Storage: can volumes of these classes follow a VM, and does the storage's own controller survive a node?"""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.cli.doctor.finding import Finding, note, ok, warning
from ringfence.cli.doctor.look import CORE, Look, named
from ringfence.cli.document import Document

DEFAULT = "storageclass.kubernetes.io/is-default-class"
BOUND = frozenset({"kubernetes.io/no-provisioner", "rancher.io/local-path", "k8s.io/minikube-hostpath"})
"""Provisioners whose volumes are a node's own."""
STORAGE = "/apis/storage.k8s.io/v1"


def _used(look: Look) -> dict[str, list[str]]:
    """StorageClasses of the protected VMs' claims, with the claims."""
    wanted = {
        (namespace, claim)
        for (namespace, _), vm in look.protected().items()
        for volume in vm.parts("spec", "template", "spec", "volumes")
        if (claim := volume.text("persistentVolumeClaim", "claimName") or volume.text("dataVolume", "name"))
    }
    found: dict[str, list[str]] = {}
    for one in look.items(f"{CORE}/persistentvolumeclaims") if wanted else ():
        at = (one.text("metadata", "namespace"), one.name)
        if at in wanted:
            found.setdefault(one.text("spec", "storageClassName"), []).append("/".join(at))
    return found


def _classes(look: Look) -> Iterator[Finding]:
    used = _used(look)
    for one in look.items(f"{STORAGE}/storageclasses"):
        provisioner = one.text("provisioner")
        if provisioner in BOUND or "hostpath" in provisioner:
            if one.name in used:
                yield warning(
                    f"class {one.name}",
                    f"its volumes are a node's own ({provisioner}), and protected VMs use it: {named(used[one.name])}",
                )
            else:
                yield note(
                    f"class {one.name}", f"its volumes are a node's own ({provisioner}): none can follow a VM"
                )
        elif one.name in used:
            yield ok(f"class {one.name}", f"{provisioner}, used by {named(used[one.name])}")


def _default(look: Look) -> Iterator[Finding]:
    classes = look.items(f"{STORAGE}/storageclasses")
    default = [one.name for one in classes if one.text("metadata", "annotations", DEFAULT) == "true"]
    if len(default) > 1:
        yield warning("default class", f"there are several, {named(default)}: the newest is taken")
    elif classes and not default:
        yield note(
            "default class",
            "there is none: claims without a class, such as KubeVirt's own for EFI and TPM state, stay unbound",
        )


def _drivers(look: Look) -> Iterator[Finding]:
    """A driver whose only controller dies with the node can't let go of that node's volumes."""
    attaching = {
        driver.name
        for driver in look.there(f"{STORAGE}/csidrivers")
        if driver.at("spec", "attachRequired") is True
    }
    places: dict[tuple[str, str], list[str]] = {}
    for pod in look.pods():
        if any(_attaches(container) for container in pod.parts("spec", "containers")):
            owner = pod.text("metadata", "generateName").rstrip("-") or pod.name
            places.setdefault((pod.text("metadata", "namespace"), owner), []).append(
                pod.text("spec", "nodeName")
            )
    for (namespace, owner), nodes in sorted(places.items()):
        if len(set(nodes)) == 1:
            yield warning(
                f"{namespace}/{owner}",
                f"the storage driver's attacher runs on {nodes[0]} only: if that dies, volumes stay attached until"
                " Kubernetes has made another pod; give it two replicas on two nodes",
            )
    if attaching and not places:
        yield note(
            "attachers",
            f"no pod of an attacher is seen for {named(sorted(attaching))}: where it runs could not be judged",
        )


def _attaches(container: Document) -> bool:
    return "csi-attacher" in container.text("image") or container.text("name") == "csi-attacher"


CHECKS = (_classes, _default, _drivers)
