"""Virtual processes: the product's coroutines run in a time that only the agenda moves; freezing and killing do what they do to a process."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from simulator.system.processes import Agenda, Process, Stuck


def start(process: Process, work: Coroutine[Any, Any, None]) -> None:
    process.call_soon(lambda: process.create_task(work))


async def count(said: list[float], every: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        said.append(loop.time())
        await asyncio.sleep(every)


def test_time_goes_on_by_the_agenda_alone_and_processes_take_turns_in_its_order() -> None:
    agenda, said = Agenda(), list[tuple[str, float]]()

    async def speak(name: str, at: float) -> None:
        await asyncio.sleep(at)
        said.append((name, asyncio.get_running_loop().time()))

    for name, at in (("late", 2.0), ("early", 0.5), ("never", 9.0)):
        start(agenda.process(name), speak(name, at))
    agenda.after(1.0, lambda: said.append(("world", agenda.now)))
    agenda.run(3.0)
    assert said == [("early", 0.5), ("world", 1.0), ("late", 2.0)]
    assert agenda.now == 3.0
    agenda.end()


def test_a_frozen_process_finds_all_that_it_missed_when_it_thaws() -> None:
    agenda, said = Agenda(), list[float]()
    process = agenda.process("leader")
    answers: list[asyncio.Future[str]] = []

    async def ask() -> None:
        answers.append(asyncio.get_running_loop().create_future())
        assert await answers[0] == "yes"
        said.append(asyncio.get_running_loop().time())

    start(process, ask())
    start(process, count(said, 1.0))
    agenda.run(0.5)
    process.frozen = True
    agenda.after(1.0, lambda: answers[0].set_result("yes"))
    agenda.run(5.5)
    assert said == [0.0]
    process.frozen = False
    agenda.run(7.0)
    assert said == [0.0, 5.5, 5.5, 6.5]
    agenda.end()


def test_a_killed_process_does_nothing_any_more_and_what_it_sent_arrives() -> None:
    agenda, said, arrived = Agenda(), list[float](), list[float]()
    process = agenda.process("leader")

    async def send() -> None:
        agenda.after(1.0, lambda: arrived.append(agenda.now))
        await asyncio.sleep(60.0)

    start(process, send())
    start(process, count(said, 0.2))
    agenda.run(0.5)
    agenda.kill(process)
    agenda.run(2.0)
    assert (len(said), arrived) == (3, [1.0])


def test_what_comes_out_of_a_task_that_nobody_waits_for_is_kept() -> None:
    agenda = Agenda()
    process = agenda.process("leader")

    async def fail() -> None:
        raise KeyError("a plain bug")

    start(process, fail())
    agenda.run(1.0)
    gc.collect()  # asyncio tells of it when the task's last reference goes
    assert [str(error) for error in process.troubles] == ["'a plain bug'"]
    agenda.end()


def test_a_process_that_waits_for_nothing_is_found_out() -> None:
    agenda = Agenda()

    async def spin() -> None:
        while True:  # noqa: ASYNC110 (just this is what must be found out)
            await asyncio.sleep(0)

    start(agenda.process("leader"), spin())
    with pytest.raises(Stuck, match="leader does 100000 things at one instant"):
        agenda.run(1.0)
    agenda.end()
