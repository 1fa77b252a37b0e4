"""The world as one step of a failover sees it: all of the machine's input beside the stored record."""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.core import timing
from ringfence.core.detection.verdict import Judgement
from ringfence.core.failover import node_lease
from ringfence.core.failover.node_lease import NodeLeaseLook
from ringfence.core.failover.record import Lie, VmRecord
from ringfence.core.failover.recovery import AttachmentLook, PodLook, VmLook
from ringfence.core.fencing.proof import CutVm
from ringfence.core.fencing.rungs import Rungs
from ringfence.core.model import Verdict
from ringfence.core.setback import SetBack


@dataclass(frozen=True, slots=True)
class Confirmation:
    statement: str
    confirmed_by: str
    seen_at: float


@dataclass(frozen=True, slots=True)
class Namesake:
    """Another Node object that has the name of the incident's node by now: that one was deleted, and a kubelet registered again."""

    boot_id: str
    down: bool
    """It is itself found ``Down``, or may be fenced for another reason."""


@dataclass(frozen=True, slots=True)
class Look:
    """The world with regard to one failover, at ``now`` (monotonic) and ``wall`` (for people)."""

    now: float
    wall: float
    leader: str
    epoch: int
    judgement: Judgement
    limit: str | None
    limit_when_found_off: str | None
    hold_over: bool
    """It might have been fenced for the whole hold without a break, last look included."""
    life_at: float
    life_sign: str
    node_exists: bool
    """The incident's own Node object, by its UID, or nobody knows yet that it is gone."""
    current_boot_id: str
    """The boot id that the node itself reports now (kubelet or agent); the incident's own while nothing newer is known."""
    node_ready: bool
    suspect_taint: bool
    out_of_service_taint: bool
    levels: Rungs
    proofs_required: int
    pods: tuple[PodLook, ...]
    vms: tuple[VmLook, ...]
    affected: tuple[VmRecord, ...]
    """The protected VMs that belong to the incident, as seen while it is still open which."""
    confirmation: Confirmation | None
    power_on: bool
    """The zone wants the node powered on after recovery."""
    power_on_due: bool = False
    heard_at: float = float("-inf")
    """When the last packet of this very boot came to an agent."""
    heard_since: float = float("-inf")
    """Since when they have come without a gap (:attr:`~ringfence.core.detection.evidence.Life.packets_since`)."""
    renewed_after: float = float("-inf")
    """After this instant a Lease of this boot's kubelet or agent, or virt-handler's heartbeat, was last renewed."""
    down_at: float = float("-inf")
    """When this controller last found that the node may be fenced."""
    retry_due: bool = False
    """The back-off after an exhausted ladder is over."""
    slot_due: float = float("-inf")
    """The node's slot has moved: until then nothing but a later boot proves that it is over."""
    slot_moved_at: float = float("-inf")
    """When the boot's slot was last seen to move."""
    vm_volumes: tuple[CutVm, ...] = ()
    """The incident's VMs with their pods on the node and all that they write to."""
    guests: frozenset[str] | None = None
    """Guests (``namespace_name``) that the agent of this boot has reported to run there, *since* the proof; None: no word."""
    told_fenced: bool | None = None
    """Whether the heartbeat volume tells this boot that it is fenced; None where it has no slot, or nobody can say."""
    stop_guests: bool = False
    """The zone lets a fenced node kill its own guests."""
    attachments: tuple[AttachmentLook, ...] = ()
    """The volumes that are attached to the node."""
    foreign_taint: bool = False
    """The out-of-service taint on the node is somebody else's."""
    node_lease: NodeLeaseLook = node_lease.UNUSED
    hedges: tuple[float | None, ...] = ()
    """The zone's ``hedgeAfterSeconds``, level by level."""
    room: int = timing.STARTS_PER_NODE
    """VMs that may be on their way to Running at once under this incident (:func:`ringfence.core.failover.planner.room`)."""
    unready: frozenset[tuple[str, str]] = frozenset()
    """Of the VMs that those of the incident depend on: which are not ready now, and are to be."""
    order_delay: float = 0.0
    """Seconds that the zone's nodes are to be left before the first order, the random part drawn."""

    set_back: SetBack | None = None
    """The last time that the cluster's store was set back, as far as it is known."""
    compared: bool = True
    """What the store has was compared with what agents hold: were it set back, that would be known."""
    storm: bool = False
    """Too many nodes of the zone are down at once, whatever else may be in the way."""
    hears: bool = True
    """Agents have told for long enough that a node of which nothing is heard is known to be one; else it means nothing."""
    namesake: Namesake | None = None
    nodes_lag: bool = False
    """What is known of the Node objects is older than the incident: that a taint of ours isn't seen there means nothing."""
    lies: tuple[Lie, ...] = ()
    """Where no incident is open yet: of the devices that were caught lying about this node in earlier ones those that have passed no drill since."""
    quarantined: bool = False
    """The node has flapped: when this incident is over no new VM comes to it for a while."""

    @property
    def may_order(self) -> bool:
        """Whether the node may be ordered off now, but for limits and the Lease of remediators.

        One that is down may have been found so a moment ago, once its incident is past its hold. One that hangs has to have been so for
        its whole hold, at each order anew: its evidence may come and go.
        """
        down = self.judgement.verdict is Verdict.DOWN
        return self.judgement.may_be_fenced and (down or self.hold_over)

    @property
    def own_taint(self) -> bool:
        """Our out-of-service taint stands on the node."""
        return self.out_of_service_taint and not self.foreign_taint
