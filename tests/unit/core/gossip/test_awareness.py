"""What an agent knows of itself, and what the ring's machine makes of it."""

from __future__ import annotations

import hashlib
import random

import pytest

from ringfence.core.gossip.awareness import RECOVERY, Awareness, strain_of
from ringfence.core.gossip.probe import FLOOR, RoundTrip
from ringfence.core.gossip.swim import Swim
from ringfence.core.model import RingState
from unit.core.gossip.ring_world import FakeCrypto, World, boot_id, roster_of

T0 = 1000.0


def machine(name: str) -> Swim:
    crypto = FakeCrypto(hashlib.sha256(f"{name} 0".encode()).digest())
    swim = Swim(node=name, boot_id=boot_id(name), crypto=crypto, dice=random.Random(1))
    swim.install(roster_of(2), T0)
    return swim


def first_probe(swim: Swim) -> tuple[float, bytes]:
    """When it leaves, and its datagram."""
    at = swim.next_deadline()
    assert at is not None
    swim.handle_timer(at)
    [(datagram, _)] = swim.datagrams_to_send(at)
    return at, datagram


def test_a_round_trip_is_measured_by_the_kernels_time_and_not_by_our_own_delay() -> None:
    asker, answerer = machine("n1"), machine("n2")
    sent_at, ping = first_probe(asker)
    answerer.receive(ping, "10.0.0.1", sent_at)
    [(ack, _)] = answerer.datagrams_to_send(sent_at)
    asker.receive(ack, "10.0.0.2", sent_at + 0.04, at=sent_at + 0.002)
    [subject] = asker.subjects
    assert subject.path.mean is not None
    assert abs(subject.path.mean - 0.002) < 1e-9
    assert subject.two_way_at == sent_at + 0.002


def test_a_stamp_from_before_the_probe_is_no_negative_round_trip() -> None:
    asker, answerer = machine("n1"), machine("n2")
    sent_at, ping = first_probe(asker)
    answerer.receive(ping, "10.0.0.1", sent_at)
    [(ack, _)] = answerer.datagrams_to_send(sent_at)
    asker.receive(ack, "10.0.0.2", sent_at + 0.04, at=sent_at - 2)
    [subject] = asker.subjects
    assert subject.path.mean == 0.0
    assert subject.two_way_at == sent_at, "it came after that in any case"


@pytest.mark.parametrize(
    ("pressures", "dropped", "factor"),
    [
        ((), 0, 1.0),
        ((0.0, 0.0, 0.0), 0, 1.0),
        ((39.9, 3.0), 0, 1.0),
        ((40.0,), 0, 1.25),
        ((0.0, 69.9, 40.0), 0, 1.25),
        ((0.0, 0.0, 70.0), 0, 1.5),
        ((100.0,), 0, 1.5),
        ((), 1, 2.0),
        ((0.0,), 1000, 2.0),
        ((0.0,), -1, 1.0),
    ],
)
def test_what_strains_and_how_much(pressures: tuple[float, ...], dropped: int, factor: float) -> None:
    assert strain_of(pressures, dropped) == factor


def test_strain_comes_at_once_passes_in_seconds_and_silences_nobody() -> None:
    awareness = Awareness()
    seen = []
    for factor in (1.0, 2.0, 1.0, 1.0, 1.5, 1.0, 1.0, 1.0):
        awareness.strain(factor)
        seen.append(awareness.stretch)
        assert awareness.healthy(T0)
    assert seen == [1.0, 2.0, 1.75, 1.5, 1.5, 1.25, 1.0, 1.0]


def test_a_stretched_time_out_stays_below_half_a_period() -> None:
    trip = RoundTrip()
    assert trip.timeout(1.0, 2.0) == 2 * FLOOR
    assert trip.timeout(0.25, 2.0) == 2 * FLOOR
    trip.observe(0.001)
    assert trip.timeout(1.0, 1.5) == 1.5 * FLOOR  # what is stretched is the wait, not the round trip below it
    trip.observe(0.4)
    assert trip.timeout(1.0, 2.0) == 0.5
    assert trip.timeout(0.05, 2.0) == FLOOR


def test_without_a_link_an_agent_abstains_until_somebody_can_have_answered() -> None:
    awareness = Awareness()
    assert awareness.healthy(T0)
    awareness.see_carrier(True, T0)
    assert awareness.healthy(T0)
    awareness.see_carrier(False, T0 + 1)
    assert not awareness.healthy(T0 + 1)
    awareness.see_carrier(False, T0 + 60)
    assert not awareness.healthy(T0 + 60)
    awareness.see_carrier(True, T0 + 61)
    assert not awareness.healthy(T0 + 61)
    assert awareness.healthy(T0 + 61 + RECOVERY)
    awareness.see_carrier(None, T0 + 62)
    assert awareness.healthy(T0 + 62)


def first_miss(stretch: float) -> float:
    """Seconds from a probe to the next datagram, which is its retry."""
    swim = machine("n1")
    swim.awareness.strain(stretch)
    sent_at, _ = first_probe(swim)
    while True:
        at = swim.next_deadline()
        assert at is not None
        swim.handle_timer(at)
        if swim.stats["missed"]:
            return at - sent_at


def test_a_strained_agent_waits_longer_for_an_answer() -> None:
    assert first_miss(1.0) == pytest.approx(FLOOR)
    assert first_miss(2.0) == pytest.approx(2 * FLOOR)


@pytest.mark.parametrize("link", [True, False])
def test_an_agent_without_a_link_accuses_nobody(link: bool) -> None:
    world = World(3)
    assert world.run(5, until=world.everybody_alive)
    world.nodes["n1"].swim.awareness.see_carrier(link, world.now)
    world.crash("n2")
    world.run(5)
    states = {s.member.name: s.state for s in world.nodes["n1"].swim.subjects}
    assert states["n3"] is RingState.ALIVE
    assert (states["n2"] is RingState.UNREACHABLE) is link
    assert world.nodes["n1"].swim.stats["vote none"] == 0 or link
