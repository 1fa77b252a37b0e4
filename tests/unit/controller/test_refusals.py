"""Writes that the API server turns down: how long each waits, what is told of it, and how it is over."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import cast

import pytest

from ringfence.controller.narrator import Narrator
from ringfence.controller.refusals import Refusals
from ringfence.core import timing
from ringfence.kube import kinds
from ringfence.metrics import ControllerMetrics
from ringfence.ports import Cluster, ClusterError, ObjectRef, Refused, Unavailable

N1 = ObjectRef(kinds.NODE, "n1", uid="uid-n1")
DENIED = Refused("admission webhook denied the request: policy not ready", status=422)
BUSY = Unavailable("too many requests", status=429, retry_after=3.0)
GONE = Unavailable("no connection")
TICK = 1 / 64


class Hands:
    """A clock that a test sets, and the Events that are recorded."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.events: list[tuple[str, str, str]] = []
        self.metrics = ControllerMetrics()
        self.refusals = Refusals(self, Narrator(cast("Cluster", self)), self.metrics, draw=lambda: 0.0)

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def record_event(self, _about: ObjectRef, type_: str, reason: str, message: str) -> None:
        self.events.append((type_, reason, message))

    def insist(self, error: ClusterError, seconds: float, key: str = "n1") -> list[float]:
        """Try for so long, as often as it is due; when it was tried."""
        tried = []
        for _ in range(int(seconds / TICK)):
            if self.refusals.due(key):
                tried.append(self.now)
                self.refusals.failed(key, f"the Failover of {key}", error, N1)
            self.now += TICK
        return tried

    def waiting(self) -> str:
        lines = self.metrics.render().decode().splitlines()
        return next(line.split()[1] for line in lines if line.startswith("ringfence_writes_waiting "))


async def test_it_is_tried_again_with_pauses_that_grow_to_less_than_a_second() -> None:
    hands = Hands()
    tried = hands.insist(DENIED, 20.0)
    pauses = [b - a for a, b in pairwise(tried)]
    wanted = [0.1, 0.2, 0.4, *[timing.WRITE_LONGEST] * (len(pauses) - 3)]
    assert all(0 <= found - pause <= TICK for found, pause in zip(pauses, wanted, strict=True))
    assert timing.WRITE_LONGEST + TICK < 1.0


async def test_it_is_told_once_and_that_it_is_over() -> None:
    hands = Hands()
    tried = len(hands.insist(DENIED, 20.0)) + 1
    told = (
        "the API server does not take the Failover of n1: admission webhook denied the request: policy not ready;"
        " it is tried again"
    )
    assert hands.refusals.sentence == told
    assert hands.waiting() == "1.0"
    hands.refusals.taken("n1")
    await asyncio.sleep(0)
    assert hands.events == [
        ("Warning", "WriteRefused", told),
        ("Normal", "WriteTaken", f"the API server has taken the Failover of n1, at try {tried}"),
    ]
    assert hands.waiting() == "0.0"
    assert not hands.refusals.sentence


async def test_what_a_restarting_server_fails_once_or_twice_is_told_to_nobody() -> None:
    hands = Hands()
    for _ in range(2):
        hands.refusals.failed("n1", "the Failover of n1", GONE, N1)
    hands.refusals.taken("n1")
    await asyncio.sleep(0)
    assert hands.events == []


async def test_another_reason_is_told_too() -> None:
    hands = Hands()
    hands.insist(DENIED, 5.0)
    hands.insist(BUSY, 5.0)
    await asyncio.sleep(0)
    assert [message.partition(": ")[2].partition(";")[0] for _, _, message in hands.events] == [
        str(DENIED),
        str(BUSY),
    ]


@pytest.mark.parametrize(("wish", "pause"), [(3.0, 3.0), (0.0, 0.1), (3600.0, timing.WRITE_WISH)])
async def test_the_servers_wish_is_honoured_within_reason(wish: float, pause: float) -> None:
    hands = Hands()
    hands.refusals.failed("n1", "the Failover of n1", Unavailable("busy", status=429, retry_after=wish), N1)
    hands.now += pause - 0.01
    assert not hands.refusals.due("n1")
    hands.now += 0.02
    assert hands.refusals.due("n1")


async def test_however_many_are_turned_down_few_are_tried_a_second_and_one_that_is_taken_frees_all() -> None:
    hands = Hands()
    keys = [f"n{number}" for number in range(100)]
    for key in keys:
        for _ in range(10):
            hands.refusals.failed(key, f"the Failover of {key}", DENIED, N1)
    tried = 0
    for _ in range(600):
        hands.now += 0.05
        for key in keys:
            if hands.refusals.due(key):
                tried += 1
                hands.refusals.failed(key, f"the Failover of {key}", DENIED, N1)
    assert 0 < tried <= 30 * timing.WRITES_A_SECOND
    assert not all(hands.refusals.due(key) for key in keys)
    hands.refusals.taken(keys[0])
    assert all(hands.refusals.due(key) for key in keys)
    assert hands.refusals.sentence is not None
    assert hands.refusals.sentence.endswith("(and 98 more)")


async def test_however_many_chores_are_turned_down_an_incidents_write_comes_back_within_a_second() -> None:
    """A policy that lets nobody change pods, on hundreds of launchers; and an incident's write that fails for half a minute."""
    hands = Hands()
    for number in range(300):
        for _ in range(8):
            hands.refusals.failed(number, f"the tolerations of launcher {number}", DENIED)
    pauses = [b - a for a, b in pairwise(hands.insist(DENIED, 30.0))]
    assert max(pauses) <= timing.WRITE_LONGEST + TICK


async def test_what_nobody_wants_any_more_is_forgotten() -> None:
    hands = Hands()
    hands.refusals.failed("n1", "the Failover of n1", DENIED, N1)
    hands.now += timing.WRITE_OVER + 1.0
    assert hands.refusals.sentence is None
    assert hands.waiting() == "0.0"


def test_the_random_part_takes_at_most_half_of_a_pause() -> None:
    assert timing.write_pause(20, None, 1.0, 1) == timing.WRITE_LONGEST / 2
    assert timing.write_pause(20, None, 0.0, 1) == timing.WRITE_LONGEST


async def test_behind_chores_that_nobody_answers_the_others_have_their_turn() -> None:
    """Each try costs a time-out, and with it a round of all chores."""
    hands = Hands()
    tries = 0
    while tries < 100 and (hanging := [number for number in range(20) if hands.refusals.due(number)]):
        hands.now += 5.0
        hands.refusals.failed(hanging[0], f"the status of HAZone {hanging[0]}", GONE)
        hands.now += 1.0
        tries += 1
    assert 20 <= tries < 60
    hands.refusals.taken(5)
    assert hands.refusals.due(0)
