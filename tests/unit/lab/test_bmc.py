"""The lab's BMC, as the product meets it: a process of its own, driven by the product's own adapter.

The node is a ``sleep``: its power is on as long as that very process lives.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from contract.apiserver import free_port, until
from contract.tls import make_certificate
from lab import bmc
from lab.processes import start_time
from ringfence.core.model import PowerState
from ringfence.fencing import open_device
from ringfence.ports import (
    DeviceError,
    DeviceRefused,
    DeviceSpec,
    DeviceUnauthorized,
    PowerDevice,
    SystemClock,
)

TESTS = Path(__file__).resolve().parents[2]
UUID = "0c9f3a52-5d64-4a5e-8a43-6f1c2f1b7d11"
CLOCK = SystemClock()
# What the lab's own commands do to a node, done to a sleep: kill process 1, and start another.
HOOK = """
import os, pathlib, signal, sys
folder, what = pathlib.Path(sys.argv[1]), sys.argv[2]
(folder / "asked").open("a").write(what + chr(10))
if what == "off":
    os.kill(int((folder / "init.pid").read_text().split()[0]), signal.SIGKILL)
"""


class Sleeper:
    """A node that does nothing but live."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(["sleep", "600"])
        # Reaped at once, as a node's process 1 is: else the dead one stays a zombie (which counts as off too).
        self._reaper = threading.Thread(target=self.process.wait, daemon=True)
        self._reaper.start()
        (folder / "init.pid").write_text(f"{self.process.pid} {start_time(self.process.pid)}")

    def alive(self) -> bool:
        return start_time(self.process.pid) is not None

    def end(self) -> None:
        if self.alive():
            self.process.send_signal(signal.SIGKILL)
        self._reaper.join(10)


class Rig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        crt, key = make_certificate(folder)
        self.ca = crt.read_text()
        bmc.write_htpasswd(folder / "users", "fence", "word")
        control, log = folder / "control.json", folder / "bmc.jsonl"
        self.bmc = bmc.Bmc(control, log)
        hook = [sys.executable, "-c", HOOK, str(folder)]
        command = bmc.command(
            listen="127.0.0.1", port=self.port, cert=crt, key=key, htpasswd=folder / "users", node="n1",
            uuid=UUID, node_dir=folder, control=control, log=log, off=[*hook, "off"], on=[*hook, "on"],
        )  # fmt: skip
        with (folder / "out").open("wb") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": str(TESTS)}
            )

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "out").read_text()
        return "Running on" in (self.folder / "out").read_text()

    def asked(self) -> list[str]:
        asked = self.folder / "asked"
        return asked.read_text().split() if asked.exists() else []

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    @asynccontextmanager
    async def opened(self, password: bytes = b"word", **more: Any) -> AsyncIterator[PowerDevice]:
        fields = {"system_id": UUID, "ca_bundle": self.ca, "timeout_seconds": 3.0, **more}
        spec = DeviceSpec(name="bmc-n1", driver="redfish", address=f"https://127.0.0.1:{self.port}", **fields)
        device = open_device(spec, {"username": b"fence", "password": password}, CLOCK)
        try:
            await device.open()
            yield device
        finally:
            await device.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("bmc"))
    try:
        until(rig.answers, "the BMC", bound=30)
        yield rig
    finally:
        rig.end()


@pytest.fixture
def rig(running: Rig) -> Rig:
    running.bmc.mode("ok")
    (running.folder / "asked").unlink(missing_ok=True)
    (running.folder / "bmc.jsonl").unlink(missing_ok=True)
    return running


@pytest.fixture
def node(rig: Rig) -> Iterator[Sleeper]:
    sleeper = Sleeper(rig.folder)
    yield sleeper
    sleeper.end()


async def test_off_kills_the_node_before_it_answers(rig: Rig, node: Sleeper) -> None:
    async with rig.opened() as device:
        assert (await device.identity()).uuid == UUID
        assert (await device.power()).state is PowerState.ON
        await device.order_off(deadline=CLOCK.monotonic() + 5)
        until(lambda: not node.alive(), "the node to die", bound=5)
        assert (await device.power()).state is PowerState.OFF
    told = [(row["what"], row.get("state", row.get("key"))) for row in rig.bmc.log()]
    assert ("request", "ForceOff") in told
    assert told.index(("request", "ForceOff")) < told.index(("hook", "off")) < told.index(("read", "Off"))
    assert [row["rc"] for row in rig.bmc.log() if row["what"] == "hook"] == [0]


async def test_power_is_what_the_node_is(rig: Rig, node: Sleeper) -> None:
    async with rig.opened() as device:
        assert (await device.power()).state is PowerState.ON
        node.end()  # nobody asked the BMC
        assert (await device.power()).state is PowerState.OFF


async def test_another_process_with_the_nodes_number_is_not_the_node(rig: Rig, node: Sleeper) -> None:
    (rig.folder / "init.pid").write_text(f"{node.process.pid} 1")
    async with rig.opened() as device:
        assert (await device.power()).state is PowerState.OFF


async def test_on_runs_the_labs_command(rig: Rig, node: Sleeper) -> None:
    async with rig.opened() as device:
        await device.order_on()
    assert rig.asked() == ["on"]


async def test_ignore_does_nothing_and_reads_true(rig: Rig, node: Sleeper) -> None:
    rig.bmc.mode("ignore")
    async with rig.opened() as device:
        await device.order_off(deadline=CLOCK.monotonic() + 5)
        assert (await device.power()).state is PowerState.ON
    assert node.alive()
    assert rig.asked() == []


async def test_lie_says_off_until_the_mode_changes(rig: Rig, node: Sleeper) -> None:
    rig.bmc.mode("lie")
    async with rig.opened() as device:
        assert (await device.power()).state is PowerState.ON
        await device.order_off(deadline=CLOCK.monotonic() + 5)
        assert (await device.power()).state is PowerState.OFF
        assert node.alive()
        rig.bmc.mode("ok")
        assert (await device.power()).state is PowerState.ON


async def test_refuse_is_an_error(rig: Rig, node: Sleeper) -> None:
    rig.bmc.mode("refuse")
    async with rig.opened() as device:
        with pytest.raises(DeviceRefused):
            await device.order_off(deadline=CLOCK.monotonic() + 5)
    assert node.alive()


async def test_hang_gives_no_answer_in_time(rig: Rig, node: Sleeper) -> None:
    async with rig.opened(timeout_seconds=0.5) as device:
        rig.bmc.mode("hang", 2)
        with pytest.raises(DeviceError):
            await device.power()


async def test_slow_answers_now_and_acts_later(rig: Rig, node: Sleeper) -> None:
    rig.bmc.mode("slow", 1)
    async with rig.opened() as device:
        await device.order_off(deadline=CLOCK.monotonic() + 5)
        assert rig.asked() == []
        until(lambda: not node.alive(), "the node to die", bound=10)
        until(lambda: any(row["what"] == "hook" for row in rig.bmc.log()), "the hook's line", bound=5)


async def test_a_client_that_connects_and_falls_silent_holds_up_nobody(rig: Rig, node: Sleeper) -> None:
    _, silent = await asyncio.open_connection("127.0.0.1", rig.port)
    async with rig.opened() as device:
        assert (await device.power()).state is PowerState.ON
    silent.close()


async def test_flap_contradicts_itself(rig: Rig, node: Sleeper) -> None:
    async with rig.opened() as device:
        rig.bmc.mode("flap")
        seen = [(await device.power()).state for _ in range(3)]
        # By the BMC's own log: on a slow machine one look may cost two requests.
        said = [e["state"] for e in rig.bmc.log() if e["what"] == "read" and e["mode"] == "flap"]
        assert len(said) >= len(seen)
        assert all(one != other for one, other in pairwise(said))
        assert seen[-1].value == said[-1].lower()


async def test_a_wrong_password_is_told(rig: Rig, node: Sleeper) -> None:
    with pytest.raises(DeviceUnauthorized):
        async with rig.opened(password=b"wrong") as device:
            await device.power()


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no mode 'lies'"):
        bmc.Bmc(tmp_path / "c", tmp_path / "l").mode("lies")


def test_no_log_yet(tmp_path: Path) -> None:
    assert bmc.Bmc(tmp_path / "c", tmp_path / "l").log() == []


def test_the_command_carries_the_hooks_as_json() -> None:
    words = bmc.command(off=["a", "b c"], on=["d"], node_dir="/x")
    assert json.loads(words[words.index("--off") + 1]) == ["a", "b c"]
    assert words[words.index("--node-dir") + 1] == "/x"
