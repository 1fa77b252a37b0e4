"""The loop's wiring of the ladder: real caches, evidence, devices and executor around one store, in a time that the test moves.

Votes are signed, Failovers go through the store with their versions, the storage's fence is the driver's own NetworkFence. Played by
the test are the store itself, the agents' words, and the BMCs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any, cast

import pytest

from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.controller.chassis import chassis_of, hosts_of, sessions_at
from ringfence.controller.devices import DeviceBook
from ringfence.controller.evidence import Witness
from ringfence.controller.failovers import OUT_OF_SERVICE, SUSPECT
from ringfence.controller.leadership import Leadership
from ringfence.controller.loop import CALM_AFTER, Loop
from ringfence.controller.narrator import Narrator
from ringfence.controller.node_leases import NodeLeases
from ringfence.controller.refusals import Refusals
from ringfence.controller.setbacks import Setbacks
from ringfence.controller.targets import targets
from ringfence.controller.watchdogs import Watchdogs
from ringfence.controller.world import World
from ringfence.core import timing
from ringfence.core.detection.evidence import NEVER
from ringfence.core.failover.record import STATE_VERSION
from ringfence.core.fencing.slotreport import OwnSlot, SlotReport, SlotRow
from ringfence.core.gossip.corroboration import vote_payload
from ringfence.core.gossip.members import Member, Roster
from ringfence.core.gossip.report import AgentView, SubjectView
from ringfence.core.model import Boot, PowerState, RingState, SignedVote, Verdict, Vote
from ringfence.fencing.network_fence import NETWORK_FENCE, Epochs, NetworkFenceDevice
from ringfence.kube.client import ApiServer
from ringfence.kube.objects import (
    VIRT_HEARTBEAT,
    NodeObject,
    PodObject,
    PvcObject,
    PvObject,
    VmiObject,
    VmObject,
)
from ringfence.metrics import ControllerMetrics
from ringfence.net.crypto import SigningKey, verify
from ringfence.net.stream import StreamClient
from ringfence.ports import (
    AlreadyExists,
    Clock,
    Cluster,
    ClusterError,
    Conflict,
    DeviceIdentity,
    DeviceSpec,
    Json,
    Kind,
    LeaseRecord,
    NotFound,
    ObjectRef,
    OrderReceipt,
    PowerDevice,
    PowerReading,
    Refused,
    Taint,
    TooLate,
    Unavailable,
)

NODES = ("n1", "n2", "n3", "n4", "n5")
KEYS = {name: SigningKey(bytes([number]) * 32) for number, name in enumerate(NODES, 1)}
CHASSIS = "https://10.0.8.9"
TICK = 0.1


def uuid(node: str) -> str:
    return f"00112233-4455-6677-8899-{int(node[1:]):012d}"


class Hands:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_800_000_000.0 + self.now


class Bmc:
    """A BMC that takes orders, and obeys where it is told to."""

    order_lasts = timing.ORDER_EFFECT

    def __init__(self, site: Site, node: str) -> None:
        self._site, self._node = site, node

    async def open(self) -> None: ...

    async def identity(self) -> DeviceIdentity:
        return DeviceIdentity(uuid(self._node), "")

    async def power(self) -> PowerReading:
        state = PowerState.OFF if self._node in self._site.off else PowerState.ON
        return PowerReading(state, self._site.clock.now)

    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        if deadline is not None and self._site.clock.now >= deadline:
            self._site.did(f"bmc-{self._node} too late")
            raise TooLate("not sent, the right to order ended")
        self._site.ordered(f"bmc-{self._node}", self._node, deadline)
        now = self._site.clock.now
        if self._node in self._site.obeys:
            self._site.off.add(self._node)
        return OrderReceipt("off", now, now, now + self.order_lasts)

    async def order_on(self, *, deadline: float | None = None) -> OrderReceipt:
        raise AssertionError(f"{self._node} is ordered on until {deadline}")

    async def close(self) -> None: ...


class Site:
    """The store that all replicas share, five nodes, and what stands before them."""

    def __init__(self, *devices: Json, fencing: Json) -> None:
        self.clock = Hands()
        self.objects: dict[tuple[str, str], Json] = {}
        self.version = 0
        self.pods: dict[str, Json] = {}
        self.taints: dict[str, set[str]] = {name: set() for name in NODES}
        self.suspected: dict[str, str] = {}
        """Node: the value of its suspect taint."""
        self.lease: LeaseRecord | None = None
        self.down: set[str] = set()
        self.off: set[str] = set()
        self.obeys: set[str] = set()
        self.deeds: list[tuple[float, str]] = []
        self.vms: dict[str, str] = {}
        """VM: the node that it runs on."""
        self.classes: dict[str, str] = {}
        self.annotations: dict[str, dict[str, str]] = {name: {} for name in NODES}
        self.refuses: dict[tuple[str, str], ClusterError] = {}
        """What becomes of a write to the Failover of a node: (create or status, node)."""
        self.numbers = count()
        self.late: set[str] = set()
        """Kinds of which nothing is heard."""
        self.lost: set[str] = set()
        """Nodes whose Failover is created, and nobody hears of it."""
        self.mute = False
        """No agent is heard by a controller."""
        self.hung: dict[str, float] = {}
        """Nodes of which nothing but the kernel answers any more, and since when."""
        self.going: set[str] = set()
        """Nodes whose machines shut down, as they say."""
        self.boots: dict[str, str] = {}
        """The boots of nodes that have booted since."""
        self.mum: dict[str, ClusterError] = {}
        """Kinds of which nothing can be read."""
        self.asked: Counter[str] = Counter()
        """How often what is stored of each kind was read."""
        self.put("haclusters", "default", {"mode": "Active"})
        self.put("hazones", "a", {"nodes": {"names": list(NODES)}, "fencing": fencing})
        for device in devices:
            self.put("fencedevices", device["name"], device["spec"])
        members = (Member(n, f"uid-{n}", f"boot-{n}", ("10.0.0.1",), "", KEYS[n].public) for n in NODES)
        self.roster = Roster(1, "test", b"salt", tuple(members))

    def put(self, plural: str, name: str, spec: Json, namespace: str = "") -> None:
        self.version += 1
        meta = {"name": name, "uid": name, "generation": 1, "resourceVersion": str(self.version)}
        self.objects[plural, name] = {"metadata": meta | {"namespace": namespace}, "spec": spec, "status": {}}

    def runs(self, vm: str, node: str, storage_class: str = "rbd") -> None:
        """A protected VM with one disk runs there."""
        self.put("protectedvms", vm, {"vm": {"name": vm}}, "shop")
        self.vms[vm], self.classes[vm] = node, storage_class
        self.pods[f"launcher-{vm}"] = {
            "metadata": {
                "namespace": "shop",
                "name": f"launcher-{vm}",
                "uid": f"pod-{vm}",
                "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": f"vmi-{vm}"},
            },
            "spec": {
                "nodeName": node,
                "volumes": [{"name": "disk", "persistentVolumeClaim": {"claimName": vm}}],
            },
        }

    def unprotect(self, *vms: str) -> None:
        """Their ProtectedVMs are gone, as Kubernetes' garbage collection takes them with their HAPolicy."""
        for vm in vms:
            del self.objects["protectedvms", vm]

    def did(self, deed: str) -> None:
        self.deeds.append((round(self.clock.now, 1), deed))

    def when(self, deed: str) -> float:
        return next(at for at, what in self.deeds if what == deed)

    def count(self, deed: str) -> int:
        return sum(what == deed for _, what in self.deeds)

    def failover(self, node: str = "n1") -> Json:
        """The latest of that node."""
        of_node = (raw for raw in self.objects.values() if raw.get("spec", {}).get("node") == node)
        return list(of_node)[-1]

    def end(self, failover: str) -> None:
        """Another controller has withdrawn it."""
        raw = self.objects["failovers", failover]
        self.version += 1
        meta = raw["metadata"] | {"resourceVersion": str(self.version)}
        self.objects["failovers", failover] = {
            **raw,
            "metadata": meta,
            "status": raw["status"] | {"phase": "Withdrawn"},
        }

    def ordered(self, device: str, node: str, deadline: float | None) -> None:
        """An order has come: it is on record, and may be sent."""
        assert deadline is not None
        assert deadline > self.clock.now
        assert device in [order["device"] for order in self.failover(node)["status"]["orders"]]
        self.did(f"{device} off")

    # --- the cluster: what the controller asks of it -------------------------------------------------------------

    def node(self, name: str) -> Json:
        """The Node object."""
        taints = [
            {
                "key": key,
                "effect": "NoSchedule",
                "value": self.suspected[name] if key == SUSPECT else "ringfence",
            }
            for key in self.taints[name]
        ]
        going = [{"type": "Ready", "status": "False", "message": "node is shutting down"}]
        return {
            "metadata": {
                "name": name,
                "uid": f"uid-{name}",
                "annotations": self.annotations[name],
                "resourceVersion": str(self.version),
            },
            "spec": {"taints": taints},
            "status": {
                "conditions": going if name in self.going else [],
                "nodeInfo": {"bootID": self.boots.get(name, f"boot-{name}"), "systemUUID": uuid(name)},
                "addresses": [{"type": "InternalIP", "address": f"10.0.0.{name[1:]}"}],
            },
        }

    async def get(self, kind: Kind, name: str, _namespace: str = "") -> Json:
        self.asked[kind.plural] += 1
        if (error := self.mum.get(kind.plural)) is not None:
            raise error
        if kind.plural == "nodes":
            return self.node(name)
        try:
            return self.objects[kind.plural, name]
        except KeyError:
            raise NotFound(name) from None

    async def list(self, kind: Kind, _namespace: str = "", **_selectors: str) -> tuple[Json, ...]:
        self.asked[kind.plural] += 1
        if (error := self.mum.get(kind.plural)) is not None:
            raise error
        return tuple(raw for (plural, _), raw in self.objects.items() if plural == kind.plural)

    async def create(self, kind: Kind, obj: Json, *, deadline: float | None = None, **_how: Any) -> Json:
        assert deadline is not None
        name = obj["metadata"]["name"]
        node = obj["spec"].get("node", "")
        if kind.plural == "failovers" and ("create", node) in self.refuses:
            self.did(f"refused {node}")
            raise self.refuses["create", node]
        if (kind.plural, name) in self.objects:
            raise AlreadyExists(name)
        self.version += 1
        meta = obj["metadata"] | {"uid": f"uid-{name}", "generation": 1, "resourceVersion": str(self.version)}
        status: Json = {}
        if kind == NETWORK_FENCE:
            self.ordered("ceph", obj["metadata"]["annotations"]["ringfence.io/node"], deadline)
            status = {"result": "Succeeded", "message": "fencing operation successful"}
        self.objects[kind.plural, name] = {**obj, "metadata": meta, "status": status}
        if node in self.lost:
            self.lost.remove(node)
            raise Unavailable("no answer within 5 s")
        return self.objects[kind.plural, name]

    async def replace_status(self, kind: Kind, obj: Json, *, deadline: float | None = None) -> Json:
        assert deadline is not None
        name = obj["metadata"]["name"]
        known = self.objects[kind.plural, name]
        if (error := self.refuses.get(("status", obj["spec"]["node"]))) is not None:
            self.did(f"refused {obj['spec']['node']}")
            raise error
        if known["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            raise Conflict(f"{name} was written by somebody else")
        self.version += 1
        meta = known["metadata"] | {"resourceVersion": str(self.version)}
        self.objects[kind.plural, name] = {**known, "metadata": meta, "status": obj["status"]}
        return self.objects[kind.plural, name]

    async def patch_status(
        self, kind: Kind, name: str, _namespace: str, status: Json, *, deadline: float | None = None
    ) -> Json:
        assert deadline is not None
        assert deadline > self.clock.now
        self.version += 1
        before = self.objects[kind.plural, name]
        meta = before["metadata"] | {"resourceVersion": str(self.version)}
        self.objects[kind.plural, name] = before | {"metadata": meta, "status": before["status"] | status}
        return self.objects[kind.plural, name]

    async def delete_pod(
        self, _namespace: str, name: str, uid: str, grace: int | None, *, deadline: float | None = None
    ) -> bool:
        assert deadline is not None
        proofs = [
            p
            for (plural, _), raw in self.objects.items()
            if plural == "failovers"
            for p in raw["status"].get("proofs", ())
        ]
        assert grace == 0
        assert uid in [pod["uid"] for proof in proofs for pod in proof["pods"]], (
            "no pod but under a stored proof"
        )
        self.did(f"delete {name}")
        return self.pods.pop(name, None) is not None

    async def add_taint(
        self, node: str, _uid: str, taint: Taint, *, over: bool = True, deadline: float | None = None
    ) -> bool:
        assert deadline is not None
        assert over == (taint.key == SUSPECT)
        self.did(f"taint {node} {taint.key}")
        self.taints[node].add(taint.key)
        if taint.key == SUSPECT:
            self.suspected[node] = taint.value
        return True

    async def remove_taint(self, node: str, _uid: str, key: str, _effect: str, **_how: Any) -> bool:
        self.taints[node].discard(key)
        return True

    async def record_event(self, regarding: ObjectRef, _type: str, _reason: str, message: str) -> None:
        assert regarding.name
        assert message

    async def read_secret(self, _name: str) -> dict[str, bytes]:
        return {"username": b"admin", "password": b"x"}

    async def get_lease(self, _name: str, _namespace: str = "") -> LeaseRecord | None:
        return self.lease

    async def create_lease(self, lease: LeaseRecord, *, deadline: float | None = None) -> LeaseRecord:
        return await self.replace_lease(lease, deadline=deadline)

    async def replace_lease(self, lease: LeaseRecord, *, deadline: float | None = None) -> LeaseRecord:
        assert deadline is None, "a Lease is written as soon as may be, or given up"
        self.version += 1
        self.lease = replace(lease, resource_version=str(self.version))
        return self.lease


class Replica:
    """One controller: its caches, its evidence, its devices, its loop."""

    def __init__(self, site: Site, name: str, node: str) -> None:
        self.site = site
        cluster, clock = cast("Cluster", site), site.clock
        self.witness = Witness(verify)
        self.world = World(
            cast("ApiServer", None), clock, "ringfence-system", self.witness, lambda: 0.5, lambda: None
        )
        self.book = DeviceBook(cluster, clock, self.open, lambda: None, draw=lambda: 0.5)
        self.accused = False
        """Its own node is found Down."""
        self.leadership = Leadership(
            *(cluster, clock, name, "ringfence-system", lambda _: None, lambda: True),
            accused=lambda: self.accused,
            stand_down=self.stand_down,
        )
        self.leadership.ready()
        self.draws = 0
        nobody, narrator = cast("StreamClient", None), Narrator(cluster)
        self.setbacks = Setbacks(clock, self.witness, nobody, 7947, lambda _data, _signature: False)
        self.loop = Loop(
            cluster=cluster,
            clock=clock,
            world=self.world,
            witness=self.witness,
            devices=self.book,
            watchdogs=Watchdogs(
                *(cluster, clock, self.world, self.witness, nobody, 7947, lambda: None, self.setbacks)
            ),
            node_leases=NodeLeases(cluster, clock, ""),
            setbacks=self.setbacks,
            leadership=self.leadership,
            narrator=narrator,
            identity=name,
            own_node=node,
            suffix=lambda: f"{next(site.numbers):04x}",
            draw=self.draw,
            probe=lambda _: None,
            ask=lambda _: None,
            metrics=ControllerMetrics(),
            refusals=Refusals(clock, narrator, ControllerMetrics(), lambda: 0.5),
        )

    async def stand_down(self) -> None:
        await self.loop.stand_down()

    def draw(self) -> float:
        self.draws += 1
        return 0.5

    def open(self, spec: DeviceSpec, _secret: Mapping[str, bytes], clock: Clock) -> PowerDevice:
        if spec.driver == "storage":
            return NetworkFenceDevice(spec, cast("Cluster", self.site), clock, Epochs(lambda: 1, lambda: 0))
        return Bmc(self.site, spec.name.rpartition("-")[2])

    async def turn(self) -> None:
        """See what there is to see, keep or win the Lease, take a turn, and let everything end that it began."""
        self._watch()
        self._listen()
        await self.leadership._turn(self.site.clock.now)
        await self.loop.turn()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others)

    def _watch(self) -> None:
        site, world, now = self.site, self.world, self.site.clock.now
        for plural in (
            "haclusters",
            "hazones",
            "fencedevices",
            "protectedvms",
            "nodemaintenances",
            "failovers",
        ):
            if plural in site.late:
                continue
            there = [raw for (kind, _), raw in site.objects.items() if kind == plural]
            world.own.sweep(plural, there, world.own.held(plural))
        for name in NODES:
            if "nodes" in site.late and ("", name) in world.nodes.store:
                continue
            seen = NodeObject.from_raw(site.node(name))
            world.nodes.store["", name] = seen
            self.witness.boot_seen(name, seen.uid, seen.boot_id)
            self.witness.agent_seen(name)
        for vm, node in site.vms.items():
            meta = {"namespace": "shop", "name": vm, "uid": f"vm-{vm}"}
            disk = {"name": "disk", "persistentVolumeClaim": {"claimName": vm}}
            claim = {"volumeName": f"pv-{vm}", "storageClassName": site.classes[vm]}
            world.vms.store["shop", vm] = VmObject.from_raw(
                {"metadata": meta, "spec": {"runStrategy": "Always"}}
            )
            world.vmis.store["shop", vm] = VmiObject.from_raw(
                {
                    "metadata": meta | {"uid": f"vmi-{vm}"},
                    "spec": {"volumes": [disk]},
                    "status": {"phase": "Running", "nodeName": node},
                }
            )
            world.pvcs.store["shop", vm] = PvcObject.from_raw({"metadata": meta, "spec": claim})
            csi = {"driver": f"{site.classes[vm]}.csi.ceph.com"}
            bound = {"csi": csi, "claimRef": {"namespace": "shop", "name": vm}}
            world.pvs.store["", f"pv-{vm}"] = PvObject.from_raw(
                {"metadata": {"name": f"pv-{vm}"}, "spec": bound}
            )
        world.pods.store.clear()
        world.pods.store.update({("shop", name): PodObject.from_raw(raw) for name, raw in site.pods.items()})
        for reflector in world.reflectors:
            reflector.synced.set()
            reflector.fresh_at = now
        devices = world.own.all(FenceDevice).values()
        uuids = {name: uuid(name) for name in NODES}
        addresses = {name: [f"10.0.0.{name[1:]}"] for name in NODES}
        self.book.declare(
            targets(devices, uuids, {}, addresses),
            chassis_of(devices),
            sessions_at(devices),
            hosts_of(devices),
        )

    def _listen(self) -> None:
        """Two agents tell what they see; who is down is accused by all that are left, each second anew."""
        site, now = self.site, self.site.clock.now
        self.witness.roster = site.roster
        if site.mute:
            return
        alive = frozenset(NODES) - site.down - site.hung.keys()
        round_id = f"round-{int(now):08d}".encode()
        subjects = []
        for name in sorted(site.down):
            boot = site.roster.by_name[name].boot
            votes = []
            for voter in sorted(alive):
                unsigned = SignedVote(voter, boot, Vote.NONE, 1, round_id, b"")
                votes.append(replace(unsigned, signature=KEYS[voter].sign(vote_payload("test", unsigned))))
            subjects.append(
                SubjectView(boot, RingState.UNREACHABLE, 0.0, None, None, None, 0.1, tuple(votes))
            )
        for name, since in site.hung.items():
            boot, age = site.roster.by_name[name].boot, now - since
            subjects.append(SubjectView(boot, RingState.AGENT_DOWN, age, None, None, 0.1, None, ()))
            moves = site.roster.by_name[min(alive)].boot
            rows = (
                SlotRow(boot, 1, 70, 1.0, 0, 600.0, 0.1, age, age + 0.5),
                SlotRow(moves, 2, 90, 1.0, 0, 600.0, 0.1, 0.4, 0.9),
            )
            self.witness.slots_seen(SlotReport(moves, "hearts", OwnSlot(), rows), now)
        for reporter in sorted(alive)[:2]:
            boot = site.roster.by_name[reporter].boot
            self.witness.view_seen(AgentView(boot, 1, True, alive, tuple(subjects)), now)


def redfish(node: str, **spec: Any) -> Json:
    block = {"address": CHASSIS, "secretRef": {"name": "bmc"}, "systemId": node}
    return {"name": f"bmc-{node}", "spec": {"driver": "redfish", "nodes": [node], "redfish": block, **spec}}


CEPH: Json = {
    "name": "ceph",
    "spec": {
        "driver": "storage",
        "nodes": list(NODES),
        "storage": {
            "csiDriver": "rbd.csi.ceph.com",
            "storageClasses": ["rbd"],
            "secretRef": {"name": "csi", "namespace": "rook"},
        },
    },
}


async def play(replica: Replica, seconds: float) -> None:
    """So many seconds of one replica's life."""
    end = replica.site.clock.now + seconds
    while replica.site.clock.now < end:
        await replica.turn()
        replica.site.clock.now = round(replica.site.clock.now + TICK, 3)


async def until(replica: Replica, phase: str) -> None:
    """Until the incident of n1 has come to that phase."""
    for _ in range(200):
        await play(replica, TICK)
        failovers = [raw for (plural, _), raw in replica.site.objects.items() if plural == "failovers"]
        if failovers and failovers[-1]["status"].get("phase") == phase:
            return
    raise AssertionError(f"it never came to {phase}")


async def settled(site: Site) -> Replica:
    """A leader that has watched for long enough to act."""
    leader = Replica(site, "c-1", "n2")
    await play(leader, timing.SETTLE + 1.0)
    assert leader.leadership.leads
    return leader


async def test_a_storage_is_ordered_beside_a_slow_bmc_and_the_ladder_goes_on_for_what_it_does_not_free() -> (
    None
):
    levels = [{"devices": ["bmc-n1"], "hedgeAfterSeconds": 3}, {"devices": ["ceph"]}]
    site = Site(
        redfish("n1"), CEPH, fencing={"levels": levels, "allowStorageFence": True, "powerOn": "Never"}
    )
    site.runs("db", "n1")
    site.runs("web", "n1", storage_class="nfs")
    leader = await settled(site)
    site.down.add("n1")
    cut_at = site.clock.now
    await play(leader, 7.0)
    assert site.when(f"taint n1 {SUSPECT}") == pytest.approx(cut_at, abs=0.3)
    assert site.when("bmc-n1 off") - cut_at == pytest.approx(2.0, abs=0.3), "the hold"
    assert site.when("ceph off") - site.when("bmc-n1 off") == pytest.approx(3.0, abs=0.4), "the hedge"
    assert "delete launcher-db" in [deed for _, deed in site.deeds]
    assert "launcher-web" in site.pods, "it writes to another storage"
    assert OUT_OF_SERVICE not in site.taints["n1"]
    status = site.failover()["status"]
    assert [level["level"] for level in status["begunLevels"]] == [1, 2]
    assert [proof["kind"] for proof in status["proofs"]] == ["StorageCut"]
    assert status["storageCuts"] == ["ceph"]
    site.obeys.add("n1")
    await play(leader, 8.0)
    assert site.count("bmc-n1 off") == 2
    assert site.when(f"taint n1 {OUT_OF_SERVICE}") < site.when("delete launcher-web")
    assert {proof["kind"] for proof in site.failover()["status"]["proofs"]} == {"StorageCut", "PoweredOff"}
    assert site.count("ceph off") == site.count("delete launcher-db") == 1


async def test_the_next_leader_goes_on_with_what_is_on_record() -> None:
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    site.runs("db", "n1")
    first, second = await settled(site), Replica(site, "c-2", "n3")
    await second.turn()
    site.down.add("n1")
    await play(first, 3.0)
    assert site.count("bmc-n1 off") == 1
    ordered_at = site.when("bmc-n1 off")
    site.obeys.add("n1")
    await play(second, timing.LEASE_DURATION + 2.0)
    assert second.leadership.leads
    assert site.count("bmc-n1 off") == 1, "the order of the leader before may take effect yet"
    took_over = site.clock.now
    await play(second, timing.ORDER_EFFECT + 1.0)
    again = [at for at, deed in site.deeds if deed == "bmc-n1 off"][1]
    assert again - ordered_at > timing.ORDER_EFFECT
    assert again <= took_over + timing.ORDER_EFFECT
    assert "launcher-db" not in site.pods
    assert site.failover()["status"]["leader"] == "c-2"


async def test_a_chassis_that_takes_one_order_gets_one_at_a_time() -> None:
    levels = [{"devices": ["bmc-n1", "bmc-n4"]}]
    site = Site(
        redfish("n1", maxConcurrentOrders=1), redfish("n4"), fencing={"levels": levels, "powerOn": "Never"}
    )
    site.runs("db", "n1")
    site.runs("web", "n4")
    leader = await settled(site)
    site.down |= {"n1", "n4"}
    await play(leader, 6.0)
    ordered = [deed for _, deed in site.deeds if deed.endswith(" off")]
    assert len(ordered) == 1, "the first does nothing, and its order may take effect"
    (waits,) = [n for n in ("n1", "n4") if f"bmc-{n} off" not in ordered]
    (works,) = {"n1", "n4"} - {waits}
    assert (
        f"bmc-{waits} waits: 10.0.8.9 takes 1 at once, in work there: {works}"
        in site.failover(waits)["status"]["sentence"]
    )
    site.obeys |= {"n1", "n4"}
    site.off.add(works)
    await play(leader, 4.0)
    assert site.pods == {}
    assert site.count(f"bmc-{waits} off") == 1


async def test_the_zones_delay_is_drawn_once_an_incident() -> None:
    fencing = {
        "levels": [{"devices": ["bmc-n1"]}],
        "delaySeconds": 2,
        "delayRandomSeconds": 2,
        "powerOn": "Never",
    }
    site = Site(redfish("n1"), fencing=fencing)
    site.runs("db", "n1")
    site.obeys.add("n1")
    leader = await settled(site)
    site.down.add("n1")
    cut_at = site.clock.now
    await play(leader, 7.0)
    assert leader.draws == 1
    assert site.when("bmc-n1 off") - cut_at == pytest.approx(2.0 + 2.0 + 0.5 * 2.0, abs=0.4)
    assert site.pods == {}


# --- what happens while something is stored -----------------------------------------------------------------------


class Waits(Site):
    """The first order is stored so many seconds after it was decided, and the Lease is renewed all the while."""

    leader: Replica | None = None
    seconds = 0.0

    async def replace_status(self, kind: Kind, obj: Json, *, deadline: float | None = None) -> Json:
        if self.leader is not None and obj["status"]["orders"]:
            self.did("decided")
            self.clock.now += self.seconds
            self.leader._listen()
            await self.leader.leadership._turn(self.clock.now)
            self.leader = None
        return await super().replace_status(kind, obj, deadline=deadline)


async def test_what_an_order_may_do_is_on_record_for_as_long_as_it_may_though_it_was_sent_late() -> None:
    site = Waits(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    site.runs("db", "n1")
    leader = site.leader = await settled(site)
    site.seconds = 1.5
    site.down.add("n1")
    await play(leader, 4.0 + timing.ORDER_EFFECT + timing.ORDER_SENT_WITHIN)
    first, second = (at for at, deed in site.deeds if deed == "bmc-n1 off")
    assert first - site.when("decided") == pytest.approx(1.5)
    assert second - first >= timing.ORDER_EFFECT, "the first may take effect until then"


async def test_an_order_that_comes_too_late_is_not_sent_and_decided_anew() -> None:
    """The API server took its time to store it. It did nothing, so nobody waits for its effect; it counts as a try, and is told."""
    site = Waits(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    site.runs("db", "n1")
    leader = site.leader = await settled(site)
    site.seconds = 2.5
    site.down.add("n1")
    await play(leader, 5.0)
    assert site.count("bmc-n1 too late") == site.count("bmc-n1 off") == 1
    assert site.when("bmc-n1 off") - site.when("bmc-n1 too late") <= 2 * TICK
    status = site.failover()["status"]
    assert "(order 2; order 1 came too late and was not sent)" in status["sentence"]
    unsent, sent = status["orders"]
    assert unsent["sentAt"] == unsent["effectiveUntil"]
    site.off.add("n1")
    await play(leader, 2.0)
    assert [p["variant"] for p in site.failover()["status"]["proofs"]] == ["ordered"]
    assert sent == site.failover()["status"]["orders"][1]


async def test_a_node_that_goes_off_after_an_order_that_was_never_sent_is_found_off() -> None:
    """Nobody has ordered it, so it is no effect of ours; and if it reads on again it is booting, and spared."""
    site = Waits(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    site.runs("db", "n1")
    leader = site.leader = await settled(site)
    site.seconds = 2.5
    site.down.add("n1")
    await play(leader, 2.0)
    for _ in range(20):
        if site.count("bmc-n1 too late"):
            break
        await play(leader, TICK)
    site.off.add("n1")
    await leader.book.read("bmc-n1", "n1", site.failover()["metadata"]["name"])
    assert leader.book.look("bmc-n1", "n1").called_off_at == site.clock.now
    site.off.clear()
    await play(leader, 5.0)
    assert site.count("bmc-n1 off") == 0
    assert "called the node off without an order" in site.failover()["status"]["sentence"]


class Slow(Site):
    """The first order to n4 takes its time to be stored, and meanwhile n5 is heard again."""

    leader: Replica | None = None
    waited = False

    async def replace_status(self, kind: Kind, obj: Json, *, deadline: float | None = None) -> Json:
        wanted = obj["spec"]["node"] == "n4" and bool(obj["status"]["orders"])
        if self.leader is not None and wanted and not self.waited:
            self.down.remove("n5")
            self.clock.now += 1.5
            self.leader._listen()
            self.waited = True
        return await super().replace_status(kind, obj, deadline=deadline)


async def test_a_node_that_is_heard_while_the_order_to_another_is_stored_is_not_ordered_off() -> None:
    """An API server that lets a write wait for a second or two: what was judged at the turn's beginning is old by then."""
    fencing = {"levels": [{"devices": ["bmc-n4", "bmc-n5"]}], "powerOn": "Never"}
    site = Slow(redfish("n4"), redfish("n5"), fencing=fencing)
    site.runs("db", "n4")
    site.runs("web", "n5")
    site.leader = leader = await settled(site)
    site.down |= {"n4", "n5"}
    await play(leader, 4.0)
    assert site.waited
    assert site.count("bmc-n4 off") == 1
    assert site.count("bmc-n5 off") == 0


class Crossing(Site):
    """While the leader's Failover is stored, its caches hear of one that the leader before has begun."""

    leader: Replica | None = None

    async def create(self, kind: Kind, obj: Json, *, deadline: float | None = None, **how: Any) -> Json:
        stored = await super().create(kind, obj, deadline=deadline, **how)
        if self.leader is not None:
            self.put("failovers", "n3-begun", {"node": "n3", "nodeUID": "uid-n3", "bootID": "boot-n3"})
            self.leader.world.own.seen("failovers", self.objects["failovers", "n3-begun"])
            self.leader = None
        return stored


async def test_a_failover_that_is_heard_of_while_another_is_stored_is_taken_up() -> None:
    """Found by the whole-system simulator (seed 5): the leader's process ended by a KeyError, in the middle of two incidents."""
    site = Crossing(redfish("n1"), redfish("n3"), fencing={"levels": [{"devices": ["bmc-n1", "bmc-n3"]}]})
    site.runs("web", "n1")
    site.leader = await settled(site)
    site.down = {"n1"}
    await play(site.leader, 1.0)
    assert site.failover("n1")["status"]["phase"] == "Holding"
    assert site.failover("n3")["status"]["phase"] in ("Holding", "Withdrawn")


class EndedMeanwhile(Site):
    """While the order to n1 is stored another controller ends an incident, and the leader's caches hear of it."""

    leader: Replica | None = None
    ends = ""
    ended: Json | None = None

    async def replace_status(self, kind: Kind, obj: Json, *, deadline: float | None = None) -> Json:
        stored = await super().replace_status(kind, obj, deadline=deadline)
        if self.leader and not self.ended and obj["spec"]["node"] == "n1" and obj["status"]["orders"]:
            name = self.failover(self.ends)["metadata"]["name"]
            self.end(name)
            self.ended = self.objects["failovers", name]
            self.leader.world.own.seen("failovers", self.ended)
        return stored


@pytest.mark.parametrize("ends", ["n1", "n3"])
async def test_an_incident_that_another_ends_meanwhile_is_left_alone(ends: str) -> None:
    """Found by the whole-system simulator (seed 1420): a leader that had been frozen thawed, and its process ended by an assertion;
    or it would have begun the other incident anew.
    """
    site = EndedMeanwhile(
        redfish("n1"),
        redfish("n3"),
        fencing={"levels": [{"devices": ["bmc-n1", "bmc-n3"]}], "powerOn": "Never"},
    )
    site.ends = ends
    site.runs("web", "n1")
    site.runs("db", "n3")
    site.leader = leader = await settled(site)
    site.down = {"n1"}
    await play(leader, 0.5)
    site.down = {"n1", "n3"}
    for _ in range(100):
        if site.ended:
            break
        await play(leader, 0.1)
    assert site.ended, "n1 was ordered off"
    site.down -= {ends}
    await play(leader, 1.0)
    assert site.objects["failovers", site.ended["metadata"]["name"]] == site.ended, (
        "nobody has written to it since"
    )


async def test_a_dead_node_that_nothing_can_be_done_about_costs_no_turns() -> None:
    """It may be off for months: a node without protected VMs, or one that is waited for."""
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}]})
    leader = await settled(site)
    site.down = {"n1"}
    await play(leader, 1.0)
    assert leader.loop.judgements["n1"].verdict is Verdict.DOWN
    assert await leader.loop.turn() is False
    site.runs("web", "n1")
    await play(leader, 1.0)
    assert await leader.loop.turn() is True
    await play(leader, 3 * timing.ORDER_EFFECT)
    assert site.failover()["status"]["phase"] == "AwaitingConfirmation"
    assert await leader.loop.turn() is False


async def test_the_pause_between_two_passes_counts_from_the_last_also_where_none_begins_anything() -> None:
    """Else from a minute on each turn would store another pass, for as long as the node is off."""
    site = Site(fencing={"levels": []})
    site.runs("db", "n1")
    leader = await settled(site)
    site.down = {"n1"}
    await until(leader, "AwaitingConfirmation")
    await play(leader, sum(timing.LADDER_BACKOFF) + 5.0)
    assert site.failover()["status"]["ladderPass"] == len(timing.LADDER_BACKOFF)


async def test_an_incident_that_is_held_for_long_turns_on_events_and_at_a_calm_pace() -> None:
    """Whatever holds it may last for months. It is looked at twice a second, and goes on as soon as its reason ends."""
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}]})
    site.runs("db", "n1")
    leader = await settled(site)
    site.down = {"n1"}
    await play(leader, 1.0)
    site.unprotect("db")
    await play(leader, 2.0)
    assert site.failover()["status"]["heldReason"] == "no protected VM runs on n1: it is not fenced"
    assert await leader.loop.turn() is True, "most reasons end within seconds"
    await play(leader, CALM_AFTER)
    assert await leader.loop.turn() is False
    site.put("protectedvms", "db", {"vm": {"name": "db"}}, "shop")
    await play(leader, 2 * TICK)
    assert site.failover()["status"]["phase"] == "Fencing"
    assert await leader.loop.turn() is True


async def test_a_person_in_the_ladder_is_waited_for_in_plain_words() -> None:
    """Not as a device that nobody has declared."""
    site = Site(
        {"name": "somebody", "spec": {"driver": "manual", "nodes": ["n1"]}},
        fencing={"levels": [{"devices": ["somebody"]}]},
    )
    site.runs("db", "n1")
    leader = await settled(site)
    site.down.add("n1")
    await play(leader, 5.0)
    status = site.failover()["status"]
    assert (status["phase"], status["sentence"].partition("; ")[2]) == (
        "AwaitingConfirmation",
        (
            "not proved off: somebody: a person has to confirm. Make sure that n1 is off, then:"
            " ringfence fence confirm n1 --i-have-checked-that-it-is-off"
        ),
    )


async def test_a_node_that_registers_anew_in_the_same_boot_is_the_same_machine() -> None:
    """Its Node object was deleted while its incident had a proof: what lives under another UID voids that proof all the same."""
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    leader = await settled(site)
    now, incident = site.clock.now, Boot("n1", "uid-n1", "boot-n1")
    leader.witness.boot_seen("n1", "uid-anew", "boot-n1")
    leader.witness.probe_seen("n1", answered=True, now=now)
    assert leader.loop._look(incident, None, now).life_at == now
    assert leader.loop._look(incident, None, now).current_boot_id == ""
    leader.witness.boot_seen("n1", "uid-other", "boot-2")
    leader.witness.probe_seen("n1", answered=True, now=now)
    assert leader.loop._look(incident, None, now).life_at == NEVER, "another machine, or another boot"


async def test_an_earlier_boot_that_a_late_cache_still_shows_is_no_reboot() -> None:
    """Found by the whole-system simulator (seed 357): a leader whose cache of Nodes is older than the incident that it takes over
    knows the node's boot before the incident's. Taken for a later one it was the proof that the boot that runs is over.
    """
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    leader = await settled(site)
    site.put("failovers", "n1-later", {"node": "n1", "nodeUID": "uid-n1", "bootID": "boot-later"})
    await play(leader, 1.0)
    incident, adopted = Boot("n1", "uid-n1", "boot-later"), leader.loop._adopted["n1-later"]
    assert leader.world.nodes.reached < adopted.known_at
    assert leader.loop._look(incident, adopted, site.clock.now).current_boot_id == ""
    assert not site.failover("n1")["status"].get("proofs")

    # A cache that is as new as the incident shows a later boot, also one that this replica sees first of all.
    leader.world.nodes.reached = adopted.known_at
    assert leader.loop._look(incident, adopted, site.clock.now).current_boot_id == "boot-n1"

    # And so does one that has seen the incident's boot come and go.
    leader.world.nodes.reached = 0
    leader.witness.boot_seen("n1", "uid-n1", "boot-later")
    leader.witness.boot_seen("n1", "uid-n1", "boot-last")
    assert leader.loop._look(incident, adopted, site.clock.now).current_boot_id == "boot-last"


async def test_an_incident_under_way_outlives_its_object() -> None:
    """Whoever deletes it makes neither the order forgotten nor another one sent."""
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}]})
    site.runs("db", "n1")
    leader = await settled(site)
    site.down.add("n1")
    await play(leader, 4.0)
    assert site.count("bmc-n1 off") == 1
    name = site.failover()["metadata"]["name"]
    del site.objects["failovers", name]
    await play(leader, 1.0)
    anew = site.failover()
    assert anew["metadata"]["name"] == name
    assert len(anew["status"]["orders"]) == 1
    assert site.count("bmc-n1 off") == 1
    site.off.add("n1")
    await play(leader, 3.0)
    assert site.count("delete launcher-db") >= 1, "the incident goes on"
    assert site.count("bmc-n1 off") == 1


@pytest.mark.parametrize("phase", ["Fencing", "Recovering"])
async def test_an_incident_that_is_deleted_while_nobody_leads_is_written_anew_by_the_next_leader(
    phase: str,
) -> None:
    """It has watched all along: what it has seen of the object goes on, its order is not given again, its VMs are not forgotten."""
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    site.runs("db", "n1")
    first, second = await settled(site), Replica(site, "c-2", "n3")
    await second.turn()
    site.down.add("n1")
    if phase == "Recovering":
        site.obeys.add("n1")
    await until(first, phase)
    name, stored = site.failover()["metadata"]["name"], site.failover()["status"]
    assert stored["phase"] == phase
    await second.turn()
    del site.objects["failovers", name]
    ordered_at = site.when("bmc-n1 off")
    await play(second, timing.LEASE_DURATION + 1.0)
    assert second.leadership.leads
    anew = site.failover()
    assert anew["metadata"]["name"] == name
    assert [o["device"] for o in anew["status"]["orders"]] == ["bmc-n1"]
    assert anew["status"]["startedAt"] == stored["startedAt"]
    if phase == "Recovering":
        assert len(anew["status"]["proofs"]) == 1
    assert site.count("bmc-n1 off") == 1
    site.obeys.add("n1")
    await play(second, timing.ORDER_EFFECT + timing.ORDER_SENT_WITHIN + 2.0)
    assert "launcher-db" not in site.pods
    assert all(
        at == ordered_at or at - ordered_at > timing.ORDER_EFFECT for at, d in site.deeds if d == "bmc-n1 off"
    )


async def test_a_node_that_is_back_in_a_later_boot_has_a_vote_though_its_incident_is_open() -> None:
    """The proof is about the boot before. Without it two of five nodes would take themselves for a half, and order off one of the others."""
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    site.runs("db", "n1")
    leader = await settled(site)
    site.off.add("n1")
    site.down.add("n1")
    await until(leader, "Recovering")
    assert "n1" not in leader.loop.situation("n4").electorate, "its boot is over"
    site.boots["n1"] = "boot-later"
    site.down.clear()
    await play(leader, 1.0)
    assert site.failover()["status"]["phase"] == "Recovering"
    assert leader.loop.situation("n4").electorate == frozenset(NODES)
    assert leader.loop.situation("n4").proved == frozenset()


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_two_devices_at_one_address_are_one_proof(elsewhere: bool) -> None:
    """Whoever asks for two doesn't trust the BMC; that it is declared twice makes no second witness."""
    second = redfish("n1") | {"name": "second-n1"}
    address = "https://10.0.9.1" if elsewhere else CHASSIS
    second["spec"] = {**second["spec"], "redfish": {**second["spec"]["redfish"], "address": address}}
    fencing = {"levels": [{"devices": ["bmc-n1", "second-n1"]}], "proofs": 2, "powerOn": "Never"}
    site = Site(redfish("n1"), second, fencing=fencing)
    site.runs("db", "n1")
    leader = await settled(site)
    site.off.add("n1")
    site.down.add("n1")
    await play(leader, 6.0)
    assert ("launcher-db" not in site.pods) is elsewhere
    assert site.failover()["status"]["phase"] == ("Recovering" if elsewhere else "AwaitingConfirmation")
    assert [proof["address"] for proof in site.failover()["status"]["proofs"]] == (
        ["10.0.8.9", "10.0.9.1"] if elsewhere else []
    )


WISHES: dict[str, Callable[[Site], object]] = {
    "a maintenance": lambda site: site.put("nodemaintenances", "work", {"nodes": ["n1"]}),
    "a pause": lambda site: site.put("haclusters", "default", {"mode": "Paused"}),
    "a zone without it": lambda site: site.put("hazones", "a", {"nodes": {"names": ["n2", "n3"]}}),
    "a zone that is gone": lambda site: site.objects.pop(("hazones", "a")),
    "a shutdown": lambda site: site.going.add("n1"),
    "a later boot": lambda site: site.boots.update(n1="boot-later"),
}


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("off", [False, True])
async def test_what_speaks_against_an_order_is_read_afresh_before_it(wish: str, off: bool) -> None:
    """All watches stand still, as they may for a minute where the API server has been away. Nothing is done on their word."""
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    site.runs("db", "n1")
    leader = await settled(site)
    site.late |= {"haclusters", "hazones", "nodemaintenances", "nodes"}
    WISHES[wish](site)
    site.version += 1
    if off:
        site.off.add("n1")
    site.down.add("n1")
    await play(leader, 8.0)
    assert site.count("bmc-n1 off") == 0
    recovered = wish == "a later boot"  # which says itself that the earlier one is over
    assert (site.failover()["status"]["phase"] == "Held") is not recovered
    assert (f"taint n1 {OUT_OF_SERVICE}" in [deed for _, deed in site.deeds]) is False


@pytest.mark.parametrize(
    "renews",
    ["nothing", "its kubelet", "virt-handler"],
    ids=["hangs", "its kubelet lives", "virt-handler lives"],
)
async def test_what_a_node_that_hangs_renews_is_read_afresh_before_its_order(renews: str) -> None:
    """All watches stand still: to this replica nobody has renewed anything for minutes. Its agent may be dead, and its kubelet well."""
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    zone = site.objects["hazones", "a"]["spec"]
    site.put("hazones", "a", {**zone, "onHung": "Fence", "storage": {"heartbeat": {"volume": "hearts"}}})
    site.runs("db", "n1")
    leader = await settled(site)
    site.put("leases", "n1", {"renewTime": "2026-11-27T08:00:00Z"}, "kube-node-lease")
    site.annotations["n1"][VIRT_HEARTBEAT] = "2026-11-27T08:00:00Z"
    for source in ("kubelet_lease", "heartbeat"):
        leader.witness.renewal_seen("n1", source, "2026-11-27T08:00:00Z", site.clock.now, site.clock.now)
    site.hung["n1"] = site.clock.now
    site.late.add("nodes")
    if renews == "its kubelet":
        site.put("leases", "n1", {"renewTime": "2026-11-27T08:03:00Z"}, "kube-node-lease")
    if renews == "virt-handler":
        site.annotations["n1"][VIRT_HEARTBEAT] = "2026-11-27T08:03:00Z"
    hangs = timing.HUNG_HEARTBEAT_AGE + timing.HUNG_HOLD + 2.0
    while site.clock.now < site.hung["n1"] + hangs + 4.0:
        await leader.turn()
        site.clock.now += 0.5
    assert site.failover()["status"]["verdict"]["state"] == "Hung"
    assert site.count("bmc-n1 off") == (renews == "nothing")
    assert (site.failover()["status"]["phase"] == "Withdrawn") == (renews != "nothing")


async def test_nothing_is_ordered_while_nobody_can_say_what_speaks_against_it() -> None:
    """And it is asked with pauses, and told."""
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    site.runs("db", "n1")
    site.obeys.add("n1")
    leader = await settled(site)
    site.mum["nodemaintenances"] = Unavailable("no answer within 5 s")
    site.down.add("n1")
    await play(leader, 8.0)
    assert site.count("bmc-n1 off") == 0
    assert site.asked["nodemaintenances"] < 20
    site.mum.clear()
    await play(leader, 2.0)
    assert site.count("bmc-n1 off") == 1
    assert "launcher-db" not in site.pods


@pytest.mark.parametrize("phase", ["Held", "AwaitingConfirmation"])
@pytest.mark.parametrize("who", ["a new process", "the leader of before"])
async def test_a_leader_that_hears_no_agent_withdraws_nothing(phase: str, who: str) -> None:
    """It knows nothing of the node, which is no sign of life: what is on record (a person's word, a device that has called the node off, the
    storm that held it) goes on when agents are heard.
    """
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    site.runs("db", "n1")
    leader = await settled(site)
    if phase == "Held":
        site.put("nodemaintenances", "work", {"nodes": ["n1"]})
    site.down.add("n1")
    await play(leader, timing.ORDER_TRIES * (timing.ORDER_SENT_WITHIN + timing.ORDER_EFFECT) + 4.0)
    assert site.failover()["status"]["phase"] == phase
    name = site.failover()["metadata"]["name"]
    site.mute = True
    if who == "a new process":
        site.lease = replace(site.lease, holder="") if site.lease is not None else None
        leader = Replica(site, "c-2", "n3")
    await play(leader, timing.ORDER_SENT_WITHIN + timing.ORDER_EFFECT + 2.0)
    assert leader.leadership.leads
    assert site.failover()["status"]["phase"] in (phase, "Held")
    site.obeys.add("n1")
    site.objects.pop(("nodemaintenances", "work"), None)
    site.mute = False
    await play(leader, timing.SETTLE + timing.ORDER_EFFECT + timing.LADDER_BACKOFF[1] + 5.0)
    assert [key[1] for key in site.objects if key[0] == "failovers"] == [name]
    assert "launcher-db" not in site.pods


async def test_a_controller_that_has_seen_nothing_orders_nobody_beside_an_order_that_is_on_record_nowhere() -> (
    None
):
    """All controllers were dead when somebody deleted the Failover. The node's taint names it; an order of it may be at work."""
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    site.runs("db", "n1")
    first = await settled(site)
    site.down.add("n1")
    await until(first, "Fencing")
    ordered_at, name = site.when("bmc-n1 off"), site.failover()["metadata"]["name"]
    del site.objects["failovers", name]
    fresh = Replica(site, "c-3", "n4")
    await play(fresh, timing.LEASE_DURATION + timing.SETTLE + 1.0)
    assert fresh.leadership.leads
    assert site.failover()["metadata"]["name"] != name
    assert f"bears the taint of Failover {name}" in site.failover()["status"]["heldReason"]
    site.obeys.add("n1")
    await play(fresh, timing.ORDER_EFFECT + timing.ORDER_SENT_WITHIN)
    first_, second = (at for at, deed in site.deeds if deed == "bmc-n1 off")
    assert first_ == ordered_at
    assert second - first_ >= timing.ORDER_EFFECT
    assert "launcher-db" not in site.pods, "and goes on by itself"


async def test_what_a_standby_has_seen_deleted_and_the_leader_has_written_anew_is_written_once() -> None:
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    site.runs("db", "n1")
    first, second = await settled(site), Replica(site, "c-2", "n3")
    await second.turn()
    site.down.add("n1")
    site.obeys.add("n1")
    await until(first, "Recovering")
    await second.turn()
    name = site.failover()["metadata"]["name"]
    del site.objects["failovers", name]
    await second.turn()
    await play(first, 1.0)
    assert site.failover()["metadata"]["name"] == name
    await second.turn()
    site.end(name)
    await second.turn()
    del site.objects["failovers", name]
    site.down.clear()
    await play(second, timing.LEASE_DURATION + 3.0)
    assert second.leadership.leads
    assert [key for key in site.objects if key[0] == "failovers"] == [], "that one was over"


def of_a_policy() -> Site:
    """Two VMs on n1, both protected by one HAPolicy, and a BMC that takes its time."""
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    for vm in ("db", "web"):
        site.runs(vm, "n1")
    return site


def vms_of(failover: Json) -> dict[str, str]:
    return {vm["name"]: vm["state"] for vm in failover["status"]["vms"]}


async def test_a_policy_deleted_before_the_order_spares_the_node_until_somebody_protects_its_vms_again() -> (
    None
):
    site = of_a_policy()
    site.obeys = {"n1"}
    leader = await settled(site)
    site.down.add("n1")
    await play(leader, 1.0)
    assert site.failover()["status"]["phase"] == "Holding"
    site.unprotect("db", "web")
    await play(leader, 5.0)
    held = site.failover()["status"]
    assert (held["phase"], held["heldReason"]) == (
        "Held",
        "no protected VM runs on n1: it is not fenced",
    )
    assert site.deeds == [(site.deeds[0][0], f"taint n1 {SUSPECT}")]
    for vm in ("db", "web"):
        site.put("protectedvms", vm, {"vm": {"name": vm}}, "shop")
    await play(leader, 5.0)
    assert site.count("bmc-n1 off") == 1
    assert (site.count("delete launcher-db"), site.count("delete launcher-web")) == (1, 1)


async def test_a_policy_deleted_after_the_order_leaves_no_vm_behind() -> None:
    """The order can't be taken back, so the VMs of that node are lost there, and are this incident's still."""
    site = of_a_policy()
    leader = await settled(site)
    site.down.add("n1")
    await play(leader, 4.0)
    assert site.count("bmc-n1 off") == 1
    site.unprotect("db", "web")
    await play(leader, 1.0)
    assert site.failover()["status"]["phase"] == "Fencing"
    site.off.add("n1")
    await play(leader, 3.0)
    assert vms_of(site.failover()) == {"db": "Released", "web": "Released"}
    site.vms = {"db": "n3", "web": "n4"}
    await play(leader, 1.0)
    assert site.failover()["status"]["phase"] == "Recovered"
    assert vms_of(site.failover()) == {"db": "Running", "web": "Running"}
    assert site.count("bmc-n1 off") == 1


async def test_a_policy_deleted_under_the_proof_leaves_no_vm_half_recovered_whoever_leads() -> None:
    """What is to be done is on record; nobody asks again who has wanted it."""
    site = of_a_policy()
    site.obeys = {"n1"}
    leader = await settled(site)
    site.down.add("n1")
    await play(leader, 1.0)
    while not site.failover()["status"].get("proofs"):
        await play(leader, TICK)
    site.unprotect("db", "web")
    heir = Replica(site, "c-2", "n3")
    await play(heir, timing.LEASE_DURATION + timing.SETTLE + 2.0)
    assert heir.leadership.leads
    assert (site.count("delete launcher-db"), site.count("delete launcher-web")) == (1, 1)
    assert vms_of(site.failover()) == {"db": "Released", "web": "Released"}
    site.vms = {"db": "n3", "web": "n4"}
    await play(heir, 1.0)
    assert site.failover()["status"]["phase"] == "Recovered"
    assert vms_of(site.failover()) == {"db": "Running", "web": "Running"}


async def test_a_policy_deleted_after_the_order_leaves_no_vm_behind_where_the_incident_is_about_others_too() -> (
    None
):
    """Before, their launchers were deleted under the proof, and nobody saw to it that they ran again: no start was asked for, no stuck
    instance ended.
    """
    site = of_a_policy()
    site.runs("own", "n1")
    leader = await settled(site)
    site.down.add("n1")
    await play(leader, 4.0)
    assert site.count("bmc-n1 off") == 1
    site.unprotect("db", "web")
    await play(leader, 1.0)
    site.off.add("n1")
    await play(leader, 3.0)
    assert vms_of(site.failover()) == {"own": "Released", "db": "Pending", "web": "Pending"}, (
        "who is protected goes before who is no more"
    )
    site.vms["own"] = "n5"
    await play(leader, 1.0)
    assert vms_of(site.failover()) == {"own": "Running", "db": "Released", "web": "Released"}
    site.vms |= {"db": "n3", "web": "n4"}
    await play(leader, 1.0)
    assert site.failover()["status"]["phase"] == "Recovered"
    assert vms_of(site.failover()) == {"own": "Running", "db": "Running", "web": "Running"}


async def test_a_policy_deleted_in_the_hold_takes_its_vms_out_of_an_incident_that_is_about_others_too() -> (
    None
):
    """Nothing was done for them yet: they are like any other VM of a node that is fenced for another's sake."""
    site = of_a_policy()
    site.runs("own", "n1")
    site.obeys = {"n1"}
    leader = await settled(site)
    site.down.add("n1")
    await play(leader, 1.0)
    site.unprotect("db", "web")
    await play(leader, 5.0)
    assert vms_of(site.failover()) == {"own": "Released"}
    assert site.count(f"taint n1 {OUT_OF_SERVICE}") == 1, "by which Kubernetes evicts what is left there"
    assert (site.count("delete launcher-db"), site.count("delete launcher-web")) == (0, 0)


class TurnsOneDown(Site):
    """The next object that is created is turned down, and no other."""

    armed = False

    async def create(self, kind: Kind, obj: Json, *, deadline: float | None = None, **how: Any) -> Json:
        if self.armed:
            self.armed = False
            raise Unavailable("etcdserver: leader changed", status=500)
        return await super().create(kind, obj, deadline=deadline, **how)


async def test_no_other_incident_is_opened_beside_one_that_is_still_to_be_written_anew() -> None:
    """Somebody has deleted it while its order may take effect, and the first try to write it anew is turned down."""
    site = TurnsOneDown(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"})
    site.runs("db", "n1")
    leader = await settled(site)
    site.down.add("n1")
    await play(leader, 4.0)
    assert site.count("bmc-n1 off") == 1
    name = site.failover()["metadata"]["name"]
    del site.objects["failovers", name]
    site.armed = True
    await play(leader, 4.0)
    assert not site.armed
    assert [name for plural, name in site.objects if plural == "failovers"] == [name]
    assert site.count("bmc-n1 off") == 1, "the order on record may take effect yet"


async def test_an_incident_that_has_done_nothing_yet_is_ended_by_its_deletion() -> None:
    """The node is down still: another one begins, and holds anew what it has to."""
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}]})
    site.put("haclusters", "default", {"mode": "Paused"})
    site.runs("db", "n1")
    leader = await settled(site)
    site.down.add("n1")
    await play(leader, 4.0)
    assert site.failover()["status"]["phase"] == "Held"
    del site.objects["failovers", site.failover()["metadata"]["name"]]
    site.down.clear()
    await play(leader, 4.0)
    assert [key for key in site.objects if key[0] == "failovers"] == []
    assert site.count("bmc-n1 off") == 0


async def test_an_incident_of_a_newer_controller_is_left_alone_and_no_other_is_opened_beside_it() -> None:
    site = Site(redfish("n1"), fencing={"levels": [{"devices": ["bmc-n1"]}]})
    site.runs("db", "n1")
    leader = await settled(site)
    site.put("failovers", "n1-new", {"node": "n1", "nodeUID": "uid-n1", "bootID": "boot-n1"})
    status = {"phase": "Fencing", "stateVersion": STATE_VERSION + 1, "proofs": []}
    site.objects["failovers", "n1-new"]["status"] = status
    site.down.add("n1")
    await play(leader, 5.0)
    assert [key for key in site.objects if key[0] == "failovers"] == [("failovers", "n1-new")]
    assert site.objects["failovers", "n1-new"]["status"] == status
    assert site.deeds == []
    assert leader.loop.busy_nodes() == {"n1"}


def two_dead() -> Site:
    """Two nodes with a VM each, and a BMC that obeys."""
    fencing = {"levels": [{"devices": ["bmc-n1", "bmc-n4"]}], "powerOn": "Never"}
    site = Site(redfish("n1"), redfish("n4"), fencing=fencing)
    site.runs("db", "n1")
    site.runs("web", "n4")
    site.obeys |= {"n1", "n4"}
    return site


class Hangs(Site):
    """From that phase on no write to the Failover of n1 is answered, until it is told to."""

    phase = ""
    orders = 0
    creates = True
    """Whether creates are answered."""

    async def create(self, kind: Kind, obj: Json, *, deadline: float | None = None, **how: Any) -> Json:
        if obj["spec"].get("node") == "n1" and not self.creates:
            self.did("hangs")
            await asyncio.Event().wait()
        return await super().create(kind, obj, deadline=deadline, **how)

    async def replace_status(self, kind: Kind, obj: Json, *, deadline: float | None = None) -> Json:
        status = obj["status"]
        if (
            obj["spec"]["node"] == "n1"
            and status["phase"] == self.phase
            and len(status["orders"]) >= self.orders
        ):
            self.did("hangs")
            await asyncio.Event().wait()
        return await super().replace_status(kind, obj, deadline=deadline)


async def turns(leader: Replica, number: int) -> None:
    """So many, one after the other, whatever is left on its way beside them."""
    for _ in range(number):
        leader._watch()
        leader._listen()
        await leader.leadership._turn(leader.site.clock.now)
        await leader.loop.turn()
        await asyncio.sleep(0)
        leader.site.clock.now = round(leader.site.clock.now + TICK, 3)


def two_dead_and_one_hangs() -> Hangs:
    fencing = {"levels": [{"devices": ["bmc-n1", "bmc-n4"]}], "powerOn": "Never"}
    site = Hangs(redfish("n1"), redfish("n4"), fencing=fencing)
    site.runs("db", "n1")
    site.runs("web", "n4")
    site.obeys |= {"n1", "n4"}
    return site


async def test_a_write_that_nobody_answers_holds_up_no_other_incident() -> None:
    site = two_dead_and_one_hangs()
    leader = await settled(site)
    site.phase = "Recovering"
    site.down |= {"n1", "n4"}
    await turns(leader, 45)
    assert site.count("hangs") == 1
    assert "launcher-web" not in site.pods
    assert "launcher-db" in site.pods, "its proof is not stored"
    site.lease = replace(site.lease, holder="c-2", transitions=9) if site.lease else None
    leader.leadership._lease = None
    site.clock.now += timing.LEASE_DURATION
    await turns(leader, 1)
    assert not leader.leadership.leads
    assert leader.loop._stepping == {}, "what is on its way ends with the term"


async def test_a_create_that_nobody_answers_is_given_up_within_seconds_and_what_is_open_goes_on() -> None:
    site = two_dead_and_one_hangs()
    leader = await settled(site)
    site.creates = False
    site.down.add("n4")
    await turns(leader, 2)
    site.down.add("n1")
    site.clock.now += 2.0
    async with asyncio.timeout(2 * timing.ORDER_SENT_WITHIN):
        await turns(leader, 1)
    assert site.count("hangs") == 1
    assert site.failover("n4")["status"]["phase"] == "Fencing", "on the same turn"
    await leader.loop._end_term()


async def test_no_order_is_decided_while_another_is_being_stored() -> None:
    """Limits and places at a chassis go by what is on record; and whose order is not stored in time gives way."""
    site = two_dead_and_one_hangs()
    leader = await settled(site)
    site.phase, site.orders = "Fencing", 1
    site.down.add("n1")
    await turns(leader, 2)
    site.down.add("n4")
    await turns(leader, 28)
    assert site.count("hangs") == 1
    assert site.count("bmc-n4 off") == 0
    async with asyncio.timeout(2 * timing.ORDER_SENT_WITHIN):
        while not site.count("bmc-n4 off"):
            await turns(leader, 1)
            await asyncio.sleep(0.05)
    assert site.count("bmc-n1 off") == 0
    await leader.loop._end_term()


@pytest.mark.parametrize("what", ["create", "status"])
async def test_a_failover_that_is_refused_holds_up_no_other_and_goes_on_when_it_is_taken(what: str) -> None:
    site = two_dead()
    leader = await settled(site)
    site.refuses[what, "n1"] = Refused("exceeded quota", status=403)
    site.down |= {"n1", "n4"}
    await play(leader, 10.0)
    assert "launcher-web" not in site.pods
    assert "launcher-db" in site.pods
    assert site.count("bmc-n1 off") == 0
    assert site.count("refused n1") <= 20
    site.refuses.clear()
    mended_at = site.clock.now
    await play(leader, 5.0)
    assert site.when("bmc-n1 off") - mended_at < 1.5
    assert site.pods == {}
    status = site.failover("n1")["status"]
    assert status["votes"], "what was voted then is on record all the same"


async def test_a_create_whose_answer_is_lost_makes_no_second_failover() -> None:
    site = two_dead()
    leader = await settled(site)
    site.late.add("failovers")
    site.lost.add("n1")
    site.down.add("n1")
    await play(leader, 3.0)
    site.late.clear()
    await play(leader, 5.0)
    opened = [name for plural, name in site.objects if plural == "failovers"]
    assert len(opened) == 1, opened
    assert site.count("bmc-n1 off") == 1
    assert "launcher-db" not in site.pods


async def test_a_conflict_about_a_failover_that_is_gone_ends_no_process() -> None:
    site = two_dead()
    leader = await settled(site)
    site.refuses["status", "n1"] = Conflict("the object has been modified", status=409)
    site.down.add("n1")
    await play(leader, 2.0)
    name = site.failover("n1")["metadata"]["name"]
    del site.objects["failovers", name]
    site.refuses.clear()
    await play(leader, 6.0)
    assert "launcher-db" not in site.pods, "another is opened: the node is down still"


@pytest.mark.parametrize("how", ["deleted", "ended by another"])
async def test_what_was_read_in_an_earlier_incident_proves_nothing_in_a_later_one(how: str) -> None:
    """Readings name no boot. The node was off, and is on again; whoever remembers that it read off must not go by it."""
    site = Site(redfish("n5"), fencing={"levels": [{"devices": ["bmc-n5"]}], "powerOn": "Never"})
    site.runs("db", "n5")
    leader = await settled(site)
    site.put("haclusters", "default", {"mode": "Paused"})
    site.off.add("n5")
    site.down.add("n5")
    await play(leader, 4.0)
    assert site.failover("n5")["status"]["phase"] == "Held"
    (name,) = [name for plural, name in site.objects if plural == "failovers"]
    if how == "deleted":
        del site.objects["failovers", name]
    else:
        site.end(name)
    site.off.clear()
    site.down.clear()
    await play(leader, 5.0)
    site.put("haclusters", "default", {"mode": "Active"})
    site.down.add("n5")
    await play(leader, 4.0)
    assert site.count("bmc-n5 off") == 1, "it reads on: it is ordered"
    assert "launcher-db" in site.pods, "it has not been read off since"


async def test_an_incident_that_another_has_ended_keeps_its_node_from_no_later_one() -> None:
    """The last write of the leader before, which came late: this one has it in memory as open."""
    site = Site(redfish("n5"), fencing={"levels": [{"devices": ["bmc-n5"]}], "powerOn": "Never"})
    site.runs("db", "n5")
    leader = await settled(site)
    site.down.add("n5")
    await play(leader, 1.0)
    (name,) = [name for plural, name in site.objects if plural == "failovers"]
    site.end(name)
    site.down.clear()
    await play(leader, 1.0)
    assert site.failover("n5")["metadata"]["name"] == name
    site.down.add("n5")
    site.off.add("n5")
    await play(leader, 4.0)
    assert "launcher-db" not in site.pods


@pytest.mark.parametrize("how", ["deleted", "ended by another"])
async def test_an_order_of_an_earlier_incident_hides_no_word_of_a_device_in_a_later_one(how: str) -> None:
    """The BMC calls the node off, and nobody has ordered that in this incident: what reads on then is booting, and is spared."""
    site = Site(redfish("n5"), fencing={"levels": [{"devices": ["bmc-n5"]}], "powerOn": "Never"})
    site.runs("db", "n5")
    leader = await settled(site)
    site.down.add("n5")
    await play(leader, 3.0 * timing.ORDER_EFFECT)
    assert site.failover("n5")["status"]["phase"] == "AwaitingConfirmation"
    ordered = site.count("bmc-n5 off")
    assert ordered == timing.ORDER_TRIES
    (name,) = [name for plural, name in site.objects if plural == "failovers"]
    if how == "deleted":
        del site.objects["failovers", name]
    else:
        site.end(name)
    site.down.clear()
    await play(leader, 5.0)
    site.down.add("n5")
    site.off.add("n5")
    asked_at = site.clock.now
    for _ in range(20):
        await play(leader, TICK)
        if leader.book.look("bmc-n5", "n5").readings[-1].asked_at >= asked_at:
            break
    site.off.clear()
    await play(leader, 10.0)
    assert site.count("bmc-n5 off") == ordered, "it is booting"
    assert "has called the node off without an order" in site.failover("n5")["status"]["sentence"]
