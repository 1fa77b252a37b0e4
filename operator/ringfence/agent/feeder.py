"""``python -m ringfence.agent.feeder``: feeds the node's watchdog while the agent's legs hold. A process of its own.

It is small, locked into memory and does nothing but look at a file, at the clock and at the device, so that what stops
an agent (an upgrade, an exception, want of memory) doesn't stop it. What is decided stands in
:class:`ringfence.core.fencing.selffence.Feeder`. It ends on SIGTERM once its watchdog doesn't run any more, that is when the
agent's ``armed=false`` has been acknowledged; killed before that it leaves the watchdog running for its successor.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import time
from pathlib import Path

from ringfence import logs
from ringfence.agent.mailbox import RUN_DIRECTORY, FeederState, Mailbox
from ringfence.core import timing
from ringfence.core.fencing.selffence import NEVER, Feeder
from ringfence.host.guests import stop_guests
from ringfence.host.privileges import take_privileges
from ringfence.host.watchdog import Watchdog, WatchdogError

logger = logging.getLogger("ringfence.feeder")

OPEN_AGAIN = 10.0
"""Seconds until a device that could not be opened is tried again."""
ENDING_EVERY = 0.1


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line. The device has no default: nobody shall open a host's watchdog by accident."""
    parser = argparse.ArgumentParser(prog="ringfence-feeder", description="Feeds the node's watchdog.")
    parser.add_argument("--device", type=Path, required=True)
    parser.add_argument(
        "--nowayout-path", type=Path, default=None, help="where the driver tells its nowayout"
    )
    parser.add_argument("--isolation-seconds", type=float, required=True)
    parser.add_argument("--timeout-seconds", type=int, required=True)
    parser.add_argument(
        "--stop-guests", default="", help="programs to kill before the bite, by their name's beginning"
    )
    parser.add_argument("--run-dir", type=Path, default=RUN_DIRECTORY)
    parser.add_argument("--boot-id-path", type=Path, default=Path("/proc/sys/kernel/random/boot_id"))
    parser.add_argument("--log-format", choices=logs.FORMATS, default="text")
    return parser.parse_args(arguments)


def boottime() -> float:
    """The feeder's only clock: it goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class FeederProcess:
    """The machine, the device and the two files."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        self._mailbox = Mailbox(
            chosen.run_dir, chosen.boot_id_path.read_text(encoding="ascii").strip().lower()
        )
        before = self._mailbox.state()
        fed_at = before.fed_at if before is not None and before.armed and before.fed_at is not None else NEVER
        self._before = before
        self._machine = Feeder(boottime(), chosen.isolation_seconds, chosen.timeout_seconds, fed_at)
        self._dog: Watchdog | None = None
        self._open_at = NEVER
        self._trouble = ""
        self._said: str | None = None
        self.ending = False

    def run(self) -> None:
        """Until SIGTERM and disarmed."""
        while not (self.ending and not self._machine.running):
            self.turn()
            time.sleep(ENDING_EVERY if self.ending else timing.FEED_EVERY)

    def turn(self) -> None:
        """Look once, and do what is due."""
        self._machine.hear(self._mailbox.word())
        now = boottime()
        turn = self._machine.turn(now)
        if turn.feed and now >= self._open_at:
            self._feed(now)
        if turn.disarm:
            self._disarm()
        if turn.stop_guests and self._chosen.stop_guests:
            told, refused = stop_guests(self._chosen.stop_guests)
            if told or refused:
                logger.warning("guests stopped: %d, not permitted: %d (%s)", told, refused, turn.why)
        self._tell(self._trouble or turn.why)

    def _feed(self, began_at: float) -> None:
        try:
            if self._dog is None:
                chosen = self._chosen
                self._dog = Watchdog(chosen.device, chosen.timeout_seconds, chosen.nowayout_path)
            else:
                self._dog.feed()
            rest = self._machine.fed(began_at, boottime())
            if rest is not None:
                logger.warning("fed too late, the watchdog bites within %.0f s", rest)
                self._dog.shorten(rest)
        except (WatchdogError, OSError) as error:
            self._trouble = str(error)
            self._open_at = boottime() + (OPEN_AGAIN if self._dog is None else 0.0)
        else:
            self._trouble = ""

    def _disarm(self) -> None:
        try:
            if self._dog is None:  # an earlier process has left it running
                self._dog = Watchdog(
                    self._chosen.device, self._chosen.timeout_seconds, self._chosen.nowayout_path
                )
            self._dog.stop()
        except (WatchdogError, OSError) as error:
            self._trouble = str(error)
            return
        finally:
            self._dog = None
        self._machine.disarmed()

    def _tell(self, why: str) -> None:
        opened = self._dog.opened if self._dog is not None else None
        armed = self._machine.running
        kept = self._before if armed and opened is None else None
        state = FeederState(
            armed=armed,
            why=why,
            device=f"{self._chosen.device} ({opened.identity})"
            if opened
            else kept.device
            if kept
            else str(self._chosen.device),
            timeout=opened.timeout if opened else kept.timeout if kept else None,
            asked=kept.asked if kept else self._chosen.timeout_seconds,
            isolation=kept.isolation if kept else self._chosen.isolation_seconds,
            nowayout=opened.nowayout if opened else kept.nowayout if kept else None,
            fed_at=self._machine.fed_at if armed else None,
        )
        line = f"{'armed' if armed else 'not armed'}{': ' if why else ''}{why}"
        if _without_figures(line) != self._said:
            self._said = _without_figures(line)
            logger.info("the watchdog is %s", line)
        with contextlib.suppress(OSError):
            self._mailbox.put_state(state)


def _without_figures(line: str) -> str:
    """One line a change, not one a second."""
    return "".join(letter for letter in line if not letter.isdigit())


def main() -> int:
    """Run; 1 where the run folder or the boot id can't be read."""
    chosen = options()
    logs.begin("INFO", chosen.log_format)
    least = timing.self_fence_seconds(chosen.isolation_seconds, chosen.timeout_seconds)
    logger.info(
        "feeding %s; without a leg for %g s, or an agent, the node is reset within %g s: assumeSeconds must be above that",
        chosen.device, chosen.isolation_seconds, least,
    )  # fmt: skip
    take_privileges()
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        process = FeederProcess(chosen)
    except OSError as error:
        logger.error("the feeder can't run: %s", error)
        return 1

    def end(_number: int, _frame: object) -> None:
        process.ending = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    process.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
