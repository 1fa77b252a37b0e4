"""What the caches say about a restart, and incidents that this controller doesn't understand."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ringfence.api.v1alpha1.failover import Failover
from ringfence.api.v1alpha1.protectedvm import ProtectedVM
from ringfence.controller import records, restarts
from ringfence.controller.evidence import Witness
from ringfence.controller.world import OwnKinds, World
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import STATE_VERSION, Record, VmRecord, VmState
from ringfence.core.fencing.proof import PoweredOff, PowerOffHow
from ringfence.core.model import Boot
from ringfence.core.timing import STARTS_PER_NODE
from ringfence.kube.client import ApiServer
from ringfence.kube.objects import NodeObject, PodObject, PvcObject, VmiObject, VmObject
from ringfence.net.crypto import verify
from ringfence.ports import Json


def node(*taints: str, ready: str = "True", schedulable: str = "true", cordoned: bool = False) -> NodeObject:
    return NodeObject.from_raw(
        {
            "metadata": {"name": "n2", "uid": "u", "labels": {"kubevirt.io/schedulable": schedulable}},
            "spec": {
                "unschedulable": cordoned,
                "taints": [{"key": key, "effect": "NoSchedule", "value": ""} for key in taints],
            },
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }
    )


def vmi(**status: Any) -> VmiObject:
    return VmiObject.from_raw({"metadata": {"namespace": "a", "name": "db", "uid": "u"}, "status": status})


def test_a_node_takes_vms_if_nothing_bars_them() -> None:
    assert restarts.takes_vms(node())
    assert restarts.takes_vms(node("example.com/gpu"))
    assert not restarts.takes_vms(node("ringfence.io/suspect"))
    assert not restarts.takes_vms(node(ready="Unknown"))
    assert not restarts.takes_vms(node(schedulable="false"))
    assert not restarts.takes_vms(node(cordoned=True))


def test_the_schedulers_words_are_passed_on() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes. ",
    }
    assert restarts.unschedulable(vmi(conditions=[condition])) == "0/3 nodes"
    assert (
        restarts.unschedulable(vmi(conditions=[condition | {"message": ""}]))
        == "the scheduler doesn't say why"
    )
    assert restarts.unschedulable(vmi(conditions=[condition | {"status": "True"}])) == ""
    assert restarts.unschedulable(vmi()) == ""


def test_what_kubevirt_leaves_to_a_person_is_told() -> None:
    condition = {"type": "ManualRecoveryRequired", "status": "True", "message": "volumes differ"}
    vm = VmObject.from_raw({"metadata": {"name": "db"}, "status": {"conditions": [condition]}})
    assert restarts.blocked(vm).endswith("(ManualRecoveryRequired): volumes differ")
    assert restarts.blocked(VmObject.from_raw({})) == ""
    assert restarts.blocked(None) == ""


def test_a_migrations_target_counts_where_its_source_is_lost_too() -> None:
    moving = vmi(nodeName="n1", migrationState={"sourceNode": "n1", "targetNode": "n2", "migrationUid": "m"})
    assert restarts.arrives(moving, "n2", {"n1", "n2"})
    assert not restarts.arrives(moving, "n2", {"n2"}), "its source lives: it loses nothing"
    assert not restarts.arrives(moving, "n1", {"n1", "n2"})
    over = vmi(nodeName="n1", migrationState={"sourceNode": "n1", "targetNode": "n2", "failed": True})
    assert not restarts.arrives(over, "n2", {"n1", "n2"})


def claim(name: str, *modes: str) -> PvcObject:
    meta = {"namespace": "a", "name": name, "uid": f"uid-{name}"}
    return PvcObject.from_raw({"metadata": meta, "spec": {"accessModes": list(modes)}})


def user(name: str, node: str, *claims: str, phase: str = "Running", owner: str = "job") -> PodObject:
    volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
    owners = [{"kind": "Pod", "name": "o", "uid": owner, "controller": True}]
    meta = {"namespace": "a", "name": name, "uid": f"uid-{name}", "ownerReferences": owners}
    return PodObject.from_raw(
        {"metadata": meta, "spec": {"nodeName": node, "volumes": volumes}, "status": {"phase": phase}}
    )


def starting(status: str = "Starting", phase: str = "Scheduling", *claims: str) -> World:
    """Caches in which the VM db has a new instance without a launcher yet."""
    world = world_of()
    volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
    vm = {
        "metadata": {"namespace": "a", "name": "db", "uid": "vm"},
        "spec": {"runStrategy": "Always", "template": {"spec": {"volumes": volumes}}},
        "status": {"printableStatus": status},
    }
    world.vms.store["a", "db"] = VmObject.from_raw(vm)
    world.vmis.store["a", "db"] = vmi(phase=phase)
    del world.pods.store["a", "target"]
    return world


def launcher(world: World, node: str) -> None:
    labels = {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": "u"}
    meta = {"namespace": "a", "name": "launcher", "uid": "uid-launcher", "labels": labels}
    world.pods.store["a", "launcher"] = PodObject.from_raw({"metadata": meta, "spec": {"nodeName": node}})


@pytest.mark.parametrize(
    ("status", "waits"), [("Provisioning", True), ("WaitingForVolumeBinding", True), ("Starting", False)]
)
def test_an_import_that_a_start_waits_for_is_told(status: str, *, waits: bool) -> None:
    world = starting(status)
    assert ("DataVolumes" in restarts.held_up(world, ("a", "db"))) is waits
    del world.vmis.store["a", "db"]
    assert ("DataVolumes" in restarts.held_up(world, ("a", "db"))) is waits, "no instance is made either"
    assert restarts.held_up(world, ("a", "gone")) == ""


def test_who_has_its_volume_on_another_node_is_named() -> None:
    world = starting("Starting", "Scheduling", "disk", "shared", "hot")
    for one in (
        claim("disk", "ReadWriteOnce"),
        claim("hot", "ReadWriteOnce"),
        claim("shared", "ReadWriteMany"),
    ):
        world.pvcs.store[one.namespace, one.name] = one
    for pod in (
        user("virt-export-db", "n3", "disk"),
        user("backup", "n3", "disk", phase="Succeeded"),
        user("beside-it", "n1", "disk"),
        user("reader", "n3", "shared"),
        user("hp-volume-1", "n3", "hot", owner="uid-launcher"),
        user("unplaced", "", "disk"),
    ):
        world.pods.store[pod.namespace, pod.name] = pod
    assert restarts.held_up(world, ("a", "db")) == "", "it has no node yet"
    launcher(world, "n1")
    assert restarts.held_up(world, ("a", "db")) == "its claim disk is in use by pod virt-export-db on n3"
    world.vmis.store["a", "db"] = vmi(phase="Running")
    assert restarts.held_up(world, ("a", "db")) == ""


def test_a_vm_waits_for_those_of_its_own_namespace() -> None:
    pvm = ProtectedVM.model_validate(
        {"metadata": {"name": "app"}, "spec": {"vm": {"name": "app"}, "dependsOn": [{"name": "db"}]}}
    )
    assert restarts.after(pvm, "shop") == (("shop", "db"),)
    assert restarts.after(None, "shop") == ()


def failover(**status: Any) -> Json:
    return {
        "metadata": {"name": "n1-1", "resourceVersion": "7"},
        "spec": {"node": "n1", "nodeUID": "u", "bootID": "b"},
        "status": {"phase": "Fencing", "stateVersion": STATE_VERSION} | status,
    }


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (failover(stateVersion=STATE_VERSION + 1), "a newer one has written it"),
        (failover(phase="Haunted"), "phase"),
    ],
)
def test_an_incident_of_a_newer_controller_is_left_to_it_and_not_forgotten(raw: Json, why: str) -> None:
    own = OwnKinds(lambda _plural, _key: None)
    own.seen("failovers", raw)
    (unread,) = own.unread("failovers").values()
    assert unread.node == "n1"
    assert why in unread.why
    own.seen("failovers", failover() | {"metadata": {"name": "n1-1", "resourceVersion": "8"}})
    assert not own.unread("failovers"), "it was written by one that we understand"


def test_what_is_stored_of_a_vm_is_read_again_as_it_was() -> None:
    vm = VmRecord(
        "shop",
        "db",
        "vm",
        "vmi",
        "pod",
        VmState.WAITING,
        "",
        "no node takes it",
        50.0,
        None,
        2,
        "vmi-3",
        60.0,
        unstarted=True,
        leftover="snapshot nightly was under way meanwhile",
    )
    boot = Boot("n1", "u", "b")
    record = Record("n1-1", boot, Phase.RECOVERING, "s", doubted_wall=1.0, started_wall=2.0, vms=(vm,))
    raw = {
        "metadata": {"name": "n1-1"},
        "spec": records.spec_of(record),
        "status": records.status_of(record, [], 0.0),
    }
    read = records.record_of(Failover.model_validate(raw), 0.0, 0.0, 0.0, 0.0)
    assert read is not None
    assert read.vms == (vm,)


def test_an_incident_without_a_version_is_of_the_first_one() -> None:
    own = OwnKinds(lambda _plural, _key: None)
    own.seen("failovers", failover(stateVersion=None))
    assert not own.unread("failovers")


class Hands:
    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> float:
        return 0.0


def pvm(vm: str, **spec: Any) -> Json:
    return {
        "metadata": {"namespace": "a", "name": f"p-{vm}-{spec.get('priority', '')}", "resourceVersion": "1"},
        "spec": {"vm": {"name": vm}} | spec,
    }


def world_of(*pvms: Json) -> World:
    """Caches with these ProtectedVMs, and the VM db on n1 whose migration's target is on n2."""
    world = World(
        cast("ApiServer", None), Hands(), "ringfence-system", Witness(verify), lambda: 0.5, lambda: None
    )
    for raw in pvms:
        world.own.seen("protectedvms", raw)
    world.nodes.store["", "n2"] = node()
    world.vms.store["a", "db"] = VmObject.from_raw(
        {"metadata": {"namespace": "a", "name": "db"}, "spec": {"runStrategy": "Always"}}
    )
    world.vmis.store["a", "db"] = vmi(
        nodeName="n1", phase="Running", conditions=[{"type": "Ready", "status": "True"}]
    )
    target = {
        "namespace": "a",
        "name": "target",
        "uid": "t",
        "labels": {
            "kubevirt.io": "virt-launcher",
            "kubevirt.io/created-by": "u",
            "kubevirt.io/migrationJobUID": "m",
        },
    }
    world.pods.store["a", "target"] = PodObject.from_raw({"metadata": target, "spec": {"nodeName": "n2"}})
    return world


def test_of_two_that_protect_one_vm_the_more_important_counts() -> None:
    world = world_of(
        pvm("db", priority=10),
        pvm("db", priority=900),
        pvm("db", priority=50),
        pvm("web", onNodeFailure="Ignore"),
    )
    found = restarts.protected(world)
    assert {key: one.spec.priority for key, one in found.items()} == {("a", "db"): 900}


def test_a_migrations_target_goes_with_the_other_pods_of_its_node_where_its_vm_is_protected() -> None:
    world = world_of(pvm("db"))
    assert restarts.targets_on(world, "n2", {("a", "db")}) == {"u"}
    assert restarts.targets_on(world, "n2", set()) == frozenset(), "nobody asked for that VM"
    assert restarts.targets_on(world, "n1", {("a", "db")}) == frozenset()


def test_a_launcher_that_the_scheduler_has_bound_has_a_node() -> None:
    world = world_of()
    launcher = {
        "namespace": "a",
        "name": "virt-launcher-web",
        "uid": "l",
        "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": "web"},
    }
    assert not world.bound("web")
    world.pods.store["a", "virt-launcher-web"] = PodObject.from_raw({"metadata": launcher, "spec": {}})
    assert not world.bound("web")
    world.pods.store["a", "virt-launcher-web"] = PodObject.from_raw(
        {"metadata": launcher, "spec": {"nodeName": "n2"}}
    )
    assert world.bound("web")
    assert not world.bound(""), "a pod that is no launcher belongs to no instance"


def test_one_is_waited_for_until_it_is_ready_if_it_is_to_run_at_all() -> None:
    world = world_of()
    key = ("a", "db")
    assert restarts.unready(world, [key, ("a", "nothing")]) == frozenset()
    world.vmis.store[key] = vmi(phase="Running", conditions=[{"type": "Ready", "status": "False"}])
    assert restarts.unready(world, [key]) == {key}
    del world.vmis.store[key]
    assert restarts.unready(world, [key]) == {key}
    halted = {"metadata": {"namespace": "a", "name": "db"}, "spec": {"runStrategy": "Halted"}}
    world.vms.store[key] = VmObject.from_raw(halted)
    assert restarts.unready(world, [key]) == frozenset()


def test_what_starts_under_other_incidents_takes_room() -> None:
    vms = tuple(VmRecord("a", f"v{n}", "", "", state=VmState.STARTING, released_wall=0.0) for n in range(3))
    proof = PoweredOff(Boot("n1", "u", "b"), "bmc", PowerOffHow.FOUND, 0.0, "")
    other = Record(
        "n1-1",
        proof.boot,
        Phase.RECOVERING,
        "s",
        doubted_wall=0.0,
        started_wall=0.0,
        proofs=(proof,),
        vms=vms,
    )
    assert restarts.room(world_of(), [other], "n3-1", 1.0) == STARTS_PER_NODE - 3
    assert restarts.room(world_of(), [other], "n1-1", 1.0) == STARTS_PER_NODE, "its own are no others'"
