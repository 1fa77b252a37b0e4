"""Intent: a node that somebody takes away on purpose. That it falls silent is then no failure, for as long as that may take.

What says so is on the Node: the kubelet's word that the machine shuts down, the mark of a tool that reboots or deletes
nodes, a drain that is under way. A mark says that a node is expected to go, never that it will come back: it delays by
the grace (``HACluster.spec.shutdownGraceSeconds``) and no longer, so that one which was forgotten costs three minutes.
Only a NodeMaintenance, which a person makes and ends, holds for as long as it stands.

A bare cordon is no mark. Nodes stay cordoned for weeks, and their power fails too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ringfence.core.model import Boot

ANNOTATIONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "weave.works/kured-reboot-in-progress": ("", "kured reboots it"),
        "flatcar-linux-update.v1.flatcar-linux.net/reboot-in-progress": (
            "true",
            "Flatcar's update operator reboots it",
        ),
        "machineconfiguration.openshift.io/state": (
            "Working",
            "OpenShift's machine-config daemon updates it",
        ),
        "harvesterhci.io/maintain-status": ("", "it is in Harvester's maintenance mode"),
    }
)
"""Annotation -> the value that counts (empty: any but an empty one), and who takes the node away."""

TAINTS: Mapping[str, str] = MappingProxyType(
    {
        "ToBeDeletedByClusterAutoscaler": "the cluster-autoscaler deletes it",
        "karpenter.sh/disrupted": "Karpenter deletes it",
        "karpenter.sh/disruption": "Karpenter deletes it",
        "medik8s.io/drain": "medik8s' node maintenance drains it",
        "kubevirt.io/drain": "it is drained by KubeVirt's taint",
    }
)
"""Taint -> who takes the node away. The autoscaler's ``DeletionCandidateOf...`` is a thought, and no intent yet."""

SHUTTING_DOWN = "its operating system has announced a shutdown"
DELETED = "its Node object is being deleted"
DRAINED = "it is being drained"


@dataclass(frozen=True, slots=True)
class Marks:
    """What a Node says of its future, as it stands."""

    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: frozenset[str] = frozenset()
    """Keys."""
    shutting_down: bool = False
    """Its kubelet is not ready because the machine shuts down (with ``shutdownGracePeriod`` set in the kubelet's settings)."""
    ready: bool = False
    deleting: bool = False
    cordoned: bool = False
    evicted: bool = False
    """KubeVirt has been asked to move a VM off it: an eviction, so a cordon together with it is a drain."""


def found(marks: Marks) -> str | None:
    """Who takes the node away, as a clause; None: nobody says so."""
    if marks.shutting_down:
        return SHUTTING_DOWN
    for key, (wanted, clause) in ANNOTATIONS.items():
        value = marks.annotations.get(key, "")
        if value != "" and wanted in ("", value):
            return clause
    for taint, clause in TAINTS.items():
        if taint in marks.taints:
            return clause
    if marks.deleting:
        return DELETED
    return DRAINED if marks.cordoned and marks.evicted else None


class Intents:
    """What one replica remembers of it: the marks that a node bore *before* it fell silent.

    Who drains a node that is down, or deletes it, answers its failure and is no reason for it.
    """

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[Boot, str | None] = {}

    def see(self, boot: Boot, marks: Marks, *, silent: bool) -> str | None:
        """Take in what the Node says now, and return what counts.

        Args:
            silent: its peers doubt the node, or worse. A replica that begins to watch then takes what it finds for what
                was there before.
        """
        now, before = found(marks), self._of.get(boot)
        if now == SHUTTING_DOWN:
            pass  # the node itself says so: however late that is read, it was said while it lived
        elif before == SHUTTING_DOWN and not marks.ready:
            now = before  # that word goes when Kubernetes calls the node's condition Unknown
        elif silent and boot in self._of:
            now = before if now is not None else None  # a mark that a person has taken away holds nobody
        self._of[boot] = now
        return now

    def of(self, boot: Boot) -> str | None:
        """As last seen."""
        return self._of.get(boot)

    def __len__(self) -> int:
        """Boots of which something is remembered."""
        return len(self._of)

    def keep(self, boots: Iterable[Boot]) -> None:
        """Forget all others."""
        kept = frozenset(boots)
        self._of = {boot: clause for boot, clause in self._of.items() if boot in kept}
