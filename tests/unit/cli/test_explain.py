from __future__ import annotations

import json

from .cluster import MEMBER, Object, failover, incident
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
