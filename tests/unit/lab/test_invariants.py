"""The judge must see every kind of wrong, and nothing wrong in a good failover."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.audit import Write
from lab.invariants import AGENT, CONTROLLER, Evidence, adds_taint, cut_times, judge

TAINT = {"spec": {"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]}}


def write(at: float, verb: str, resource: str, name: str, **more: Any) -> Write:
    fields = {
        "user": CONTROLLER,
        "pod": "c-1",
        "group": "",
        "subresource": "",
        "namespace": "default",
        "code": 200,
        "body": {},
    }
    return Write(at=at, verb=verb, resource=resource, name=name, **{**fields, **more})


def bind(at: float, pod: str, node: str) -> Write:
    body = {"target": {"name": node}}
    scheduler = "system:kube-scheduler"
    return write(
        at, "create", "pods", pod, subresource="binding", body=body, user=scheduler, pod="", code=201
    )


def lease(at: float, pod: str) -> Write:
    return write(at, "update", "leases", "ringfence-controller", pod=pod, namespace="ringfence-system")


GOOD = (
    bind(1, "virt-launcher-demo-a", "n1"),
    lease(2, "c-1"),
    write(11, "patch", "nodes", "n1", body=TAINT),
    write(11.1, "delete", "pods", "virt-launcher-demo-a", body={"gracePeriodSeconds": 0}),
)


def test_a_good_failover_breaks_nothing() -> None:
    assert judge(Evidence(GOOD, off=((10.9, "n1"),))) == []


def test_a_leadership_is_freed_only_after_its_node_died() -> None:
    freed = write(11.2, "update", "leases", "virt-controller", namespace="kubevirt")
    where = replace(bind(1, "virt-controller-x-1", "n1"), namespace="kubevirt")
    story = (lease(0.5, "c-1"), where, freed)
    assert judge(Evidence(story, off=((10.9, "n1"),))) == []
    assert "freed Lease kubevirt/virt-controller" in judge(Evidence(story, off=((10.9, "n2"),)))[0]


def test_a_node_shut_out_of_its_storage_covers_its_pods_and_never_a_taint() -> None:
    cut = ((10.9, "n1"),)
    pods = tuple(w for w in GOOD if w.resource != "nodes")
    assert judge(Evidence(pods, off=(), cut=cut)) == []
    assert judge(Evidence(pods, off=(), cut=((11.2, "n1"),))) != []
    (taint,) = judge(Evidence(GOOD, off=(), cut=cut))
    assert "tainted node n1" in taint


def test_when_a_node_was_shut_out(tmp_path: Path) -> None:
    log = tmp_path / "csiaddons.log"
    assert cut_times(log) == ()
    rows = [
        {"t": 1.0, "nodes": ["n1", "n2"], "out": True, "mode": "ok"},
        {"t": 2.0, "nodes": ["n1"], "out": False, "mode": "ok"},
        {"t": 3.0, "nodes": ["n1"], "out": True, "mode": "lie"},
    ]
    log.write_text("not listed: no route\n" + "".join(json.dumps(row) + "\n" for row in rows))
    assert cut_times(log) == ((1.0, "n1"), (1.0, "n2"))


def test_attachments_are_kubernetes_to_delete() -> None:
    deleted = write(11.2, "delete", "volumeattachments", "csi-1", namespace="")
    story = Evidence((*GOOD, deleted), off=((10.9, "n1"),))
    assert "deleted VolumeAttachment csi-1" in judge(story)[0]
    theirs = replace(deleted, user="system:serviceaccount:kube-system:attachdetach-controller")
    assert judge(Evidence((*GOOD, theirs), off=((10.9, "n1"),))) == []


def test_no_power_log_no_act() -> None:
    taint, pod = judge(Evidence(GOOD, off=()))
    assert "tainted node n1 out of service" in taint
    assert "deleted pod default/virt-launcher-demo-a with grace 0" in pod


def test_another_nodes_death_is_no_proof() -> None:
    assert len(judge(Evidence(GOOD, off=((10.9, "n2"),)))) == 2


def test_off_after_the_act_is_too_late() -> None:
    assert len(judge(Evidence(GOOD, off=((11.05, "n1"),)))) == 1
    assert len(judge(Evidence(GOOD, off=((11.5, "n1"),)))) == 2


def test_an_old_death_does_not_cover_a_pod_bound_since() -> None:
    young = (
        lease(0, "c-1"),
        bind(5, "p", "n1"),
        write(6, "delete", "pods", "p", uri="/api?gracePeriodSeconds=0"),
    )
    assert len(judge(Evidence(young, off=((4, "n1"),)))) == 1
    assert judge(Evidence(young, off=((5.5, "n1"),))) == []


def test_a_normal_delete_needs_no_proof() -> None:
    assert judge(Evidence((lease(0, "c-1"), write(1, "delete", "pods", "p")), off=())) == []


def test_refused_and_dry_writes_did_nothing() -> None:
    refused = write(1, "patch", "nodes", "n1", body=TAINT, code=409)
    dry = write(1, "patch", "nodes", "n1", body=TAINT, uri="/api/v1/nodes/n1?dryRun=All")
    assert judge(Evidence((lease(0, "c-1"), refused, dry), off=())) == []


def test_other_peoples_acts_are_not_ours() -> None:
    assert (
        judge(Evidence((write(1, "patch", "nodes", "n1", body=TAINT, user="admin", pod=""),), off=())) == []
    )


def test_an_agent_may_not_delete_either() -> None:
    acts = (write(1, "delete", "virtualmachineinstances", "demo", user=AGENT, pod="a-1"),)
    assert len(judge(Evidence(acts, off=()))) == 1


def test_only_the_leader_writes() -> None:
    story = (
        lease(1, "c-1"),
        lease(5, "c-2"),
        write(6, "patch", "failovers", "f", group="ringfence.io", pod="c-1"),
        write(7, "patch", "failovers", "f", group="ringfence.io", pod="c-2"),
    )
    (sentence,) = judge(Evidence(story, off=()))
    assert sentence.startswith("c-1 wrote")
    assert sentence.endswith("while c-2 led")


def test_writes_before_the_test_are_not_judged() -> None:
    assert judge(Evidence(GOOD, off=(), since=12)) == []


def test_what_other_witnesses_saw_is_passed_on() -> None:
    assert judge(Evidence((), (), overlaps=("o",), doubles=("d",), foreign=("f",))) == ["d", "o", "f"]


def test_taints_in_every_kind_of_patch() -> None:
    key = "node.kubernetes.io/out-of-service"
    added = {"patch": [{"op": "add", "path": "/spec/taints/-", "value": {"key": key}}]}
    tested = {"patch": [{"op": "test", "path": "/spec/taints/0/key", "value": key}]}
    removed = {"spec": {"taints": [{"key": key, "$patch": "delete"}]}}
    assert adds_taint(TAINT, key)
    assert adds_taint(added, key)
    assert not adds_taint(tested, key)
    assert not adds_taint(removed, key)
    assert not adds_taint({"spec": {"taints": None}}, key)


def test_a_pod_that_no_witness_placed_may_not_go() -> None:
    acts = (lease(0, "c-1"), write(6, "delete", "pods", "stranger", body={"gracePeriodSeconds": 0}))
    (sentence,) = judge(Evidence(acts, off=((5, "n1"), (5, "n2"))))
    assert sentence.endswith("and no witness knows its node")


def test_a_vmi_goes_only_when_a_node_of_its_launchers_died() -> None:
    acts = (
        lease(0, "c-1"),
        bind(1, "virt-launcher-demo-aaaaa", "n1"),
        bind(4, "virt-launcher-demo-bbbbb", "n2"),
        bind(4, "virt-launcher-demo-two-ccccc", "n3"),
        write(6, "delete", "virtualmachineinstances", "demo"),
    )
    assert judge(Evidence(acts, off=((5, "n1"),))) == []
    assert len(judge(Evidence(acts, off=((5, "n3"),)))) == 1
    assert len(judge(Evidence(acts, off=((3, "n2"),)))) == 1


def test_a_death_of_long_ago_does_not_cover_a_taint() -> None:
    acts = (lease(0, "c-1"), write(100, "patch", "nodes", "n1", body=TAINT))
    assert len(judge(Evidence(acts, off=((5, "n1"),), on=((10, "n1"),)))) == 1
    assert judge(Evidence(acts, off=((5, "n1"), (95, "n1")), on=((10, "n1"),))) == []
    assert judge(Evidence(acts, off=((5, "n1"),))) == []


def test_a_node_that_has_just_come_back_may_still_be_tainted() -> None:
    acts = (lease(0, "c-1"), write(9, "patch", "nodes", "n1", body=TAINT))
    assert judge(Evidence(acts, off=((5, "n1"),), on=((0, "n1"), (7, "n1")))) == []


def test_who_gave_the_lease_back_leads_no_more() -> None:
    back = write(
        5, "update", "leases", "ringfence-controller",
        namespace="ringfence-system", body={"spec": {"holderIdentity": None}},
    )  # fmt: skip
    late = write(6, "patch", "failovers", "f", group="ringfence.io")
    (sentence,) = judge(Evidence((lease(1, "c-1"), back, late), off=()))
    assert sentence.endswith("while nobody led")


def test_a_write_of_no_pod_is_nobodys() -> None:
    acts = (lease(1, "c-1"), write(6, "patch", "failovers", "f", group="ringfence.io", pod=""))
    assert len(judge(Evidence(acts, off=()))) == 1
