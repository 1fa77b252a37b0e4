"""What random schedules of the whole system have found: each as its seed's shortest script."""

from __future__ import annotations

import pytest

from simulator.system.play import play
from simulator.system.schedule import read

FOUND = {
    # The BMC was ordered off while its node had no power, and the model let that node boot all the same when power was back.
    1392: "13.13 isolate n2\n15.49 power-gap n2 1",
    # It reboots within its isolation while its incident is held: there is nobody who could know of that boot when it is ordered off.
    2097: "7.41 join-zone n3 b\n7.91 isolate n3\n13.61 power-gap n3 1\n23.00 leave-zone n3 b",
    # vm12 (Manual) was brought back twice, once to n2. That node reboots later, up again before anybody could find it down.
    1962: (
        "2.01 capacity n1 6\n2.01 capacity n3 6\n2.01 capacity n5 6\n2.31 power-cut n2\n8.87 power-cut n4\n26.66 capacity n5 30\n"
        "28.27 power-gap n2 1\n30.79 capacity n3 30\n32.97 capacity n4 30\n36.62 capacity n1 30"
    ),
    # Two proofs: bmc-n5 is off by the order of a Failover that somebody has deleted, which the next incident can't know: no order to
    # the PDU for two minutes, since a node that was called off may be booting. The rule took that wait for an incident that is stuck.
    4874: (
        "13.36 isolate n5\n15.68 hang n2\n16.19 power-cut n4\n21.35 delete-failover n5\n31.64 confirm n2\n33.12 kill-kubelet n3\n"
        "33.79 unhang n2\n36.45 rejoin n5\n43.58 unhang n2\n46.31 start-kubelet n3\n54.24 mode Active"
    ),
    # Somebody taints n3 while the leader's caches stand still: whoever writes a taint reads the Node first.
    6574: "7.60 caches-stand\n7.82 taint n3\n9.82 power-cut n3",
    # Its Node is held while the roster is in doubt, its BMC is read as off, and then it boots: those readings are no proof of that boot.
    6410: "16.51 roster newer\n19.45 cut-peers n1\n24.98 power-cut n1\n28.56 power-on n1\n28.97 roster known",
    # Somebody has put a taint of theirs over ours, and n1 is back: only the suspect taint goes, and theirs goes on detaching its volumes.
    18271: "1.96 power-cut n1\n7.96 taint n1\n8.32 power-on n1",
    # vm25 (Manual) is asked to start again and again while the leader's caches stand still, also when its new instance stands by then.
    13627: "1.00 starts-fail vm25 2\n1.20 power-cut n5\n9.00 caches-stand\n16.50 caches-follow",
    # Somebody switches the node on beside its incident, and the order off comes before that boot's kubelet does: nobody is told of it,
    # so the node is still out in the boot that was fenced, and has to be powered on.
    17409: "29.66 api-refuses 0.9\n29.66 power-cut n5\n31.66 power-on n5\n32.10 cut-peers n5\n35.87 api-refuses 0",
    19444: "17.90 bmc n2 hang\n32.30 power-cut n2\n33.30 split n2,n3\n34.27 power-on n2",
}
ENDS = {4874: 220.0}


@pytest.mark.parametrize("seed", FOUND)
def test_what_a_random_schedule_has_found_breaks_nothing_any_more(seed: int) -> None:
    outcome = play(read(f"seed {seed}\n{FOUND[seed]}\n60.00 mend\n{ENDS.get(seed, 120.0):.2f} end"))
    assert not outcome.broken, "\n".join((outcome.broken, *outcome.log))
    assert outcome.recovered


def test_an_incident_barred_from_orders_is_not_stuck_while_it_is_barred() -> None:
    outcome = play(read(f"seed 4874\n{FOUND[4874]}\n60.00 mend\n120.00 end"))
    assert not outcome.broken, outcome.broken
    assert any("no order for 120 s" in line for line in outcome.log)
    assert not any("pdu-n5 off" in line for line in outcome.log)


def test_an_incident_that_waits_for_a_person_outlives_all_controllers() -> None:
    """Both controllers' processes are killed at once. The new ones lead before they hear of any agent."""
    script = "1.00 bmc n4 hang\n1.10 power-cut n4\n20.00 kill-controller n1 2\n20.00 kill-controller n2 2"
    outcome = play(read(f"seed 7\n{script}\n40.00 end"), real=True)
    assert not outcome.broken, "\n".join((outcome.broken, *outcome.log))
    assert outcome.incidents == 1


@pytest.mark.parametrize("real", [False, True], ids=["the stand-in", "the own loops"])
def test_a_leader_that_a_cut_leaves_on_a_small_side_withdraws_no_incident_of_a_dead_node(real: bool) -> None:
    """Seed 106. n4 has announced its shutdown and loses its power, so its incident is held; then too few voters are left for `Down`."""
    script = "15.96 announce n4\n20.99 power-cut n4\n25.92 split n1,n4"
    outcome = play(read(f"seed 106\n{script}\n60.00 mend\n120.00 end"), real=real)
    assert not outcome.broken, "\n".join((outcome.broken, *outcome.log))
    assert outcome.incidents == 1


def test_an_order_on_its_way_when_the_majority_goes_is_no_order_of_a_minority() -> None:
    """Seed 5420. n1's order is decided at 11.2 s, n5 is cut off in that instant, and the order leaves in the next."""
    script = "7.00 power-gap n1 3\n9.00 isolate n3\n11.20 isolate n5"
    outcome = play(read(f"seed 5420\n{script}\n60.00 mend\n120.00 end"), real=True, ring=True)
    assert not outcome.broken, "\n".join((outcome.broken, *outcome.log))
    assert outcome.recovered


def test_a_renewal_that_was_seen_late_is_no_sign_that_a_dead_node_lives() -> None:
    """Seed 7560. n2 was cut off while n5 died, and sees the last renewal of n5's Leases when it is back; later it leads."""
    script = (
        "1.45 lease n2 nhc 30\n3.86 isolate n2\n11.47 power-cut n5\n13.26 isolate n1\n14.80 power-gap n1 0.2\n23.89 isolate n1\n"
        "24.95 power-cut n5\n25.10 rejoin n2\n26.48 rejoin n1\n34.80 power-cut n1"
    )
    outcome = play(read(f"seed 7560\n{script}\n60.00 mend\n120.00 end"), real=True, ring=True)
    assert not outcome.broken, "\n".join((outcome.broken, *outcome.log))
    assert outcome.recovered


@pytest.mark.parametrize("real", [False, True], ids=["the stand-in", "the own loops"])
def test_a_node_is_let_at_its_storage_again_also_when_somebody_deletes_its_incident(real: bool) -> None:
    """Seed 10892. All of its VMs run elsewhere by then, and nothing of the incident is under way but the cut."""
    script = "1.51 bmc n4 hang\n1.61 power-cut n4\n19.79 confirm n4\n22.25 delete-failover n4"
    outcome = play(read(f"seed 10892\n{script}\n60.00 mend\n120.00 end"), real=real)
    assert not outcome.broken, "\n".join((outcome.broken, *outcome.log))
    assert any("let n4 in again" in line for line in outcome.log)


@pytest.mark.parametrize("real", [False, True], ids=["the stand-in", "the own loops"])
def test_a_cut_whose_zone_somebody_has_deleted_is_left_to_people_in_so_many_words(real: bool) -> None:
    """Seed 15468. When n4 is back its zone is gone, and with it the device that would lift the cut."""
    script = "8.86 bmc n4 hang\n8.96 power-cut n4\n29.25 delete-zone\n37.03 confirm n4\n41.50 power-gap n4 1\n53.66 make-zone"
    outcome = play(read(f"seed 15468\n{script}\n60.00 mend\n120.00 end"), real=real)
    assert not outcome.broken, "\n".join((outcome.broken, *outcome.log))
    assert any("Closed" in line and line.endswith("see its NetworkFence") for line in outcome.log)


def test_a_node_is_powered_on_when_ten_seconds_are_over_since_its_order_was_sent() -> None:
    """Seed 20220. n2's BMC hangs for five seconds with the order, and carries it out then."""
    script = "12.38 isolate n2\n14.47 bmc n2 hang\n18.18 bmc n2 ok\n24.57 rejoin n2"
    outcome = play(read(f"seed 20220\n{script}\n60.00 mend\n120.00 end"), real=True, ring=True)
    assert not outcome.broken, "\n".join((outcome.broken, *outcome.log))
    told = {line.strip().partition(" ")[2]: float(line.split()[0]) for line in outcome.log}
    off, on = told["order: bmc-n2 off"], told["order: bmc-n2 on"]
    assert off < on < off + 10.0, "or it shows nothing"


def test_a_cut_stands_and_is_told_where_the_node_object_was_deleted() -> None:
    """Found by hand beside seed 15468. The end said that ceph is no device of n4 any more, which it was."""
    script = "8.86 bmc n4 hang\n8.96 power-cut n4\n30.00 delete-node n4"
    outcome = play(read(f"seed 15468\n{script}\n60.00 mend\n120.00 end"))
    assert not outcome.broken, "\n".join((outcome.broken, *outcome.log))
    assert any(
        "nobody lifts that after its Node object was deleted: see its NetworkFence" in line
        for line in outcome.log
    )


@pytest.mark.long
def test_kubevirt_takes_a_start_request_off_also_when_it_is_carried_out_at_once() -> None:
    """Seed 10080. Else the next start of that VM is taken for asked, and never is."""
    script = (
        "1.08 bmc n3 hang\n1.08 pdu n3 hang\n1.12 power-cut n4\n1.18 power-cut n3\n12.14 pdu n4 ignore\n12.75 pdu n4 ok\n"
        "21.61 confirm n3\n23.55 kill-controller n1 20\n25.41 history-gone\n26.34 kill-controller n2 5\n27.54 power-on n4\n"
        "34.91 cut-storage n3\n35.88 heal-storage n3\n37.60 kill-leader-when Holding\n40.10 power-cut n5\n40.74 power-on n5"
    )
    outcome = play(read(f"seed 10080\n{script}\n60.00 mend\n120.00 end"), real=True, ring=True)
    assert not outcome.broken, "\n".join((outcome.broken, *outcome.log))
    assert outcome.recovered


def test_a_controller_that_ends_in_order_sends_nothing_after_the_next_one_leads() -> None:
    """Its order waits in the handshake with a slow BMC when it is asked to end. The next leader finds it on record, and waits."""
    script = "1.00 bmc n4 handshake\n1.10 isolate n4\n4.60 stop-controller n1 20\n8.00 bmc n4 ok"
    outcome = play(read(f"seed 7\n{script}\n30.00 end"), real=True)
    assert not outcome.broken, "\n".join((outcome.broken, *outcome.log))
    told = [line.strip() for line in outcome.log]
    ends = next(number for number, line in enumerate(told) if line.endswith("n1 is asked to end"))
    next_leads = next(number for number, line in enumerate(told) if line.endswith("controller: n2 leads"))
    assert next_leads > ends
    assert float(told[next_leads].split()[0]) - float(told[ends].split()[0]) <= 1.0
    assert "fencing, level 1" in "".join(told[:ends]), "\n".join(told)
    orders = [float(line.split()[0]) for line in told if line.endswith("order: bmc-n4 off")]
    assert orders
    assert min(orders) > 4.6 + 8.0, "not before the order on record can have no effect any more"
