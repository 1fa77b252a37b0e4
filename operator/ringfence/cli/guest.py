"""One VM's story: whether it would survive its node now, what its last incident did with it, what it waits for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from ringfence.cli import advice
from ringfence.cli.document import Document
from ringfence.cli.incident import vm_state
from ringfence.cli.picture import (
    CLOSED,
    FailoverRow,
    NodeRow,
    Reader,
    failover_row,
    node_rows,
    objects,
    started,
)
from ringfence.ports import ClusterError, NotFound

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GuestStory:
    """What ``explain`` shows of a VM."""

    namespace: str
    name: str
    run_strategy: str = ""
    status: str = ""
    """KubeVirt's word for how it does."""
    node: NodeRow | None = None
    """Of the node that it runs on, or ran on last; None: not known."""
    protected_by: str = ""
    """Name of its ProtectedVM."""
    on_node_failure: str = ""
    priority: str = ""
    protected: str = ""
    """The condition's status, or empty where nobody protects it."""
    reason: str = ""
    message: str = ""
    failover: FailoverRow | None = None
    """The latest incident that it belonged to."""
    state: str = ""
    """What that incident has come to for this VM."""
    waits_for: str = ""
    could_do: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What is not shown, and why."""


def investigate(reader: Reader, namespace: str, name: str) -> GuestStory:
    """Read what there is about the VM. Raises NotInstalledError, ClusterError."""
    notes: list[str] = []

    def had(what: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except NotFound:
            notes.append(f"{what}: there is none")
        except ClusterError as error:
            notes.append(f"{what}: {error}")
        return otherwise

    none: tuple[Document, ...] = ()
    pvm = next(
        (p for p in objects(reader, "protectedvms", namespace) if p.text("spec", "vm", "name") == name), None
    )
    vm = had("the VirtualMachine", lambda: Document(reader.get_vm(namespace, name)), Document({}))
    failovers = had("failovers", lambda: objects(reader, "failovers"), none)
    zones = had("zones", lambda: objects(reader, "hazones"), none)
    clusters = had("the HACluster", lambda: objects(reader, "haclusters"), none)
    nodes = had("nodes", lambda: tuple(Document(node) for node in reader.list_nodes()), none)
    mine = [f for f in failovers if _part(f, namespace, name) is not None]
    latest = max(mine, key=started, default=None)
    part = _part(latest, namespace, name) if latest is not None else None
    where = pvm.text("status", "node") if pvm is not None else ""
    mode = next((c.text("spec", "mode") for c in clusters if c.name == "default"), "")
    open_ = latest is not None and latest.text("status", "phase") not in CLOSED
    protected = pvm.condition("Protected") if pvm is not None else None
    could = advice.of_vm(
        name,
        namespace,
        protected,
        where,
        advice.of_failover(latest, mode) if latest is not None and open_ else None,
    )
    story = GuestStory(
        namespace,
        name,
        run_strategy=vm.text("spec", "runStrategy") or _running(vm),
        status=vm.text("status", "printableStatus"),
        node=next((row for row in node_rows(nodes, zones, (), ()) if row.name == where), None),
        failover=failover_row(latest) if latest is not None else None,
        state=vm_state(part) if part is not None else "",
        waits_for=could.waits_for,
        could_do=could.could_do,
        notes=tuple(notes),
    )
    if pvm is None or protected is None:
        return story
    return replace(
        story,
        protected_by=pvm.name,
        on_node_failure=pvm.text("spec", "onNodeFailure") or "Restart",
        priority=pvm.text("spec", "priority"),
        protected=protected.text("status") or "Unknown",
        reason=protected.text("reason"),
        message=protected.text("message"),
    )


def _part(failover: Document, namespace: str, name: str) -> Document | None:
    """What the incident has on record of the VM; None: it isn't of it."""
    vms = failover.parts("status", "vms")
    return next((v for v in vms if (v.text("namespace"), v.text("name")) == (namespace, name)), None)


def _running(vm: Document) -> str:
    """The older field that says the same."""
    running = vm.at("spec", "running")
    return "" if running is None else "Always" if running is True else "Halted"
