from __future__ import annotations

import json

import pytest

from ringfence.cli import advice
from ringfence.cli.document import Document
from ringfence.core.failover.phase import ENDED, Phase
from ringfence.core.model import Verdict

from .cluster import MEMBER, Object, failover, incident, named, node
from .conftest import Run


def test_explain_tells_the_latest_failover(run: Run) -> None:
    shown = run(incident(), "explain", "n2")
    assert shown.exit_code == 0
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert "verdict Down n2 is down (2 of 2 peers: n1, n3)" in lines
    assert "failover n2-b0075678-x1: AwaitingConfirmation" in lines
    assert "vote n1 none (+0.31 s, round 00010203, roster epoch 7, signed)" in lines
    assert "vote n3 none (signed)" in lines
    assert "proof none: nothing was started elsewhere" in lines
    assert "VM shop/db: Waiting" in lines
    assert "fence device bmc-n2 (redfish), proved usable" in lines
    assert "c2ln" not in shown.stdout  # signatures tell a person nothing


def test_what_was_under_way_on_a_vm_is_told(run: Run) -> None:
    """A snapshot that was being taken: its owner would not hear of it from KubeVirt."""
    reader, told = incident(), failover()
    vm = {"namespace": "shop", "name": "db", "state": "Running", "newNode": "n3", "message": "runs on n3"}
    status = told["status"]
    assert isinstance(status, dict)
    status["vms"] = [{**vm, "leftover": "snapshot nightly was under way"}]
    reader.objects["failovers"] = [told]
    wanted = "Running on n3: runs on n3; snapshot nightly was under way"
    assert f"VM shop/db: {wanted}" in lines(run(reader, "explain", "n2").stdout)
    assert f"this VM {wanted}" in lines(run(reader, "explain", "shop/db").stdout)


def test_the_timeline_is_in_order_and_counts_from_the_beginning(run: Run) -> None:
    shown = run(incident(), "explain", "n2").stdout
    told = [line.split(maxsplit=1) for line in shown.partition("timeline")[2].splitlines()[1:4]]
    assert told == [
        ["+0.0", "ConfirmationNeeded=True PowerStillOn: the fence has failed"],
        ["+0.8", "verdict"],
        ["+3.5", "order off sent to bmc-n2"],
    ]


def test_a_node_without_a_failover_says_so(run: Run) -> None:
    shown = run(incident(), "explain", "n1")
    assert shown.exit_code == 0
    assert "no failover is recorded for this node" in shown.stdout


def test_a_node_that_is_gone_is_told_by_its_failover(run: Run) -> None:
    reader = incident()
    reader.objects["failovers"] = [failover(node="n9")]
    shown = run(reader, "explain", "n9")
    assert shown.exit_code == 0
    assert "no such Node" in shown.stdout


def test_a_missing_ready_condition_is_not_a_missing_node(run: Run) -> None:
    reader = incident()
    reader.nodes[0]["status"] = {}
    assert "Ready=missing" in run(reader, "explain", "n1").stdout


def test_an_unknown_node_is_exit_code_4(run: Run) -> None:
    shown = run(incident(), "explain", "nowhere")
    assert shown.exit_code == 4
    assert "no node nowhere" in shown.stderr


def test_a_void_proof_stays_on_record_and_says_why(run: Run) -> None:
    reader = incident()
    told = failover(phase="Recovering")
    told["status"] = {
        "startedAt": "2030-01-01T12:00:00Z",
        "proofs": [
            {
                "kind": "PoweredOff",
                "variant": "found",
                "device": "bmc",
                "void": True,
                "voidReason": "n2 renewed its Lease",
            },
            {
                "kind": "AdminConfirmed",
                "seenBy": "bob",
                "seenAt": "2030-01-01T12:01:00Z",
                "statement": "plugs",
            },
        ],
    }
    reader.objects["failovers"] = [told]
    shown = run(reader, "explain", "n2").stdout
    assert "VOID (n2 renewed its Lease): found PoweredOff by bmc" in shown
    assert "AdminConfirmed, seen 2030-01-01T12:01:00Z by bob, plugs" in shown
    assert "+60.0  proof AdminConfirmed" in shown


def event(kind: str, name: str, at: str, reason: str) -> Object:
    return {
        "metadata": {"name": f"{name}-{at}", "uid": at},
        "eventTime": f"2030-01-01T12:00:{at}Z",
        "reason": reason,
        "message": f"{name}: {reason}",
        "involvedObject": {"kind": kind, "name": name},
    }


def test_what_the_ring_says_now_with_its_votes(run: Run) -> None:
    reader = incident()
    reader.rings["here"] = {"reporters": ["n1", "n3"], "members": [MEMBER]}
    shown = run(reader, "explain", "n2", "--release-namespace", "here")
    assert shown.exit_code == 0
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    for told in (
        "the ring now",
        "state 1 doubted, 1 alive",
        "path 0.31 ms, 12.5 % lost",
        "its agent 0.1.0 abstains",
        "observers n1, n3",
        "says n1=doubted[0.31ms,12.5%]",
        "last round begun 0.5 s ago, as n1 tells",
        "network migration: no address",
        "network storage 10.20.0.2: dead (2 of 2 observers on storage: n1, n3)",
        "vote n1 none (0.3 s ago, management: none, storage: none, round 00010203, roster epoch 7, signed)",
    ):
        assert told in lines


def test_past_verdicts_of_this_node_only(run: Run) -> None:
    reader = incident()
    reader.events = [
        [
            event("Node", "n2", "09", "Healthy"),
            event("Node", "n2", "01", "Down"),
            event("Node", "n1", "02", "Left"),
            event("Failover", "n2-b0075678-x1", "03", "Held"),
            event("Failover", "n1-b0075678-x1", "04", "Fencing"),
        ]
    ]
    told = run(reader, "explain", "n2").stdout.partition("events (oldest first)\n")[2].splitlines()[:3]
    assert [line.split()[2] for line in told] == ["Down:", "Held:", "Healthy:"]


def test_what_cant_be_had_is_said_and_the_rest_is_told(run: Run) -> None:
    reader = incident()
    reader.forbidden = frozenset({"events"})
    shown = run(reader, "explain", "n1")
    assert shown.exit_code == 0
    lines = [line.strip() for line in shown.stdout.partition("not shown\n")[2].splitlines()]
    assert lines == [
        'what the ring says of it now: leases "ringfence-controller" not found in ringfence-system',
        "events: events is forbidden",
    ]


def test_json_is_the_same_object(run: Run) -> None:
    reader = incident()
    reader.rings["ringfence-system"] = {"members": [MEMBER]}
    reader.events = [[event("Node", "n2", "01", "Down")]]
    told = json.loads(run(reader, "explain", "n2", "-o", "json").stdout)
    recorded, _ = told["votes"]
    assert (recorded["voter"], recorded["afterSeconds"], recorded["signature"]) == ("n1", 0.3125, "c2ln")
    assert (recorded["round"], recorded["rosterEpoch"]) == ("AAECAwQFBgc=", "7")
    (present,) = told["present"]["votes"]
    assert (present["vote"], present["agoSeconds"]) == ("none", 0.26)
    assert told["present"]["member"]["states"] == ["n1=doubted[0.31ms,12.5%]", "n3=alive"]
    assert [row["reason"] for row in told["events"]] == ["Down"]
    assert told["failover"]["phase"] == "AwaitingConfirmation"


def test_a_vote_that_nobody_signed_is_not_called_signed(run: Run) -> None:
    reader = incident()
    odd = failover()
    odd["status"] = {"votes": [{"voter": "n1", "vote": "none", "round": "?", "afterSeconds": "soon"}]}
    reader.objects["failovers"] = [odd]
    shown = run(reader, "explain", "n2")
    assert "n1 none (round ?, NOT SIGNED)" in shown.stdout


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_what_it_waits_for_and_what_a_person_could_do(run: Run) -> None:
    told = run(incident(), "explain", "n2")
    assert (
        "waits for a device that proves n2 off, which is tried again by itself, or a person's word"
        in told.stdout
    )
    could = told.stdout.partition("you could\n")[2]
    assert "switch n2 off, see that it is off, then: ringfence fence confirm n2" in could
    plain = json.loads(run(incident(), "explain", "node/n2", "-o", "json").stdout)
    assert plain["waitsFor"].startswith("a device that proves n2 off")
    assert len(plain["couldDo"]) == 2


def test_a_failover_by_its_name_even_if_it_is_not_the_latest(run: Run) -> None:
    reader = incident()
    older = failover("n2-older", "Closed")
    older["metadata"] = {"name": "n2-older", "creationTimestamp": "2029-01-01T12:00:00Z"}
    older["status"] = {"phase": "Closed", "startedAt": "2029-01-01T12:00:00Z", "sentence": "recovered"}
    reader.objects["failovers"].append(older)
    for name in ("n2-older", "failover/n2-older", "fo/n2-older"):
        told = run(reader, "explain", name)
        assert told.exit_code == 0
        assert "failover n2-older: Closed" in told.stdout
        assert "waits for" not in told.stdout
    assert run(reader, "explain", "fo/nowhere").exit_code == 4


@pytest.mark.parametrize("phase", [*Phase, "", "Tomorrow's"])
def test_every_phase_is_told(run: Run, phase: str) -> None:
    reader = incident()
    reader.objects["failovers"] = [failover(phase=phase)]
    shown = run(reader, "explain", "n2")
    assert shown.exit_code == 0
    assert ("waits for" in shown.stdout) == (phase in set(Phase) - ENDED | {""})


@pytest.mark.parametrize("verdict", [*Verdict, "", "Tomorrow's"])
def test_every_verdict_has_something_that_a_person_could_do(run: Run, verdict: str) -> None:
    reader = incident()
    reader.objects["failovers"] = []
    zone = reader.objects["hazones"][0]["status"]
    assert isinstance(zone, dict)
    zone["nodeVerdicts"] = [{"name": "n2", "verdict": verdict, "sentence": "so it is"}]
    told = json.loads(run(reader, "explain", "n2", "-o", "json").stdout)
    assert told["couldDo"]
    assert (told["waitsFor"] != "") == (verdict == Verdict.SUSPECT)


def test_a_node_that_nobody_watches_could_be(run: Run) -> None:
    reader = incident()
    reader.nodes.append(node("n7"))
    assert "watch it: name it in spec.nodes of a HAZone" in run(reader, "explain", "n7").stdout


def held(reason: str, mode: str = "Active") -> str:
    one = failover(phase="Held")
    one["status"] = {"phase": "Held", "heldReason": reason}
    return " ".join(advice.of_failover(Document(one), mode).could_do)


def test_each_kind_of_hold_has_its_own_way_out() -> None:
    assert "ringfence failover release n2-b0075678-x1" in held(
        "too many nodes of zone a are down at once: n2, n3, n4 (at most 2 of 5)"
    )
    assert "kubectl patch hacluster default" in held("HACluster mode is Paused: nothing is fenced", "Paused")
    assert "confirm by hand once this side" in held("our side is the minority: it sees 1 of 5 nodes alive")
    assert "mend that" in held("a limit of another release")


def test_a_vm_with_its_protection_its_node_and_its_incident(run: Run) -> None:
    reader = incident()
    reader.vms["shop", "db"] = {"spec": {"runStrategy": "Always"}, "status": {"printableStatus": "Running"}}
    for words in (["db", "-n", "shop"], ["shop/db"], ["vm/db", "-A"], ["pvm/db", "--namespace", "shop"]):
        shown = run(reader, "explain", *words)
        assert shown.exit_code == 0, shown.stderr
        told = lines(shown.stdout)
        assert told[0] == "VM shop/db"
        for line in (
            "KubeVirt Running, Always",
            "node n2",
            "its verdict Down n2 is down (2 of 2 peers: n1, n3)",
            "protected by db, priority 100",
            "on node failure Restart",
            "condition Protected=True Protected:",
            "its latest failover n2-b0075678-x1: AwaitingConfirmation",
            "this VM Waiting",
            "waits for a device that proves n2 off, which is tried again by itself, or a person's word",
        ):
            assert line in told, line


def test_an_unprotected_vm_says_what_would_mend_it(run: Run) -> None:
    reader = incident()
    reader.vms["site", "web"] = {"spec": {"running": True}}
    told = json.loads(run(reader, "explain", "site/web", "-o", "json").stdout)
    assert (told["protected"], told["reason"], told["runStrategy"]) == ("False", "VolumeNotShared", "Always")
    assert told["waitsFor"] == "Protected=True, and it is VolumeNotShared"
    assert told["couldDo"] == ["mend what its message says: disk web-0 is ReadWriteOnce [local]"]
    assert told["failover"] is None


def test_a_vm_that_nobody_protects(run: Run) -> None:
    reader = incident()
    reader.vms["default", "loose"] = {}
    shown = run(reader, "explain", "vm/loose")
    assert shown.exit_code == 0
    assert "by nobody: there is no ProtectedVM that names it" in shown.stdout
    assert "protect it: a ProtectedVM in namespace default with spec.vm.name: loose" in shown.stdout


def test_a_vm_in_the_wrong_namespace_is_pointed_to(run: Run) -> None:
    shown = run(incident(), "explain", "vm/db")
    assert shown.exit_code == 4
    assert shown.stderr == "ringfence: no VM db in namespace default; there is one in shop: say so with -n\n"


def test_a_name_in_two_namespaces_is_asked_about(run: Run) -> None:
    reader = incident()
    reader.objects["protectedvms"].append(named("db", "test", spec={"vm": {"name": "db"}}))
    shown = run(reader, "explain", "db", "-A")
    assert shown.exit_code == 4
    assert "VM db is in more than one namespace: shop, test; say which with -n" in shown.stderr
