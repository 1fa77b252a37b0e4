"""Two heartbeat processes on one file, a controller's eye on their streams."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ringfence.core.fencing.slotreport import SlotReport, SlotRow
from ringfence.core.fencing.slots import Flag, Word, cluster_id, encode_word
from ringfence.core.gossip.keys import GroupKey, KeySet
from ringfence.host.storage_leg import held_at
from ringfence.net.crypto import (
    GROUP_KEY_FILE,
    GROUP_KEYS_FILE,
    ROSTER_PUBLIC_FILE,
    SigningKey,
    make_group_keys,
)
from ringfence.net.slot_stream import (
    SlotClient,
    SlotSession,
    WordWish,
    decode_report,
    decode_wish,
    encode_wish,
)
from ringfence.net.stream import StreamError
from ringfence.slots.__main__ import Process, options

KEYS = make_group_keys()
ROSTER = SigningKey(KEYS["roster.key"])
BOUND = 30.0


def boot_id(number: int) -> str:
    return f"00000000-0000-4000-8000-00000000000{number}"


def arguments(
    folder: Path, number: int, port: int = 0, *, volume: Path | None = None, keys: dict[str, bytes] = KEYS
) -> list[str]:
    for name in (GROUP_KEY_FILE, ROSTER_PUBLIC_FILE):
        (folder / name).write_bytes(keys[name])
    (folder / f"boot-{number}").write_text(boot_id(number) + "\n")
    return [
        f"--volume={volume or folder / 'heart'}",
        "--volume-name=shared",
        "--slots=8",
        "--interval=0.5",
        f"--node-name=n{number}",
        f"--node-uid=uid-{number}",
        f"--node-ip=127.0.88.{number}",
        f"--port={port}",
        f"--keys-dir={folder}",
        f"--boot-id-path={folder / f'boot-{number}'}",
        f"--leg={folder / f'leg-{number}'}",
        "--feeds-watchdog",
    ]


def free_port(address: str) -> int:
    with socket.socket() as one:
        one.bind((address, 0))
        port: int = one.getsockname()[1]
        return port


@asynccontextmanager
async def running(folder: Path, *numbers: int) -> AsyncIterator[int]:
    """Heartbeat processes in this loop, all on one port; the port."""
    port, stop = free_port("127.0.88.1"), asyncio.Event()
    tasks = [asyncio.create_task(Process(options(arguments(folder, n, port))).run(stop)) for n in numbers]
    try:
        yield port
    finally:
        stop.set()
        await asyncio.gather(*tasks)


@asynccontextmanager
async def session(port: int, number: int, keys: dict[str, bytes] = KEYS) -> AsyncIterator[SlotSession]:
    client = SlotClient(KeySet.first(keys[GROUP_KEY_FILE]))
    async with asyncio.timeout(BOUND):
        while True:
            try:
                async with client.session(f"127.0.88.{number}", port) as opened:
                    await opened.report()
                    yield opened
                    return
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)  # between two tries of a bounded wait


async def seen(opened: SlotSession, what: Callable[[SlotReport], bool]) -> SlotReport:
    async with asyncio.timeout(BOUND):
        while True:
            report = await opened.report()
            if what(report):
                return report


def row(report: SlotReport, number: int) -> SlotRow | None:
    return next((r for r in report.rows if r.boot.node == f"n{number}"), None)


def soon() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) + 5.0


def moving(number: int) -> Callable[[SlotReport], bool]:
    def check(report: SlotReport) -> bool:
        found = row(report, number)
        return found is not None and found.moved_age is not None

    return check


async def test_each_sees_the_other_move(tmp_path: Path) -> None:
    async with running(tmp_path, 1, 2) as port, session(port, 1) as opened:
        report = await seen(opened, lambda r: moving(1)(r) and moving(2)(r))
        assert report.volume == "shared"
        assert report.reporter.boot_id == boot_id(1)
        assert report.own.written_age is not None
        assert report.own.trouble == ""
        await until_leg(tmp_path, 2)


async def until_leg(folder: Path, number: int) -> None:
    """The node's leg holds: it writes, and sees another write."""

    def lost() -> bool:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        return held_at(folder / f"leg-{number}", boot_id(number), now) <= now - BOUND

    async with asyncio.timeout(BOUND):
        while lost():  # noqa: ASYNC110 - the process' own thread writes it
            await asyncio.sleep(0.05)


async def test_a_node_that_is_alone_on_its_volume_holds_no_leg(tmp_path: Path) -> None:
    """Its own writes succeed, but they may go to its own disk."""
    async with running(tmp_path, 1) as port, session(port, 1) as opened:
        await seen(opened, moving(1))
        sequence = (row(await opened.report(), 1) or pytest.fail("no slot")).sequence
        await seen(opened, lambda r: (found := row(r, 1)) is not None and found.sequence > sequence + 3000)
        assert not (tmp_path / "leg-1").exists()


async def test_who_ends_signs_off(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as port, session(port, 1) as opened:
        async with running(tmp_path, 2):
            await seen(opened, moving(2))
        report = await seen(opened, lambda r: (row(r, 2) or row(r, 1)).flags == Flag.LEFT)  # type: ignore[union-attr]
        assert row(report, 1) is not None


async def test_a_word_goes_to_the_volume_and_its_node_obeys(tmp_path: Path) -> None:
    async with running(tmp_path, 1, 2) as port, session(port, 1) as mine, session(port, 2) as theirs:
        target = row(await seen(mine, moving(2)), 2)
        assert target is not None
        await until_leg(tmp_path, 2)
        cluster = cluster_id(KEYS[ROSTER_PUBLIC_FILE])
        word = Word("uid-2", boot_id(2), "f-1", stop_guests=False, issued=1)
        mine.tell(WordWish(target.index, encode_word(word, cluster, ROSTER.sign), soon()))
        await seen(theirs, lambda r: r.own.fenced)
        await seen(mine, lambda r: (row(r, 2) or target).told == boot_id(2))
        leg = (tmp_path / "leg-2").read_text()
        assert moving(2)(await seen(mine, lambda r: (row(r, 2) or target).flags == Flag.FENCED))
        assert (tmp_path / "leg-2").read_text() == leg, "a fenced node's leg is lost"
        back = Word("uid-2", boot_id(2), "f-1", stop_guests=False, issued=2, taken_back=True)
        mine.tell(WordWish(target.index, encode_word(back, cluster, ROSTER.sign), soon()))
        await seen(theirs, lambda r: not r.own.fenced)


async def test_a_word_signed_by_another_key_is_not_written(tmp_path: Path) -> None:
    async with running(tmp_path, 1, 2) as port, session(port, 1) as opened:
        target = row(await seen(opened, moving(2)), 2)
        assert target is not None
        word = Word("uid-2", boot_id(2), "f-1", stop_guests=True, issued=9)
        forged = encode_word(word, cluster_id(KEYS[ROSTER_PUBLIC_FILE]), SigningKey.fresh().sign)
        good = encode_word(word, cluster_id(KEYS[ROSTER_PUBLIC_FILE]), ROSTER.sign)
        opened.tell(WordWish(target.index, forged, soon()))
        opened.tell(WordWish(target.index, good, soon()))
        report = await seen(opened, lambda r: (row(r, 2) or target).issued != 0)
        assert (row(report, 2) or target).issued == 9
        data = (tmp_path / "heart").read_bytes()
        assert forged not in data
        assert good in data


async def test_a_reader_without_the_group_key_is_hung_up_on(tmp_path: Path) -> None:
    stranger = SlotClient(KeySet.first(make_group_keys()[GROUP_KEY_FILE]))
    async with running(tmp_path, 1) as port, session(port, 1):
        with pytest.raises(StreamError):
            async with stranger.session("127.0.88.1", port) as opened:
                await opened.report()


async def test_a_change_of_the_group_keys_is_followed(tmp_path: Path) -> None:
    """As an agent does: the mounted file has another key, who knows only the old one is hung up on."""
    async with running(tmp_path, 1) as port, session(port, 1) as opened:
        fresh = KeySet((GroupKey(1, b"\7" * 32),), 1, 3)
        (tmp_path / "new").write_text(fresh.text())
        (tmp_path / "new").rename(tmp_path / GROUP_KEYS_FILE)
        with pytest.raises((StreamError, EOFError, OSError)):
            await seen(opened, lambda _report: False)
        async with SlotClient(fresh).session("127.0.88.1", port) as again:
            assert (await again.report()).reporter.node == "n1"


async def test_another_installations_volume_is_said_and_left_alone(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as port, session(port, 1) as opened:
        await seen(opened, moving(1))
    before = (tmp_path / "heart").read_bytes()
    others, folder, port = make_group_keys(), tmp_path / "other", free_port("127.0.88.2")
    folder.mkdir()
    stop = asyncio.Event()
    chosen = options(arguments(folder, 2, port, volume=tmp_path / "heart", keys=others))
    task = asyncio.create_task(Process(chosen).run(stop))
    async with session(port, 2, others) as opened:
        report = await seen(opened, lambda r: r.own.trouble != "")
    assert "another installation" in report.own.trouble
    stop.set()
    await task
    assert (tmp_path / "heart").read_bytes() == before


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"index":0,"block":"","until":1}',
        b'{"index":true,"block":"AA==","until":1}',
        b"\xff",
    ],
)
def test_what_is_no_wish_is_refused(data: bytes) -> None:
    with pytest.raises(StreamError):
        decode_wish(data)
    with pytest.raises(StreamError):
        decode_report(data)


@pytest.mark.parametrize("until", [float("nan"), float("inf"), float("-inf")])
def test_a_wish_has_an_end(until: float) -> None:
    with pytest.raises(StreamError):
        decode_wish(encode_wish(WordWish(0, bytes(4096), until)))


async def test_a_wish_that_was_long_on_its_way_is_not_fulfilled(tmp_path: Path) -> None:
    """The process was stopped with the wish in its socket; the node that it is about is well again meanwhile."""
    async with running(tmp_path, 1, 2) as port, session(port, 1) as opened:
        report = await seen(opened, moving(2))
        assert 0 <= time.clock_gettime(time.CLOCK_BOOTTIME) - report.at < BOUND
        target = row(report, 2)
        assert target is not None
        for number, until in ((9, report.at - 0.1), (1, soon())):
            word = Word("uid-2", boot_id(2), "f-1", stop_guests=False, issued=number)
            block = encode_word(word, cluster_id(KEYS[ROSTER_PUBLIC_FILE]), ROSTER.sign)
            opened.tell(WordWish(target.index, block, until))
        report = await seen(opened, lambda r: (row(r, 2) or target).issued != 0)
        assert (row(report, 2) or target).issued == 1


def test_the_process_starts_writes_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ringfence.slots", *arguments(tmp_path, 1, free_port("127.0.88.1"))]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": "operator"}, stderr=subprocess.PIPE
    ) as child:
        end = time.monotonic() + BOUND
        while not (tmp_path / "heart").exists() or b"uid-1" not in (tmp_path / "heart").read_bytes():
            assert time.monotonic() < end
            assert child.poll() is None, child.stderr.read().decode() if child.stderr else ""
            time.sleep(0.05)  # between two looks of a bounded wait
        child.send_signal(signal.SIGTERM)
        assert child.wait(BOUND) == 0
    shown = subprocess.run(
        [sys.executable, "-m", "ringfence.slots", "show", *arguments(tmp_path, 1)],
        env={**os.environ, "PYTHONPATH": "operator"},
        capture_output=True,
        text=True,
        check=True,
        timeout=BOUND,
    ).stdout
    assert "n1 (boot 00000000)" in shown
    assert "left" in shown


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("--interval=0.1", "--interval must be from 0.5"),
        ("--slots=0", "--slots must be from 1"),
        ("--node-name=", "needed"),
    ],
)
def test_bad_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str, sentence: str) -> None:
    with pytest.raises(SystemExit):
        options([*arguments(tmp_path, 1), wrong], {})
    assert sentence in capsys.readouterr().err
