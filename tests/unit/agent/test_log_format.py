"""What the agent, the feeder and their supervisor write with ``--log-format json``: real processes, and what comes out of them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from ringfence.net.crypto import make_group_keys

ADDRESS = "127.0.78.2"
BOUND = 30.0
KEYS = {"time", "level", "logger", "message"}


@contextmanager
def running(*words: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """A process by this interpreter, and what it writes to standard error."""
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    late = threading.Timer(BOUND, process.kill)  # whoever reads it then comes to its end
    late.start()
    try:
        yield process, process.stderr
    finally:
        late.cancel()
        process.kill()
        process.communicate()


def until(lines: IO[str], words: str) -> list[str]:
    """What it writes up to the first line with these words in it."""
    read = []
    for line in lines:
        read.append(line)
        if words in line:
            return read
    raise AssertionError(f"it has ended without {words!r}: {read}")


def ended(process: subprocess.Popen[str], lines: IO[str]) -> list[str]:
    """What it writes from SIGTERM to its end, which is an orderly one."""
    process.send_signal(signal.SIGTERM)
    rest = lines.readlines()
    assert process.wait(BOUND) == 0
    return rest


def objects(lines: list[str]) -> list[dict[str, str]]:
    """Each line as the one object that it is."""
    found: list[dict[str, str]] = [json.loads(line) for line in lines]
    for said in found:
        assert said.keys() == KEYS
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said["time"])
    return found


def agent(folder: Path) -> list[str]:
    for name, content in make_group_keys().items():
        (folder / name).write_bytes(content)
    return [
        *("ringfence.agent", "--node-name=n1", f"--node-ip={ADDRESS}", "--port=0", "--metrics-port=0"),
        *(f"--keys-dir={folder}", f"--state-dir={folder}"),
    ]


def feeder(folder: Path) -> list[str]:
    """Of a device that isn't there: nobody's watchdog is opened by a test."""
    return [
        *("ringfence.agent.feeder", f"--device={folder / 'none'}", "--isolation-seconds=10"),
        *("--timeout-seconds=60", f"--run-dir={folder}"),
    ]


def test_the_agent_writes_an_object_a_line(tmp_path: Path) -> None:
    with running(*agent(tmp_path), "--log-format=json") as (process, lines):
        said = objects(until(lines, "ICMP echo") + ended(process, lines))
    assert {each["logger"] for each in said} >= {"ringfence.agent"}
    assert any(each["message"].startswith("agent of n1, boot ") for each in said)


def test_the_feeder_does_too(tmp_path: Path) -> None:
    with running(*feeder(tmp_path), "--log-format=json") as (process, lines):
        said = objects(until(lines, "the watchdog is") + ended(process, lines))
    assert {each["logger"] for each in said} == {"ringfence.feeder"}
    assert [each["level"] for each in said] == ["INFO"] * len(said)


def test_and_their_supervisor_of_what_it_starts_again() -> None:
    with running("ringfence.agent.supervise", "--log-format=json", "sh", "-c", "exit 3") as (process, lines):
        (said,) = objects(until(lines, "again"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(BOUND) == 0
    assert (said["level"], said["logger"]) == ("WARNING", "ringfence.supervise")
    assert said["message"] == "sh -c exit 3 ended (3); again in 0.5 s"


def test_a_command_that_is_not_there_is_told_as_an_object_too(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    with running("ringfence.agent.supervise", "--log-format=json", missing) as (process, lines):
        first, second = objects(until(lines, "again"))
        process.send_signal(signal.SIGTERM)
        process.wait(BOUND)
    assert first["message"] == f"{missing}: No such file or directory"
    assert second["message"] == f"{missing} ended (127); again in 0.5 s"


@pytest.mark.parametrize("words", [["--log-format=xml", "true"], ["--loud", "true"], ["--log-format=json"]])
def test_a_supervisor_that_is_asked_for_something_else_says_what_it_can(words: list[str]) -> None:
    with running("ringfence.agent.supervise", *words) as (process, lines):
        assert lines.readlines()[0].startswith("usage: python -m ringfence.agent.supervise ")
        assert process.wait(BOUND) == 2


@pytest.mark.parametrize(("command", "last"), [(agent, "ICMP echo"), (feeder, "the watchdog is")])
def test_without_a_word_it_is_text(command: Callable[[Path], list[str]], last: str, tmp_path: Path) -> None:
    with running(*command(tmp_path)) as (process, lines):
        said = until(lines, last) + ended(process, lines)
    for line in said:
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING) ringfence\.", line)
