from __future__ import annotations

from .cluster import failover, incident
from .conftest import Run


def test_explain_tells_the_latest_failover(run: Run) -> None:
    shown = run(incident(), "explain", "n2")
    assert shown.exit_code == 0
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert "verdict Down n2 is down (2 of 2 peers: n1, n3)" in lines
    assert "failover n2-b0075678-x1: AwaitingConfirmation" in lines
    assert "vote n1 none" in lines
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
