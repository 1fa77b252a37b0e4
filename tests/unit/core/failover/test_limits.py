"""Each limit: its reason, and its silence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringfence.core import timing
from ringfence.core.failover.limits import (
    Situation,
    half,
    limitation,
    limitation_when_found_off,
    minority,
    storm,
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
    storm_released=False,
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
    assert limitation(replace(held, storm_released=True)) is None


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
