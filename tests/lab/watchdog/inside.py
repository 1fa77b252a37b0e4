"""``python -m lab.watchdog.inside ISOLATION TIMEOUT``: the first process of the guest that has a real watchdog.

It plays the node around our own code: a feeder under its supervisor, as the chart starts it, and an agent that is nothing but
its `Lifeline` and is told which legs hold. It obeys lines of JSON from the second serial port and says there, five times a
second, what the kernel and our code say of the watchdog. Who asks has no other way in.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import tty
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ringfence.agent.lifeline import Lifeline, boottime
from ringfence.agent.mailbox import Mailbox
from ringfence.host.clock import read_boot_id
from ringfence.host.watchdog import Watchdog
from ringfence.kube.node_api import LeaseState

PORT = Path("/dev/ttyS1")
DEVICE = Path("/dev/watchdog")
KERNEL = Path("/sys/class/watchdog/watchdog0")
NOWAYOUT = KERNEL / "nowayout"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
EVERY = 0.2
GUEST = "qemu-ticker"
"""The program that stands for a virtual machine: its name begins as the chart's ``--stop-guests`` says."""


class Inside:
    """The node."""

    def __init__(self, isolation: float, timeout: int, port: int) -> None:
        self._isolation, self._timeout = isolation, timeout
        self._port = port
        self._mailbox = Mailbox(Path("/run/ringfence"), read_boot_id(BOOT_ID))
        self._lifeline = Lifeline(self._mailbox, isolation, timeout)
        self._legs: set[str] = set()
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._guest: subprocess.Popen[bytes] | None = None

    # --- the agent ----------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """One look of the agent; its reports are taken by an API server that is always there."""
        now = time.monotonic()
        if "Api" in self._legs:
            self._lifeline.lease_answered(LeaseState.HELD, boottime())
        self._lifeline.tick(now, now if "Gossip" in self._legs else None, 3)
        status = self._lifeline.status()
        self._lifeline.reported({"watchdog": status})
        self.say(
            {
                "now": boottime(),
                "report": status,
                "feeder": None if (state := self._mailbox.state()) is None else asdict(state),
                "heldAt": None if (word := self._mailbox.word()) is None or not word.held else word.held_at,
                "kernel": {
                    name: (KERNEL / name).read_text().strip()
                    for name in ("state", "timeout", "nowayout", "identity")
                },
                "guest": self._guest is not None and self._guest.poll() is None,
            }
        )

    def say(self, what: dict[str, Any]) -> None:
        os.write(self._port, json.dumps(what).encode() + b"\n")

    # --- what it is told ------------------------------------------------------------------------------------------------

    def legs(self, names: list[str]) -> None:
        """Which legs hold from now on."""
        self._legs = set(names)

    def feeder(self) -> None:
        """Start it, as the chart does."""
        python = [sys.executable, "-m"]
        self._supervisor = subprocess.Popen(
            [
                *python, "ringfence.agent.supervise", "--realtime", *python, "ringfence.agent.feeder", f"--device={DEVICE}",
                f"--nowayout-path={NOWAYOUT}", f"--isolation-seconds={self._isolation}",
                f"--timeout-seconds={self._timeout}", "--stop-guests=qemu-",
            ]
        )  # fmt: skip

    def kill_feeder(self) -> None:
        """SIGKILL the feeder alone."""
        assert self._supervisor is not None
        children = Path(f"/proc/{self._supervisor.pid}/task/{self._supervisor.pid}/children")
        (child,) = children.read_text().split()
        os.kill(int(child), signal.SIGKILL)

    def kill_supervisor(self) -> None:
        """SIGKILL the supervisor: the feeder dies with it, and nobody starts another one."""
        assert self._supervisor is not None
        self._supervisor.kill()
        self._supervisor.wait()

    def end_feeder(self) -> None:
        """SIGTERM, as a kubelet does."""
        assert self._supervisor is not None
        self._supervisor.terminate()
        self._supervisor.wait()

    def sign_off(self) -> None:
        """The orderly end of the agent; whoever runs next is a new one."""
        asyncio.run(self._lifeline.sign_off(lambda: True))

    def agent(self, timeout: int) -> None:
        """A new agent, and from now on this time-out: what an upgrade may change."""
        self._timeout = timeout
        self._lifeline = Lifeline(self._mailbox, self._isolation, timeout)

    def guest(self) -> None:
        """Start the program that stands for a virtual machine."""
        program = Path("/", GUEST)
        program.unlink(missing_ok=True)
        program.symlink_to("/bin/busybox")
        self._guest = subprocess.Popen(["sleep", "1000"], executable=program)

    def magic_close(self) -> None:
        """Open the watchdog and stop it, as our feeder does when it disarms."""
        Watchdog(DEVICE, self._timeout, NOWAYOUT).stop()


def main() -> None:
    """Until the kernel ends it all."""
    isolation, timeout = float(sys.argv[1]), int(sys.argv[2])
    port = os.open(PORT, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port)
    node = Inside(isolation, timeout, port)
    lock = threading.Lock()

    def obey() -> None:
        with os.fdopen(os.dup(port), "rb", buffering=0) as lines:
            while line := lines.readline():
                order = json.loads(line)
                try:
                    with lock:
                        getattr(node, order.pop("do"))(**order)
                        node.say({"done": True})
                except Exception:  # noqa: BLE001 - whoever asked reads it
                    node.say({"failed": traceback.format_exc()})

    threading.Thread(target=obey, daemon=True).start()
    while True:
        with lock:
            node.turn()
        time.sleep(EVERY)  # as an agent looks: now and then


if __name__ == "__main__":
    main()
