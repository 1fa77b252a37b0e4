"""`Failover`: one incident of one boot of one node; the record that people read and the state that the machine resumes.

Everything here is stored *before* the act it leads to, so a new leader goes on where the old one fell.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import AliasChoices, ConfigDict, Field

from ringfence.api.v1alpha1.conditions import Conditioned
from ringfence.api.v1alpha1.meta import (
    AGE,
    UID,
    Column,
    Model,
    Name,
    Names,
    ObjectName,
    Resource,
    Rule,
    Sentence,
    Text,
    Time,
    required_by_rule,
    rules,
)
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import VmState
from ringfence.core.model import Answer, Verdict, Vote


class ProofKind(StrEnum):
    """How it is known that one boot of a node can no longer write."""

    POWERED_OFF = "PoweredOff"
    REBOOTED = "Rebooted"
    SELF_FENCED = "SelfFenced"
    STORAGE_CUT = "StorageCut"
    ADMIN_CONFIRMED = "AdminConfirmed"


def _immutable(field: str) -> dict[str, object]:
    return rules(
        Rule(
            "self == oldSelf",
            f"spec.{field} can't be changed: a Failover is about one boot of one node; set it back to what it was",
            reason="FieldValueForbidden",
        )
    )


class Confirmation(Model):
    """A person's word that the node is off."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.statement) && self.statement.trim() != ''",
                "spec.confirm.statement must be given: say how you know that the node is off",
                ".statement",
                "FieldValueRequired",
            ),
            Rule(
                "has(self.confirmedBy) && self.confirmedBy != ''",
                "spec.confirm.confirmedBy must be given: say your own user name, as `kubectl auth whoami` prints it",
                ".confirmedBy",
                "FieldValueRequired",
            ),
        )
    )

    statement: Annotated[str, Field(min_length=1, max_length=1024, json_schema_extra=required_by_rule())]
    """How that person knows: "pulled both power cords of rack 4 slot 7"."""
    confirmed_by: Annotated[str, Field(min_length=1, max_length=512, json_schema_extra=required_by_rule())]
    """That person's user name; the API server accepts no other than the one who asks."""


class Release(Model):
    """A person's leave to go on against a limit."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.by) && self.by != ''",
                "spec.release.by must be given: say your own user name, as `kubectl auth whoami` prints it",
                ".by",
                "FieldValueRequired",
            ),
            Rule(
                "has(self.reason) && self.reason.trim() != ''",
                "spec.release.reason must be given: say why the limit need not hold now",
                ".reason",
                "FieldValueRequired",
            ),
        )
    )

    by: Annotated[str, Field(min_length=1, max_length=512, json_schema_extra=required_by_rule())]
    """That person's user name; the API server accepts no other than the one who asks."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, json_schema_extra=required_by_rule())]
    """Why the limit need not hold now."""


class FailoverSpec(Model):
    """What the incident is about, written once by the controller; and what people add to it."""

    node: Annotated[ObjectName, Field(json_schema_extra=_immutable("node"))]
    """The node that the incident is about."""
    node_uid: Annotated[UID, Field(min_length=1, json_schema_extra=_immutable("nodeUID"))]
    """The UID of its Node object."""
    boot_id: Annotated[UID, Field(min_length=1, json_schema_extra=_immutable("bootID"))]
    """The boot of it that is in doubt; a later boot is another incident."""
    confirm: Confirmation | None = None
    """A person's word that the node is off. It counts as a proof, unless a sign of life is newer; then it can be given
    anew."""
    release: Release | None = None
    """A person's leave to go on against the limit that `status.heldReason` names."""


class FailoverVerdict(Model):
    """What the evidence came to."""

    state: Verdict
    """The verdict."""
    sentence: Sentence = ""
    """The verdict and what it rests on, in one sentence."""
    at: Time | None = None
    """When it was reached."""
    voters: Annotated[list[Name], Field(max_length=64)] = Field(default_factory=list)
    """The nodes whose votes it rests on."""


class FailoverVote(Model):
    """One signed vote, kept so that anyone with the roster can check it again."""

    voter: Name
    """The node that voted."""
    vote: Vote
    """What it found."""
    after_seconds: float | None = None
    """Seconds from the first doubt until it had come to the agent that told us."""
    columns: Annotated[dict[str, Answer], Field(max_length=8)] = Field(default_factory=dict)
    """What it found on each network of the node: `agent`, `kernel` or `none`. Empty: it is about the management network."""
    round: Annotated[str | None, Field(max_length=128)] = None
    """The corroboration round, base64; a vote is worth nothing in another."""
    roster_epoch: Annotated[int | None, Field(ge=0, json_schema_extra={"format": "int64"})] = None
    """The roster that it was cast under."""
    signature: Annotated[str | None, Field(max_length=128)] = None
    """Its Ed25519 signature, base64."""


class CoveredPod(Model):
    """A pod that a proof covers: known to be on the node when the proof was made."""

    namespace: Name
    """The pod's namespace."""
    name: Name
    """The pod's name."""
    uid: UID
    """The pod's UID. Only this pod may be deleted by force under the proof, not its successor."""


class FailoverCutVM(Model):
    """A VM that a cut from the storage is about."""

    namespace: Name
    """The VM's namespace."""
    name: Name
    """The VM's name."""
    vmi_uid: UID | None = None
    """The UID of its instance on the node."""
    pods: Annotated[list[UID], Field(max_length=32)] = Field(default_factory=list)
    """The UIDs of its pods there: these and no others may be deleted by force under the cut."""
    volumes: Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=64)] = Field(
        default_factory=list
    )
    """All that its guest can write to, `namespace/claim`. Every one of them has to be cut."""


class FailoverProof(Model):
    """Why it is known that this boot of the node can no longer write."""

    kind: ProofKind
    """What was seen: the node read as off (`PoweredOff`), a later boot (`Rebooted`), ..."""
    variant: Literal["ordered", "found", ""] = ""
    """For `PoweredOff`: whether it was read after our order, or found off without one."""
    device: Name | None = None
    """The FenceDevice that saw it."""
    address: Annotated[str | None, Field(max_length=253)] = None
    """For `PoweredOff`: behind which address it was read, where the device has one. What two devices read at one address is one proof."""
    node: Name | None = None
    """The node that was proved off."""
    node_uid: UID | None = None
    """The UID of its Node object."""
    boot_id: UID | None = None
    """The boot that is over."""
    seen_at: Time | None = None
    """When it was seen."""
    seen_by: Annotated[str | None, Field(max_length=512)] = None
    """Who saw it: a controller pod or a person."""
    statement: Annotated[str | None, Field(max_length=1024)] = None
    """For `AdminConfirmed`: that person's own words."""
    detail: Text | None = None
    """What exactly was read."""
    pods: Annotated[list[CoveredPod], Field(max_length=1024)] = Field(default_factory=list)
    """The pods that the proof covers; no other may be deleted by force under it."""
    new_boot_id: UID | None = None
    """For `Rebooted`: the later boot that the node reported."""
    volumes: Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=1024)] = Field(
        default_factory=list
    )
    """For `StorageCut`: the volumes at which the storage no longer lets the node, `namespace/claim`."""
    cut_vms: Annotated[
        list[FailoverCutVM],
        Field(
            max_length=1024, validation_alias=AliasChoices("cutVMs", "cutVms"), serialization_alias="cutVMs"
        ),
    ] = Field(default_factory=list)
    """For `StorageCut`: the node's VMs. Those of which every volume is cut may be moved; the proof says nothing of the
    node."""


class FenceOrder(Model):
    """One order to a fence device, stored before it was sent."""

    device: Name
    """The FenceDevice."""
    action: Literal["off", "on", "revoke"]
    """What was ordered; `revoke`: the node's agent Lease was revoked, and its watchdog's clock started."""
    attempt: Annotated[int, Field(ge=1)] = 1
    """The how-manieth order of this kind to this device in this incident."""
    sent_at: Time | None = None
    """When it was decided. It is sent within two seconds of that, or not at all."""
    effective_until: Time | None = None
    """Until when it may still take effect; before that nobody orders again, or the opposite. The same as ``sentAt``: it came too late
    and was not sent."""
    outcome: Text | None = None
    """What the device answered. An answer is not a proof."""


class BegunLevel(Model):
    """A level of the zone's ladder that this pass has begun."""

    level: Annotated[int, Field(ge=1)]
    """Which one of `spec.fencing.levels`, counted from 1."""
    begun_at: Time | None = None
    """When."""
    slow_level: Annotated[int, Field(ge=0)] = 0
    """The level that had been slow for its `hedgeAfterSeconds` and went on beside it; 0: those before had failed."""


class CalledOffBy(Model):
    """A device that has called the node off though nobody had ordered that: for a while no order is given to it."""

    device: Name
    """The FenceDevice."""
    no_order_before: Time | None = None
    """Until when no order is given. Whoever takes the incident over counts anew from when it saw this."""


class LiedBy(Model):
    """A device that was caught lying: it said off for seconds on end while that very boot of the node was heard all the time."""

    device: Name
    """The FenceDevice. Nothing that it says of the node counts any more, and it is not ordered, before it has passed a drill there."""
    at: Time
    """When it was caught."""


class FailoverVM(Model):
    """One VM of the node, and how far it has come."""

    namespace: Name
    """The VM's namespace."""
    name: Name
    """The VM's name."""
    vm_uid: UID | None = None
    """The UID of the VirtualMachine: one made anew under the same name is another VM."""
    vmi_uid: UID | None = None
    """The UID of the instance that was on the lost node."""
    pod_uid: UID | None = None
    """The UID of its launcher pod there."""
    unstarted: bool | None = None
    """That instance was on its way to the node, and was not seen to run there: what runs of it later is the node's later boot's."""
    state: VmState = VmState.PENDING
    """How far it has come."""
    new_node: Name | None = None
    """Where it runs now."""
    message: Text | None = None
    """Why it stands where it stands."""
    leftover: Text | None = None
    """What was under way on it before it ran again (a snapshot, a restore), and what that means."""
    released_at: Time | None = None
    """When its old pod was deleted under a cut from the storage, or was gone."""
    running_at: Time | None = None
    """When it was seen running elsewhere."""
    start_failures: Annotated[int, Field(ge=0)] = 0
    """New instances that have failed before they ran."""
    failed_instance_uid: UID | None = None
    """The UID of the last of them."""
    failed_at: Time | None = None
    """When that was seen."""


class FailoverMoment(Model):
    """One line of the incident's story."""

    at: Time
    """When."""
    phase: Phase
    """The phase that was entered, or stood."""
    sentence: Sentence
    """What was done or refused."""


class FailoverStatus(Conditioned):
    """The incident: evidence, proof, orders, VMs. Written by the controller's account alone."""

    state_version: Annotated[int | None, Field(ge=0)] = None
    """Of what is stored here: an older controller leaves an incident to a newer one whose state it does not know."""
    phase: Phase | None = None
    """Where the incident stands."""
    sentence: Sentence | None = None
    """The incident in one sentence, the same as in the log and the Event."""
    doubted_at: Time | None = None
    """When the peers began to doubt, or, of a node that hangs, heard nothing but its kernel: the zero of all timings."""
    started_at: Time | None = None
    """When the incident was opened: the verdict stood."""
    verdict: FailoverVerdict | None = None
    """What the evidence came to."""
    votes: Annotated[list[FailoverVote], Field(max_length=64)] = Field(default_factory=list)
    """The signed votes that the verdict rests on."""
    held_reason: Sentence | None = None
    """The limit that keeps the incident from going on."""
    held_for_storm: bool = False
    """Whether it was held while too many nodes were down at once: of those one is fenced after the other."""
    ladder_pass: Annotated[int, Field(ge=0)] = 0
    """How often the whole ladder has been tried in vain."""
    proofs: Annotated[list[FailoverProof], Field(max_length=16)] = Field(default_factory=list)
    """Why it is known that the node can no longer write. One that a later sign of life made void is taken out again."""
    begun_levels: Annotated[list[BegunLevel], Field(max_length=8)] = Field(default_factory=list)
    """The levels that are at work, or have been tried in vain, in this pass of the ladder."""
    orders: Annotated[list[FenceOrder], Field(max_length=512)] = Field(default_factory=list)
    """The orders to fence devices, each stored before it was sent."""
    called_off_by: Annotated[list[CalledOffBy], Field(max_length=64)] = Field(default_factory=list)
    """Devices that have called the node off without an order: it may be booting, and a boot must not be shot."""
    lied_by: Annotated[list[LiedBy], Field(max_length=64)] = Field(default_factory=list)
    """Devices that were caught lying, in this incident or in an earlier one of the node: they prove nothing before they have passed a drill there. See to them, then drill them."""
    out_of_service_seen: bool = False
    """Whether the out-of-service taint was seen on the node before any sign of a later boot."""
    vms: Annotated[list[FailoverVM], Field(max_length=1024)] = Field(default_factory=list)
    """The node's VMs."""
    storage_cuts: Annotated[list[Name], Field(max_length=16)] = Field(default_factory=list)
    """Storage devices that were ordered to cut the node off, and have to be lifted before the incident ends."""
    storage_lifting: bool = False
    """Whether they are being lifted: then they prove nothing until that is over."""
    power_on_tries: Annotated[int, Field(ge=0)] = 0
    """How often the node was ordered on again."""
    history: Annotated[list[FailoverMoment], Field(max_length=64)] = Field(default_factory=list)
    """The incident's story, oldest first."""
    timings: Annotated[dict[str, float], Field(max_length=64)] = Field(default_factory=dict)
    """Seconds from the first doubt to each step."""
    set_back_epoch: Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})] = 0
    """The last time that the cluster's store was set back to an earlier state, by the roster's epoch that agents held: nothing
    here was seen before it. A proof that was stored before is taken out."""
    void_word: Annotated[str, Field(max_length=64)] = ""
    """A mark of the `spec.confirm` that was given before that, and does not count."""
    never_off_on: UID | None = None
    """The UID of a Node object that was registered when the incident was over, in the very boot that it had proved off: there an Event `NeverOff`
    has told so."""
    leader: Name | None = None
    """The controller pod that last wrote this."""
    epoch: Annotated[int | None, Field(ge=0, json_schema_extra={"format": "int64"})] = None
    """The leadership under which it was written; an older one may not write any more."""
    new_boot_id: UID | None = None
    """The boot that the node came back with."""


class Failover(Resource):
    """One incident of one boot of one node: why it was found down, how it was proved off, where its VMs run now."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(oldSelf.spec.confirm) || (has(self.spec.confirm) && (self.spec.confirm == oldSelf.spec.confirm"
                f" || has(self.status) && has(self.status.phase) && self.status.phase in ['{Phase.AWAITING_CONFIRMATION}', '{Phase.HELD}']))",
                "spec.confirm can be given anew only while the failover waits (AwaitingConfirmation, Held), and is never taken"
                " back: recovery may already stand on it; leave it as it is",
                ".spec.confirm",
                "FieldValueForbidden",
            )
        )
    )
    names: ClassVar[Names] = Names(
        kind="Failover",
        plural="failovers",
        short="fo",
        columns=(
            Column("Node", ".spec.node"),
            Column("Phase", ".status.phase"),
            Column("Proof", ".status.proofs[0].kind"),
            Column("Sentence", ".status.sentence"),
            Column("Boot", ".spec.bootID", wide=True),
            Column("VMs", ".status.vms[*].state", wide=True),
            AGE,
        ),
    )

    kind: str = "Failover"
    spec: FailoverSpec
    """What the incident is about, and what people add to it."""
    status: FailoverStatus = Field(default_factory=FailoverStatus)
    """The incident itself, as the controller stores it."""
