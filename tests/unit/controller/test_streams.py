"""Whom a replica reads: its own node's agent, then others, and when it leaves one for the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from ringfence.controller.evidence import Witness
from ringfence.controller.streams import LASTED, STREAMS, Streams
from ringfence.core.gossip.keys import KeySet
from ringfence.core.gossip.members import Member, Roster
from ringfence.core.gossip.report import AgentView, Hearing, SubjectView
from ringfence.core.model import Boot, RingState
from ringfence.metrics import ControllerMetrics
from ringfence.net.crypto import verify
from ringfence.net.stream import StreamError
from unit.controller.test_questions import HandClock

BOUND = 20.0
COUNT = 8


def boot(number: int) -> Boot:
    return Boot(f"n{number}", f"uid-{number}", f"00000000-0000-4000-8000-00000000000{number}")


@dataclass
class Hall:
    """Agents that speak, are lost, or never answer; each of the test's own making (`Agents`)."""

    clock: HandClock = field(default_factory=HandClock)
    dialled: list[str] = field(default_factory=list)
    mute: set[str] = field(default_factory=set)
    """Agents that don't answer."""
    speaking: dict[str, asyncio.Queue[AgentView | None]] = field(default_factory=dict)
    """Open streams; None ends one."""

    def rekey(self, keys: KeySet) -> None:
        raise NotImplementedError

    async def views(self, address: str, port: int) -> AsyncGenerator[AgentView, None]:  # noqa: ARG002
        self.dialled.append(address)
        if address in self.mute:
            raise StreamError(f"{address} doesn't answer")
        words = self.speaking[address] = asyncio.Queue()
        try:
            yield self.view(address)
            while (view := await words.get()) is not None:
                yield view
            raise StreamError(f"{address} has gone quiet")
        finally:
            del self.speaking[address]

    def view(self, name: str, unreachable: str = "") -> AgentView:
        ill = [
            SubjectView(boot(number), RingState.UNREACHABLE, 1.0, None, None, None, 0.1, ())
            for number in range(1, COUNT + 1)
            if f"n{number}" == unreachable
        ]
        return AgentView(boot(int(name[1:])), 1, True, frozenset({name}), tuple(ill))

    async def hearing(self, address: str, port: int, uid: str) -> Hearing:
        raise NotImplementedError

    async def roster(self, address: str, port: int, epoch: int, digests: bytes) -> bytes:
        raise NotImplementedError


@asynccontextmanager
async def reading(hall: Hall) -> AsyncIterator[Streams]:
    """A replica on n1; agents are dialled by their names."""
    witness = Witness(verify)
    members = tuple(
        Member(b.node, b.node_uid, b.boot_id, (b.node,), "", b"")
        for n in range(1, COUNT + 1)
        for b in [boot(n)]
    )
    witness.roster = Roster(1, "test", b"salt", members)
    for number in range(1, COUNT + 1):
        witness.boot_seen(*(boot(number).node, boot(number).node_uid, boot(number).boot_id))
    streams = Streams(hall, witness, hall.clock, "c-1", "n1", 1, lambda: None, ControllerMetrics())
    task = asyncio.create_task(streams.run())
    try:
        await until(lambda: len(hall.speaking) == STREAMS)
        yield streams
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not true():  # noqa: ASYNC110 - it looks at another task's doings
            await asyncio.sleep(0.02)


async def test_its_own_and_four_others_are_read() -> None:
    hall = Hall()
    async with reading(hall):
        assert hall.dialled[0] == "n1"
        assert len(set(hall.dialled)) == STREAMS == 5


async def test_one_that_never_answers_is_passed_over() -> None:
    calm = Hall()
    async with reading(calm):
        second = calm.dialled[1]
    hall = Hall(mute={second})
    async with reading(hall):
        assert second in hall.dialled
        assert second not in hall.speaking


async def test_one_whose_stream_is_lost_after_a_while_is_dialled_again_and_keeps_its_place() -> None:
    hall = Hall()
    async with reading(hall):
        read = set(hall.speaking)
        lost = hall.dialled[1]
        hall.clock.now += LASTED
        hall.speaking[lost].put_nowait(None)
        await until(lambda: hall.dialled.count(lost) == 2 and lost in hall.speaking)
        assert set(hall.dialled) == read  # nobody else was asked
        hall.speaking[lost].put_nowait(None)  # and again, at once: that is the agent
        await until(lambda: len(hall.speaking.keys() - read) == 1)
        assert hall.dialled.count(lost) == 2


async def test_one_that_two_agents_call_unreachable_is_left_for_another_and_by_one_alone_it_is_not() -> None:
    hall = Hall()
    async with reading(hall):
        _, gone, first, second, _ = hall.dialled
        hall.speaking[first].put_nowait(hall.view(first, unreachable=gone))
        await until(hall.speaking[first].empty)
        # Each turn looks at all: another one that goes shows that a turn has passed.
        hall.speaking[second].put_nowait(None)
        await until(lambda: len(hall.dialled) == STREAMS + 1 and len(hall.speaking) == STREAMS)
        assert gone in hall.speaking
        third = hall.dialled[-1]
        hall.speaking[third].put_nowait(hall.view(third, unreachable=gone))
        await until(lambda: gone not in hall.speaking and len(hall.speaking) == STREAMS)
