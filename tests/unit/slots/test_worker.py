"""Turns in a thread, and one that hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ringfence.core.fencing.slots import SlotError
from ringfence.slots.worker import Worker

BOUND = 20.0


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + BOUND
    while not what():
        assert time.monotonic() < end, "it did not come about"
        threading.Event().wait(0.005)


def test_turns_come_on_a_beat_and_end() -> None:
    turns: list[float] = []
    worker = Worker("test", 0.01, turns.append, time.monotonic)
    worker.start()
    until(lambda: len(turns) >= 5)
    assert worker.close(BOUND)
    count = len(turns)
    assert all(later - earlier >= 0.005 for earlier, later in zip(turns, turns[2:], strict=False))
    assert len(turns) == count


def test_a_turn_that_hangs_is_told_and_not_waited_for() -> None:
    gate, entered = threading.Event(), threading.Event()

    def hang(_now: float) -> None:
        entered.set()
        gate.wait(BOUND)

    worker = Worker("test", 0.01, hang, time.monotonic)
    worker.start()
    assert entered.wait(BOUND)
    until(lambda: worker.hanging_since(0.02) is not None)
    assert not worker.close(0.05)
    gate.set()
    assert worker.close(BOUND)
    assert worker.hanging_since(0.02) is None


def test_a_turn_that_fails_is_told_and_the_next_one_tried() -> None:
    errors: list[Exception | None] = [OSError("the path is gone"), SlotError("full"), None]
    told: list[str] = []

    def fail(_now: float) -> None:
        error = errors.pop(0) if errors else None
        if error is not None:
            raise error

    worker = Worker("test", 0.01, fail, time.monotonic)
    worker.on_turn = lambda: told.append(worker.trouble)
    worker.start()
    until(lambda: len(told) >= 3)
    assert worker.close(BOUND)
    assert told[:3] == ["the path is gone", "full", ""]


def test_it_can_be_woken() -> None:
    turns: list[float] = []
    worker = Worker("test", 3600.0, turns.append, time.monotonic)
    worker.start()
    until(lambda: len(turns) == 1)
    worker.wake()
    until(lambda: len(turns) == 2)
    assert worker.close(BOUND)
