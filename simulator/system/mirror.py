"""The plant as the API server shows it: what kubelets, agents, KubeVirt, attach-detach and people write, object by object.

Once a tick whatever has changed in truth, and may be told, is written. What the controller writes to these objects comes back into the plant
in :mod:`simulator.system.deeds`.
"""

from __future__ import annotations

from collections.abc import Hashable

from ringfence.controller.rfc3339 import stamp
from ringfence.core.fencing.selffence import lease_holder, revocation
from ringfence.core.model import Boot, Mode, OnHung
from ringfence.kube.objects import VIRT_HEARTBEAT
from ringfence.ports import Json
from simulator.system.apiserver import ApiServer
from simulator.system.detector import KUBELET_RENEWS, renews_every
from simulator.system.memory import Memory
from simulator.system.node import Node
from simulator.system.outlets import uuid_of
from simulator.system.plant import Plant
from simulator.system.processes import VirtualClock
from simulator.system.vm import Vm
from simulator.system.voices import Voices

NAMESPACE = "ringfence-system"
NODE_LEASES = "medik8s-leases"
KUBEVIRT = "kubevirt"
GUESTS = "default"
HEARD_WITHIN = 1.0
"""Seconds in which who leads has heard what stands in a Node."""
NOT_READY_AFTER = 40.0
"""Seconds of a kubelet's silence after which the node controller calls the node's state unknown."""
OURS, FOREIGN = "ringfence", "nodeshutdown"
VOLUME = "slots"
HANDLER_BEATS = 60.0
"""Seconds between two heartbeats of virt-handler, which stands still with the agent here."""


def address_of(node: str) -> str:
    """As the ring's simulator numbers them."""
    return f"10.0.0.{int(node[1:]) - 1}"


class Mirror:
    """``tick`` once a tick; `show_node` and `show_vm` at once, after a write of the controller's."""

    def __init__(self, plant: Plant, memory: Memory, server: ApiServer, voices: Voices) -> None:
        self._plant = plant
        self._memory = memory
        self._server = server
        self._voices = voices
        self._shown: dict[Hashable, Hashable] = {}
        self._vms: dict[str, tuple[object, ...]] = {}
        """What each VM was last shown from."""
        self._boots: dict[str, str] = {}
        """The boot id in each Node object: a kubelet writes it when it has booted and reaches the API server."""
        self._before: dict[str, tuple[str, float]] = {}
        """The one that stood there before, and until when."""
        self._unready_since: dict[str, float] = {}
        self._beats: dict[str, str] = {}
        """virt-handler's last heartbeat on each node, where a zone's policy goes by it."""
        self._zones = sorted({zone for name in plant.nodes for zone in plant.zones_naming(name)})
        """All that there ever are."""
        self._going: set[Boot] = set()
        """Boots whose kubelet has announced that the machine shuts down."""
        self.deleting: set[str] = set()
        """Pods whose deletion was asked for, and that no kubelet has ended yet."""

    def _say(self, plural: str, name: str, seen: Hashable, body: Json, namespace: str = "") -> None:
        self._shown[plural, namespace, name] = seen
        self._server.put(plural, name, body, namespace)

    def _new(self, plural: str, name: str, seen: Hashable, namespace: str = "") -> bool:
        return self._shown.get((plural, namespace, name)) != seen

    def _gone(self, plural: str, name: str, namespace: str = "") -> None:
        if self._shown.pop((plural, namespace, name), None) is not None:
            self._server.take(plural, name, namespace)

    def tick(self) -> None:
        """Write what is new."""
        if self._plant.api_out:
            return
        self._settings()
        for node in self._plant.nodes.values():
            self._renew(node)
            boot = node.identity.boot_id
            if self._plant.takes_pods(node) and self._boots.get(node.name) != boot:
                self._before[node.name] = self._boots.get(node.name, ""), self._plant.now
                self._boots[node.name] = boot
            self._report(node)
            self.show_node(node)
        for vm in self._plant.vms.values():
            self.show_vm(vm)
        self._kubevirts_own()
        self._users()
        self._attachments()
        self._people()

    # --- what an administrator declares -----------------------------------------------------------------------------

    def declare(self) -> None:
        """Devices, protected VMs, claims: all that stands there from the beginning and never changes."""
        plant = self._plant
        for kind, boxes in (("bmc", plant.bmcs), ("pdu", plant.pdus)):
            for node in boxes:
                self._server.put("fencedevices", f"{kind}-{node}", {"spec": self._redfish(kind, node)})
        if plant.storage_fence is not None:
            storage = {
                "csiDriver": "csi",
                "storageClasses": ["rbd"],
                "staticStorageClasses": ["nfs"],
                "secretRef": {"name": "csi", "namespace": "csi"},
            }
            spec = {"driver": "storage", "nodes": list(plant.nodes), "storage": storage}
            self._server.put("fencedevices", "ceph", {"spec": spec})
        if plant.kennel is not None:
            spec = {"driver": "watchdog", "nodes": list(plant.kennel.dogs)}
            self._server.put("fencedevices", "watchdogs", {"spec": spec})
        for vm in plant.vms:
            protected: Json = {"vm": {"name": vm}}
            if vm in plant.placement.priority:
                protected["priority"] = plant.placement.priority[vm]
            if vm in plant.placement.after:
                protected["dependsOn"] = [{"name": name} for name in plant.placement.after[vm]]
            self._server.put("protectedvms", vm, {"spec": protected}, GUESTS)
            self._claim(vm)

    def _redfish(self, kind: str, node: str) -> Json:
        number, most = int(node[1:]), self._plant.ladder.most_at_once
        host = "10.0.8.9" if most is not None else f"10.0.{8 if kind == 'bmc' else 9}.{number}"
        redfish: Json = {"address": f"https://{host}", "secretRef": {"name": "bmc"}}
        redfish["systemId"] = f"{kind}-{node}"
        spec: Json = {"driver": "redfish", "nodes": [node], "redfish": redfish}
        return spec if most is None else spec | {"maxConcurrentOrders": most}

    def _claim(self, vm: str) -> None:
        volume = self._plant.volumes.get(vm)
        class_ = "nfs" if volume is None else "rbd"
        modes = ["ReadWriteOnce"] if volume is not None and not volume.shared else ["ReadWriteMany"]
        spec: Json = {"volumeName": f"pv-{vm}", "storageClassName": class_, "accessModes": modes}
        self._server.put("persistentvolumeclaims", vm, {"spec": spec, "status": {"phase": "Bound"}}, GUESTS)
        spec = {
            "storageClassName": class_,
            "accessModes": modes,
            "claimRef": {"namespace": GUESTS, "name": vm},
        }
        spec |= {"nfs": {}} if volume is None else {"csi": {"driver": "csi"}}
        self._server.put("persistentvolumes", f"pv-{vm}", {"spec": spec, "status": {"phase": "Bound"}})

    def _settings(self) -> None:
        mode, plant = self._memory.mode, self._plant
        if self._new("haclusters", "default", mode):
            self._declare("haclusters", "default", mode, {"mode": Mode(mode).value})
        for zone in self._zones:
            members = tuple(name for name in plant.nodes if zone in plant.zones_naming(name))
            if not members:
                self._gone("hazones", zone)
            elif self._new("hazones", zone, members):
                self._declare("hazones", zone, members, self._zone(members))
        for name in plant.nodes:
            work, why = f"work-on-{name}", plant.maintained.get(name)
            if why is None:
                self._gone("nodemaintenances", work)
            elif self._new("nodemaintenances", work, why):
                self._declare("nodemaintenances", work, why, {"nodes": [name], "reason": why})

    def _declare(self, plural: str, name: str, seen: Hashable, spec: Json) -> None:
        """A new spec; the status is the controller's."""
        found = self._server.find(plural, name) or {}
        self._say(plural, name, seen, {**found, "spec": spec})

    def _zone(self, members: tuple[str, ...]) -> Json:
        plant = self._plant
        kinds = (("bmc", plant.bmcs), ("pdu", plant.pdus))
        levels: list[Json] = [
            {"devices": [f"{kind}-{node}" for node in boxes][:8]} for kind, boxes in kinds if boxes
        ]
        if plant.storage_fence is not None:
            levels.append({"devices": ["ceph"]})
        if plant.kennel is not None:
            levels.append({"devices": ["watchdogs"]})
        for level, hedge in zip(levels, plant.ladder.hedges, strict=False):
            if hedge is not None:
                level["hedgeAfterSeconds"] = hedge
        fencing: Json = {
            "levels": levels,
            "proofs": plant.proofs_required,
            "delaySeconds": plant.ladder.delay,
            "allowStorageFence": plant.storage_fence is not None,
        }
        if (kennel := plant.kennel) is not None:
            fencing["watchdog"] = {
                "isolationSeconds": kennel.isolation,
                "timeoutSeconds": kennel.timeout,
                "assumeSeconds": kennel.assume_after,
                "legs": sorted(kennel.legs),
            }
        spec: Json = {"nodes": {"names": list(members)}, "fencing": fencing}
        if plant.heartbeat:
            heartbeat = {"volume": VOLUME, "intervalSeconds": 1, "stopGuests": plant.stop_guests}
            spec["storage"] = {"heartbeat": heartbeat}
            spec["onHung"] = plant.on_hung.value
        return spec

    # --- nodes ------------------------------------------------------------------------------------------------------

    def show_node(self, node: Node) -> None:
        """The Node object, if it says anything new; what comes under its name after a deletion is another one."""
        shown = self._shown.get(("nodes", "", node.name))
        if not node.registered or (isinstance(shown, tuple) and shown[0] != node.identity.node_uid):
            self._gone("nodes", node.name)
            self._server.take("leases", node.name, "kube-node-lease")
        if not node.registered:
            return
        ready, boot = self._ready(node), self._boots.get(node.name, node.identity.boot_id)
        seen = self._seen(node)
        if not self._new("nodes", node.name, seen):
            return
        taints = []
        if node.suspect:
            taints.append({"key": "ringfence.io/suspect", "effect": "NoSchedule", "value": node.suspect_for})
        if node.out_of_service:
            value = FOREIGN if node.foreign_taint else OURS
            key = "node.kubernetes.io/out-of-service"
            taints.append({"key": key, "effect": "NoExecute", "value": value})
        taints += [{"key": key, "effect": "NoSchedule"} for key in sorted(node.marks)]
        condition = {"type": "Ready", "status": ready}
        if ready == "False":
            condition |= {"reason": "KubeletNotReady", "message": "node is shutting down"}
        body: Json = {
            "metadata": {
                "uid": node.identity.node_uid,
                "labels": {"kubernetes.io/hostname": node.name, "kubevirt.io/schedulable": "true"},
                "annotations": dict(node.annotations) | self._beat(node),
            },
            "spec": {"taints": taints, "unschedulable": node.cordoned},
            "status": {
                "addresses": [{"type": "InternalIP", "address": address_of(node.name)}],
                "conditions": [condition],
                "nodeInfo": {"bootID": boot, "systemUUID": uuid_of(node.name)},
            },
        }
        self._say("nodes", node.name, seen, body)

    def boot_of(self, name: str) -> str:
        """The boot id in the Node object."""
        return self._boots.get(name, "")

    def heard_boot_of(self, name: str) -> str:
        """The boot that who leads has surely heard of. The kubelet's Lease, which names none, may come before the Node."""
        before, until = self._before.get(name, ("", float("-inf")))
        return before if self._plant.now - until <= HEARD_WITHIN else self.boot_of(name)

    def note_node(self, node: Node) -> None:
        """What the controller has just written stands there already."""
        self._shown["nodes", "", node.name] = self._seen(node)

    def _seen(self, node: Node) -> Hashable:
        boot = self._boots.get(node.name, node.identity.boot_id)
        taints = (node.suspect, node.suspect_for, node.out_of_service, node.foreign_taint)
        marks = (*sorted(node.marks), *sorted(node.annotations.items()), *self._beat(node).values())
        return (node.identity.node_uid, self._ready(node), boot, *taints, node.cordoned, *marks)

    def _beat(self, node: Node) -> dict[str, str]:
        return {VIRT_HEARTBEAT: self._beats[node.name]} if node.name in self._beats else {}

    def _ready(self, node: Node) -> str:
        plant = self._plant
        if plant.takes_pods(node):
            self._unready_since.pop(node.name, None)
            return "True"
        if node.shutting_down and node.kubelet and plant.with_api(node):
            self._going.add(node.identity)
        since = self._unready_since.setdefault(node.name, plant.now)
        if plant.now - since >= NOT_READY_AFTER:
            return "Unknown"
        return "False" if node.identity in self._going else "True"

    def _renew(self, node: Node) -> None:
        """The kubelet's Lease, virt-handler's heartbeat, the agent's Lease."""
        plant, now = self._plant, self._plant.now
        beats = plant.on_hung is OnHung.FENCE and node.agent and plant.takes_pods(node)
        if beats and (plant.time.every(HANDLER_BEATS) or node.name not in self._beats):
            self._beats[node.name] = stamp(VirtualClock.WALL + now)
        first = not self._server.find("leases", node.name, "kube-node-lease")
        booted = self._boots.get(node.name) != node.identity.boot_id
        renews = plant.takes_pods(node) and node.registered
        if renews and (first or booted or plant.time.every(KUBELET_RENEWS)):
            wall = stamp(VirtualClock.WALL + now)
            spec: Json = {"holderIdentity": node.name, "leaseDurationSeconds": 40, "renewTime": wall}
            self._server.put("leases", node.name, {"spec": spec}, "kube-node-lease")
        runs = node.agent and plant.with_api(node)
        name, mine = f"ringfence-agent-{node.name}", lease_holder(node.identity)
        lease = self._server.find("leases", name, NAMESPACE)
        holder = str(lease["spec"].get("holderIdentity") or "") if lease else ""
        dog = plant.dogs.get(node.name)
        if holder == revocation(mine):
            if dog is not None and dog.revoked != node.identity:
                dog.revoked = node.identity
                plant.time.say(f"revoke: the Lease of the agent of {node.name}")
            return
        if runs and (plant.time.every(renews_every(plant, node)) or holder != mine):
            wall = stamp(VirtualClock.WALL + now)
            spec = {"holderIdentity": mine, "leaseDurationSeconds": 10, "renewTime": wall}
            self._server.put("leases", name, {"spec": spec}, NAMESPACE)

    def _report(self, node: Node) -> None:
        """The agent's own word, when it has changed."""
        plant = self._plant
        if not (node.agent and plant.with_api(node)):
            return
        dog = plant.dogs.get(node.name)
        armed = dog is not None and dog.reported == (node.identity, True)
        guests = tuple(sorted(node.guests)) if node.guests is not None else None
        seen = (node.identity, guests, armed)
        if not self._new("nodereports", node.name, seen):
            return
        status: Json = {
            "nodeUID": node.identity.node_uid,
            "bootID": node.identity.boot_id,
            "publicKey": self._voices.public_key(node),
            "addresses": [address_of(node.name)],
        }
        if guests is not None:
            status["guests"] = list(guests)
        if dog is not None:
            legs = ["Api", "Gossip", "Storage"] if dog.by_slot else ["Api", "Gossip"]
            status["watchdog"] = {
                "armed": armed,
                "timeoutSeconds": dog.timeout,
                "isolationSeconds": dog.isolation,
                "legs": legs,
            }
        self._say("nodereports", node.name, seen, {"status": status})

    # --- VMs --------------------------------------------------------------------------------------------------------

    def show_vm(self, vm: Vm) -> None:
        """The VM, its instance and its launcher, if they say anything new."""
        ready, evicted = self._ready_vm(vm), self._evicted(vm)
        says = (
            *(vm.strategy, vm.stopped, vm.asked, vm.deleted, vm.failures, vm.blocked, vm.gone, vm.vmi, vm.phase, vm.node),
            *(vm.snapshot, vm.restore),
            *(vm.lock_refused_at is None, vm.deleting, vm.unschedulable, vm.pod, vm.launcher_on, vm.pod in self.deleting),
            *(ready, evicted),
        )  # fmt: skip
        if self._vms.get(vm.name) == says:
            return  # as most do, in most ticks
        self._vms[vm.name] = says
        if vm.deleted and not vm.pod:
            self._gone("virtualmachines", vm.name, GUESTS)
        else:
            self._vm(vm)
        if vm.gone:
            self._gone("virtualmachineinstances", vm.name, GUESTS)
        else:
            self._instance(vm)
        self._launcher(vm)

    def written_over(self, vm: Vm) -> None:
        """A controller has written its VirtualMachine: what that is by the plant is said again, though nothing of the plant may have changed."""
        self._shown.pop(("virtualmachines", GUESTS, vm.name), None)
        self._vms.pop(vm.name, None)

    def _ready_vm(self, vm: Vm) -> bool:
        plant = self._plant
        return vm.phase == "Running" and plant.now - vm.running_at >= plant.placement.boots.get(vm.name, 0.0)

    def _evicted(self, vm: Vm) -> str:
        """The node that it is to be moved off."""
        home = self._plant.nodes.get(vm.node)
        return vm.node if home is not None and home.evicted else ""

    def _vm(self, vm: Vm) -> None:
        strategy = "Halted" if vm.stopped else vm.strategy
        seen = (strategy, vm.asked, vm.deleted, vm.failures, vm.blocked, vm.snapshot, vm.restore)
        if not self._new("virtualmachines", vm.name, seen, GUESTS):
            return
        meta: Json = {"uid": f"vm-{vm.name}"}
        if vm.deleted:
            meta["deletionTimestamp"] = stamp(VirtualClock.WALL + self._plant.now)
        volumes = [{"name": "disk", "persistentVolumeClaim": {"claimName": vm.name}}]
        status: Json = {"stateChangeRequests": [{"action": "Start"}] if vm.asked else []}
        if vm.failures:
            again = stamp(VirtualClock.WALL + vm.retry_at)
            status["startFailure"] = {"consecutiveFailCount": vm.failures, "retryAfterTimestamp": again}
        if vm.snapshot:
            status["snapshotInProgress"] = vm.snapshot
        if vm.restore:
            status["restoreInProgress"] = vm.restore
        if vm.blocked:
            status["conditions"] = [{"type": "ManualRecoveryRequired", "status": "True"}]
        body: Json = {
            "metadata": meta,
            "spec": {"runStrategy": strategy, "template": {"spec": {"domain": {}, "volumes": volumes}}},
            "status": status,
        }
        self._say("virtualmachines", vm.name, seen, body, GUESTS)

    def _instance(self, vm: Vm) -> None:
        refused = vm.lock_refused_at is not None
        deleting = vm.deleting or vm.deleted
        ready, evicted = self._ready_vm(vm), self._evicted(vm)
        seen = (vm.uid, vm.phase, vm.node, refused, deleting, vm.unschedulable, ready, evicted)
        if not self._new("virtualmachineinstances", vm.name, seen, GUESTS):
            return
        shown = self._shown.get(("virtualmachineinstances", GUESTS, vm.name))
        if isinstance(shown, tuple) and shown[0] != vm.uid:
            self._gone("virtualmachineinstances", vm.name, GUESTS)
        meta: Json = {"uid": vm.uid}
        if deleting:
            meta["deletionTimestamp"] = stamp(VirtualClock.WALL + self._plant.now)
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        if refused:
            trouble = {
                "type": "Synchronized",
                "status": "False",
                "reason": "Synchronizing with the Domain failed.",
            }
            trouble["message"] = 'Failed to get "write" lock'
            conditions.append(trouble)
        if vm.unschedulable:
            placed = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
            conditions.append(placed | {"message": vm.unschedulable})
        status: Json = {"phase": vm.phase, "nodeName": vm.node, "conditions": conditions}
        if evicted:
            status["evacuationNodeName"] = evicted
        volumes = [{"name": "disk", "persistentVolumeClaim": {"claimName": vm.name}}]
        body: Json = {"metadata": meta, "spec": {"domain": {}, "volumes": volumes}, "status": status}
        self._say("virtualmachineinstances", vm.name, seen, body, GUESTS)

    def _launcher(self, vm: Vm) -> None:
        """One launcher a VM; what is deleted gracefully stays until a kubelet has ended it."""
        key = ("launcher", vm.name)
        before = self._shown.get(key)
        deleting = vm.pod in self.deleting
        seen = (vm.pod, vm.launcher_on, deleting) if vm.pod else None
        if seen == before:
            return
        if isinstance(before, tuple) and (seen is None or before[0] != seen[0]):
            self._server.take("pods", str(before[0]), GUESTS)
            self.deleting.discard(str(before[0]))
        if seen is None:
            self._shown.pop(key, None)
            return
        self._shown[key] = seen
        meta: Json = {
            "uid": vm.pod,
            "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": vm.uid},
        }
        if deleting:
            meta["deletionTimestamp"] = stamp(VirtualClock.WALL + self._plant.now)
        volumes = [{"name": "disk", "persistentVolumeClaim": {"claimName": vm.name}}]
        body: Json = {
            "metadata": meta,
            "spec": {"nodeName": vm.launcher_on, "volumes": volumes},
            "status": {"phase": "Running"},
        }
        self._server.put("pods", vm.pod, body, GUESTS)

    def _kubevirts_own(self) -> None:
        """The pods of KubeVirt's own that a story places, and the Lease by which its controllers elect their leader."""
        placed = {pod.name: pod for pod in self._plant.infrastructure if pod.node}
        for namespace, name in [
            key[1:] for key in self._shown if isinstance(key, tuple) and key[:2] == ("pods", KUBEVIRT)
        ]:
            if name not in placed:
                self._gone("pods", name, namespace)
        for name, pod in placed.items():
            if self._new("pods", name, pod.node, KUBEVIRT):
                meta: Json = {"uid": name, "labels": {"kubevirt.io": pod.kind}}
                body: Json = {
                    "metadata": meta,
                    "spec": {"nodeName": pod.node},
                    "status": {"phase": "Running"},
                }
                self._say("pods", name, pod.node, body, KUBEVIRT)
            leads = pod.kind == "virt-controller" and not pod.freed
            if leads and self._new("leases", pod.kind, name, KUBEVIRT):
                spec = {"holderIdentity": f"{name}_1", "leaseDurationSeconds": 15}
                self._say("leases", pod.kind, name, {"spec": spec}, KUBEVIRT)

    def _users(self) -> None:
        """Pods of others that use a VM's volume."""
        users = self._plant.users
        for name in [key[2] for key in self._shown if isinstance(key, tuple) and key[:2] == ("pods", GUESTS)]:
            if name not in users:
                self._gone("pods", name, GUESTS)
        for name, user in users.items():
            if self._new("pods", name, user, GUESTS):
                volumes = [{"name": "disk", "persistentVolumeClaim": {"claimName": user.vm}}]
                body: Json = {
                    "metadata": {"uid": name},
                    "spec": {"nodeName": user.node, "volumes": volumes},
                    "status": {"phase": "Running"},
                }
                self._say("pods", name, user, body, GUESTS)

    def _attachments(self) -> None:
        for vm, volume in self._plant.volumes.items():
            key = ("attachments", vm)
            before = self._shown.get(key, frozenset())
            now = frozenset(volume.attached)
            if before == now:
                continue
            assert isinstance(before, frozenset)
            for node in sorted(before - now):
                self._server.take("volumeattachments", f"csi-{vm}-{node}")
            for node in sorted(now - before):
                spec = {"nodeName": node, "attacher": "csi", "source": {"persistentVolumeName": f"pv-{vm}"}}
                body: Json = {"spec": spec, "status": {"attached": True}}
                self._server.put("volumeattachments", f"csi-{vm}-{node}", body)
            self._shown[key] = now

    # --- people, and other programs -----------------------------------------------------------------------------------

    def _people(self) -> None:
        memory = self._memory
        for raw in [r for r in self._server.of("failovers") if r.get("status")]:
            name = raw["metadata"]["name"]
            if name not in memory.stored:
                self._server.take("failovers", name)
            elif name in memory.confirmed and "confirm" not in raw["spec"]:
                said, _ = memory.confirmed[name]
                word: Json = {"statement": said.statement, "confirmedBy": said.confirmed_by}
                self._server.put("failovers", name, {**raw, "spec": {**raw["spec"], "confirm": word}})
            elif name in memory.released and "release" not in raw["spec"]:
                leave: Json = {"by": "kim", "reason": "I have looked"}
                self._server.put("failovers", name, {**raw, "spec": {**raw["spec"], "release": leave}})
        for device, at in memory.drilled.items():
            if self._new("drilled", device, at):
                _, _, node = device.partition("-")
                passed = {"node": node, "outlet": "", "passedAt": stamp(VirtualClock.WALL + at)}
                found = self._server.find("fencedevices", device) or {}
                status = {**found.get("status", {}), "drills": [passed]}
                self._server.put("fencedevices", device, {**found, "status": status})
        for node, held in memory.remediators.leases.items():
            if held.holder == OURS or not self._new("leases", f"node-{node}", held, NODE_LEASES):
                continue
            renewed = VirtualClock.WALL + (held.renewed or 0.0)
            spec: Json = {"holderIdentity": held.holder, "renewTime": stamp(renewed)}
            spec |= {"leaseDurationSeconds": int(held.duration or 0), "acquireTime": stamp(renewed)}
            self._say("leases", f"node-{node}", held, {"spec": spec}, NODE_LEASES)
