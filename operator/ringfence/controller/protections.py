"""What stands between a VM and its restart, read from the caches: `core.protection` says what follows.

Of twenty thousand VMs hardly one has changed since the second before. What its *node* gives it is worked out once for all VMs there
(:class:`Place`); and what is said of a VM is kept with everything that it was said from, and said again only when something of that
is another object. Nothing has to be told of a change, so none can be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.api.v1alpha1.hazone import ZoneFencing
from ringfence.api.v1alpha1.protectedvm import ProtectedVM
from ringfence.controller.devices import DeviceBook
from ringfence.controller.loop import Loop
from ringfence.controller.rfc3339 import parse
from ringfence.controller.storages import NOT_ALLOWED, not_behind, written_by
from ringfence.controller.watchdogs import Watchdogs
from ringfence.controller.world import World
from ringfence.core.failover import lies
from ringfence.core.failover.record import VmRecord
from ringfence.core.fencing.exercise import DAY, unproved
from ringfence.core.model import Mode
from ringfence.core.protection import Protection, VmFacts, VolumeLook, assess
from ringfence.kube.objects import PodObject
from ringfence.kube.store import Key


@dataclass(frozen=True, slots=True)
class Place:
    """What all VMs of one node have in common."""

    node: str
    mode: Mode
    zone: str | None
    zone_trouble: str | None
    maintenance: str | None
    devices: tuple[tuple[str, str | None], ...]
    """Those that need no person: (name, why it can't be used; None if proved)."""
    by_hand: tuple[str, ...]
    methods: int
    """How many independent methods those are."""
    proofs_required: int
    self_fencing: bool
    refuge: bool
    """Another node could take them."""
    storages: tuple[FenceDevice, ...]
    """Those of the devices that cut the node from its storage."""
    pods: tuple[PodObject, ...]
    """The node's, where a storage's fence counts: what they mount is what the VMs write to."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of a VM, and from what."""

    protection: Protection
    node: str | None
    """Where it was last seen running."""
    volumes: tuple[Key, ...]
    """The claims that were looked at."""
    basis: tuple[object, ...]
    """All objects that it was made of."""


class Protections:
    """Of one replica."""

    def __init__(self, world: World, devices: DeviceBook, watchdogs: Watchdogs, loop: Loop) -> None:
        self._world = world
        self._devices = devices
        self._watchdogs = watchdogs
        self._loop = loop

    def of(self, pvm: ProtectedVM, namespace: str) -> tuple[Protection, str | None]:
        """Whether the VM would survive its node now; and the node where it was last seen running."""
        said = self.say(pvm, namespace, self.places())
        return said.protection, said.node

    def places(self, before: Places | None = None) -> Places:
        """What the nodes give now; where that is what they gave ``before``, by the same object."""
        maintained, takers = self._world.maintained(), self._world.takers()
        known = before.known if before is not None else {}
        return Places(lambda node: self._place(node, maintained, takers), known)

    def stands(self, said: Said, pvm: ProtectedVM, namespace: str, places: Places) -> bool:
        """Whether all that it was said from is as it was."""
        return said.basis == self._basis(pvm, (namespace, pvm.spec.vm.name), places, said.volumes)

    def say(self, pvm: ProtectedVM, namespace: str, places: Places) -> Said:
        """Look at everything that the VM hangs on."""
        key = (namespace, pvm.spec.vm.name)
        vm, vmi = self._world.vms.store.get(key), self._world.vmis.store.get(key)
        node = vmi.node if vmi else ""
        place = places.of(node)
        running = vmi is not None and vmi.phase == "Running"
        claims = dict.fromkeys((*(vm.claims if vm else ()), *(vmi.claims if vmi else ())))
        volumes = [(namespace, claim) for claim in claims]
        not_cut: tuple[str, ...] = ()
        if place.storages and vm is not None:
            record = VmRecord(namespace, vm.name, vm.uid, vmi.uid if vmi else "")
            pods = self._world.pods_on(node, frozenset({vmi.uid})) if vmi else ()
            (written,) = written_by(self._world, (record,), pods)
            not_cut = self._not_cut(written.volumes, place.storages)
            volumes += [_key(volume) for volume in written.volumes]
        facts = VmFacts(
            vm=pvm.spec.vm.name,
            exists=vm is not None and not vm.deleting,
            mode=place.mode,
            run_strategy=vm.run_strategy if vm else "",
            node=node,
            running=running,
            wants_restart=pvm.spec.on_node_failure == "Restart",
            host_devices=bool((vm and vm.has_host_devices) or (vmi and vmi.has_host_devices)),
            host_disks=vm.host_disks if vm else (),
            volumes=tuple(self._volume(namespace, claim) for claim in claims),
            zone=place.zone,
            zone_trouble=place.zone_trouble,
            maintenance=place.maintenance,
            devices=place.devices,
            by_hand=place.by_hand,
            methods=place.methods,
            proofs_required=place.proofs_required,
            storage_fences=tuple(storage.metadata.name for storage in place.storages),
            not_cut=not_cut,
            self_fencing=place.self_fencing,
            healthy_others=int(place.refuge),
        )
        looked_at = tuple(dict.fromkeys(volumes))
        return Said(
            assess(facts), node if running else None, looked_at, self._basis(pvm, key, places, looked_at)
        )

    def self_fence_trouble(self, node: str) -> str | None:
        """Why the node's own watchdog can't be counted on now; None: it can."""
        zone, trouble = self._loop.zone_of(self._world.nodes.store.get(("", node)))
        if trouble is not None:
            return trouble
        return self._watchdogs.trouble(node, zone.spec.fencing.watchdog if zone else None)

    def _place(self, node: str, maintained: Mapping[str, str], takers: frozenset[str]) -> Place:
        """What the node gives now."""
        zone, trouble = self._loop.zone_of(self._world.nodes.store.get(("", node)))
        fencing = zone.spec.fencing if zone is not None else ZoneFencing()
        levels = self._world.levels(zone, node) if zone else ()
        people = {device for level in levels for device in level if self._world.is_manual(device)}
        declared = self._world.own.all(FenceDevice)
        devices: list[tuple[str, str | None]] = []
        storages = {}
        self_fencing = False
        for device in {d for level in levels if people.isdisjoint(level) for d in level}:
            if self._world.is_watchdog(device):
                self_fencing = True
                devices.append((device, self.self_fence_trouble(node)))
                continue
            if (found := declared[("", device)]).spec.storage is not None:
                storages[device] = found
                if not fencing.allow_storage_fence:
                    devices.append((device, NOT_ALLOWED))
                    continue
            devices.append((device, self._unproved(found, node, fencing)))
        return Place(
            node,
            self._loop.mode,
            zone.metadata.name if zone else None,
            trouble,
            maintained.get(node),
            tuple(sorted(devices)),
            tuple(sorted(people)),
            self._devices.methods((name for name, _ in devices), node),
            fencing.proofs if zone is not None else 1,
            self_fencing,
            refuge=len(takers) > (node in takers),
            storages=tuple(storages[name] for name in sorted(storages)),
            pods=tuple(self._world.pods_at(node)) if storages else (),
        )

    def _basis(
        self, pvm: ProtectedVM, key: Key, places: Places, volumes: Iterable[Key]
    ) -> tuple[object, ...]:
        vmi = self._world.vmis.store.get(key)
        found: list[object] = [pvm, self._world.vms.store.get(key), vmi, places.of(vmi.node if vmi else "")]
        for volume in volumes:
            pvc = self._world.pvcs.store.get(volume)
            found += (pvc, self._world.pvs.store.get(("", pvc.volume_name)) if pvc else None)
        return tuple(found)

    def _unproved(self, device: FenceDevice, node: str, wanted: ZoneFencing) -> str | None:
        """Why the zone can't count on the device; None: it can."""
        target = self._devices.target(device.metadata.name, node)
        if any(lie.device == device.metadata.name for lie in self._world.own.known_lies(node)):
            return f"called {node} off while that was heard: {lies.drill((device.metadata.name,), node)}"
        # A drill is of what was declared then, and of that machine.
        known = (node, target.outlet, target.node_uuid) if target is not None else None
        passed = (d.passed_at for d in device.status.drills if (d.node, d.outlet, d.node_uuid) == known)
        exercise = self._devices.exercise(
            device.metadata.name, node, max((parse(at) for at in passed), default=None)
        )
        days = wanted.drill_max_age_days
        return unproved(exercise, wanted.proof_max_age_seconds, None if days is None else days * DAY)

    def _not_cut(self, volumes: Iterable[str], storages: Iterable[FenceDevice]) -> tuple[str, ...]:
        """What the VM writes to that no storage fence of its node cuts; a VM without volumes is cut from nothing."""
        claims, pvs = self._world.pvcs.store, self._world.pvs.store
        whys = {v: [not_behind(s, v, claims, pvs) for s in storages] for v in volumes}
        left = {
            v: [why for why in found if why is not None] for v, found in whys.items() if None not in found
        }
        return tuple(f"{v} ({'; '.join(dict.fromkeys(why))})" for v, why in left.items()) or (
            () if whys else ("any volume",)
        )

    def _volume(self, namespace: str, claim: str) -> VolumeLook:
        pvc = self._world.pvcs.store.get((namespace, claim))
        pv = self._world.pvs.store.get(("", pvc.volume_name)) if pvc else None
        return VolumeLook(
            claim,
            found=pvc is not None,
            access_modes=pvc.access_modes if pvc else (),
            attachable=pv is not None and bool(pv.csi_driver),
            pinned_to=pv.pinned_hostnames if pv else (),
        )


class Places:
    """What each node gives to its VMs, as of one moment."""

    def __init__(self, look: Callable[[str], Place], before: Mapping[str, Place]) -> None:
        """``look`` at a node; ``before``: what was seen there last."""
        self.known: dict[str, Place] = {}
        self._look = look
        self._before = before

    def of(self, node: str) -> Place:
        """Looked at when it is first asked for."""
        known = self.known.get(node)
        if known is None:
            known, before = self._look(node), self._before.get(node)
            self.known[node] = known = before if before is not None and before == known else known
        return known


def _key(volume: str) -> Key:
    namespace, _, claim = volume.partition("/")
    return namespace, claim
