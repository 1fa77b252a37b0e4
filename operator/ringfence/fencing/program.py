"""One run of a program that speaks to a fence device: no shell, bounded in time and in words, its secrets nowhere to be seen.

A program gets its secrets through a pipe: its standard input, or a descriptor that it finds as ``/dev/fd/N``. They are
never in its arguments or environment, which others on the machine can read, and never on a disk. The environment is
made anew; nothing of ours (service account, addresses) is in it.

What it says is cut at :data:`LARGEST_OUTPUT`, parsed by whoever called, and masked before anybody reads it.

It is started by ``guard.py``, which looks at the clock right before, and it is killed with all its children when its
time is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.fencing import guard
from ringfence.ports import Clock, DeviceMisconfigured, DeviceUnreachable, TooLate

LARGEST_OUTPUT: Final = 256 * 1024
"""Bytes of each of its streams; a program that says more is broken and is ended."""
LONGEST_SENTENCE: Final = 300
GUARD: Final = (sys.executable, "-ISE", guard.__file__)
_ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
    "LANG": "C",
    "HOME": "/nonexistent",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A program's end."""

    code: int
    stdout: str
    stderr: str
    began_at: float
    """CLOCK_BOOTTIME before it was started: what it sent was sent later."""
    ended_at: float


async def run(
    name: str,
    command: Sequence[str],
    clock: Clock,
    *,
    timeout: float,
    stdin: bytes = b"",
    secret: bytes | None = None,
    deadline: float | None = None,
    order: bool = False,
) -> Outcome:
    """Run the program to its end and return what it said.

    Args:
        name: the FenceDevice, for sentences.
        command: the program's absolute path and its arguments; ``{secret}`` among them becomes the path at which it
            reads ``secret``, a line.
        timeout: seconds after which it is killed.
        deadline: CLOCK_BOOTTIME from which it may not be started any more.
        order: whether it carries an order, so that a failure's ``sent_at`` is told.

    Raises TooLate, DeviceUnreachable (it was killed), DeviceMisconfigured (it can't be started).
    """
    began = clock.monotonic()
    if deadline is not None and began >= deadline:
        raise _too_late(name, began - deadline)
    until = began + timeout
    descriptors: tuple[int, ...] = ()
    words = list(command)
    if secret is not None:
        descriptors = (_pipe(secret + b"\n"),)
        words = [f"/dev/fd/{descriptors[0]}" if word == "{secret}" else word for word in words]
    try:
        process = await asyncio.create_subprocess_exec(
            *GUARD,
            repr(until),
            "-" if deadline is None else repr(deadline),
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=descriptors,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise DeviceMisconfigured(f"fence device {name}: {words[0]} can't be started: {error}") from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    program = Path(command[0]).name
    sent_at = began if order else None
    try:
        async with asyncio.timeout(max(0.0, until - clock.monotonic())):
            out, err, _ = await asyncio.gather(
                _read(process, process.stdout), _read(process, process.stderr), _tell(process.stdin, stdin)
            )
            code = await process.wait()
    except TimeoutError:
        raise _silent(name, program, timeout, sent_at) from None
    finally:
        await _end(process)
    ended = clock.monotonic()
    if _is(guard.TOO_LATE, code, err):
        if deadline is None:
            raise _silent(name, program, timeout, None)
        raise _too_late(name, ended - deadline)
    if _is(guard.CANNOT_START, code, err):
        why = err.removeprefix(guard.CANNOT_START[1])
        raise DeviceMisconfigured(
            f"fence device {name}: {command[0]} can't be started{why[:LONGEST_SENTENCE]}"
        )
    if code == -signal.SIGALRM:
        raise _silent(name, program, timeout, sent_at)
    if max(len(out), len(err)) > LARGEST_OUTPUT:
        raise DeviceUnreachable(
            f"fence device {name}: {program} said more than {LARGEST_OUTPUT // 1024} KiB and was ended",
            sent_at=sent_at,
        )
    return Outcome(code, out, err, began, ended)


def _is(refusal: tuple[int, str], code: int, err: str) -> bool:
    return code == refusal[0] and err.startswith(refusal[1])


def _pipe(content: bytes) -> int:
    """A pipe's reading end with the content in it; it fits into the pipe's buffer."""
    reader, writer = os.pipe()
    try:
        os.write(writer, content)
    finally:
        os.close(writer)
    return reader


async def _read(process: asyncio.subprocess.Process, stream: asyncio.StreamReader | None) -> str:
    """All that it says; who says too much is killed, and the rest is thrown away."""
    assert stream is not None
    data = bytearray()
    while chunk := await stream.read(65536):
        if len(data) <= LARGEST_OUTPUT:
            data += chunk
        else:
            _kill(process)
    return data.decode("utf-8", "replace")


async def _tell(stream: asyncio.StreamWriter | None, content: bytes) -> None:
    assert stream is not None
    with contextlib.suppress(ConnectionError):  # it ended without reading: its exit status tells why
        stream.write(content)
        await stream.drain()
    stream.close()
    with contextlib.suppress(ConnectionError):
        await stream.wait_closed()


def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill it and its children, which share its session and its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Nothing if it has ended and nobody holds its streams any more; else kill it and wait until it is gone."""
    streams = [s for s in (process.stdout, process.stderr) if s is not None]
    if process.returncode is not None and all(s.at_eof() for s in streams):
        return
    _kill(process)
    await process.wait()
    # A child that left the group keeps a stream open: it is not waited for.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            for stream in streams:
                while await stream.read(65536):
                    pass


def _too_late(name: str, late: float) -> TooLate:
    return TooLate(f"fence device {name}: not sent, the right to order ended {late:.3f} s ago")


def _silent(name: str, program: str, timeout: float, sent_at: float | None) -> DeviceUnreachable:
    return DeviceUnreachable(
        f"fence device {name}: {program} gave no answer within {timeout:g} s and was ended", sent_at=sent_at
    )


def sentence(text: str, secrets: Iterable[str]) -> str:
    """A device's words on one line, shortened, with nothing in them that acts on a terminal, and without any of the secrets."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:LONGEST_SENTENCE]
