"""What is kept between two turns is what would be found anew, whatever has been written meanwhile.

A cluster of three nodes and three VMs into which a dice writes whatever a cluster may hold. After each write everything that the
controller keeps is compared with the same question asked of all objects from the beginning.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.api.v1alpha1.hapolicy import HAPolicy
from ringfence.api.v1alpha1.hazone import HAZone
from ringfence.api.v1alpha1.protectedvm import ProtectedVM
from ringfence.controller import policies, restarts
from ringfence.controller.chassis import chassis_of, sessions_at
from ringfence.controller.membership import claims
from ringfence.controller.protections import Places, Protections, Said
from ringfence.controller.watchdogs import Watchdogs
from ringfence.core.failover.record import VmRecord
from ringfence.core.policies import plan
from ringfence.kube.objects import NodeObject, PodObject, PvcObject, PvObject, VmiObject, VmObject
from ringfence.kube.store import Key
from ringfence.ports import Json
from unit.controller.test_loop import CEPH, Replica, Site, redfish, uuid

NODES = st.sampled_from(["n1", "n2", "n3"])
VMS = st.sampled_from(["a", "b", "c"])
NAMES = st.sampled_from(["p", "q"])
CLAIMS = st.lists(st.sampled_from(["x", "y"]), unique=True)
PHASES = st.sampled_from(["Running", "Scheduled", "Unknown", "Pending", "Succeeded", ""])
LEVELS = st.lists(st.lists(st.sampled_from(["ceph", "bmc-n1", "person", "none"]), max_size=2), max_size=2)
SHOP = "shop"


class Cluster(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        replica = Replica(Site(fencing={}), "c-1", "n3")
        self.loop, self.world, self.book = replica.loop, replica.world, replica.book
        self.protections = Protections(self.world, self.book, cast("Watchdogs", None), self.loop)
        self.places: Places | None = None
        self.said: dict[Key, Said] = {}
        self.space = policies._Namespace()
        self.version = 0

    def see(self, plural: str, name: str, spec: Json, namespace: str = "", **meta: Any) -> None:
        self.version += 1
        meta |= {"name": name, "uid": f"{plural}-{name}", "resourceVersion": str(self.version)}
        meta |= {"namespace": namespace} if namespace else {}
        status = meta.pop("status", {})
        self.world.own.seen(plural, {"metadata": meta, "spec": spec, "status": status})

    def forget(self, plural: str, name: str, namespace: str = "") -> None:
        raw = self.world.own.raw(plural, (namespace, name))
        if raw is not None:
            self.world.own.seen(plural, raw, deleted=True)

    # --- what is written ------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.see("haclusters", "default", {"mode": "Active"})
        self.see("fencedevices", "ceph", CEPH["spec"])
        self.see("fencedevices", "bmc-n1", redfish("n1")["spec"])
        self.see("fencedevices", "person", {"driver": "manual", "nodes": ["n1", "n2"]})
        for name in ("n1", "n2", "n3"):
            self.node(name, "a", ready=True)
        self.zone("a", [["ceph"]], by_name=False, enabled=True, storage=True)
        for vm in ("a", "b", "c"):
            self.vm(vm, "Always", ["x"], deleting=False)
            self.vmi(vm, f"n{'abc'.index(vm) + 1}", "Running", ["x"], None)
            self.protect(vm, vm, "Restart", "n1")
            self.pod(vm, f"n{'abc'.index(vm) + 1}", ["x"])
        self.claim("x", "rbd", shared=False)
        self.volume("x", "rbd.csi.ceph.com")
        self.claim("y", "nfs", shared=True)  # which the fence doesn't cut
        self.volume("y", "nfs.csi")
        self.prove()

    @rule(mode=st.sampled_from(["Active", "Paused"]))
    def mode(self, mode: str) -> None:
        self.see("haclusters", "default", {"mode": mode})

    @rule(node=NODES, zone=st.sampled_from(["a", "b"]), ready=st.booleans(), address=st.just("") | NODES)
    def node(self, node: str, zone: str, *, ready: bool, address: str = "") -> None:
        labels = {"zone": zone, "kubevirt.io/schedulable": "true"}
        conditions = [{"type": "Ready", "status": str(ready)}]
        status = {
            "conditions": conditions,
            "nodeInfo": {"bootID": "b", "systemUUID": uuid(node)},
            "addresses": [{"type": "InternalIP", "address": f"10.0.0.{(address or node)[1:]}"}],
        }
        self.world.nodes._put(
            ("", node),
            NodeObject.from_raw(
                {"metadata": {"name": node, "uid": f"u-{node}", "labels": labels}, "status": status}
            ),
        )

    @rule(node=NODES)
    def no_node(self, node: str) -> None:
        self.world.nodes.store.pop(("", node), None)

    @rule(
        zone=st.sampled_from(["a", "b"]),
        levels=LEVELS,
        by_name=st.booleans(),
        enabled=st.booleans(),
        storage=st.booleans(),
    )
    def zone(
        self, zone: str, levels: list[list[str]], *, by_name: bool, enabled: bool, storage: bool
    ) -> None:
        nodes: Json = {"names": ["n1"]} if by_name else {"selector": {"matchLabels": {"zone": zone}}}
        fencing = {"levels": [{"devices": level} for level in levels], "allowStorageFence": storage}
        fencing |= {"allowedAddresses": ["10.0.8.9/32"]} if storage else {}
        self.see("hazones", zone, {"nodes": nodes, "fencing": fencing, "enabled": enabled})

    @rule(zone=st.sampled_from(["a", "b"]))
    def no_zone(self, zone: str) -> None:
        self.forget("hazones", zone)

    @rule(nodes=st.lists(NODES, unique=True, min_size=1))
    def ceph(self, nodes: list[str]) -> None:
        self.see("fencedevices", "ceph", {**CEPH["spec"], "nodes": nodes})

    @rule(node=NODES, host=st.sampled_from(["10.0.8.9", "10.0.8.10"]), most=st.none() | st.just(1))
    def bmc(self, node: str, host: str, most: int | None) -> None:
        spec = redfish("n1")["spec"]
        spec |= {"nodes": [node], "redfish": {**spec["redfish"], "address": f"https://{host}"}}
        spec |= {} if most is None else {"maxConcurrentOrders": most}
        self.see("fencedevices", "bmc-n1", spec)

    @rule(passed=st.booleans())
    def drill(self, *, passed: bool) -> None:
        """Of what is declared now; or it is forgotten."""
        at = {"passedAt": "2026-01-01T00:00:00Z"}
        drills = [
            {"node": node, "outlet": target.outlet, "nodeUUID": target.node_uuid, **at}
            for (name, node), target in self.world.declared().targets.items()
            if name == "bmc-n1" and passed
        ]
        spec = (self.world.own.raw("fencedevices", ("", "bmc-n1")) or {})["spec"]
        self.see("fencedevices", "bmc-n1", spec, status={"drills": drills})

    @rule(nodes=st.lists(NODES, unique=True, min_size=1))
    def maintain(self, nodes: list[str]) -> None:
        self.see("nodemaintenances", "m", {"nodes": nodes})

    @rule()
    def maintain_no_more(self) -> None:
        self.forget("nodemaintenances", "m")

    @rule()
    def prove(self) -> None:
        devices = self.world.own.all(FenceDevice).values()
        self.book.declare(self.world.targets(devices), {}, {})
        asyncio.run(self.book.prove(frozenset()))

    @rule(vm=VMS, strategy=st.sampled_from(["Always", "Halted"]), claims=CLAIMS, deleting=st.booleans())
    def vm(self, vm: str, strategy: str, claims: list[str], *, deleting: bool) -> None:
        meta = {"namespace": SHOP, "name": vm, "uid": f"vm-{vm}", "labels": {"tier": strategy}}
        meta |= {"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleting else {}
        volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
        spec = {"runStrategy": strategy, "template": {"spec": {"volumes": volumes}}}
        self.world.vms.store[SHOP, vm] = VmObject.from_raw({"metadata": meta, "spec": spec})

    @rule(vm=VMS)
    def no_vm(self, vm: str) -> None:
        self.world.vms.store.pop((SHOP, vm), None)

    @rule(vm=VMS, node=NODES, phase=PHASES, claims=CLAIMS, moving=st.sampled_from([None, True, False]))
    def vmi(self, vm: str, node: str, phase: str, claims: list[str], moving: bool | None) -> None:
        volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
        status: Json = {"phase": phase, "nodeName": node}
        if moving is not None:
            status["migrationState"] = {"sourceNode": node, "targetNode": "n1", "completed": not moving}
        raw = {
            "metadata": {"namespace": SHOP, "name": vm, "uid": f"vmi-{vm}"},
            "spec": {"volumes": volumes},
            "status": status,
        }
        self.world.vmis.store[SHOP, vm] = VmiObject.from_raw(raw)

    @rule(vm=VMS)
    def no_vmi(self, vm: str) -> None:
        self.world.vmis.store.pop((SHOP, vm), None)

    @rule(vm=VMS, node=NODES, claims=CLAIMS)
    def pod(self, vm: str, node: str, claims: list[str]) -> None:
        labels = {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": f"vmi-{vm}"}
        volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
        meta = {"namespace": SHOP, "name": f"launcher-{vm}", "uid": f"pod-{vm}", "labels": labels}
        raw = {"metadata": meta, "spec": {"nodeName": node, "volumes": volumes}}
        self.world.pods.store[SHOP, f"launcher-{vm}"] = PodObject.from_raw(raw)

    @rule(vm=VMS)
    def no_pod(self, vm: str) -> None:
        self.world.pods.store.pop((SHOP, f"launcher-{vm}"), None)

    @rule(claim=st.sampled_from(["x", "y"]), storage=st.sampled_from(["rbd", "nfs"]), shared=st.booleans())
    def claim(self, claim: str, storage: str, *, shared: bool) -> None:
        modes = ["ReadWriteMany" if shared else "ReadWriteOnce"]
        spec = {"volumeName": f"pv-{claim}", "storageClassName": storage, "accessModes": modes}
        meta = {"namespace": SHOP, "name": claim}
        self.world.pvcs.store[SHOP, claim] = PvcObject.from_raw({"metadata": meta, "spec": spec})

    @rule(claim=st.sampled_from(["x", "y"]))
    def no_claim(self, claim: str) -> None:
        self.world.pvcs.store.pop((SHOP, claim), None)

    @rule(claim=st.sampled_from(["x", "y"]), driver=st.sampled_from(["rbd.csi.ceph.com", "nfs.csi", ""]))
    def volume(self, claim: str, driver: str) -> None:
        spec: Json = {"claimRef": {"namespace": SHOP, "name": claim}, "csi": {"driver": driver}}
        name = f"pv-{claim}"
        self.world.pvs.store["", name] = PvObject.from_raw({"metadata": {"name": name}, "spec": spec})

    @rule(name=NAMES, vm=VMS, what=st.sampled_from(["Restart", "Ignore"]), node=NODES)
    def protect(self, name: str, vm: str, what: str, node: str) -> None:
        spec = {"vm": {"name": vm}, "onNodeFailure": what, "priority": self.version % 7}
        self.see("protectedvms", name, spec, SHOP, status={"node": node})

    @rule(name=NAMES)
    def protect_no_more(self, name: str) -> None:
        self.forget("protectedvms", name, SHOP)

    @rule(tier=st.sampled_from(["Always", "Halted", ""]))
    def policy(self, tier: str) -> None:
        spec: Json = {"selector": {"matchLabels": {"tier": tier}}} if tier else {"allVms": True}
        self.see("hapolicies", "all", spec, SHOP)

    # --- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def what_was_said_of_a_vm_is_said_anew_if_it_is_not_true_any_more(self) -> None:
        self.places = self.protections.places(self.places)
        for key, pvm in self.world.own.all(ProtectedVM).items():
            known = self.said.get(key)
            fresh = self.protections.say(pvm, SHOP, self.protections.places())
            if known is not None and self.protections.stands(known, pvm, SHOP, self.places):
                assert (known.protection, known.node) == (fresh.protection, fresh.node)
            self.said[key] = self.protections.say(pvm, SHOP, self.places)
            assert (self.said[key].protection, self.said[key].node) == (fresh.protection, fresh.node)
            assert self.protections.stands(self.said[key], pvm, SHOP, self.places), "nothing has changed"

    @invariant()
    def what_a_node_takes_with_it_is_what_a_walk_finds(self) -> None:
        lost = self.loop._lost()
        for node in ("n1", "n2", "n3"):
            found = []
            for pvm in self.world.own.all(ProtectedVM).values():
                key = (SHOP, pvm.spec.vm.name)
                vm, vmi = self.world.vms.store.get(key), self.world.vmis.store.get(key)
                if pvm.spec.on_node_failure != "Restart" or vm is None or vm.run_strategy == "Halted":
                    continue
                if vmi is None or vmi.phase in ("Succeeded", ""):
                    continue
                here = vmi.node == node and vmi.phase in ("Running", "Scheduled", "Unknown")
                stuck = vmi.phase != "Running" and vmi.node != node and pvm.status.node == node
                arrives = restarts.arrives(vmi, node, lost)
                if here or stuck or arrives:
                    uid, unstarted = vmi.uid if here or arrives else "", here and vmi.phase == "Scheduled"
                    found.append(VmRecord(SHOP, vm.name, vm.uid, uid, unstarted=unstarted))
            assert list(self.loop.affected(node)) == sorted(found, key=lambda one: one.name)

    @invariant()
    def a_zones_nodes_are_those_that_it_claims(self) -> None:
        nodes = list(self.world.nodes.store.values())
        zones = list(self.world.own.all(HAZone).values())
        for zone in zones:
            assert self.world.nodes_of(zone) == [n for n in nodes if claims(zone.spec.nodes, n)]
        for node in nodes:
            mine = [z for z in zones if z.spec.enabled and claims(z.spec.nodes, node)]
            assert self.world.zones_of(node) == sorted(mine, key=lambda zone: zone.metadata.name)

    @invariant()
    def a_nodes_devices_are_those_that_name_it(self) -> None:
        for node in ("n1", "n2", "n3"):
            named = {
                d.metadata.name for d in self.world.own.all(FenceDevice).values() if node in d.spec.nodes
            }
            assert set(self.world.devices_of(node)) == named

    @invariant()
    def what_devices_declare_is_what_they_say_now(self) -> None:
        devices = list(self.world.own.all(FenceDevice).values())
        fresh = (self.world.targets(devices), chassis_of(devices), sessions_at(devices))
        kept = self.world.declared()
        assert (kept.targets, kept.chassis, kept.sessions) == fresh

    @invariant()
    def what_policies_ask_for_is_what_they_say_now(self) -> None:
        own = self.world.own
        here = [one for (_, _), one in sorted(own.all(HAPolicy).items())]
        declared, vms = own.all(ProtectedVM), self.world.vms.store
        there = [policies._Vm(vm.name, vm.labels) for vm in vms.values() if not vm.deleting]
        fresh = plan(
            [policies._policy(one, there) for one in here],
            {vm.name for vm in there},
            [policies._declared(pvm) for pvm in declared.values()],
            frozenset(),
        )
        kept = self.space.plan(here, vms, declared, frozenset())
        assert (kept.acts, kept.words) == (fresh.acts, fresh.words)


Cluster.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCluster = Cluster.TestCase
