"""The loop's wiring of what holds a fence: marks on Nodes, NodeMaintenances, incidents of the last hour."""

from __future__ import annotations

from ringfence.controller.rfc3339 import stamp
from ringfence.core.failover import limits
from unit.controller.test_loop import Site, play, redfish, settled

KURED = {"weave.works/kured-reboot-in-progress": "2026-11-26T03:00:00Z"}
FENCING = {"levels": [{"devices": ["bmc-n1"]}]}


def site() -> Site:
    """One protected VM on n1, whose BMC obeys; who goes on purpose has six seconds."""
    made = Site(redfish("n1"), fencing=FENCING)
    made.put("haclusters", "default", {"mode": "Active", "shutdownGraceSeconds": 6.0})
    made.obeys.add("n1")
    made.runs("db", "n1")
    return made


def held(where: Site) -> str:
    status = where.failover()["status"]
    return str(status.get("heldReason", "")) if status["phase"] == "Held" else ""


async def test_a_node_that_kured_reboots_has_its_grace_and_no_more() -> None:
    where = site()
    where.annotations["n1"] = KURED
    leader = await settled(where)
    where.down.add("n1")
    await play(leader, 4.0)
    assert held(where) == "n1 goes away on purpose (kured reboots it): it has 6 s to come back"
    assert where.count("bmc-n1 off") == 0
    await play(leader, 4.0)
    assert where.count("bmc-n1 off") == 1


async def test_a_mark_that_is_made_of_a_silent_node_delays_nothing() -> None:
    where = site()
    leader = await settled(where)
    where.down.add("n1")
    await play(leader, 0.5)
    where.annotations["n1"] = KURED
    await play(leader, 3.0)
    assert where.count("bmc-n1 off") == 1


async def test_a_maintenance_holds_until_it_is_deleted() -> None:
    where = site()
    where.put("nodemaintenances", "dimm", {"nodes": ["n1"], "reason": "a DIMM is swapped"})
    leader = await settled(where)
    where.down.add("n1")
    await play(leader, 10.0)
    assert held(where) == "n1 is in maintenance (NodeMaintenance dimm: a DIMM is swapped)"
    assert where.count("bmc-n1 off") == 0
    del where.objects["nodemaintenances", "dimm"]
    await play(leader, 1.0)
    assert where.count("bmc-n1 off") == 1


async def test_the_fifth_incident_within_an_hour_is_held() -> None:
    where = site()
    for number in range(limits.FLAPS):
        where.put("failovers", f"n1-{number}", {"node": "n1", "nodeUID": "uid-n1", "bootID": "boot-n1"})
        begun = where.clock.wall() - 600.0 * number
        where.objects["failovers", f"n1-{number}"]["status"] = {
            "phase": "Withdrawn",
            "startedAt": stamp(begun),
        }
    leader = await settled(where)
    where.down.add("n1")
    await play(leader, 3.0)
    (now,) = (
        raw for (plural, name), raw in where.objects.items() if plural == "failovers" and "0000" in name
    )
    assert now["status"]["heldReason"] == "n1 flaps: 4 incidents within 60 min, and so it is in quarantine"
    assert where.count("bmc-n1 off") == 0


async def test_a_pods_change_calls_for_a_turn_where_a_node_is_down_or_an_incident_is_open_and_nowhere_else() -> (
    None
):
    """Of many thousand one changes all the time; a turn looks at every node."""
    where = site()
    leader = await settled(where)
    asked = leader.loop._poked

    def called_for() -> bool:
        asked.clear()
        leader.loop.stir()
        return asked.is_set()

    assert not called_for()
    where.down.add("n3")
    await play(leader, 1.0)
    assert not where.objects.keys() & {("failovers", "n3")}
    assert called_for(), "n3 is down: a VM may come to be lost with it"
    where.down.clear()
    await play(leader, 1.0)
    assert not called_for()
    where.down.add("n1")
    await play(leader, 4.0)
    where.down.clear()
    await play(leader, 1.0)
    assert where.failover()["status"]["phase"] not in ("Ended", "Withdrawn")
    assert called_for(), "its VMs are on their way"
