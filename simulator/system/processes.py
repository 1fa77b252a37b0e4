"""Processes in virtual time: an asyncio loop for each, which can be frozen and killed, and one agenda for the world around them.

A process runs the product's own coroutines. Nothing waits for a socket: all that comes from outside is on the world's agenda, and reaches
a process through a future. So a frozen process misses no answer and no timer, it finds them all when it thaws, as after
SIGSTOP; and what a killed one has sent arrives all the same.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

ENDLESS = 100_000
"""Callbacks in a row without time going on: something turns in a circle."""


class Stuck(AssertionError):
    """A process goes round and round without waiting for anything."""


class Process(asyncio.AbstractEventLoop):
    """One process' event loop. Made, run, frozen and killed by its :class:`Agenda`."""

    def __init__(self, agenda: Agenda, name: str) -> None:
        self._agenda = agenda
        self.name = name
        self.frozen = self.dead = False
        self.troubles: list[BaseException] = []
        """What has come out of its tasks, and nobody has asked for."""
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._number = 0

    # --- what the agenda asks ---------------------------------------------------------------------------------------

    @property
    def runs(self) -> bool:
        return not (self.frozen or self.dead)

    def next_at(self) -> float:
        """When its next timer is due."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else float("inf")

    def spin(self, now: float) -> None:
        """Run all that can run now."""
        while self._timers and self._timers[0][0] <= now:
            self._ready.append(heapq.heappop(self._timers)[2])
        if not self._ready:
            return
        asyncio._set_running_loop(self)  # noqa: SLF001 (what every event loop must do)
        try:
            for _ in range(ENDLESS):
                if not self._ready or self.frozen:
                    return
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()  # noqa: SLF001
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001
        raise Stuck(f"{self.name} does {ENDLESS} things at one instant")

    def kill(self) -> None:
        """It is no more: nothing of it runs again. Whoever gave it its doors has closed them before."""
        self.dead, self.frozen = True, False
        # Not as SIGKILL would: coroutines are closed here, not by the garbage collector, which tells of each.
        for _ in range(3):
            for task in asyncio.all_tasks(self):
                task.cancel()
            self.spin(float("-inf"))
        self._ready.clear()
        self._timers.clear()

    # --- what asyncio asks ------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self._agenda.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(  # type: ignore[override] # a process takes any callback, as asyncio's own loops do
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._agenda.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It stays in the heap, and is passed over."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not self.dead and error is not None:
            self.troubles.append(error)


class Agenda:
    """What is to come in the world, and the processes that live in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._processes: list[Process] = []

    def after(self, delay: float, act: Callable[[], None]) -> None:
        """Do it in so many seconds."""
        self._number += 1
        heapq.heappush(self._heap, (self.now + delay, self._number, act))

    def process(self, name: str) -> Process:
        """A new process, which runs nothing yet."""
        found = Process(self, name)  # type: ignore[abstract] # it has no sockets, signals and programs
        self._processes.append(found)
        return found

    def kill(self, process: Process) -> None:
        """Between two of its steps."""
        process.kill()
        self._processes.remove(process)

    def run(self, until: float) -> None:
        """Let time go on, and everybody do what is due, in order."""
        while True:
            for process in [p for p in self._processes if p.runs]:
                process.spin(self.now)
            due = min((p.next_at() for p in self._processes if p.runs), default=float("inf"))
            if self._heap:
                due = min(due, self._heap[0][0])
            if due > until:
                break
            self.now = max(self.now, due)
            while self._heap and self._heap[0][0] <= self.now:
                heapq.heappop(self._heap)[2]()
        self.now = until

    def end(self) -> None:
        """Nobody runs any more."""
        for process in list(self._processes):
            self.kill(process)


class VirtualClock:
    """The clock of all processes: one rate, one zero; a second of wall clock is as long as one of theirs."""

    WALL = 1_800_000_000.0

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda

    def monotonic(self) -> float:
        return self._agenda.now

    def wall(self) -> float:
        return self.WALL + self._agenda.now
