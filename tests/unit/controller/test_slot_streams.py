"""A controller that mounts no volume: real heartbeat processes on one file, their streams, and words through them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.controller.evidence import Witness
from ringfence.controller.slot_looks import SlotLooks
from ringfence.controller.slots import SlotStreams
from ringfence.controller.streams import chosen as chosen_by
from ringfence.core.fencing.selffence import SlotLook
from ringfence.core.fencing.slots import cluster_id
from ringfence.core.fencing.slotwatch import SlotState
from ringfence.core.gossip.keys import KeySet
from ringfence.core.gossip.members import Member, Roster
from ringfence.core.model import Boot
from ringfence.metrics import ControllerMetrics
from ringfence.net.crypto import GROUP_KEY_FILE, ROSTER_PUBLIC_FILE
from ringfence.net.slot_stream import SlotClient
from ringfence.ports import SystemClock, TooLate
from ringfence.slots.__main__ import Process, options
from unit.slots.test_process import BOUND, KEYS, ROSTER, arguments, boot_id, free_port, running, session

CLOCK = SystemClock()


def boot(number: int) -> Boot:
    return Boot(f"n{number}", f"uid-{number}", boot_id(number))


class Eye:
    """One controller's streams."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.witness = Witness(lambda *_: True)
        members = []
        for number in (1, 2):
            one = boot(number)
            self.witness.boot_seen(one.node, one.node_uid, one.boot_id)
            members.append(Member(one.node, one.node_uid, one.boot_id, (f"127.0.88.{number}",), "", b""))
        self.witness.roster = Roster(1, "test", b"salt", tuple(members))
        self.streams = SlotStreams(
            SlotClient(KeySet.first(KEYS[GROUP_KEY_FILE])),
            self.witness,
            CLOCK,
            "c-1",
            "n1",
            port,
            lambda: None,
            ControllerMetrics(),
            cluster=cluster_id(KEYS[ROSTER_PUBLIC_FILE]),
            sign=ROSTER.sign,
        )

    async def look(self, number: int) -> SlotLook | None:
        client = SlotClient(KeySet.first(KEYS[GROUP_KEY_FILE]))
        return await SlotLooks(client, CLOCK, self.port, lambda: self.witness.roster).look(boot(number))

    def state(self, number: int) -> SlotState:
        return self.witness.heartbeats.of(boot(number), (), CLOCK.monotonic()).state

    def told(self, number: int) -> bool | None:
        return self.witness.told_fenced(boot(number), CLOCK.monotonic())


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not what():  # noqa: ASYNC110 - two halves that share no event
            await asyncio.sleep(0.02)


@asynccontextmanager
async def watching(folder: Path, *numbers: int) -> AsyncIterator[Eye]:
    async with running(folder, *numbers) as port:
        eye = Eye(port)
        task = asyncio.create_task(eye.streams.run())
        try:
            yield eye
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_slots_become_evidence(tmp_path: Path) -> None:
    async with watching(tmp_path, 1, 2) as eye:
        await until(lambda: eye.state(1) is eye.state(2) is SlotState.MOVING)
        assert eye.witness.life("n2").slot > float("-inf")


async def test_the_last_look_is_from_after_the_question_and_tells_of_the_last_write(tmp_path: Path) -> None:
    async with watching(tmp_path, 1) as eye:
        async with running(tmp_path, 2):
            await until(lambda: eye.state(2) is SlotState.MOVING)
            asked_at = CLOCK.monotonic()
            living = await eye.look(2)
            assert living is not None
            assert living.observers == {"n1"}
            assert living.looked_at >= asked_at
            assert living.moved_at > asked_at - BOUND
        ended_at = CLOCK.monotonic()
        await until(lambda: CLOCK.monotonic() > ended_at + 2.0)
        asked_at = CLOCK.monotonic()
        dead = await eye.look(2)
        assert dead is not None
        assert dead.looked_at >= asked_at
        assert dead.moved_at < asked_at - 1.0


async def test_nobody_can_tell_of_a_slot_that_was_never_seen_to_move(tmp_path: Path) -> None:
    async with running(tmp_path, 1, 2):
        volume = tmp_path / "heart"
        await until(lambda: volume.exists() and b"uid-2" in volume.read_bytes())
    async with watching(tmp_path, 1) as eye:
        await until(lambda: eye.state(1) is SlotState.MOVING)
        assert eye.told(2) is False, "it stands there"
        assert await eye.look(2) is None
        assert await eye.look(1) is None, "the node itself is not asked"


async def test_a_node_without_a_heartbeat_process_has_no_slot(tmp_path: Path) -> None:
    async with watching(tmp_path, 1) as eye:
        await until(lambda: eye.state(1) is SlotState.MOVING)
        assert eye.state(2) is SlotState.NONE
        assert eye.told(2) is None
        await eye.streams.tell(boot(2), "f-1", deadline=CLOCK.monotonic() + 5)


async def test_a_word_is_told_and_taken_back(tmp_path: Path) -> None:
    async with watching(tmp_path, 1, 2) as eye:
        await until(lambda: eye.state(2) is SlotState.MOVING)
        assert eye.told(2) is False
        await eye.streams.tell(boot(2), "f-1", deadline=CLOCK.monotonic() + 5)
        await until(lambda: eye.told(2) is True)
        assert eye.witness.heartbeats.words(CLOCK.monotonic()) == {"uid-2": boot_id(2)}
        await eye.streams.tell(boot(2), "f-1", taken_back=True, deadline=CLOCK.monotonic() + 5)
        await until(lambda: eye.told(2) is False)


async def test_no_word_when_the_right_to_order_has_run_out(tmp_path: Path) -> None:
    async with watching(tmp_path, 1, 2) as eye:
        await until(lambda: eye.state(2) is SlotState.MOVING)
        with pytest.raises(TooLate):
            await eye.streams.tell(boot(2), "f-1", deadline=CLOCK.monotonic() - 0.01)
        assert eye.told(2) is False


async def test_a_process_speaks_for_its_own_node_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else one that is in a thief's hands hides what all others see: a slot that moves."""
    caplog.set_level("INFO")
    async with running(tmp_path, 1) as port, session(port, 1):
        eye = Eye(port)
        assert eye.witness.roster is not None
        impostor = Member("n2", "uid-2", boot_id(2), ("127.0.88.1",), "", b"")
        eye.witness.roster = replace(eye.witness.roster, members=(impostor,))
        task = asyncio.create_task(eye.streams.run())
        await until(lambda: "n2's heartbeat process speaks for n1" in caplog.text)
        assert list(eye.witness.heartbeats.reports(CLOCK.monotonic())) == []
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_boot_that_no_word_can_name_ends_nothing(tmp_path: Path) -> None:
    async with watching(tmp_path, 1, 2) as eye:
        await until(lambda: eye.state(2) is SlotState.MOVING)
        await eye.streams.tell(replace(boot(2), boot_id="no boot"), "f-1", deadline=CLOCK.monotonic() + 5)
        assert eye.told(2) is False


async def test_one_that_can_not_read_the_volume_is_passed_over_for_one_that_can(tmp_path: Path) -> None:
    """The three that were chosen hang in a storage that all others reach: the slots are not unread for that."""
    identity, ill = "c-1", (2, 3)  # by this name n3 and n2 come before n4
    port, stop = free_port("127.0.88.1"), asyncio.Event()
    bad = tmp_path / "no-volume"
    bad.mkdir()
    chosen = [options(arguments(tmp_path, n, port, volume=bad if n in ill else None)) for n in (2, 3, 4)]
    tasks = [asyncio.create_task(Process(one).run(stop)) for one in chosen]
    eye = Eye(port)
    for number in (3, 4):
        one = boot(number)
        eye.witness.boot_seen(one.node, one.node_uid, one.boot_id)
    members = tuple(
        Member(b.node, b.node_uid, b.boot_id, (f"127.0.88.{n}",), "", b"")
        for n in (1, 2, 3, 4)
        for b in [boot(n)]
    )
    eye.witness.roster = Roster(1, "test", b"salt", members)
    first = chosen_by(eye.witness.roster, identity, "n1", {}, 0.0, SlotStreams.COUNT)
    assert [m.name for m in first] == ["n1", "n3", "n2"]
    for number in (2, 3, 4):
        async with session(port, number):
            pass
    streams = asyncio.create_task(eye.streams.run())
    await until(lambda: eye.state(4) is SlotState.MOVING)
    streams.cancel()
    with suppress(asyncio.CancelledError):
        await streams
    stop.set()
    await asyncio.gather(*tasks)
