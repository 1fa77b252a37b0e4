"""Real fence devices of every kind, as the contract of :class:`ringfence.ports.PowerDevice` meets them.

A rig stands before one machine. It knows from outside whether that machine is on and what orders reached its BMC, and
it can make the BMC misbehave. ``MODES`` says in which ways: not every device can be broken in every way.
"""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any, ClassVar, Protocol

from contract.apiserver import free_port, until
from contract.redfish_bmc import ONE, SECRET, Bmc
from lab import ipmi
from lab.bmc import Bmc as Control
from lab.processes import start_time
from ringfence.ports import DeviceSpec

TESTS = Path(__file__).resolve().parents[1]
USER, PASSWORD = "fence", "s3cret-word"
WRONG = "n0t-the-word"
DELAY = 1.0
"""Seconds, of a slow device."""
# What makes an agent wait no longer than it must: what it waits for, ringfence reads itself.
BRISK = (("power_wait", "0"), ("power_timeout", "3"))


class Rig(Protocol):
    """One machine behind one kind of device."""

    MODES: ClassVar[tuple[str, ...]]
    uuid: str
    """What the device says it stands before; empty where it can't say."""
    tells_who_must_act: bool
    """Whether it tells a wrong password from a device that is away."""

    def spec(self, **more: Any) -> DeviceSpec: ...
    def away(self) -> DeviceSpec:
        """The same, with nobody at the other end."""

    def secret(self, password: str = PASSWORD) -> dict[str, bytes]: ...
    def behave(self, mode: str, *, on: bool = True) -> None:
        """From now on; with the machine's power as told."""

    def on(self) -> bool:
        """Whether the machine is on, seen from outside."""

    def orders(self) -> list[str]:
        """Power orders that reached the device since :meth:`behave`, as ``ForceOff`` and ``On``."""

    def stop(self) -> None: ...


class RedfishRig:
    MODES: ClassVar[tuple[str, ...]] = ("ok", "ignore", "refuse", "hang", "slow")
    uuid = ONE
    tells_who_must_act = True

    def __init__(self, folder: Path) -> None:
        self.bmc = Bmc(folder)

    def spec(self, **more: Any) -> DeviceSpec:
        return self.bmc.spec(**more)

    def away(self) -> DeviceSpec:
        return self.spec(address=f"https://127.0.0.1:{free_port()}")

    def secret(self, password: str = PASSWORD) -> dict[str, bytes]:
        return {**SECRET, "password": password.encode()}

    def behave(self, mode: str, *, on: bool = True) -> None:
        self.bmc.reset(mode, "On" if on else "Off", delay=DELAY)

    def on(self) -> bool:
        return bool(self.bmc.system()["power"] == "On")

    def orders(self) -> list[str]:
        return list(self.bmc.system().get("orders", []))

    def stop(self) -> None:
        self.bmc.stop()


class IpmiRig:
    """``ipmi_sim``; the machine is on while a file names a process that lives: this one."""

    MODES: ClassVar[tuple[str, ...]] = ("ok", "ignore", "refuse", "hang", "slow")
    uuid = ONE
    tells_who_must_act = True

    def __init__(self, folder: Path, guid: str = ipmi.smbios(ONE)) -> None:
        self.folder = folder
        self.port = free_port(socket.SOCK_DGRAM)
        self.log = folder / "ipmi.jsonl"
        self.control = Control(folder / "control.json", self.log)
        (folder / "alive").write_text(f"{os.getpid()} {start_time(os.getpid())}")
        command = ipmi.command(
            folder,
            listen="127.0.0.1",
            port=self.port,
            user=USER,
            password=PASSWORD,
            guid=guid,
            node="n1",
            node_dir=folder,
            control=folder / "control.json",
            log=self.log,
            off=["rm", "-f", str(folder / "init.pid")],
            on=["cp", str(folder / "alive"), str(folder / "init.pid")],
        )
        with (folder / "out").open("wb") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONPATH": str(TESTS)},
                start_new_session=True,
            )
        until(lambda: ipmi.answers("127.0.0.1", self.port), "ipmi_sim", bound=30)

    def spec(self, **more: Any) -> DeviceSpec:
        fields = {
            "name": "ipmi-1",
            "driver": "ipmi",
            "address": f"127.0.0.1:{self.port}",
            "cipher_suite": ipmi.CIPHER_SUITE,
            "expected_uuid": ONE,
            "timeout_seconds": 10.0,
            **more,
        }
        return DeviceSpec(**fields)

    def away(self) -> DeviceSpec:
        return self.spec(address=f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}")

    def secret(self, password: str = PASSWORD) -> dict[str, bytes]:
        return {"username": USER.encode(), "password": password.encode()}

    def behave(self, mode: str, *, on: bool = True) -> None:
        self.log.unlink(missing_ok=True)
        self.control.mode(mode, 3.0 if mode == "hang" else DELAY)
        target = self.folder / "init.pid"
        if on:
            target.write_bytes((self.folder / "alive").read_bytes())
        else:
            target.unlink(missing_ok=True)
        # It does one thing at a time: what an earlier test made it wait for must be over.
        until(lambda: ipmi.answers("127.0.0.1", self.port), "ipmi_sim to be idle", bound=30)

    def on(self) -> bool:
        return (self.folder / "init.pid").exists()

    def orders(self) -> list[str]:
        return [str(row["state"]) for row in self.control.log() if row["what"] == "request"]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class AgentRig:
    """A fence agent: no identity, and one sentence for most of what goes wrong."""

    uuid: str = ""
    tells_who_must_act = False

    def secret(self, password: str = PASSWORD) -> dict[str, bytes]:
        return {"password": password.encode()}


class FenceIpmilanRig(AgentRig, IpmiRig):
    def spec(self, **more: Any) -> DeviceSpec:
        port = str(more.pop("port", self.port))
        fields = {
            "name": "lan-1",
            "driver": "agent",
            "address": "",
            "program": "fence_ipmilan",
            "timeout_seconds": 10.0,
            "parameters": (
                *(("ip", "127.0.0.1"), ("ipport", port), ("username", USER)),
                *(("lanplus", "1"), ("cipher", str(ipmi.CIPHER_SUITE)), *BRISK),
            ),
            **more,
        }
        return DeviceSpec(**fields)

    def away(self) -> DeviceSpec:
        return self.spec(port=free_port(socket.SOCK_DGRAM))


class FenceRedfishRig(AgentRig, RedfishRig):
    def spec(self, **more: Any) -> DeviceSpec:
        port = str(more.pop("port", self.bmc.port))
        fields = {
            "name": "redfish-agent-1",
            "driver": "agent",
            "address": "",
            "program": "fence_redfish",
            "timeout_seconds": 10.0,
            "parameters": (
                *(("ip", "127.0.0.1"), ("ipport", port), ("username", USER), ("ssl_insecure", "1")),
                *(("systems_uri", f"/redfish/v1/Systems/{ONE}"), *BRISK),
            ),
            **more,
        }
        return DeviceSpec(**fields)

    def away(self) -> DeviceSpec:
        return self.spec(port=free_port())


class FenceDummyRig(AgentRig):
    """Debian's agent for testing: the power is a word in a file."""

    MODES: ClassVar[tuple[str, ...]] = ("ok",)

    def __init__(self, folder: Path) -> None:
        self.file = folder / "status"

    def spec(self, **more: Any) -> DeviceSpec:
        fields = {
            "name": "dummy-1",
            "driver": "agent",
            "address": "",
            "program": "fence_dummy",
            "timeout_seconds": 10.0,
            "parameters": (("status_file", str(self.file)), *BRISK),
            **more,
        }
        return DeviceSpec(**fields)

    def behave(self, mode: str, *, on: bool = True) -> None:  # noqa: ARG002 - it has one mode
        self.file.write_text("on" if on else "off")

    def secret(self, password: str = PASSWORD) -> dict[str, bytes]:  # noqa: ARG002 - it has none
        return {}

    def on(self) -> bool:
        return self.file.read_text() == "on"

    def away(self) -> DeviceSpec:
        raise NotImplementedError("a file is always there")

    def orders(self) -> list[str]:
        return [] if self.on() else ["ForceOff"]

    def stop(self) -> None:
        """Nothing runs."""
