"""Every limit is explained, with what to do about it, and is found again by what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.core.failover import limits, refusals
from ringfence.core.failover.refusals import REFUSALS
from unit.core.failover.test_limits import FREE, HALF, HELD, ZONE_B

SENTENCES = {
    *(str(limits.limitation(replace(FREE, **held))) for held in HELD.values()),
    str(limits.limitation(replace(FREE, zone_trouble="n1 is in more than one HAZone: a, b"))),
    str(limits.limitation(replace(HALF, node="n4", in_flight_elsewhere=frozenset({"n3"})))),
    str(limits.limitation(replace(ZONE_B, node="n5", in_flight_elsewhere=frozenset({"n4"})))),
    str(limits.limitation(replace(ZONE_B, power_devices=False))),
    str(limits.limitation(replace(ZONE_B, down_for=0.0))),
}


def test_every_limit_has_its_entry_in_their_order() -> None:
    assert tuple(REFUSALS) == tuple(limit.__name__ for limit in limits.LIMITS)
    assert len({one.name for one in REFUSALS.values()}) == len(REFUSALS)
    assert all(one.mend.strip() and one.why.strip() for one in REFUSALS.values())


@pytest.mark.parametrize("sentence", sorted(SENTENCES))
def test_a_sentence_is_of_one_limit(sentence: str) -> None:
    fitting = [name for name, one in REFUSALS.items() if one.fits(sentence)]
    assert len(fitting) == 1
    assert refusals.of(sentence) is REFUSALS[fitting[0]]


@pytest.mark.parametrize("name", HELD)
def test_it_is_the_limit_that_said_it(name: str) -> None:
    sentence = limits.limitation(replace(FREE, **HELD[name]))
    assert sentence is not None
    found = refusals.of(sentence)
    assert found is REFUSALS[name]
    assert found.limit.__name__ == name


def test_every_shape_is_said_by_somebody() -> None:
    unsaid = {
        shape
        for one in REFUSALS.values()
        for shape in one.says
        if not any(replace(one, says=(shape,)).fits(sentence) for sentence in SENTENCES)
    }
    assert not unsaid


def test_a_sentence_of_another_release_is_nobodys() -> None:
    assert refusals.of("the moon is full") is None


def test_what_is_overruled_and_what_binds_a_node_that_is_off() -> None:
    assert REFUSALS["storm"].releasable
    assert not REFUSALS["minority"].releasable
    assert REFUSALS["minority"].binds_found_off
    assert not REFUSALS["storm"].binds_found_off
