"""The Redfish emulator as a test holds it: started, told how to behave, asked what really happened."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import bcrypt

from contract import redfish_emulator
from contract.apiserver import free_port, until
from contract.tls import make_certificate
from ringfence.ports import DeviceSpec

ONE = "11111111-2222-3333-4444-555555555555"
TWO = "66666666-7777-8888-9999-aaaaaaaaaaaa"
NAMES = {ONE: "n1", TWO: "n2"}
SECRET = {"username": b"fence", "password": b"s3cret-word\n"}


class Bmc:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        make_certificate(folder)
        word = bcrypt.hashpw(b"s3cret-word", bcrypt.gensalt(4)).decode()
        (folder / "users").write_text(f"fence:{word}\n")
        self.reset()
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, redfish_emulator.__file__, str(folder), str(self.port)],
                stdout=log,
                stderr=log,
            )
        until(self._answers, "the emulator's port", bound=30)

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError((self.folder / "log").read_text())
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def reset(self, mode: str = "ok", power: str = "On", **more: Any) -> None:
        systems = {
            uuid: {"name": name, "mode": mode, "power": power, **more} for uuid, name in self.names().items()
        }
        (self.folder / "systems.json.new").write_text(json.dumps(systems))
        (self.folder / "systems.json.new").replace(self.folder / "systems.json")

    def names(self) -> dict[str, str]:
        """The machines that it stands before, by their UUIDs."""
        return NAMES

    def system(self, uuid: str = ONE) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "systems.json").read_text())[uuid]
        return found

    def spec(self, **more: Any) -> DeviceSpec:
        return DeviceSpec(
            **{
                "name": "bmc-1",
                "driver": "redfish",
                "address": f"https://127.0.0.1:{self.port}",
                "system_id": ONE,
                "ca_bundle": (self.folder / "bmc.crt").read_text(),
                "timeout_seconds": 3.0,
                **more,
            }
        )

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
