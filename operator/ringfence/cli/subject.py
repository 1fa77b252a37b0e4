"""What a person means by a name: a node, a Failover or a VM. ``KIND/NAME`` says it outright, as with kubectl."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ringfence.cli.document import Document
from ringfence.cli.picture import Reader, objects
from ringfence.ports import ClusterError, Forbidden, NotFound


class Sort(StrEnum):
    NODE = "node"
    FAILOVER = "failover"
    VM = "vm"


WORDS = {
    **dict.fromkeys(("node", "nodes", "no"), Sort.NODE),
    **dict.fromkeys(("failover", "failovers", "fo"), Sort.FAILOVER),
    **dict.fromkeys(
        ("vm", "vms", "vmi", "virtualmachine", "virtualmachines", "pvm", "protectedvm", "protectedvms"),
        Sort.VM,
    ),
}


class UnknownSubjectError(Exception):
    """Nothing of that name is known."""


@dataclass(frozen=True, slots=True)
class Subject:
    sort: Sort
    name: str
    namespace: str = ""
    """Of a VM."""


def resolve(reader: Reader, text: str, namespace: str | None, *, everywhere: bool) -> Subject:
    """What ``text`` names. A bare name is a node's, else a Failover's, else a VM's.

    Args:
        reader: the cluster.
        text: ``NAME``, ``KIND/NAME``, or ``NAMESPACE/NAME`` of a VM.
        namespace: where a VM is; None: where the kubeconfig's context is.
        everywhere: a VM may be in any namespace, if only one has it.

    Raises UnknownSubjectError, NotInstalledError, ClusterError.
    """
    before, slash, name = text.rpartition("/")
    if slash and before.lower() in WORDS:
        sort = WORDS[before.lower()]
        return _vm(reader, name, namespace, everywhere=everywhere) if sort is Sort.VM else Subject(sort, name)
    if slash:
        return _vm(reader, name, before, everywhere=False)
    failovers = objects(reader, "failovers")
    zones = objects(reader, "hazones")
    if name in {word for zone in zones for word in zone.texts("status", "nodes")} or _is_node(reader, name):
        return Subject(Sort.NODE, name)
    if name in {failover.name for failover in failovers}:
        return Subject(Sort.FAILOVER, name)
    if name in {failover.text("spec", "node") for failover in failovers}:
        return Subject(Sort.NODE, name)  # it is gone, its story isn't
    try:
        return _vm(reader, name, namespace, everywhere=everywhere)
    except UnknownSubjectError as error:
        raise UnknownSubjectError(
            f"no node {name}: neither Kubernetes nor a HAZone nor a Failover knows it; no failover {name}; {error}"
        ) from error


def _is_node(reader: Reader, name: str) -> bool:
    try:
        return name in {Document(node).name for node in reader.list_nodes()}
    except Forbidden:
        return False


def _vm(reader: Reader, name: str, namespace: str | None, *, everywhere: bool) -> Subject:
    """A VM by its own name, or that of its ProtectedVM."""
    wanted = namespace or reader.namespace
    known = sorted(
        {
            (pvm.text("metadata", "namespace"), pvm.text("spec", "vm", "name"))
            for pvm in objects(reader, "protectedvms", None if everywhere else wanted)
            if name in (pvm.name, pvm.text("spec", "vm", "name"))
        }
    )
    if len(known) == 1:
        return Subject(Sort.VM, known[0][1], known[0][0])
    if known:
        places = ", ".join(space for space, _ in known)
        raise UnknownSubjectError(f"VM {name} is in more than one namespace: {places}; say which with -n")
    try:
        reader.get_vm(wanted, name)
    except NotFound:
        raise UnknownSubjectError(f"no VM {name} in namespace {wanted}{_elsewhere(reader, name)}") from None
    return Subject(Sort.VM, name, wanted)


def _elsewhere(reader: Reader, name: str) -> str:
    """Where there is a protected one of that name, as far as this user may look."""
    try:
        found = objects(reader, "protectedvms")
    except ClusterError:
        return ""
    places = sorted({p.text("metadata", "namespace") for p in found if p.text("spec", "vm", "name") == name})
    return f"; there is one in {', '.join(places)}: say so with -n" if places else ""
