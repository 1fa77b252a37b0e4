"""The commands of the machine beside the ladder's, and the union of them all.

Those that let a guest start elsewhere carry the proof that allows it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.core.failover import recovery
from ringfence.core.failover.cut import LiftCut
from ringfence.core.failover.node_lease import ReleaseNodeLease, TakeNodeLease
from ringfence.core.failover.recovery import RecoveryCommand
from ringfence.core.fencing.orders import LadderCommand
from ringfence.core.fencing.proof import Recover, RecoverVms
from ringfence.core.model import Boot


@dataclass(frozen=True, slots=True)
class AddOutOfServiceTaint:
    """Says to Kubernetes that the node is off. Only ever issued with a :class:`Recover` in hand."""

    recover: Recover

    def __post_init__(self) -> None:
        if not isinstance(self.recover, Recover):
            raise TypeError("the out-of-service taint needs a proof about the whole node")


@dataclass(frozen=True, slots=True)
class AddSuspectTaint:
    node: str


@dataclass(frozen=True, slots=True)
class RemoveTaints:
    """Suspect, unless the node stays in quarantine, and out-of-service where it is ours."""

    node: str
    out_of_service: bool
    suspect: bool = True


@dataclass(frozen=True, slots=True)
class RecoverPods:
    """Deletions under a proof."""

    recover: Recover | RecoverVms
    commands: tuple[RecoveryCommand, ...]

    def __post_init__(self) -> None:
        if isinstance(self.recover, RecoverVms) and (
            foreign := [c for c in self.commands if not _within(self.recover, c)]
        ):
            raise TypeError(f"{foreign[0]} is about what is not named in the proof")


def _within(recover: RecoverVms, command: RecoveryCommand) -> bool:
    match command:
        case recovery.DeletePod(ref=ref):
            return ref.uid in recover.pods
        case recovery.DeleteVmi() | recovery.RequestStart():
            return any((vm.namespace, vm.name) == (command.namespace, command.name) for vm in recover.vms)
        case recovery.FreeLeadership():
            return False


@dataclass(frozen=True, slots=True)
class OrderOn:
    device: str


@dataclass(frozen=True, slots=True)
class RehearseAdmission:
    """Find and end the API server's dead connections to a virt-api of the node, by dry runs about this VM.

    Changes nothing, so it needs no proof. Without it each of KubeVirt's own writes that follow may meet one of those
    connections and wait for its webhook's ten seconds.
    """

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class TellFenced:
    """Let "you are fenced" be written beside the node's slot: should that boot run on, or thaw, it stops its guests.

    An order like a device's: given only where one may be given, to one boot, and it proves nothing.
    """

    boot: Boot
    incident: str
    stop_guests: bool
    """Whether the zone lets the node kill its guests."""


Command = (
    LadderCommand
    | AddOutOfServiceTaint
    | AddSuspectTaint
    | RemoveTaints
    | RecoverPods
    | OrderOn
    | RehearseAdmission
    | TellFenced
    | LiftCut
    | TakeNodeLease
    | ReleaseNodeLease
)
