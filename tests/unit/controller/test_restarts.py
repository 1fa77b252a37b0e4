"""What the caches say about a restart, and incidents that this controller doesn't understand."""

from __future__ import annotations

from typing import Any

import pytest

from ringfence.api.v1alpha1.failover import Failover
from ringfence.api.v1alpha1.protectedvm import ProtectedVM
from ringfence.controller import records, restarts
from ringfence.controller.world import OwnKinds
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import STATE_VERSION, Record, VmRecord, VmState
from ringfence.core.model import Boot
from ringfence.kube.objects import NodeObject, VmiObject, VmObject
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
    )
    boot = Boot("n1", "u", "b")
    record = Record("n1-1", boot, Phase.RECOVERING, "s", doubted_wall=1.0, started_wall=2.0, vms=(vm,))
    raw = {
        "metadata": {"name": "n1-1"},
        "spec": records.spec_of(record),
        "status": records.status_of(record, [], 0.0),
    }
    read = records.record_of(Failover.model_validate(raw), 0.0, 0.0, 0.0)
    assert read is not None
    assert read.vms == (vm,)


def test_an_incident_without_a_version_is_of_the_first_one() -> None:
    own = OwnKinds(lambda _plural, _key: None)
    own.seen("failovers", failover(stateVersion=None))
    assert not own.unread("failovers")
