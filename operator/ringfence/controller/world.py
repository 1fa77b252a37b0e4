"""Everything this replica watches, and the plain questions that decisions ask of it.

Foreign kinds come from reflectors of our own, and so do ProtectedVMs, of which there are as many as VMs: kopf would take a
millisecond for each, and more memory. Our other kinds come from kopf's events (``handlers.py``) and a LIST a minute that sweeps
what kopf missed. Nothing here writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import pydantic

from ringfence.api.v1alpha1.failover import Failover
from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.api.v1alpha1.hacluster import HACluster
from ringfence.api.v1alpha1.hapolicy import HAPolicy
from ringfence.api.v1alpha1.hazone import HAZone, ZoneNetwork
from ringfence.api.v1alpha1.nodemaintenance import NodeMaintenance
from ringfence.api.v1alpha1.nodereport import NodeReport
from ringfence.api.v1alpha1.protectedvm import ProtectedVM
from ringfence.controller import records
from ringfence.controller.attachments import attached_to
from ringfence.controller.chassis import chassis_of, hosts_of, sessions_at
from ringfence.controller.evidence import Witness
from ringfence.controller.membership import Membership
from ringfence.controller.rfc3339 import parse
from ringfence.controller.stored import Stored
from ringfence.controller.targets import DeviceTarget, targets
from ringfence.core.detection.evidence import Ready
from ringfence.core.failover import lies
from ringfence.core.failover.phase import ENDED
from ringfence.core.failover.record import STATE_VERSION, Lie, PodRef
from ringfence.core.failover.recovery import AttachmentLook, PodLook
from ringfence.core.failover.recovery import PodRole as Rank
from ringfence.core.fencing.chassis import Chassis
from ringfence.kube import kinds
from ringfence.kube.client import Api
from ringfence.kube.objects import (
    LeaseObject,
    NodeObject,
    PodObject,
    PodRole,
    PvcObject,
    PvObject,
    VmiObject,
    VmObject,
    VolumeAttachmentObject,
)
from ringfence.kube.reflector import Reflector
from ringfence.kube.store import Key
from ringfence.ports import Clock, ClusterError, Json

logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound=pydantic.BaseModel)
Found = TypeVar("Found")
AGENT_LEASE = "ringfence-agent-"
NODE_LEASES = "kube-node-lease"
"""The namespace of the kubelets' Leases."""
_Around = tuple[dict[str, str], dict[str, list[HAZone]], dict[str, tuple[str, ...]]]

OWN: Mapping[str, type[pydantic.BaseModel]] = {
    "haclusters": HACluster,
    "hazones": HAZone,
    "fencedevices": FenceDevice,
    "protectedvms": ProtectedVM,
    "failovers": Failover,
    "nodereports": NodeReport,
    "nodemaintenances": NodeMaintenance,
    "hapolicies": HAPolicy,
}


MANY = "protectedvms"
"""The one of our kinds of which there are as many as VMs: it comes from a reflector, as VMs do."""
_PLURALS: Mapping[type[pydantic.BaseModel], str] = {model: plural for plural, model in OWN.items()}


@dataclass(frozen=True, slots=True)
class Unread:
    """One of our own objects that this controller does not understand."""

    node: str
    phase: str
    why: str


def _drilled(devices: Mapping[Key, FenceDevice]) -> dict[tuple[str, str], float]:
    return {
        (name, drill.node): parse(drill.passed_at)
        for (_, name), device in devices.items()
        for drill in device.status.drills
    }


def _lies_by_node(failovers: Mapping[Key, Failover]) -> dict[str, list[Lie]]:
    told: dict[str, list[Lie]] = {}
    for failover in failovers.values():
        for lie in failover.status.lied_by:
            told.setdefault(failover.spec.node, []).append(Lie(lie.device, parse(lie.at)))
    return told


class OwnKinds:
    """Our own objects, parsed. An object that can't be read is logged and left out: it ends nothing.

    A Failover is not forgotten for that: whoever opened another incident of its node would fence it twice.
    """

    def __init__(self, on_change: Callable[[str, Key], None]) -> None:
        self._stores: dict[str, dict[Key, pydantic.BaseModel]] = {plural: {} for plural in OWN}
        self._raw: dict[str, dict[Key, Stored]] = {plural: {} for plural in OWN}
        self._unread: dict[str, dict[Key, Unread]] = {plural: {} for plural in OWN}
        self._whole: dict[str, dict[Key, pydantic.BaseModel]] = {}
        """What :meth:`all` gave out last, until the kind changes."""
        self._worked_out: dict[str, dict[Callable[..., object], object]] = {}
        """What :meth:`work_out` gave out last, until the kind changes."""
        self._on_change = on_change
        self.swept = False

    def seen(self, plural: str, raw: Json, *, deleted: bool = False) -> None:
        """An event of kopf's, or the answer to a write of ours."""
        meta = raw.get("metadata", {})
        key = (meta.get("namespace") or "", meta.get("name") or "")
        stored = Stored.of(raw, packed=plural == MANY)
        if deleted:
            self.gone(plural, key, stored)
        else:
            self.stands(plural, key, stored)

    def gone(self, plural: str, key: Key, last: Stored) -> None:
        """The object has ended, that was last as this."""
        newer = self._raw[plural].get(key)
        if newer is not None and newer.uid != last.uid and newer.version > last.version:
            return  # the end of an earlier object of that name
        if self._stores[plural].pop(key, None) is not None:
            self._forget_whole(plural)
            self._on_change(plural, key)
        self._raw[plural].pop(key, None)
        self._unread[plural].pop(key, None)

    def stands(self, plural: str, key: Key, stored: Stored) -> None:
        """The object is as this, or was."""
        known = self._raw[plural].get(key)
        if known is not None and known.version >= stored.version:
            return
        self._raw[plural][key] = stored
        self._forget_whole(plural)
        model = OWN[plural]
        try:
            self._stores[plural][key] = _understood(
                model.model_validate_json(stored.content)
                if isinstance(stored.content, bytes)
                else model.model_validate(stored.content)
            )
            self._unread[plural].pop(key, None)
        except (ValueError, NewerState) as error:  # pydantic's is a ValueError
            logger.error(
                "%s %s can't be read, it is left out: %s", plural, "/".join(filter(None, key)), error
            )
            self._stores[plural].pop(key, None)
            raw = stored.raw
            spec, status = raw.get("spec") or {}, raw.get("status") or {}
            self._unread[plural][key] = Unread(
                str(spec.get("node") or ""), str(status.get("phase") or ""), str(error)
            )
        self._on_change(plural, key)

    def unread(self, plural: str) -> Mapping[Key, Unread]:
        """Those that were left out."""
        return self._unread[plural]

    def left_alone(self) -> dict[str, str]:
        """The open Failovers that can't be read, most often of a newer controller, each with a sentence for people."""
        return {
            name: f"Failover {name} can't be read by this controller, so {one.node} is left alone: {' '.join(one.why.split())}"
            for (_, name), one in sorted(self._unread["failovers"].items())
            if one.phase not in ENDED
        }

    def held(self, plural: str) -> Mapping[Key, Stored]:
        """All that are known now, as they are stored: to be taken before a LIST is asked for, and given to :meth:`sweep`."""
        return dict(self._raw[plural])

    def sweep(self, plural: str, raws: Iterable[Json], before: Mapping[Key, Stored]) -> None:
        """A whole LIST: what is not in it is gone.

        ``before`` is what was held when it was asked for. What has come since may be newer than the LIST, and what has gone
        since was there: a Failover that is forgotten for that would get another one beside it.
        """
        listed = {((r["metadata"].get("namespace") or ""), r["metadata"]["name"]): r for r in raws}
        known = self._raw[plural]
        for key, stored in before.items():
            if key not in listed and known.get(key) is stored:
                self.gone(plural, key, stored)
        for key, raw in listed.items():
            if key in known or key not in before:
                self.seen(plural, raw)

    def agree(self, plural: str, shown: Mapping[Key, Stored], reached: int) -> None:
        """Be as a reflector shows the kind, that has come to this version: what we have written ourselves it may not have shown."""
        for key, stored in self.held(plural).items():
            if key not in shown and stored.version <= reached:
                self.gone(plural, key, stored)
        for key, stored in shown.items():
            self.stands(plural, key, stored)

    def raw(self, plural: str, key: Key) -> Json | None:
        """As the API has it, without ``managedFields``. Not to be changed."""
        stored = self._raw[plural].get(key)
        return None if stored is None else stored.raw

    def all(self, model: type[Model]) -> Mapping[Key, Model]:
        """All that are known now; what comes later doesn't change it, so that it can be gone through across awaits.

        One copy for all who ask between two changes: judging a node asks several times, and 20,000 VMs are a long copy.
        """
        plural = _PLURALS[model]
        found = self._whole.get(plural)
        if found is None:
            found = self._whole[plural] = dict(self._stores[plural])
        return cast("Mapping[Key, Model]", found)

    def one(self, model: type[Model], key: Key) -> Model | None:
        """The object of that namespace and name."""
        return cast("Model | None", self._stores[_PLURALS[model]].get(key))

    def work_out(self, model: type[Model], work: Callable[[Mapping[Key, Model]], Found]) -> Found:
        """What this function makes of all that are known now; worked out once between two changes. Not to be changed.

        ``work`` is a function of a module: it is remembered for as long as the process runs.
        """
        known = self._worked_out.setdefault(_PLURALS[model], {})
        if work not in known:
            known[work] = work(self.all(model))
        return cast("Found", known[work])

    def drilled(self) -> dict[tuple[str, str], float]:
        """When each (device, node) last passed a drill: wall clock."""
        return self.work_out(FenceDevice, _drilled)

    def known_lies(self, node: str) -> tuple[Lie, ...]:
        """The lies of devices about the node that are on record, and that no drill there has answered."""
        told = self.work_out(Failover, _lies_by_node).get(node)
        if not told:
            return ()
        drilled = {device: at for (device, on), at in self.drilled().items() if on == node}
        return lies.standing(told, drilled)

    def _forget_whole(self, plural: str) -> None:
        self._whole.pop(plural, None)
        self._worked_out.pop(plural, None)

    @property
    def cluster(self) -> HACluster | None:
        return self.all(HACluster).get(("", "default"))


@dataclass(frozen=True, slots=True)
class Declared:
    """What the FenceDevices say, each by (device, node): see :mod:`ringfence.controller.targets` and ``chassis``."""

    targets: Mapping[Key, DeviceTarget]
    chassis: Mapping[Key, Chassis]
    sessions: Mapping[Key, str]
    hosts: Mapping[Key, str]


class NewerState(Exception):
    """What is stored was written by a newer ringfence than this."""


def _understood(found: Model) -> Model:
    """The same object. Raises NewerState for an incident whose stored state is of a later version than ours, ValueError for one
    that the schema allows and no record can be made of.
    """
    if isinstance(found, Failover):
        if (found.status.state_version or 0) > STATE_VERSION:
            raise NewerState(
                f"its state has version {found.status.state_version}, this controller knows {STATE_VERSION}: a newer one has"
                " written it and goes on with it; upgrade this one"
            )
        records.record_of(found, 0.0, 0.0, 0.0, 0.0)
    return found


class World:
    """The caches of one replica."""

    def __init__(
        self,
        api: Api,
        clock: Clock,
        namespace: str,
        witness: Witness,
        jitter: Callable[[], float],
        poke: Callable[[], None],
        stir: Callable[[], None] | None = None,
    ) -> None:
        """``poke``: something has changed; ``stir``: something that matters where a node is down, and nowhere else."""
        self._clock = clock
        self._witness = witness
        self._poke = poke
        self._stir = stir or poke
        self.namespace = namespace
        self.own = OwnKinds(self._own_changed)
        self.nodes = Reflector(
            api, kinds.NODE, NodeObject.from_raw, jitter=jitter, on_change=self._node_changed
        )
        self.node_leases = Reflector(
            api,
            kinds.LEASE,
            LeaseObject.from_raw,
            jitter=jitter,
            namespace=NODE_LEASES,
            on_change=self._kubelet_lease,
        )
        self.agent_leases = Reflector(
            api,
            kinds.LEASE,
            LeaseObject.from_raw,
            jitter=jitter,
            namespace=namespace,
            on_change=self._agent_lease,
        )
        self.pods = Reflector(api, kinds.POD, PodObject.from_raw, jitter=jitter, on_change=self._other)
        self.vms = Reflector(api, kinds.VM, VmObject.from_raw, jitter=jitter, on_change=self._other)
        self.vmis = Reflector(api, kinds.VMI, VmiObject.from_raw, jitter=jitter, on_change=self._vmi_changed)
        self.pvcs = Reflector(api, kinds.PVC, PvcObject.from_raw, jitter=jitter, on_change=self._other)
        self.pvs = Reflector(api, kinds.PV, PvObject.from_raw, jitter=jitter, on_change=self._other)
        self.attachments = Reflector(
            api,
            kinds.VOLUME_ATTACHMENT,
            VolumeAttachmentObject.from_raw,
            jitter=jitter,
            on_change=self._other,
        )
        self._membership = Membership()
        self._declared: tuple[object, Declared] | None = None
        """What :meth:`declared` gave out last, and of what."""
        self._pods_on = self.pods.store.index(lambda pod: (pod.node,))
        self._bound = self.pods.store.index(lambda pod: (pod.vmi_uid,) if pod.vmi_uid and pod.node else ())
        self._users = self.pods.store.index(_used)
        self._vmis_about = self.vmis.store.index(_about)
        self._evacuated = self.vmis.store.index(
            lambda vmi: (vmi.evacuated_from,) if vmi.evacuated_from else ()
        )
        self._attached_to = self.attachments.store.index(lambda attachment: (attachment.node,))
        self.protected_vms = Reflector(
            api, kinds.PROTECTED_VM, Stored.from_raw, jitter=jitter, on_change=self._protected_vm
        )
        self.lock_refused: dict[str, float] = {}
        """VMI UID -> since when it has failed on its image's write lock (CLOCK_BOOTTIME)."""

    @property
    def reflectors(self) -> tuple[Reflector[object], ...]:
        return (  # type: ignore[return-value] # read only: what they hold doesn't matter here
            self.nodes, self.node_leases, self.agent_leases, self.pods, self.vms, self.vmis, self.pvcs, self.pvs,
            self.attachments, self.protected_vms,
        )  # fmt: skip

    async def filled(self) -> None:
        """Wait until all of it has been listed."""
        for reflector in self.reflectors:
            await reflector.synced.wait()

    def not_listed(self) -> dict[str, ClusterError | None]:
        """What could not be listed yet, as ``plural.group``, and why not: without all of it nothing is decided."""
        return {
            ".".join(filter(None, (r.kind.plural, r.kind.group))): r.trouble
            for r in self.reflectors
            if not r.synced.is_set()
        }

    def oldest_contact(self, now: float) -> float:
        """Age of the oldest cache that decisions rest on."""
        return now - min(r.fresh_at for r in self.reflectors)

    # --- changes ---------------------------------------------------------------------------------------

    def _own_changed(self, plural: str, key: Key) -> None:
        if plural == "nodereports":
            self._find_agent(key[1])
        elif plural == "hazones":
            self._membership.keep(frozenset(name for _, name in self.own.all(HAZone)))
        if plural in (MANY, "hapolicies"):
            self._stir()
        else:
            self._poke()

    def _find_agent(self, node: str) -> None:
        """A node whose own agent has reported has one, whether or not we hear of it now."""
        report, boot = self.own.one(NodeReport, ("", node)), self._witness.boot(node)
        if report is not None and boot is not None and report.status.node_uid == boot.node_uid:
            self._witness.agent_seen(node)

    def _node_changed(self, _key: Key, _old: NodeObject | None, new: NodeObject | None) -> None:
        now = self._clock.monotonic()
        if new is None:
            self._witness.forget(_key[1])
            self._membership.forget(_key[1])
        else:
            self._witness.boot_seen(new.name, new.uid, new.boot_id, now)
            self._find_agent(new.name)
            self._witness.ready_seen(new.name, Ready(new.ready.status.value))
            self._witness.renewal_seen(
                new.name, "heartbeat", new.virt_heartbeat, now, self.nodes.happened_after
            )
        self._poke()

    def _kubelet_lease(self, key: Key, _old: LeaseObject | None, new: LeaseObject | None) -> None:
        if new is not None:
            self._witness.renewal_seen(
                key[1],
                "kubelet_lease",
                new.renew_time,
                self._clock.monotonic(),
                self.node_leases.happened_after,
            )

    def _agent_lease(self, key: Key, _old: LeaseObject | None, new: LeaseObject | None) -> None:
        if new is None or not key[1].startswith(AGENT_LEASE):
            return
        node = key[1].removeprefix(AGENT_LEASE)
        boot = self._witness.boot(node)
        # The holder names node UID and boot: an old boot's late write is no sign of this one.
        if boot is not None and new.holder == f"{boot.node_uid}/{boot.boot_id}":
            self._witness.renewal_seen(
                node,
                "agent_lease",
                new.renew_time,
                self._clock.monotonic(),
                self.agent_leases.happened_after,
            )

    def _vmi_changed(self, _key: Key, old: VmiObject | None, new: VmiObject | None) -> None:
        if old is not None and (new is None or new.uid != old.uid):
            self.lock_refused.pop(old.uid, None)
        if new is not None:
            if "write" in new.sync_failure and "lock" in new.sync_failure:
                self.lock_refused.setdefault(new.uid, self._clock.monotonic())
            else:
                self.lock_refused.pop(new.uid, None)
        if (old.evacuated_from if old is not None else "") != (new.evacuated_from if new is not None else ""):
            self._poke()  # together with a cordon it is a drain
        else:
            self._stir()

    def _protected_vm(self, key: Key, old: Stored | None, new: Stored | None) -> None:
        if new is not None:
            self.own.stands(MANY, key, new)
        elif old is not None:
            self.own.gone(MANY, key, old)

    def _other(self, _key: Key, _old: object, _new: object) -> None:
        self._stir()

    # --- questions -------------------------------------------------------------------------------------

    def zones_of(self, node: NodeObject) -> list[HAZone]:
        """The enabled zones that claim the node: one is right, none or more are a condition."""
        zones = self.own.all(HAZone).values()
        found = [zone for zone in zones if zone.spec.enabled and self._membership.of(zone, (node,))]
        return sorted(found, key=lambda z: z.metadata.name)

    def nodes_of(self, zone: HAZone) -> list[NodeObject]:
        return self._membership.of(zone, self.nodes.store.values())

    def evacuated(self) -> frozenset[str]:
        """The nodes that an eviction wants VMs off."""
        return frozenset(map(str, self._evacuated.terms()))

    def vmis_about(self, node: str) -> Mapping[Key, VmiObject]:
        """The instances that the node's loss may concern: those on it, and those that don't simply run elsewhere."""
        return {**self._vmis_about.of(_ADRIFT), **self._vmis_about.of(node)}

    def vmis_on(self, node: str) -> Mapping[Key, VmiObject]:
        """The instances that run on the node, or ran there last. Not to be kept."""
        return self._vmis_about.of(node)

    def pods_at(self, node: str) -> Iterable[PodObject]:
        """The pods bound to the node, as they are."""
        return self._pods_on.of(node).values()

    def bound(self, vmi_uid: str) -> bool:
        """Whether the instance has a launcher that the scheduler has given a node."""
        return bool(self._bound.of(vmi_uid))

    def launchers_of(self, vmi_uid: str) -> tuple[PodObject, ...]:
        """The instance's launchers that the scheduler has given a node."""
        return tuple(self._bound.of(vmi_uid).values())

    def takers(self) -> frozenset[str]:
        """The nodes that KubeVirt could start a VM on."""
        return frozenset(
            n.name
            for n in self.nodes.store.values()
            if n.ready.status.value == "True"
            and not n.unschedulable
            and n.labels.get("kubevirt.io/schedulable") == "true"
        )

    def maintained(self) -> dict[str, str]:
        """The nodes in maintenance, each with the NodeMaintenance that says so, as a clause."""
        found: dict[str, str] = {}
        for (_, name), one in sorted(self.own.all(NodeMaintenance).items(), reverse=True):
            why = f": {one.spec.reason}" if one.spec.reason else ""
            found |= dict.fromkeys(one.spec.nodes, f"NodeMaintenance {name}{why}")
        return found

    def networks_of(self, node: NodeObject) -> tuple[ZoneNetwork, ...]:
        """The further networks of its zone; none where it is in no zone or in two."""
        if not self.own.work_out(HAZone, _any_network):
            return ()  # each judgement of each node asks
        zones = self.zones_of(node)
        return tuple(zones[0].spec.networks) if len(zones) == 1 else ()

    def levels(self, zone: HAZone, node: str) -> tuple[tuple[str, ...], ...]:
        """The names of the node's devices, level by level."""
        mine = self.devices_of(node)
        return tuple(
            tuple(name for name in level.devices if name in mine) for level in zone.spec.fencing.levels
        )

    def devices_of(self, node: str) -> Collection[str]:
        """The names of the FenceDevices that are declared for the node."""
        return self.own.work_out(FenceDevice, _by_node).get(node, ())

    def unaided_levels(self, zone: HAZone, node: str) -> tuple[tuple[str, ...], ...]:
        """Those of the levels that take no person: all devices of a level must succeed, and nobody can order one of driver manual."""
        return tuple(
            level for level in self.levels(zone, node) if level and not any(map(self.is_manual, level))
        )

    @staticmethod
    def hedges(zone: HAZone) -> tuple[float | None, ...]:
        """After how long the next level is begun beside each, where the zone says so."""
        return tuple(level.hedge_after_seconds for level in zone.spec.fencing.levels)

    def targets(self, devices: Iterable[FenceDevice]) -> dict[tuple[str, str], DeviceTarget]:
        """What these FenceDevices would cut, by (device, node), and what speaks against it in this cluster."""
        devices = tuple(devices)
        return targets(devices, *self._around(devices))

    def declared(self) -> Declared:
        """What all FenceDevices say now. Not to be changed.

        It is asked for each second, and worked out again only where something has changed that counts for it: kubelets write
        their Nodes all the time, and we the statuses of the devices.
        """
        devices = tuple(self.own.all(FenceDevice).values())
        around = self._around(devices)
        said = [(device.metadata.name, device.spec, device.status.drills) for device in devices]
        if self._declared is None or self._declared[0] != (said, around):
            found = Declared(
                targets(devices, *around), chassis_of(devices), sessions_at(devices), hosts_of(devices)
            )
            self._declared = ((said, around), found)
        return self._declared[1]

    def _around(self, devices: Sequence[FenceDevice]) -> _Around:
        """What counts for their targets beside themselves, as :func:`targets` takes it."""
        nodes = {name: node for (_, name), node in self.nodes.store.items()}
        cut = {name for device in devices for name in device.spec.nodes if name in nodes}
        return (
            {name: node.system_uuid for name, node in nodes.items()},
            {name: self.zones_of(nodes[name]) for name in cut},
            {name: node.internal_ips for name, node in nodes.items()},
        )

    def is_watchdog(self, device: str) -> bool:
        """Whether the FenceDevice of that name is counted out instead of ordered."""
        found = self.own.all(FenceDevice).get(("", device))
        return found is not None and found.spec.driver == "watchdog"

    def is_manual(self, device: str) -> bool:
        """Whether the FenceDevice of that name is a person, who confirms."""
        found = self.own.all(FenceDevice).get(("", device))
        return found is not None and found.spec.driver == "manual"

    def attachments_on(self, node: str) -> tuple[AttachmentLook, ...]:
        """The volumes that Kubernetes calls attached to the node."""
        return attached_to(node, self._attached_to.of(node).values(), self.pods_at(node), self.pvcs.store)

    def claims_of(self, vms: Iterable[Key]) -> frozenset[Key]:
        """The claims of these VMs (namespace, name), hotplugged volumes included."""
        looks = ((key, self.vms.store.get(key), self.vmis.store.get(key)) for key in vms)
        return frozenset(
            (namespace, claim)
            for (namespace, _), vm, vmi in looks
            for claim in (*(vm.claims if vm else ()), *(vmi.claims if vmi else ()))
        )

    def pods_on(
        self, node: str, protected_vmis: frozenset[str], claims: frozenset[Key] = frozenset()
    ) -> tuple[PodLook, ...]:
        """The pods bound to the node; ``claims`` are those of the protected VMs (:meth:`claims_of`)."""
        return looks(list(self.pods_at(node)), protected_vmis, claims, self._on_one_node(claims))

    def users_of(self, claims: Iterable[Key]) -> Iterable[tuple[str, PodObject]]:
        """The pods that have a node and use one of these claims that one node at a time can have, each with that claim."""
        for claim in sorted(self._on_one_node(claims)):
            for pod in self._users.of(claim).values():
                yield claim[1], pod

    def _on_one_node(self, claims: Iterable[Key]) -> frozenset[Key]:
        return frozenset(
            claim for claim in claims if (pvc := self.pvcs.store.get(claim)) is not None and pvc.on_one_node
        )


def looks(
    here: list[PodObject],
    protected_vmis: frozenset[str],
    claims: frozenset[Key] = frozenset(),
    on_one_node: frozenset[Key] = frozenset(),
) -> tuple[PodLook, ...]:
    """The pods of one node with their rank in the order of deletion.

    A hotplug pod is its launcher's. One whose launcher somebody has deleted before is known by the ``claims`` that it
    holds: until it goes, so long is the volume of the VM's next instance attached to this node. So it is with whatever else has
    one of those claims that only one node can have (``on_one_node``): an import, a backup. Who owns it makes it anew; one that has
    ended has it no more.
    """
    found = []
    launchers = {p.uid: p for p in here if p.role is PodRole.LAUNCHER}
    for pod in here:
        launcher = launchers.get(pod.owner_uid) if pod.role is PodRole.HOTPLUG else pod
        vmi_uid = launcher.vmi_uid if launcher is not None else ""
        held = {(pod.namespace, claim) for claim in pod.claims}
        role = rank(pod)
        if role is Rank.OTHER and not on_one_node.isdisjoint(_used(pod)):
            role = Rank.HOLDER
        found.append(
            PodLook(
                PodRef(pod.namespace, pod.name, pod.uid),
                role,
                vmi_uid=vmi_uid,
                protected=(bool(vmi_uid) and vmi_uid in protected_vmis)
                or (launcher is None and not held.isdisjoint(claims))
                or role is Rank.HOLDER,
            )
        )
    return tuple(found)


_INFRASTRUCTURE = (
    ("k8s-app", "kube-dns"),
    ("app.kubernetes.io/component", "controller"),
)


def rank(pod: PodObject) -> Rank:
    """In which class of deletions a pod stands. DaemonSets' pods stay: the node's own will come back with it."""
    match pod.role:
        case PodRole.VIRT_API:
            return Rank.VIRT_API
        case PodRole.VIRT_CONTROLLER:
            return Rank.VIRT_CONTROLLER
        case PodRole.HOTPLUG:
            return Rank.HOTPLUG
        case PodRole.LAUNCHER:
            return Rank.LAUNCHER
        case PodRole.OTHER:
            known = any(pod.labels.get(key) == value for key, value in _INFRASTRUCTURE)
            return Rank.INFRASTRUCTURE if known and pod.owner_kind == "ReplicaSet" else Rank.OTHER


def _used(pod: PodObject) -> tuple[Key, ...]:
    """The claims of a pod that has a node and has not ended."""
    if not pod.node or pod.phase in ("Succeeded", "Failed"):
        return ()
    return tuple((pod.namespace, claim) for claim in pod.claims)


_ADRIFT = True
"""The term of an instance that doesn't simply run: no node's name."""


def _about(vmi: VmiObject) -> tuple[str | bool, ...]:
    moving = vmi.migration is not None and vmi.migration.in_flight
    return (vmi.node, _ADRIFT) if vmi.phase != "Running" or moving else (vmi.node,)


def _any_network(zones: Mapping[Key, HAZone]) -> bool:
    return any(zone.spec.networks for zone in zones.values())


def _by_node(devices: Mapping[Key, FenceDevice]) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for (_, name), device in devices.items():
        for node in device.spec.nodes:
            found.setdefault(node, set()).add(name)
    return {node: frozenset(names) for node, names in found.items()}
