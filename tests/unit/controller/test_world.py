"""What the caches tell the witness."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringfence.api.v1alpha1.failover import Failover
from ringfence.api.v1alpha1.nodereport import NodeReport
from ringfence.api.v1alpha1.protectedvm import ProtectedVM
from ringfence.controller.evidence import Witness
from ringfence.controller.world import OwnKinds, World
from ringfence.kube.client import Api
from ringfence.kube.objects import NodeObject, PodObject, VmiObject
from ringfence.kube.store import Key
from ringfence.ports import SystemClock

NODE: dict[str, Any] = {
    "metadata": {"name": "n1", "uid": "uid-n1"},
    "status": {"nodeInfo": {"bootID": "boot-1"}},
}


def report(uid: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "n1", "resourceVersion": "7"},
        "status": {"nodeUID": uid, "bootID": "boot-1"},
    }


@pytest.mark.parametrize("node_first", [True, False])
@pytest.mark.parametrize(("uid", "has_agent"), [("uid-n1", True), ("uid-of-another", False)])
def test_a_node_whose_agent_has_reported_has_one(uid: str, *, node_first: bool, has_agent: bool) -> None:
    """In a large ring a node that the controller's agents don't observe is alive while nobody accuses it, if it has an agent."""
    witness = Witness(lambda _payload, _signature, _key: True)
    world = World(cast("Api", None), SystemClock(), "ringfence-system", witness, lambda: 0.5, lambda: None)

    def see_node() -> None:
        world.nodes._put(("", "n1"), NodeObject.from_raw(NODE))

    def see_report() -> None:
        world.own.seen("nodereports", report(uid))

    for see in (see_node, see_report) if node_first else (see_report, see_node):
        see()
    evidence = witness.evidence("n1", 0.0, device_proved=False)
    assert evidence is not None
    assert evidence.has_agent is has_agent


def test_what_devices_declare_is_worked_out_again_only_where_that_has_changed() -> None:
    """Each second: with 1,000 of them, and as many kubelets that write their Nodes, it was the most of an idle replica's work."""
    witness = Witness(lambda _payload, _signature, _key: True)
    world = World(cast("Api", None), SystemClock(), "ringfence-system", witness, lambda: 0.5, lambda: None)
    spec = {
        "driver": "redfish",
        "nodes": ["n1"],
        "redfish": {"address": "https://10.0.0.1", "secretRef": {"name": "bmc"}},
    }

    def see(version: int, address: str, power: str) -> None:
        redfish = {**cast("dict[str, Any]", spec["redfish"]), "address": address}
        meta = {"name": "bmc", "uid": "uid-bmc", "resourceVersion": str(version)}
        status = {"powerState": [{"node": "n1", "power": power}]}
        world.own.seen(
            "fencedevices", {"metadata": meta, "spec": {**spec, "redfish": redfish}, "status": status}
        )

    def node(ready: str, uuid: str) -> None:
        conditions = [{"type": "Ready", "status": ready}]
        status = {"nodeInfo": {"bootID": "boot-1", "systemUUID": uuid}, "conditions": conditions}
        world.nodes._put(("", "n1"), NodeObject.from_raw({**NODE, "status": status}))

    see(1, "https://10.0.0.1", "on")
    node("True", "u-1")
    first = world.declared()
    assert first.targets["bmc", "n1"].node_uuid == "u-1"
    see(2, "https://10.0.0.1", "off")
    node("False", "u-1")
    assert world.declared() is first
    node("False", "u-2")
    second = world.declared()
    assert second.targets["bmc", "n1"].node_uuid == "u-2"
    see(3, "https://10.0.0.2", "off")
    assert world.declared().sessions["bmc", "n1"] == "10.0.0.2"
    assert second.sessions["bmc", "n1"] == "10.0.0.1", "what was given out stands still"


def test_our_own_kinds_are_copied_once_a_change_and_what_was_given_out_stands_still() -> None:
    """A turn asks several times a node: with 20,000 VMs a copy each time would be all that it does."""
    told: list[int] = []
    own = OwnKinds(lambda _plural, _key: told.append(len(own.all(NodeReport))))
    own.seen("nodereports", report("uid-n1"))
    first = own.all(NodeReport)
    assert own.all(NodeReport) is first
    own.seen("haclusters", {"metadata": {"name": "default", "resourceVersion": "8"}, "spec": {}})
    assert own.all(NodeReport) is first, "another kind has changed"

    other = report("uid-n2")
    own.seen("nodereports", other | {"metadata": {"name": "n2", "resourceVersion": "9"}})
    assert set(own.all(NodeReport)) == {("", "n1"), ("", "n2")}
    assert set(first) == {("", "n1")}

    own.seen("nodereports", report("uid-n1"), deleted=True)
    assert set(own.all(NodeReport)) == {("", "n2")}
    unreadable = {"metadata": {"name": "n2", "resourceVersion": "10"}, "status": {"port": "none"}}
    own.seen("nodereports", unreadable)
    assert not own.all(NodeReport)
    assert told == [1, 1, 2, 1, 0], "whoever is told of a change sees it"


def stored(name: str, version: int, uid: str = "") -> dict[str, Any]:
    meta = {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": meta, "spec": {"node": "n1", "nodeUID": "uid-n1", "bootID": "boot-1"}}


def test_a_list_says_nothing_of_what_has_come_or_gone_since_it_was_asked_for() -> None:
    """A leader opens an incident while the LIST of the minute is on its way: forgotten for that, it would get another beside it."""
    own = OwnKinds(lambda _plural, _key: None)
    for raw in (stored("old", 1), stored("ghost", 2), stored("ended", 3)):
        own.seen("failovers", raw)
    before, listed = own.held("failovers"), [stored("old", 1), stored("ended", 3), stored("missed", 4)]
    own.seen("failovers", stored("opened", 5))
    own.seen("failovers", stored("ended", 6), deleted=True)
    own.sweep("failovers", listed, before)
    assert {name for _, name in own.all(Failover)} == {"old", "missed", "opened"}
    own.sweep("failovers", [stored("opened", 7)], own.held("failovers"))
    assert {name for _, name in own.all(Failover)} == {"opened"}


@pytest.mark.parametrize(
    "broken",
    [
        {"proofs": [{"kind": "PoweredOff", "device": "bmc"}]},
        {"startedAt": "2026-01-31t12:00:00z!"},
        {"votes": [{"voter": "n2", "vote": "none", "signature": "not base64"}]},
    ],
)
def test_a_failover_that_no_record_can_be_made_of_is_left_out_and_its_node_with_it(
    broken: dict[str, Any],
) -> None:
    """Whoever may write a status has written it. Each controller that read it ended, and so did the next one."""
    own = OwnKinds(lambda _plural, _key: None)
    own.seen("failovers", stored("n1-1", 1) | {"status": {"phase": "Recovering"} | broken})
    assert not own.all(Failover)
    assert own.unread("failovers")["", "n1-1"].node == "n1"


def test_the_late_word_of_an_objects_end_takes_away_no_later_one_of_its_name() -> None:
    own = OwnKinds(lambda _plural, _key: None)
    own.seen("failovers", stored("n1-1", 1, "first"))
    own.seen("failovers", stored("n1-1", 1, "first"), deleted=True)
    own.seen("failovers", stored("n1-1", 9, "written-anew"))
    own.seen("failovers", stored("n1-1", 5, "first"), deleted=True)
    assert {name for _, name in own.all(Failover)} == {"n1-1"}
    own.seen("failovers", stored("n1-1", 10, "written-anew"), deleted=True)
    assert not own.all(Failover)


def test_a_vm_is_taken_by_nodes_that_are_ready_uncordoned_and_schedulable() -> None:
    witness = Witness(lambda _payload, _signature, _key: True)
    world = World(cast("Api", None), SystemClock(), "ringfence-system", witness, lambda: 0.5, lambda: None)

    def see(name: str, *, ready: str = "True", cordoned: bool = False, schedulable: str = "true") -> None:
        meta = {"name": name, "uid": f"uid-{name}", "labels": {"kubevirt.io/schedulable": schedulable}}
        status = {"nodeInfo": {"bootID": "b"}, "conditions": [{"type": "Ready", "status": ready}]}
        raw = {"metadata": meta, "spec": {"unschedulable": cordoned}, "status": status}
        world.nodes._put(("", name), NodeObject.from_raw(raw))

    see("n1")
    see("n2")
    see("silent", ready="Unknown")
    see("cordoned", cordoned=True)
    see("without-kvm", schedulable="false")
    assert world.takers() == {"n1", "n2"}
    see("n2", ready="False")
    assert world.takers() == {"n1"}


def test_of_pods_and_vms_only_what_matters_without_an_incident_calls_for_a_turn() -> None:
    told: list[str] = []
    witness = Witness(lambda _payload, _signature, _key: True)
    world = World(
        *(cast("Api", None), SystemClock(), "ringfence-system", witness, lambda: 0.5),
        *(lambda: told.append("poke"), lambda: told.append("stir")),
    )
    meta: dict[str, Any] = {"name": "db", "namespace": "shop", "uid": "u", "resourceVersion": "1"}

    def heard(*, evacuated: str = "", phase: str = "Running") -> list[str]:
        told.clear()
        status = {"phase": phase, "evacuationNodeName": evacuated}
        world.vmis._put(("shop", "db"), VmiObject.from_raw({"metadata": meta, "status": status}))
        return told

    assert heard() == ["stir"]
    assert heard(phase="Failed") == ["stir"]
    assert heard(phase="Failed", evacuated="n1") == ["poke"], "with a cordon it is a drain, and no failure"
    assert heard(phase="Failed") == ["poke"]
    told.clear()
    world.pods._put(("shop", "db"), PodObject.from_raw({"metadata": meta}))
    world.own.seen("protectedvms", {"metadata": meta, "spec": {"vm": {"name": "db"}}})
    assert told == ["stir", "stir"]
    told.clear()
    world.nodes._put(("", "n1"), NodeObject.from_raw(NODE))
    world.own.seen("failovers", stored("n1-1", 2))
    assert told == ["poke", "poke"]


@pytest.mark.parametrize("gone", ["failovers", "protectedvms"])
def test_what_is_worked_out_of_a_kind_is_worked_out_anew_when_one_of_it_has_changed(gone: str) -> None:
    own = OwnKinds(lambda _plural, _key: None)
    own.seen("failovers", stored("n1-1", 1))
    assert own.work_out(Failover, names) == ["n1-1"]
    assert own.work_out(Failover, names) is own.work_out(Failover, names)
    own.seen("failovers", stored("n2-1", 2))
    assert own.work_out(Failover, names) == ["n1-1", "n2-1"]
    before = own.work_out(Failover, names)
    vm = {"metadata": {"name": "n1-1", "resourceVersion": "1"}, "spec": {"vm": {"name": "db"}}}
    own.seen("protectedvms", vm)
    own.seen(gone, stored("n1-1", 1) if gone == "failovers" else vm, deleted=True)
    assert (own.work_out(Failover, names) is before) is (gone == "protectedvms")


def names(failovers: Mapping[Key, Failover]) -> list[str]:
    return [name for _, name in failovers]


def declared(vm: str, version: int, uid: str = "") -> dict[str, Any]:
    meta = {"name": vm, "namespace": "shop", "uid": uid or f"uid-{vm}", "resourceVersion": str(version)}
    return {"metadata": meta | {"managedFields": [{"manager": "x"}]}, "spec": {"vm": {"name": vm}}}


def test_protected_vms_are_what_the_watch_shows_and_what_we_have_written_since() -> None:
    witness = Witness(lambda _payload, _signature, _key: True)
    api = cast("Api", SimpleNamespace(clock=SystemClock()))
    world = World(api, api.clock, "ringfence-system", witness, lambda: 0.5, lambda: None)
    watch = world.protected_vms

    def show(type_: str, raw: dict[str, Any]) -> None:
        watch._event(json.dumps({"type": type_, "object": raw}).encode())

    def there() -> dict[str, int]:
        found = world.own.all(ProtectedVM)
        return {name: int(one.metadata.resource_version or 0) for (_, name), one in found.items()}

    show("ADDED", declared("a", 1))
    show("ADDED", declared("b", 2))
    world.own.seen("protectedvms", declared("a", 5))
    show("MODIFIED", declared("a", 3))
    assert there() == {"a": 5, "b": 2}, "ours is the later one"
    assert "managedFields" not in (world.own.raw("protectedvms", ("shop", "a")) or {})["metadata"]
    world.own.seen("protectedvms", declared("made", 6))
    show("DELETED", declared("b", 7))
    assert there() == {"a": 5, "made": 6}
    world.own.agree("protectedvms", watch.store, 5)
    assert there() == {"a": 5, "made": 6}, "the watch has not come to it yet"
    world.own.agree("protectedvms", watch.store, watch.reached)
    assert there() == {"a": 5}, "it was deleted while nobody watched"
    world.own.seen("protectedvms", declared("a", 5), deleted=True)
    world.own.agree("protectedvms", watch.store, watch.reached)
    assert there() == {"a": 3}, "somebody's finalizer keeps it"
    world.own.seen("protectedvms", declared("a", 9, "another"))
    show("DELETED", declared("a", 8))
    assert there() == {"a": 9}, "it was made anew meanwhile"
