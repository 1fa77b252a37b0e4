"""A person's word: asked for with what is at stake, never passed on while the node shows a sign of life."""

from __future__ import annotations

import pytest

from .cluster import NOW, FakeReader, Object, failover, incident, named
from .conftest import Run

NAME = "n2-b0075678-x1"
FLAG = "--i-have-checked-that-it-is-off"
DOWN: Object = {
    "name": "n2",
    "verdict": "Down",
    "sentence": "n2 is down (2 of 2 peers: n1, n3)",
    "life": [{"sign": "a gossip packet", "age": 41.5, "fresh": False}],
}


def heard(**more: object) -> Object:
    return {"members": [{"name": "n1", "verdict": "Healthy"}, {**DOWN, **more}]}


def renewed(seconds_ago: float) -> Object:
    at = NOW.timestamp() - seconds_ago
    stamp = type(NOW).fromtimestamp(at, NOW.tzinfo).isoformat()
    return {"spec": {"holderIdentity": "uid-of-n2/boot-of-n2", "renewTime": stamp}}


def dead() -> FakeReader:
    """The incident, with the node silent everywhere."""
    reader = incident()
    reader.rings["ringfence-system"] = heard()
    reader.leases["ringfence-system", "ringfence-agent-n2"] = renewed(45)
    reader.leases["kube-node-lease", "n2"] = renewed(48)
    volumes = [
        {"name": "root", "persistentVolumeClaim": {"claimName": "db-root"}},
        {"name": "data", "dataVolume": {"name": "db-data"}},
    ]
    reader.vms["shop", "db"] = named("db", "shop", spec={"template": {"spec": {"volumes": volumes}}})
    return reader


def test_the_flag_confirms_and_what_is_at_stake_is_shown(run: Run) -> None:
    reader = dead()
    shown = run(reader, "fence", "confirm", "n2", FLAG, "--statement", "I pulled both plugs of n2")
    assert shown.exit_code == 0, shown.stderr
    for told in (
        "as alice",
        "uid-of-n2",
        "boot-of-n2",
        "bmc-n2 still reads on",
        "vote      n1 none (+0.31 s, round 00010203, roster epoch 7, signed)",
        "vote      n3 none (signed)",
        "device    bmc-n2 (redfish), proved usable",
        "life      a gossip packet was seen 41.5 s ago by the acting controller",
        "life      its agent's Lease was renewed 45 s ago",
        "VM        shop/db, disks: db-root, db-data",
        "run twice",
    ):
        assert told in shown.stdout
    assert reader.confirmed == [(NAME, f"uid-of-{NAME}", "I pulled both plugs of n2", "alice")]


def test_without_the_flag_it_says_what_to_check_and_does_nothing(run: Run) -> None:
    reader = dead()
    shown = run(reader, "fence", "confirm", "n2")
    assert shown.exit_code == 1
    assert "VM        shop/db, disks: db-root, db-data" in shown.stdout
    assert "see for yourself that n2 is off" in shown.stdout
    assert f"Then: ringfence fence confirm n2 {FLAG}" in shown.stdout
    assert "nothing was confirmed" in shown.stderr
    assert reader.confirmed == []


def test_the_flag_is_the_statement_where_none_is_given(run: Run) -> None:
    reader = dead()
    assert run(reader, "fence", "confirm", "n2", FLAG).exit_code == 0
    assert reader.confirmed[0][2] == f"I have checked that n2 is off ({FLAG})"
    assert run(dead(), "fence", "confirm", "n2", FLAG, "--statement", " ").exit_code == 2


@pytest.mark.parametrize("how", [(), (FLAG,)])
def test_a_node_that_shows_a_sign_of_life_is_not_confirmed(run: Run, how: tuple[str, ...]) -> None:
    packet = {"sign": "a gossip packet", "age": 1.5, "fresh": True}
    signs: list[tuple[FakeReader, str]] = []
    for sentence in ("a gossip packet was seen 1.5 s ago by the acting controller",):
        signs.append((dead(), sentence))
        signs[-1][0].rings["ringfence-system"] = heard(life=[packet])
    signs.append((dead(), "n2 is reached by some peers only"))
    signs[-1][0].rings["ringfence-system"] = heard(
        verdict="Suspect", sentence="n2 is reached by some peers only"
    )
    signs.append((dead(), "its agent's Lease was renewed 3 s ago by its own clock"))
    signs[-1][0].leases["ringfence-system", "ringfence-agent-n2"] = renewed(3)
    signs.append((dead(), "its kubelet's Lease was renewed 12 s ago by its own clock"))
    signs[-1][0].leases["kube-node-lease", "n2"] = renewed(12)
    signs.append((dead(), "virt-handler's heartbeat came 20 s ago by its own clock"))
    beat = type(NOW).fromtimestamp(NOW.timestamp() - 20, NOW.tzinfo).isoformat()
    signs[-1][0].nodes = [{"metadata": {"name": "n2", "annotations": {"kubevirt.io/heartbeat": beat}}}]
    for reader, sign in signs:
        shown = run(reader, "fence", "confirm", "n2", *how)
        assert shown.exit_code == 1
        assert "n2 shows signs of life, so nothing was confirmed: " in shown.stderr
        assert sign in shown.stderr
        assert reader.confirmed == []


def test_a_heartbeat_from_before_the_doubt_says_nothing(run: Run) -> None:
    """It comes once in two minutes: a node that has just died had sent one."""
    reader = dead()
    beat = type(NOW).fromtimestamp(NOW.timestamp() - 60, NOW.tzinfo).isoformat()
    reader.nodes = [{"metadata": {"name": "n2", "annotations": {"kubevirt.io/heartbeat": beat}}}]
    assert run(reader, "fence", "confirm", "n2", FLAG).exit_code == 0


def test_without_the_acting_controller_the_verdict_on_record_and_the_leases_are_looked_at(run: Run) -> None:
    reader = dead()
    reader.rings = {}
    shown = run(reader, "fence", "confirm", "n2", FLAG)
    assert shown.exit_code == 0
    assert "not seen  what the acting controller hears: leases" in shown.stdout
    zone = reader.objects["hazones"][0]
    assert isinstance(zone["status"], dict)
    zone["status"]["nodeVerdicts"] = [{"name": "n2", "verdict": "Suspect", "sentence": "n2 is doubted"}]
    shown = run(reader, "fence", "confirm", "n2", FLAG)
    assert shown.exit_code == 1
    assert "ringfence does not hold it for dead: n2 is doubted" in shown.stderr


def test_who_can_see_nothing_confirms_nothing(run: Run) -> None:
    reader = dead()
    reader.rings, reader.forbidden = {}, frozenset({"leases", "nodes", "hazones"})
    shown = run(reader, "fence", "confirm", "n2", FLAG)
    assert shown.exit_code == 1
    assert "it can't be seen whether n2 shows signs of life" in shown.stderr
    assert reader.confirmed == []


def test_a_vm_that_can_not_be_read_is_named_all_the_same(run: Run) -> None:
    reader = dead()
    reader.vms = {}
    shown = run(reader, "fence", "confirm", "n2")
    assert "VM        shop/db, disks not shown: no VirtualMachine shop/db" in shown.stdout


def test_a_failover_that_does_not_wait_is_refused_with_its_sentence(run: Run) -> None:
    reader = dead()
    running = failover(phase="Fencing")
    running["status"] = {"phase": "Fencing", "sentence": "n2: off ordered from bmc-n2"}
    reader.objects["failovers"] = [running]
    shown = run(reader, "fence", "confirm", "n2", FLAG)
    assert shown.exit_code == 1
    assert "does not wait for a confirmation; it is in Fencing: n2: off ordered from bmc-n2" in shown.stderr
    assert reader.confirmed == []


def test_a_word_that_was_taken_is_not_given_again_one_that_was_not_is(run: Run) -> None:
    reader = dead()
    word = {"statement": "seen", "confirmedBy": "bob"}
    reader.objects["failovers"] = [failover(phase="Recovering", confirm=word)]
    shown = run(reader, "fence", "confirm", "n2", FLAG)
    assert shown.exit_code == 1
    assert "confirmed by bob already" in shown.stderr
    assert reader.confirmed == []
    reader.objects["failovers"] = [failover(confirm=word)]
    assert run(reader, "fence", "confirm", "n2", FLAG).exit_code == 0


def test_a_word_is_taken_while_a_limit_holds_ringfence(run: Run) -> None:
    reader = dead()
    reader.objects["failovers"] = [failover(phase="Held")]
    assert run(reader, "fence", "confirm", "n2", FLAG).exit_code == 0


def test_where_nothing_is_open_nothing_is_confirmed(run: Run) -> None:
    reader = dead()
    shown = run(reader, "fence", "confirm", "n1", FLAG)
    assert shown.exit_code == 4
    assert "n1 has no open Failover: nothing waits for a confirmation" in shown.stderr
    shown = run(reader, "fence", "confirm", NAME, FLAG)
    assert shown.exit_code == 4
    assert f"{NAME} is a Failover; give the name of its node: ringfence fence confirm n2" in shown.stderr
    reader.objects["failovers"] = [failover(phase="Closed")]
    assert run(reader, "fence", "confirm", "n2", FLAG).exit_code == 4
