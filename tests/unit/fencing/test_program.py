"""One run of a program: what it gets, what it may say, and that it ends when it must."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from pathlib import Path

import pytest

from contract.apiserver import until
from ringfence.fencing.program import GUARD, LARGEST_OUTPUT, LONGEST_SENTENCE, run, sentence
from ringfence.ports import DeviceMisconfigured, DeviceUnreachable, SystemClock, TooLate

CLOCK = SystemClock()
SLOW = 15.0
"""Seconds: long enough for a busy machine, where the test isn't about time."""


def script(folder: Path, text: str) -> str:
    path = folder / "fence_test"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_it_reads_its_input_and_its_secret_and_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    tell = script(
        tmp_path, 'cat; cat "$1"; pwd; env; tr "\\0" " " </proc/$$/cmdline; ls /proc/self/fd | wc -l'
    )
    outcome = await run("d", (tell, "{secret}"), CLOCK, timeout=SLOW, stdin=b"a=b\n", secret=b"w0rd")
    first, word, folder, *rest = outcome.stdout.splitlines()
    assert (first, word, folder) == ("a=b", "w0rd", "/")
    assert outcome.stdout.count("w0rd") == 1
    assert not [line for line in rest if line.startswith("KUBERNETES")]
    assert CLOCK.monotonic() >= outcome.ended_at > outcome.began_at


async def test_an_exit_status_is_told_as_it_is(tmp_path: Path) -> None:
    for status in (0, 2, 75, 127):
        outcome = await run("d", (script(tmp_path, f"exit {status}"),), CLOCK, timeout=SLOW)
        assert outcome.code == status


async def test_a_program_that_reads_nothing_is_no_hindrance() -> None:
    outcome = await run("d", ("/bin/true",), CLOCK, timeout=SLOW, stdin=b"x" * 1_000_000)
    assert outcome.code == 0


async def test_its_children_end_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    hang = script(tmp_path, f"sleep 600 & echo $! >{note}; wait")
    with pytest.raises(DeviceUnreachable, match=r"fence_test gave no answer within 1.5 s") as silent:
        await run("d", (hang,), CLOCK, timeout=1.5, order=True)
    assert silent.value.sent_at is not None
    child = Path("/proc") / note.read_text().strip()
    until(
        lambda: not _runs(child), "its child to end"
    )  # it is killed; a busy kernel takes a moment to carry that out


def _runs(process: Path) -> bool:
    try:
        return (process / "stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_too_many_words_end_it() -> None:
    with pytest.raises(DeviceUnreachable, match=f"more than {LARGEST_OUTPUT // 1024} KiB"):
        await run("d", ("/usr/bin/yes",), CLOCK, timeout=SLOW)


async def test_it_is_not_started_after_its_deadline(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    touch = script(tmp_path, f"touch {mark}")
    for late in (-1.0, 0.0, 0.001):  # the last one runs out between the fork and the exec
        with pytest.raises(TooLate, match="not sent"):
            await run("d", (touch,), CLOCK, timeout=SLOW, deadline=CLOCK.monotonic() + late, order=True)
    assert not mark.exists()


async def test_one_that_was_frozen_beyond_its_time_thaws_dead(tmp_path: Path) -> None:
    """The frozen controller's child: nobody is there to kill it, and it must not act when it thaws."""
    started, acted = tmp_path / "pid", tmp_path / "acted"
    wait = script(tmp_path, f"echo $$ >{started}.new; mv {started}.new {started}; read line; touch {acted}")
    end = CLOCK.monotonic() + 5.0
    process = await asyncio.create_subprocess_exec(
        *GUARD, repr(end), "-", wait, stdin=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    until(started.exists, "the program to run")
    os.kill(process.pid, signal.SIGSTOP)
    process.stdin.write(b"go\n")
    until(lambda: CLOCK.monotonic() > end, "its time to be over")
    os.kill(process.pid, signal.SIGCONT)
    assert await process.wait() == -signal.SIGALRM
    assert not acted.exists()


async def test_what_can_not_be_started_is_the_administrators(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    for path in ("/no/such/program", str(plain)):
        with pytest.raises(DeviceMisconfigured, match=r"fence device d: /.* can't be started"):
            await run("d", (path,), CLOCK, timeout=SLOW)


def test_a_sentence_is_short_clean_and_keeps_secrets() -> None:
    said = sentence("login\tfor bob/bob-secret\n\x1b[31mfailed", ["bob", "bob-secret", ""])
    assert said == "login for ***/*** [31mfailed"
    assert len(sentence("x" * 5000, [])) == LONGEST_SENTENCE
