"""The timer behind the shim: runs outside the node, and bites when it isn't fed.

``python -m lab.watchdog.timer SOCKET LOG COMMAND...``: COMMAND is the bite, the node's reset. One feeder at a time, like the
kernel's device: ``-`` to a second. It starts when it is opened, and stops only where ``V`` was the last thing written before
the close; a feeder that dies leaves it running, and its successor finds it so. After a bite it stands still until it is
opened again.

Lines from the shim: ``k`` feed, ``tN`` time-out of N seconds (feeds too), ``V`` magic character, ``m`` stops at any close.
The log has one JSON object a line: ``{"t": wall time, "what": "open" | "timeout" | "stop" | "close" | "bite", ...}``.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


class Timer:
    """One watchdog."""

    def __init__(self, log: Path, bite: Callable[[], None]) -> None:
        self._log = log
        self._bite = bite
        self._seconds = 60.0
        self._handle: asyncio.TimerHandle | None = None
        self._open = False
        self._magic = False
        self._stops_at_close = False

    async def serve(self, socket: str) -> None:
        """For ever."""
        server = await asyncio.start_unix_server(self._accept, socket)
        async with server:
            await server.serve_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open:
            writer.write(b"-")
            writer.close()
            return
        self._open, self._magic, self._stops_at_close = True, False, False
        self._note("open")
        self._feed()
        writer.write(b"+")
        rest = b""
        try:
            while piece := await reader.read(256):
                rest = self._take(rest + piece)
        except ConnectionError:
            pass
        if rest == b"V":
            self._magic = True
        self._open = False
        if self._magic or self._stops_at_close:
            self._note("stop")
            self._still()
        else:
            self._note("close")
        writer.close()

    def _take(self, data: bytes) -> bytes:
        """Work off the lines; ``V`` comes without a line's end, as a program writes it."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._magic = False
            match line[:1]:
                case b"k":
                    self._feed()
                case b"t":
                    self._seconds = float(line[1:])
                    self._note("timeout", seconds=self._seconds)
                    self._feed()
                case b"m":
                    self._stops_at_close = True
        return rest

    def _still(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _feed(self) -> None:
        self._still()
        self._handle = asyncio.get_running_loop().call_later(self._seconds, self._fire)

    def _fire(self) -> None:
        self._handle = None
        self._note("bite")
        self._bite()

    def _note(self, what: str, **more: float) -> None:
        with self._log.open("a") as log:
            log.write(json.dumps({"t": time.time(), "what": what, **more}) + "\n")


def main() -> None:
    socket, log, *command = sys.argv[1:]

    def bite() -> None:
        subprocess.run(command, check=False)

    Path(socket).unlink(missing_ok=True)
    asyncio.run(Timer(Path(log), bite).serve(socket))


if __name__ == "__main__":
    main()
