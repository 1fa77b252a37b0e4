"""The product's own executor, in a process that is killed right before or right after it carries out one command.

Before: nothing of it has been sent. After: its answer has come, and nobody has gone by it yet. What else the same step has begun was not
sent either, or has no answer: a process that is killed doesn't finish its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, get_args
from unittest.mock import patch

from ringfence.controller import loop
from ringfence.controller.failovers import Executor
from ringfence.core.failover.commands import Command, RecoverPods
from ringfence.core.failover.record import Record
from ringfence.core.failover.recovery import RecoveryCommand
from ringfence.ports import ObjectRef
from simulator.system.executor import Deadly
from simulator.system.processes import Process

_ASKS = get_args(RecoveryCommand)
Told = Callable[[Command | RecoveryCommand], None]
"""Told of each command that is begun."""
Dies = Callable[[str], None]
"""Kills the replica of that name."""


class Killed(BaseException):
    """Nothing of this process runs again. None of its handlers catches this, as none would catch a SIGKILL."""


class _Mortal(Coroutine[Any, Any, None]):
    """A command's work, which its process may not outlive. A coroutine by hand, since one that is never begun has to close what it holds."""

    def __init__(
        self, work: Coroutine[Any, Any, None], before: Callable[[], None], after: Callable[[], None]
    ) -> None:
        self._work = work
        self._before = before
        self._after = after

    def __await__(self) -> Generator[Any, Any, None]:
        self._before()
        yield from self._work.__await__()
        self._after()

    def send(self, value: Any) -> Any:
        return self._work.send(value)

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> Any:
        return self._work.throw(typ, val, tb) if val is not None else self._work.throw(typ)

    def close(self) -> None:
        self._work.close()


@contextmanager
def mortal(deadly: Deadly | None, told: Told, dies: Dies) -> Iterator[None]:
    """Leaders carry their steps out so for that long. ``told`` hears of every command that is begun."""
    left = deadly
    works: list[Coroutine[Any, Any, None]] = []

    def end_at(command: Command | RecoveryCommand, *, after: bool) -> None:
        nonlocal left
        if left is None or not isinstance(command, left.kind) or left.after is not after:
            return
        if left.spared:
            left = replace(left, spared=left.spared - 1)
            return
        left = None
        process = asyncio.get_running_loop()
        assert isinstance(process, Process)
        dies(process.name)
        raise Killed

    class Watched(Executor):
        def _start(self, record: Record, command: Command, about: ObjectRef, deadline: float) -> None:
            self._command = command
            # `RecoverPods` is several: before the first is begun, and after the last is.
            if not isinstance(command, RecoverPods):
                super()._start(record, command, about, deadline)
                return
            told(command)
            end_at(command, after=False)
            super()._start(record, command, about, deadline)
            end_at(command, after=True)

        def _run(self, key: Hashable, work: Coroutine[Any, Any, None], **how: Any) -> None:
            # What is asked of Kubernetes and KubeVirt is its own key (`RecoverPods`).
            command: Command | RecoveryCommand = key if isinstance(key, _ASKS) else self._command

            def before() -> None:
                told(command)
                end_at(command, after=False)

            works.append(work)
            watched = _Mortal(work, before, lambda: end_at(command, after=True))
            super()._run(key, watched, **how)

    try:
        # A leader makes its own executor: there is no other place to come between.
        with patch.object(loop, "Executor", Watched):
            yield
    finally:
        for work in works:
            work.close()  # of a killed process some were never begun
