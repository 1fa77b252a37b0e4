"""What an agent knows of itself, and what the ring's machine makes of it."""

from __future__ import annotations

import hashlib
import random

from ringfence.core.gossip.swim import Swim
from unit.core.gossip.ring_world import FakeCrypto, boot_id, roster_of

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
    assert subject.two_way_at == sent_at + 0.04


def test_a_stamp_from_before_the_probe_is_no_negative_round_trip() -> None:
    asker, answerer = machine("n1"), machine("n2")
    sent_at, ping = first_probe(asker)
    answerer.receive(ping, "10.0.0.1", sent_at)
    [(ack, _)] = answerer.datagrams_to_send(sent_at)
    asker.receive(ack, "10.0.0.2", sent_at + 0.04, at=sent_at - 2)
    [subject] = asker.subjects
    assert subject.path.mean == 0.0
