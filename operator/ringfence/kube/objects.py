"""Where the dicts of Kubernetes stop: what we know of foreign objects, typed, frozen and small.

``X.from_raw(obj)`` never raises, whatever the object looks like: a field that is missing or of an odd type reads as
empty, because one strange object of a tenant must not blind us to all others. Whoever decides on a field must
therefore treat "empty" as *unknown*, never as *no*. Times stay the strings that their writers wrote: they are other
machines' clocks, to be compared for change, not for age.

Only what a decision reads is kept: tens of thousands of pods have to fit into the controller's memory.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from ringfence.core.failover.intent import ANNOTATIONS
from ringfence.ports import LeaseRecord, Taint

HOSTNAME_LABEL = "kubernetes.io/hostname"
VIRT_HEARTBEAT = "kubevirt.io/heartbeat"


# --- reading odd things ------------------------------------------------------------------------------------------


def _at(raw: object, *path: str) -> object:
    for step in path:
        raw = raw.get(step) if isinstance(raw, dict) else None
    return raw


def _str(raw: object, *path: str) -> str:
    found = _at(raw, *path)
    return found if isinstance(found, str) else ""


def _int(raw: object, *path: str) -> int:
    found = _at(raw, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def _true(raw: object, *path: str) -> bool:
    return _at(raw, *path) is True


def _dicts(raw: object, *path: str) -> list[dict[str, Any]]:
    found = _at(raw, *path)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _strings(raw: object, *path: str) -> tuple[str, ...]:
    found = _at(raw, *path)
    return tuple(item for item in found if isinstance(item, str)) if isinstance(found, list) else ()


def _labels(raw: object, *path: str) -> Labels:
    found = _at(raw, *path)
    return Labels(
        (key, value)
        for key, value in (found.items() if isinstance(found, dict) else ())
        if isinstance(key, str) and isinstance(value, str)
    )


def _deleting(raw: object) -> bool:
    return bool(_str(raw, "metadata", "deletionTimestamp"))


def _is_address(text: str) -> bool:
    """A kubelet may write anything there; what is none reaches no socket, and ends nobody who reckons with it."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))


class Labels(dict[str, str]):
    """A map of labels that stands in frozen, hashable objects; nobody changes it after ``from_raw``."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


# --- parts that several kinds share ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a foreign object."""

    type: str
    status: str
    reason: str
    message: str

    @classmethod
    def many(cls, raw: object, *path: str) -> tuple[Self, ...]:
        return tuple(
            cls(_str(c, "type"), _str(c, "status"), _str(c, "reason"), _str(c, "message"))
            for c in _dicts(raw, *path)
        )


def condition(conditions: tuple[Condition, ...], type_: str) -> Condition | None:
    """The condition of that type, or None where it is missing (which is not the same as ``False``)."""
    return next((c for c in conditions if c.type == type_), None)


@dataclass(frozen=True, slots=True)
class Owner:
    """The controlling owner of an object."""

    kind: str
    name: str
    uid: str

    @classmethod
    def of(cls, raw: object) -> Self | None:
        return next(
            (
                cls(_str(o, "kind"), _str(o, "name"), _str(o, "uid"))
                for o in _dicts(raw, "metadata", "ownerReferences")
                if _true(o, "controller")
            ),
            None,
        )


# --- nodes -------------------------------------------------------------------------------------------------------


class ReadyStatus(StrEnum):
    """Four inputs, not two (DESIGN §3)."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"
    MISSING = "missing"
    """No Ready condition, or one with a word that we don't know."""


@dataclass(frozen=True, slots=True)
class NodeReady:
    """A node's Ready condition as it stands."""

    status: ReadyStatus
    reason: str
    heartbeat: str
    transition: str
    shutting_down: bool = False
    """The kubelet says that the machine shuts down (it does with ``shutdownGracePeriod`` in its settings)."""


@dataclass(frozen=True, slots=True)
class NodeObject:
    """A Node."""

    name: str
    uid: str
    boot_id: str
    system_uuid: str
    ready: NodeReady
    internal_ips: tuple[str, ...]
    taints: tuple[Taint, ...]
    labels: Labels
    unschedulable: bool
    virt_heartbeat: str
    """virt-handler's annotation, RFC 3339, every 60-132 s; empty where there is none."""
    resource_version: str
    deleting: bool
    marks: Labels
    """Those annotations by which tools say that they take the node away (:mod:`ringfence.core.failover.intent`)."""

    @classmethod
    def from_raw(cls, raw: object) -> Self:
        found = next((c for c in _dicts(raw, "status", "conditions") if c.get("type") == "Ready"), None)
        word = _str(found, "status")
        ready = NodeReady(
            status=ReadyStatus(word) if word in {"True", "False", "Unknown"} else ReadyStatus.MISSING,
            reason=_str(found, "reason"),
            heartbeat=_str(found, "lastHeartbeatTime"),
            transition=_str(found, "lastTransitionTime"),
            # No field of its own: Kubernetes' documents call it the reason, its kubelet writes it into the message.
            shutting_down=word == "False"
            and "node is shutting down" in f"{_str(found, 'reason')} {_str(found, 'message')}",
        )
        annotations = _labels(raw, "metadata", "annotations")
        return cls(
            name=_str(raw, "metadata", "name"),
            uid=_str(raw, "metadata", "uid"),
            boot_id=_str(raw, "status", "nodeInfo", "bootID"),
            system_uuid=_str(raw, "status", "nodeInfo", "systemUUID"),
            ready=ready,
            internal_ips=_unique(
                _str(a, "address")
                for a in _dicts(raw, "status", "addresses")
                if a.get("type") == "InternalIP" and _is_address(_str(a, "address"))
            ),
            taints=tuple(
                Taint(key=_str(t, "key"), effect=_str(t, "effect"), value=_str(t, "value"))
                for t in _dicts(raw, "spec", "taints")
            ),
            labels=_labels(raw, "metadata", "labels"),
            unschedulable=_true(raw, "spec", "unschedulable"),
            virt_heartbeat=annotations.get(VIRT_HEARTBEAT, ""),
            resource_version=_str(raw, "metadata", "resourceVersion"),
            deleting=_deleting(raw),
            marks=Labels((key, annotations[key]) for key in ANNOTATIONS if key in annotations),
        )


# --- pods --------------------------------------------------------------------------------------------------------


class PodRole(StrEnum):
    """What a pod is to a failover; the deletion's order hangs on it (KUBEVIRT §2.1)."""

    VIRT_API = "virt-api"
    VIRT_CONTROLLER = "virt-controller"
    HOTPLUG = "hotplug"
    LAUNCHER = "launcher"
    OTHER = "other"


_ROLES: Mapping[str, PodRole] = {
    "virt-launcher": PodRole.LAUNCHER,
    "virt-api": PodRole.VIRT_API,
    "virt-controller": PodRole.VIRT_CONTROLLER,
    "hotplug-disk": PodRole.HOTPLUG,
}


@dataclass(frozen=True, slots=True)
class Toleration:
    """One toleration; an empty key with ``Exists`` tolerates everything."""

    key: str
    operator: str
    value: str
    effect: str
    seconds: int | None
    """How long a NoExecute taint is tolerated; None: for ever."""


@dataclass(frozen=True, slots=True)
class PodObject:
    """A Pod."""

    namespace: str
    name: str
    uid: str
    node: str
    phase: str
    deleting: bool
    labels: Labels
    role: PodRole
    vmi_uid: str
    """Of the VMI that this launcher belongs to; empty for other pods."""
    owner_uid: str
    """Of the controlling owner: a launcher's VMI, a hotplug pod's launcher *pod*, a replica's ReplicaSet."""
    owner_kind: str
    tolerations: tuple[Toleration, ...]
    is_migration_target: bool
    all_containers_terminated: bool
    """KubeVirt's rule for a dead launcher: the phase is final, or every container is terminated."""
    containers_ready: bool
    claims: tuple[str, ...]
    """PVCs of its volumes, in its own namespace."""

    @classmethod
    def from_raw(cls, raw: object) -> Self:
        labels = _labels(raw, "metadata", "labels")
        owner = Owner.of(raw)
        owner_uid = owner.uid if owner else ""
        owner_kind = owner.kind if owner else ""
        role = _ROLES.get(labels.get("kubevirt.io", ""), PodRole.OTHER)
        vmi_uid = ""
        if role is PodRole.LAUNCHER:
            vmi_uid = labels.get("kubevirt.io/created-by", "") or (
                owner_uid if owner_kind == "VirtualMachineInstance" else ""
            )
        phase = _str(raw, "status", "phase")
        statuses = _dicts(raw, "status", "containerStatuses")
        ended = bool(statuses) and all(isinstance(_at(s, "state", "terminated"), dict) for s in statuses)
        return cls(
            namespace=_str(raw, "metadata", "namespace"),
            name=_str(raw, "metadata", "name"),
            uid=_str(raw, "metadata", "uid"),
            node=_str(raw, "spec", "nodeName"),
            phase=phase,
            deleting=_deleting(raw),
            labels=labels,
            role=role,
            vmi_uid=vmi_uid,
            owner_uid=owner_uid,
            owner_kind=owner_kind,
            tolerations=tuple(_toleration(t) for t in _dicts(raw, "spec", "tolerations")),
            is_migration_target="kubevirt.io/migrationJobUID" in labels,
            all_containers_terminated=ended or phase in {"Failed", "Succeeded"},
            containers_ready=bool(statuses) and all(_true(s, "ready") for s in statuses),
            claims=_pod_claims(raw),
        )


def _pod_claims(raw: object) -> tuple[str, ...]:
    """The PVCs that a pod uses; that of a generic ephemeral volume is named ``<pod>-<volume>`` by Kubernetes."""
    pod = _str(raw, "metadata", "name")
    return _unique(
        name
        for volume in _dicts(raw, "spec", "volumes")
        for name in (
            _str(volume, "persistentVolumeClaim", "claimName"),
            f"{pod}-{_str(volume, 'name')}" if _at(volume, "ephemeral") is not None else "",
        )
    )


def _toleration(raw: dict[str, Any]) -> Toleration:
    return Toleration(
        key=_str(raw, "key"),
        operator=_str(raw, "operator") or "Equal",
        value=_str(raw, "value"),
        effect=_str(raw, "effect"),
        seconds=None if raw.get("tolerationSeconds") is None else _int(raw, "tolerationSeconds"),
    )


# --- virtual machines --------------------------------------------------------------------------------------------


def _claims(volumes: list[dict[str, Any]]) -> tuple[str, ...]:
    """The PVCs that a VM's ``volumes`` name; a DataVolume's PVC bears the DataVolume's name."""
    return _unique(
        name
        for volume in volumes
        for name in (
            _str(volume, "persistentVolumeClaim", "claimName"),
            _str(volume, "dataVolume", "name"),
            _str(volume, "ephemeral", "persistentVolumeClaim", "claimName"),
            _str(volume, "memoryDump", "claimName"),
        )
    )


def _host_disks(volumes: list[dict[str, Any]]) -> tuple[str, ...]:
    """Volumes that are files of one node: a VM with one can't go on elsewhere."""
    return _unique(_str(volume, "name") for volume in volumes if isinstance(volume.get("hostDisk"), dict))


def _has_host_devices(spec: object) -> bool:
    devices = _at(spec, "domain", "devices")
    return bool(_dicts(devices, "hostDevices") or _dicts(devices, "gpus"))


@dataclass(frozen=True, slots=True)
class StateChangeRequest:
    """``Start``, or ``Stop`` of the VMI with that UID, that KubeVirt has not carried out yet."""

    action: str
    uid: str


@dataclass(frozen=True, slots=True)
class StartFailure:
    """KubeVirt's back-off after starts that never reached Running."""

    failures: int
    retry_after: str


@dataclass(frozen=True, slots=True)
class VmObject:
    """A VirtualMachine."""

    namespace: str
    name: str
    uid: str
    run_strategy: str
    """``Always, RerunOnFailure, Once, Manual, Halted, WaitAsReceiver``; ``running: true`` reads as Always."""
    printable_status: str
    state_change_requests: tuple[StateChangeRequest, ...]
    deleting: bool
    conditions: tuple[Condition, ...]
    claims: tuple[str, ...]
    """Names of the PVCs in its template, in the VM's namespace."""
    host_disks: tuple[str, ...]
    has_host_devices: bool
    node_selector: Labels
    start_failure: StartFailure | None
    snapshot_in_progress: str
    """The VirtualMachineSnapshot that is being taken of it."""
    restore_in_progress: str
    """The VirtualMachineRestore that is putting its disks back."""
    labels: Labels
    resource_version: str

    @classmethod
    def from_raw(cls, raw: object) -> Self:
        strategy = _str(raw, "spec", "runStrategy")
        if not strategy:
            running = _at(raw, "spec", "running")
            strategy = {True: "Always", False: "Halted"}.get(running, "") if isinstance(running, bool) else ""
        template = _at(raw, "spec", "template", "spec")
        failure = _at(raw, "status", "startFailure")
        volumes = _dicts(template, "volumes")
        return cls(
            namespace=_str(raw, "metadata", "namespace"),
            name=_str(raw, "metadata", "name"),
            uid=_str(raw, "metadata", "uid"),
            run_strategy=strategy,
            printable_status=_str(raw, "status", "printableStatus"),
            state_change_requests=tuple(
                StateChangeRequest(_str(r, "action"), _str(r, "uid"))
                for r in _dicts(raw, "status", "stateChangeRequests")
            ),
            deleting=_deleting(raw),
            conditions=Condition.many(raw, "status", "conditions"),
            claims=_claims(volumes),
            host_disks=_host_disks(volumes),
            has_host_devices=_has_host_devices(template),
            node_selector=_labels(template, "nodeSelector"),
            start_failure=StartFailure(
                _int(failure, "consecutiveFailCount"), _str(failure, "retryAfterTimestamp")
            )
            if isinstance(failure, dict)
            else None,
            snapshot_in_progress=_str(raw, "status", "snapshotInProgress"),
            restore_in_progress=_str(raw, "status", "restoreInProgress"),
            labels=_labels(raw, "metadata", "labels"),
            resource_version=_str(raw, "metadata", "resourceVersion"),
        )


@dataclass(frozen=True, slots=True)
class Migration:
    """The VMI's current or last live migration."""

    uid: str
    source_node: str
    target_node: str
    source_pod: str
    target_pod: str
    completed: bool
    failed: bool

    @property
    def in_flight(self) -> bool:
        return not (self.completed or self.failed)


@dataclass(frozen=True, slots=True)
class VmiObject:
    """A VirtualMachineInstance."""

    namespace: str
    name: str
    uid: str
    phase: str
    node: str
    """Where it runs, or ran last; empty before it was scheduled."""
    deleting: bool
    owner_vm_uid: str
    """Empty for a VMI without a VM."""
    conditions: tuple[Condition, ...]
    claims: tuple[str, ...]
    """PVCs of its volumes, hotplugged ones and the backend storage included."""
    host_disks: tuple[str, ...]
    has_host_devices: bool
    migration: Migration | None
    evacuated_from: str
    """The node that an eviction wants it off."""
    reason: str
    active_pods: tuple[tuple[str, str], ...]
    """(pod UID, node) as KubeVirt lists them."""
    resource_version: str

    @classmethod
    def from_raw(cls, raw: object) -> Self:
        volumes = _dicts(raw, "spec", "volumes")
        owner = Owner.of(raw)
        moving = _at(raw, "status", "migrationState")
        return cls(
            namespace=_str(raw, "metadata", "namespace"),
            name=_str(raw, "metadata", "name"),
            uid=_str(raw, "metadata", "uid"),
            phase=_str(raw, "status", "phase"),
            node=_str(raw, "status", "nodeName"),
            deleting=_deleting(raw),
            owner_vm_uid=owner.uid if owner and owner.kind == "VirtualMachine" else "",
            conditions=Condition.many(raw, "status", "conditions"),
            claims=_unique(
                (
                    *_claims(volumes),
                    *(
                        _str(v, "persistentVolumeClaimInfo", "claimName")
                        for v in _dicts(raw, "status", "volumeStatus")
                    ),
                )
            ),
            host_disks=_host_disks(volumes),
            has_host_devices=_has_host_devices(_at(raw, "spec")),
            migration=Migration(
                uid=_str(moving, "migrationUid"),
                source_node=_str(moving, "sourceNode"),
                target_node=_str(moving, "targetNode"),
                source_pod=_str(moving, "sourcePod"),
                target_pod=_str(moving, "targetPod"),
                completed=_true(moving, "completed"),
                failed=_true(moving, "failed"),
            )
            if isinstance(moving, dict)
            else None,
            evacuated_from=_str(raw, "status", "evacuationNodeName"),
            reason=_str(raw, "status", "reason"),
            active_pods=tuple(sorted(_labels(raw, "status", "activePods").items())),
            resource_version=_str(raw, "metadata", "resourceVersion"),
        )

    @property
    def sync_failure(self) -> str:
        """Why virt-handler can't bring it to its state (``reason: message``), or empty (KUBEVIRT §7)."""
        found = condition(self.conditions, "Synchronized")
        return f"{found.reason}: {found.message}" if found and found.status == "False" else ""


# --- storage -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PvcObject:
    """A PersistentVolumeClaim."""

    namespace: str
    name: str
    uid: str
    phase: str
    volume_name: str
    access_modes: tuple[str, ...]
    volume_mode: str
    storage_class: str
    deleting: bool

    @property
    def on_one_node(self) -> bool:
        """Whether Kubernetes attaches it to one node at a time."""
        return bool(self.access_modes) and not {"ReadWriteMany", "ReadOnlyMany"}.intersection(
            self.access_modes
        )

    @classmethod
    def from_raw(cls, raw: object) -> Self:
        return cls(
            namespace=_str(raw, "metadata", "namespace"),
            name=_str(raw, "metadata", "name"),
            uid=_str(raw, "metadata", "uid"),
            phase=_str(raw, "status", "phase"),
            volume_name=_str(raw, "spec", "volumeName"),
            access_modes=_strings(raw, "status", "accessModes") or _strings(raw, "spec", "accessModes"),
            volume_mode=_str(raw, "spec", "volumeMode") or "Filesystem",
            storage_class=_str(raw, "spec", "storageClassName"),
            deleting=_deleting(raw),
        )


@dataclass(frozen=True, slots=True)
class PvObject:
    """A PersistentVolume."""

    name: str
    uid: str
    phase: str
    access_modes: tuple[str, ...]
    volume_mode: str
    storage_class: str
    csi_driver: str
    host_path: str
    """Path of a hostPath volume; which nodes see the same disk there is for the administrator to say."""
    local_path: str
    """Path of a local volume."""
    has_node_affinity: bool
    pinned_hostnames: tuple[str, ...]
    """Values of ``kubernetes.io/hostname`` that the node affinity allows; empty with ``has_node_affinity``: it asks
    for something else than host names (a zone, say)."""
    claim_namespace: str
    claim_name: str
    claim_uid: str
    deleting: bool

    @classmethod
    def from_raw(cls, raw: object) -> Self:
        affinity = _at(raw, "spec", "nodeAffinity", "required")
        return cls(
            name=_str(raw, "metadata", "name"),
            uid=_str(raw, "metadata", "uid"),
            phase=_str(raw, "status", "phase"),
            access_modes=_strings(raw, "spec", "accessModes"),
            volume_mode=_str(raw, "spec", "volumeMode") or "Filesystem",
            storage_class=_str(raw, "spec", "storageClassName"),
            csi_driver=_str(raw, "spec", "csi", "driver"),
            host_path=_str(raw, "spec", "hostPath", "path"),
            local_path=_str(raw, "spec", "local", "path"),
            has_node_affinity=isinstance(affinity, dict),
            pinned_hostnames=_unique(
                value
                for term in _dicts(affinity, "nodeSelectorTerms")
                for want in _dicts(term, "matchExpressions")
                if want.get("key") == HOSTNAME_LABEL and want.get("operator") == "In"
                for value in _strings(want, "values")
            ),
            claim_namespace=_str(raw, "spec", "claimRef", "namespace"),
            claim_name=_str(raw, "spec", "claimRef", "name"),
            claim_uid=_str(raw, "spec", "claimRef", "uid"),
            deleting=_deleting(raw),
        )


@dataclass(frozen=True, slots=True)
class VolumeAttachmentObject:
    """A VolumeAttachment."""

    name: str
    uid: str
    node: str
    pv: str
    attacher: str
    attached: bool
    deleting: bool

    @classmethod
    def from_raw(cls, raw: object) -> Self:
        return cls(
            name=_str(raw, "metadata", "name"),
            uid=_str(raw, "metadata", "uid"),
            node=_str(raw, "spec", "nodeName"),
            pv=_str(raw, "spec", "source", "persistentVolumeName"),
            attacher=_str(raw, "spec", "attacher"),
            attached=_true(raw, "status", "attached"),
            deleting=_deleting(raw),
        )


# --- leases ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LeaseObject(LeaseRecord):
    """A Lease, read from the API: the same record that :class:`ringfence.ports.Cluster` speaks of."""

    @classmethod
    def from_raw(cls, raw: object) -> Self:
        return cls(
            namespace=_str(raw, "metadata", "namespace"),
            name=_str(raw, "metadata", "name"),
            holder=_str(raw, "spec", "holderIdentity"),
            duration_seconds=_int(raw, "spec", "leaseDurationSeconds"),
            acquire_time=_str(raw, "spec", "acquireTime"),
            renew_time=_str(raw, "spec", "renewTime"),
            transitions=_int(raw, "spec", "leaseTransitions"),
            uid=_str(raw, "metadata", "uid"),
            resource_version=_str(raw, "metadata", "resourceVersion"),
            labels=_labels(raw, "metadata", "labels"),
        )
