"""Each limit: its reason, and its silence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringfence.core import timing
from ringfence.core.failover import node_lease
from ringfence.core.failover.limits import (
    FLAPS,
    LIMITS,
    RELEASABLE,
    Situation,
    half,
    limitation,
    limitation_when_found_off,
    minority,
    storm,
    whole_zone,
)
from ringfence.core.model import Mode

NODES = frozenset(f"n{i}" for i in range(1, 6))
FREE = Situation(
    node="n1",
    mode=Mode.ACTIVE,
    zone="a",
    zone_trouble=None,
    protected_vms=1,
    alive=NODES - {"n1"},
    electorate=NODES,
    zone_size=5,
    storm_fraction=0.4,
    down_in_zone=frozenset({"n1"}),
    in_flight_elsewhere=frozenset(),
    fencing=frozenset(),
    proved=frozenset(),
    leader_node="n2",
    power_devices=True,
    settled_for=timing.SETTLE,
    cache_age=0.0,
    writable=True,
)


def names(count: int) -> frozenset[str]:
    return frozenset(f"n{i}" for i in range(1, count + 1))


def test_nothing_in_the_way() -> None:
    assert limitation(FREE) is None
    assert limitation_when_found_off(FREE) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mode": Mode.PAUSED}, "HACluster mode is Paused: nothing is fenced"),
        ({"mode": Mode.DISARMED}, "HACluster mode is Disarmed: nothing is fenced"),
        ({"mode": Mode.DRY_RUN}, "HACluster mode is DryRun: nothing is fenced"),
        ({"writable": False}, "the API server does not take our writes"),
        ({"settled_for": 1.0}, "this controller has been watching for less than 3 s"),
        ({"cache_age": 91.0}, "the view of the cluster is more than 90 s old"),
        ({"zone": None}, "n1 is in no enabled HAZone"),
        ({"zone_trouble": "n1 is in two zones"}, "n1 is in two zones"),
        ({"protected_vms": 0}, "no protected VM runs on n1: it is not fenced"),
        (
            {"leader_node": "n1"},
            "the acting controller runs on n1 itself: another must judge it, if one takes the lead",
        ),
        ({"alive": names(2)}, "our side is the minority: it sees 2 of 5 nodes alive"),
        (
            {"roster_epoch": 7, "roster_epochs": (7, 8, 8)},
            "agents go by a newer roster than this controller: it is not sure who the members are",
        ),
        (
            {"maintenance": "NodeMaintenance dimm: a DIMM is swapped"},
            "n1 is in maintenance (NodeMaintenance dimm: a DIMM is swapped)",
        ),
        (
            {"intent": "kured reboots it", "down_for": 179.9},
            "n1 goes away on purpose (kured reboots it): it has 180 s to come back",
        ),
        (
            {"slots_seen": names(5) - {"n1"}, "slot_witnesses": frozenset({"n2", "n3"})},
            "no node of zone a writes its slot any more: the storage is gone for all, and no VM would start elsewhere",
        ),
    ],
)
def test_each_limit_has_its_reason_and_binds_a_node_found_off_too(
    change: dict[str, Any], reason: str
) -> None:
    held = replace(FREE, **change)
    assert limitation(held) == reason
    assert limitation_when_found_off(held) == reason


def test_a_storm_does_not_bind_a_node_found_off() -> None:
    held = replace(FREE, down_in_zone=names(3))
    assert limitation(held) == "too many nodes of zone a are down at once: n1, n2, n3 (at most 2 of 5)"
    assert limitation_when_found_off(held) is None
    assert limitation(replace(held, released=True)) is None


@pytest.mark.parametrize(("size", "most"), [(3, 1), (4, 1), (5, 2), (7, 2), (8, 3), (10, 4), (100, 40)])
def test_how_many_make_a_storm(size: int, most: int) -> None:
    assert storm(replace(FREE, zone_size=size, down_in_zone=names(most))) is None
    assert storm(replace(FREE, zone_size=size, down_in_zone=names(most + 1))) is not None


@pytest.mark.parametrize("size", [1, 2])
def test_a_zone_of_two_knows_no_storm(size: int) -> None:
    assert storm(replace(FREE, zone_size=size, down_in_zone=names(size))) is None


HALF = replace(
    FREE,
    node="n3",
    electorate=names(4),
    alive=names(2),
    zone_size=4,
    down_in_zone=frozenset({"n3", "n4"}),
    in_flight_elsewhere=frozenset({"n4"}),
)


def test_of_two_halves_one_node_goes_after_the_other_and_none_waits_for_one_that_waits() -> None:
    """The steps of two of four that are Down at once, each Failover asked in turn."""
    last = replace(HALF, node="n4", in_flight_elsewhere=frozenset({"n3"}))
    after_n3 = "our side sees exactly half of the nodes (2 of 4): one at a time, after n3"
    assert limitation(HALF) is None
    assert limitation(last) == after_n3
    assert limitation(replace(HALF, fencing=frozenset({"n3"}))) is None
    assert limitation(replace(last, fencing=frozenset({"n3"}))) == after_n3
    left = replace(
        last,
        proved=frozenset({"n3"}),
        electorate=names(4) - {"n3"},
        in_flight_elsewhere=frozenset(),
    )
    assert limitation(left) is None


def test_who_has_been_ordered_off_is_first_whatever_its_name() -> None:
    ordered = frozenset({"n4"})
    assert half(replace(HALF, fencing=ordered)) == (
        "our side sees exactly half of the nodes (2 of 4): one at a time, after n4"
    )
    later = replace(HALF, node="n4", in_flight_elsewhere=frozenset({"n3"}), fencing=ordered)
    assert half(later) is None
    both = frozenset({"n3", "n4"})  # ordered while more of us were alive: one of them goes on
    assert [half(replace(s, fencing=both)) is None for s in (HALF, later)] == [True, False]


def test_whom_a_person_releases_goes_before_its_turn_but_not_beside_another() -> None:
    last = replace(HALF, node="n4", in_flight_elsewhere=frozenset({"n3"}), released=True)
    assert limitation(last) is None
    assert half(replace(last, fencing=frozenset({"n3"}))) is not None


def test_half_is_for_devices_that_cut() -> None:
    assert limitation(replace(HALF, power_devices=False)) == (
        "our side sees exactly half of the nodes (2 of 4) and no device cuts power"
    )


@pytest.mark.parametrize(("count", "reason"), [(8, False), (10, True)])
def test_half_of_a_large_cluster_is_a_storm(count: int, *, reason: bool) -> None:
    alive, down = names(count // 2), names(count) - names(count // 2)
    large = replace(
        FREE,
        node=min(down),
        electorate=names(count),
        alive=alive,
        zone_size=count,
        down_in_zone=down,
        in_flight_elsewhere=down - {min(down)},
    )
    assert (storm(large) is not None) is reason
    assert (limitation(large) is not None) is reason


@pytest.mark.parametrize("proved", [0, 1, 2, 3])
def test_proofs_never_carry_it_beyond_half(proved: int) -> None:
    """Four of eight fall one by one and are proved; a fifth is held, though most of the rest is alive."""
    gone = frozenset({"n5", "n6", "n7", "n8"})
    stands = frozenset(sorted(gone)[: proved + 1])
    fifth = replace(
        FREE,
        node="n1",
        electorate=names(8) - stands,
        alive=names(4) - {"n1"},
        zone_size=8,
        down_in_zone=gone | {"n1"},
        in_flight_elsewhere=gone - stands,
        proved=stands,
    )
    assert limitation(fifth) is not None


@pytest.mark.parametrize("alive", [0, 1])
def test_less_than_half_never(alive: int) -> None:
    assert minority(replace(FREE, electorate=names(3), alive=names(alive))) is not None


def test_an_empty_electorate_is_a_minority() -> None:
    assert minority(replace(FREE, electorate=frozenset(), alive=NODES)) is not None


def test_who_is_no_member_does_not_count_as_alive() -> None:
    assert minority(replace(FREE, electorate=names(3), alive=frozenset({"n1", "x", "y", "z"}))) is not None


# --- restraint -------------------------------------------------------------------------------------------------


def test_who_was_announced_to_go_is_down_like_any_other_after_the_grace() -> None:
    gone = replace(FREE, intent="kured reboots it")
    assert limitation(replace(gone, down_for=179.9)) is not None
    assert limitation(replace(gone, down_for=180.0)) is None
    assert limitation(replace(gone, down_for=5.0, grace=0.0)) is None


def test_a_maintenance_holds_for_as_long_as_it_stands_and_nobodys_leave_ends_it() -> None:
    held = replace(FREE, maintenance="NodeMaintenance dimm", down_for=1e6)
    assert limitation(held) is not None
    assert limitation(replace(held, released=True)) is not None
    assert limitation(replace(held, mode=Mode.PAUSED)) == limitation(held), "maintenance comes first"


ZONE_B = replace(
    FREE,
    node="n4",
    zone="b",
    zone_size=3,
    zone_members=frozenset({"n4", "n5", "n6"}),
    electorate=names(9),
    alive=names(9) - {"n4", "n5", "n6"},
    down_in_zone=frozenset({"n4", "n5", "n6"}),
    in_flight_elsewhere=frozenset({"n5", "n6"}),
    refuge=names(3),
    down_for=timing.ZONE_HOLD,
)


def test_a_whole_zone_is_one_decision_and_its_nodes_go_one_by_one() -> None:
    gone = "zone b is gone as a whole (n4, n5, n6)"
    assert limitation(ZONE_B) is None
    later = replace(ZONE_B, node="n5", in_flight_elsewhere=frozenset({"n4", "n6"}))
    assert limitation(later) == f"{gone}: one at a time, after n4"
    # The first is proved: it is in flight no more, and no part of the electorate.
    then = replace(
        later,
        in_flight_elsewhere=frozenset({"n6"}),
        proved=frozenset({"n4"}),
        electorate=names(9) - {"n4"},
    )
    assert limitation(then) is None
    first = limitation(replace(ZONE_B, down_for=timing.ZONE_HOLD - 0.1))
    assert first == f"{gone}: it is looked at for 30 s before anybody is ordered off"
    assert (
        limitation(replace(ZONE_B, refuge=frozenset()))
        == f"{gone}, and no node of another zone is alive that its VMs could go to"
    )
    assert limitation(replace(ZONE_B, power_devices=False)) == f"{gone}, and no device cuts n4's power"
    assert limitation_when_found_off(replace(ZONE_B, refuge=frozenset())) is None


def test_after_a_storm_one_goes_after_the_other_and_none_waits_for_one_that_waits() -> None:
    stormed = replace(FREE, stormed=True, zone_members=NODES, in_flight_elsewhere=frozenset({"n2", "n3"}))
    assert limitation(stormed) is None, "nobody is being fenced yet"
    assert limitation(replace(stormed, fencing=frozenset({"n1"}))) is None, "it is its own turn"
    waits = replace(stormed, fencing=frozenset({"n3"}))
    assert limitation(waits) == "too many nodes of zone a were down at once: one at a time, after n3"
    assert limitation_when_found_off(waits) is None
    assert limitation(replace(waits, released=True)) is None
    assert limitation(replace(waits, stormed=False)) is None, "of the storm it was no part"
    assert limitation(replace(waits, zone_members=NODES - {"n3"})) is None, "another zone's"


def test_a_zone_of_which_one_node_is_heard_is_a_storm() -> None:
    heard = replace(ZONE_B, alive=ZONE_B.alive | {"n6"}, down_in_zone=frozenset({"n4", "n5"}))
    assert whole_zone(heard) is None
    assert limitation(heard) == "too many nodes of zone b are down at once: n4, n5 (at most 1 of 3)"


@pytest.mark.parametrize("size", [1, 2])
def test_a_zone_of_two_is_never_gone_as_a_whole(size: int) -> None:
    small = replace(ZONE_B, zone_size=size, node="n1", zone_members=names(size), down_in_zone=names(size))
    assert whole_zone(replace(small, alive=small.alive - names(size), refuge=frozenset())) is None


def test_what_is_under_maintenance_belongs_to_a_zone_that_is_gone() -> None:
    two = replace(ZONE_B, down_in_zone=frozenset({"n4", "n5"}), maintained=frozenset({"n6"}))
    assert two.zone_is_gone
    assert not replace(two, maintained=frozenset()).zone_is_gone


@pytest.mark.parametrize("epochs", [(), (7, 7, 7), (6, 5, 7), (7, 7, 99), (7, 99)])
def test_one_agents_word_puts_no_roster_in_doubt(epochs: tuple[int, ...]) -> None:
    """Who has stolen an agent could hold every fence up by it."""
    assert limitation(replace(FREE, roster_epoch=7, roster_epochs=epochs)) is None


def test_one_slot_that_moves_is_a_storage_that_is_there() -> None:
    seen = names(5) - {"n1"}
    gone = replace(FREE, slots_seen=seen, slot_witnesses=seen)
    assert limitation(gone) is not None
    assert limitation(replace(gone, slots_moving=frozenset({"n3"}))) is None
    assert limitation(replace(gone, slots_seen=frozenset({"n2"}))) is None, "one other slot is too few"
    assert limitation(replace(gone, fencing=frozenset({"n1"}))) is None, "a fence that has begun is finished"


@pytest.mark.parametrize("heard", [(), ("n2",)])
def test_heartbeats_that_nobody_hears_are_no_storage_that_is_gone(heard: tuple[str, ...]) -> None:
    """Their DaemonSet is rolled out, or was deleted: a node that dies meanwhile is fenced all the same."""
    unread = replace(FREE, slots_seen=names(5) - {"n1"}, slot_witnesses=frozenset(heard))
    assert limitation(unread) is None


def test_an_order_that_is_on_record_nowhere_is_not_ordered_beside() -> None:
    forgot = replace(FREE, forgotten="n1-0b00-1")
    assert limitation(forgot) == (
        "n1 bears the taint of Failover n1-0b00-1, which was deleted while nobody watched: an order of it may be at work"
    )
    assert limitation_when_found_off(forgot) is None, (
        "who is off is dead whoever looks, and no order goes out"
    )
    assert limitation(replace(forgot, released=True)) is not None, (
        "nobody's leave ends an order that is at work"
    )


def test_the_fifth_incident_within_an_hour_waits_for_a_person() -> None:
    flaps = replace(FREE, incidents_lately=FLAPS)
    assert limitation(replace(FREE, incidents_lately=FLAPS - 1)) is None
    assert limitation(flaps) == "n1 flaps: 4 incidents within 60 min, and so it is in quarantine"
    assert limitation_when_found_off(flaps) is None, "who is off is dead whoever looks"
    assert limitation(replace(flaps, released=True)) is None


HELD: dict[str, dict[str, Any]] = {
    "maintained": {"maintenance": "NodeMaintenance dimm"},
    "paused": {"mode": Mode.PAUSED},
    "not_writable": {"writable": False},
    "not_settled": {"settled_for": 0.0},
    "cache_too_old": {"cache_age": 91.0},
    "roster_in_doubt": {"roster_epoch": 7, "roster_epochs": (8,)},
    "no_zone": {"zone": None},
    "nothing_protected": {"protected_vms": 0},
    "own_node": {"leader_node": "n1"},
    "forgotten": {"forgotten": "n1-1"},
    "going_away": {"intent": "kured reboots it"},
    "minority": {"alive": names(1)},
    "half": {"electorate": names(4), "alive": frozenset({"n2", "n3"}), "power_devices": False},
    "whole_zone": {
        "zone_members": frozenset({"n1", "n6", "n7"}),
        "zone_size": 3,
        "down_in_zone": frozenset({"n1", "n6", "n7"}),
    },
    "storm": {"down_in_zone": names(3)},
    "after_storm": {"stormed": True, "zone_members": NODES, "fencing": names(1) | {"n3"}},
    "storage_gone": {"slots_seen": names(5) - {"n1"}, "slot_witnesses": frozenset({"n2", "n3"})},
    "flapping": {"incidents_lately": 9},
    "somebody_acts": {"remediator": node_lease.foreign("n1", "nhc", "medik8s-leases/node-n1")},
}
"""For each limit what alone brings it about."""


def test_every_limit_is_tried() -> None:
    assert HELD.keys() == {limit.__name__ for limit in LIMITS}


@pytest.mark.parametrize("name", HELD)
def test_each_limit_holds_alone_with_one_sentence_that_stays(name: str) -> None:
    held = replace(FREE, **HELD[name])
    holding = [limit.__name__ for limit in LIMITS if limit(held) is not None]
    assert holding == [name]
    sentence = limitation(held)
    assert sentence is not None
    assert "\n" not in sentence
    assert len(sentence) < 1024
    later = replace(held, down_for=held.down_for + 7.0, cache_age=held.cache_age + 7.0 * (held.cache_age > 0))
    assert limitation(later) == sentence, "it names what is waited for, not how long that has lasted"


@pytest.mark.parametrize("name", HELD)
def test_a_leave_overrules_what_weighs_and_nothing_else(name: str) -> None:
    released = replace(FREE, **HELD[name], released=True)
    assert (limitation(released) is None) == (name in {limit.__name__ for limit in RELEASABLE})
