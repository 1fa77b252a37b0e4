from __future__ import annotations

import json

import pytest
import yaml

from ringfence.cli.picture import AWAITING_CONFIRMATION, CLOSED
from ringfence.core.failover.phase import Phase

from .cluster import FakeReader, condition, failover, incident, named
from .conftest import Run


def row(output: str, *words: str) -> str:
    """The line that begins with these words, with single blanks."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    return next(line for line in lines if line.startswith(" ".join(words)))


def test_status_shows_zones_nodes_vms_and_open_failovers(run: Run) -> None:
    shown = run(incident(), "status")
    assert shown.exit_code == 0
    assert "ringfence: Active, led by controller-a" in shown.stdout
    assert row(shown.stdout, "a yes True") == "a yes True n1 n2 n3 -"
    assert row(shown.stdout, "n2 a") == "n2 a Unknown Down n2 is down (2 of 2 peers: n1, n3)"
    assert row(shown.stdout, "n3 a") == "n3 a True - -"
    assert row(shown.stdout, "shop db") == "shop db db n2 True -"
    assert row(shown.stdout, "n2-b0075678-x1").startswith(
        "n2-b0075678-x1 n2 AwaitingConfirmation 1 42s n2 is down"
    )
    assert "[waits for: ringfence fence confirm n2]" in shown.stdout


@pytest.mark.parametrize(
    ("status", "message", "shown"),
    [
        ("True", "mode DryRun, led by controller-a", "ringfence: DryRun, led by controller-a\n"),
        ("False", "n1-x can't be read", "ringfence: DryRun, led by controller-a; n1-x can't be read\n"),
    ],
    ids=["all is well", "something is in the way"],
)
def test_the_mode_and_the_leader_are_told_once(run: Run, status: str, message: str, shown: str) -> None:
    reader = incident()
    ready = condition("Ready", status, "DryRun", message)
    said = {"leader": "controller-a", "conditions": [ready]}
    reader.objects["haclusters"] = [named("default", spec={"mode": "DryRun"}, status=said)]
    assert run(reader, "status").stdout.startswith(shown)


def test_a_vm_that_is_not_protected_says_why_in_plain_text(run: Run) -> None:
    shown = run(incident(), "status")
    assert row(shown.stdout, "site web").endswith("VolumeNotShared disk web-0 is ReadWriteOnce [local]")


def test_wide_adds_power_and_agent(run: Run) -> None:
    shown = run(incident(), "status", "-o", "wide")
    assert row(shown.stdout, "n2 a") == "n2 a Unknown Down on - n2 is down (2 of 2 peers: n1, n3)"
    assert row(shown.stdout, "n1 a") == "n1 a True Healthy - 0.1.0 n1 answers"


def test_a_row_is_one_line_without_escapes_where_the_output_is_no_terminal(run: Run) -> None:
    reader = incident()
    reader.objects["failovers"] = [failover("n2-long", sentence="x")]
    shown = run(reader, "status")
    assert "\x1b" not in shown.stdout
    assert shown.stdout.count("n2-long") == 1  # its row; the command to confirm it is about the node
    assert sum("n2-long" in line for line in shown.stdout.splitlines()) == 1


def test_namespace_narrows_the_protected_vms(run: Run) -> None:
    shown = run(incident(), "status", "-n", "shop")
    assert "shop" in shown.stdout
    assert "site" not in shown.stdout


def test_closed_failovers_are_history(run: Run) -> None:
    reader = incident()
    reader.objects["failovers"] = [failover("n2-old", phase="Closed")]
    assert "n2-old" not in run(reader, "status").stdout
    assert "n2-old" in run(reader, "failovers").stdout


def test_json_and_yaml_say_the_same(run: Run) -> None:
    as_json = json.loads(run(incident(), "status", "-o", "json").stdout)
    assert as_json["nodes"][1]["verdict"] == "Down"
    assert as_json["failovers"][0]["bootID"] == "boot-of-n2"
    assert yaml.safe_load(run(incident(), "status", "-o", "yaml").stdout) == as_json


def test_what_may_not_be_read_is_a_note(run: Run) -> None:
    reader = incident()
    reader.forbidden = frozenset({"nodes", "fencedevices"})
    shown = run(reader, "status")
    assert shown.exit_code == 0
    assert "you may not list fencedevices, nodes" in shown.stdout
    assert row(shown.stdout, "n2 a") == "n2 a - Down n2 is down (2 of 2 peers: n1, n3)"


def test_an_empty_part_and_a_forbidden_one_differ(run: Run) -> None:
    reader = incident()
    reader.forbidden = frozenset({"failovers", "haclusters"})
    shown = run(reader, "status").stdout
    assert "OPEN FAILOVERS\nyou may not list failovers" in shown
    assert "nobody leads" not in shown


def test_nothing_may_be_read_is_exit_code_5(run: Run) -> None:
    reader = incident()
    reader.forbidden = frozenset({*reader.objects, "nodes"})
    assert run(reader, "status").exit_code == 5


def test_half_written_objects_are_no_traceback(run: Run) -> None:
    reader = incident()
    reader.objects["hazones"] = [
        {"metadata": {"name": "odd"}, "status": {"nodes": "n1", "nodeVerdicts": [7]}}
    ]
    reader.objects["protectedvms"] = [{"metadata": {"name": "x"}}]
    reader.objects["failovers"] = [
        {"metadata": {"name": "new"}, "status": {"startedAt": "soon", "vms": None}}
    ]
    shown = run(reader, "status")
    assert shown.exit_code == 0
    assert row(shown.stdout, "odd") == "odd yes ? - -"


def test_a_cluster_without_ringfence_is_exit_code_4(run: Run) -> None:
    shown = run(FakeReader(), "status")
    assert shown.exit_code == 4
    assert "this cluster has no haclusters.ringfence.io" in shown.stderr


def test_an_unknown_form_is_a_usage_error(run: Run) -> None:
    assert run(incident(), "status", "-o", "xml").exit_code == 2


def test_failovers_lists_all_and_says_when_there_are_none(run: Run) -> None:
    assert row(run(incident(), "failovers").stdout, "n2-b0075678-x1")
    reader = incident()
    reader.objects["failovers"] = []
    assert run(reader, "failovers").stdout == "no failover is on record\n"


def test_the_phases_that_matter_here_are_phases_of_the_kind() -> None:
    assert {AWAITING_CONFIRMATION, *CLOSED} <= set(Phase)
