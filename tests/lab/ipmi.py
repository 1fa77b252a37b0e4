"""An IPMI BMC for each node: OpenIPMI's ``ipmi_sim``, whose power is what the node really is.

``ipmi_sim`` speaks RMCP+ and asks a program for the chassis' power. That program is this file: it reads the power from
the node's process 1 and runs the lab's own commands for off and on, as :mod:`lab.bmc` does for Redfish. The same control
file makes it misbehave, read anew for each request:

=========  ==========================================================================================
ok         as above
ignore     says that it has acted and does nothing; reads stay true
lie        says that it has acted and does nothing; from then on reads ``off`` while the node runs
refuse     answers orders with an error
hang       gives no answer for ``delay`` seconds, to anything: ``ipmi_sim`` does one thing at a time
slow       answers at once, acts ``delay`` seconds later
flap       acts as ok; every second read says the opposite of what is
=========  ==========================================================================================

Started for each request, so it imports little; ``tests/`` is on ipmi_sim's PYTHONPATH. What ``ipmi_sim`` offers is
cipher suite 3.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid as uuids
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.power import note, really_on

PROGRAM = "/usr/bin/ipmi_sim"
CIPHER_SUITE = 3
HANG = 60.0
PING = bytes.fromhex("0600ff06000011be80000000")
"""An RMCP presence ping (ASF 2.0): whoever listens answers."""
_EMULATION = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
mc_enable 0x20
"""


def command(
    folder: Path,
    *,
    listen: str,
    port: int,
    user: str,
    password: str,
    guid: str,
    node: str,
    node_dir: Path,
    control: Path,
    log: Path,
    off: Sequence[str],
    on: Sequence[str],
) -> list[str]:
    """Write what ``ipmi_sim`` needs into the folder, and say how it is started there.

    ``guid`` is what *Get System GUID* answers: 32 digits, byte by byte.
    """
    (folder / "state").mkdir(parents=True, exist_ok=True)
    about = {
        "node": node,
        "node_dir": str(node_dir),
        "control": str(control),
        "log": str(log),
        "off": [*off],
        "on": [*on],
    }
    (folder / "chassis.json").write_text(json.dumps(about))
    (folder / "bmc.emu").write_text(_EMULATION)
    (folder / "lan.conf").write_text(
        f"""\
name "{node}"
set_working_mc 0x20
  startlan 1
    addr {listen} {port}
    priv_limit admin
    allowed_auths_callback none
    allowed_auths_user none
    allowed_auths_operator none
    allowed_auths_admin none
    guid {guid}
  endlan
  chassis_control "{sys.executable} -Ss -m lab.ipmi {folder / "chassis.json"}"
  user 1 true "" "" user 10 none
  user 2 true "{user}" "{password}" admin 10 none
  user 3 true "{user}-reads" "{password}" user 10 none
"""
    )
    return [
        PROGRAM,
        "-c",
        str(folder / "lan.conf"),
        "-f",
        str(folder / "bmc.emu"),
        "-s",
        str(folder / "state"),
        "-n",
    ]


def smbios(uuid: str) -> str:
    """The GUID as most BMCs tell a machine's UUID: its bytes as SMBIOS has them."""
    return uuids.UUID(uuid).bytes_le.hex()


def answers(address: str, port: int, seconds: float = 0.3) -> bool:
    """Whether somebody answers an RMCP ping there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(seconds)
        try:
            probe.connect((address, port))
            probe.send(PING)
            return len(probe.recv(64)) >= len(PING)
        except OSError:
            return False


class Chassis:
    """The power of one node, for the length of one request."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        self._about = about
        self._folder = Path(about["node_dir"])
        try:
            control = json.loads(Path(about["control"]).read_text())
        except OSError:
            control = {}
        self._mode = control.get("mode", "ok")
        self._delay = float(control.get("delay", 0.0))

    def note(self, what: str, **more: object) -> None:
        note(Path(self._about["log"]), self._about["node"], what, mode=self._mode, **more)

    def read(self) -> bool:
        if self._mode == "hang":
            time.sleep(self._delay or HANG)  # that is the fault: no answer for so long
        on = really_on(self._folder) and not self._remembers("lie")
        if self._mode == "flap":
            on = on != self._turn("flap")
        self.note("read", state="On" if on else "Off")
        return on

    def request(self, on: bool) -> bool:
        """Whether it is accepted."""
        self.note("request", state="On" if on else "ForceOff")
        if self._mode == "hang":
            time.sleep(self._delay or HANG)
        match self._mode:
            case "refuse":
                return False
            case "ignore":
                return True
            case "lie":
                if not on:
                    (self._folder / "ipmi-lie").touch()
                return True
            case "slow":
                if os.fork() == 0:
                    os.setsid()
                    for stream in (0, 1, 2):  # ipmi_sim reads until they are closed
                        os.close(stream)
                    time.sleep(self._delay)
                    self._act("on" if on else "off")
                    os._exit(0)
                return True
            case _:
                self._act("on" if on else "off")
                return True

    def _act(self, hook: str) -> None:
        began = time.time()
        done = subprocess.run(
            self._about[hook], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        self.note(
            "hook", key=hook, rc=done.returncode, took=round(time.time() - began, 3), said=done.stderr[-300:]
        )

    def _remembers(self, mode: str) -> bool:
        mark = self._folder / f"ipmi-{mode}"
        if self._mode != mode:
            mark.unlink(missing_ok=True)
        return mark.exists()

    def _turn(self, mode: str) -> bool:
        """Every second time True."""
        mark = self._folder / f"ipmi-{mode}"
        if mark.exists():
            mark.unlink()
            return False
        mark.touch()
        return True


def main(words: Sequence[str]) -> int:
    """``CHASSIS.json get WHAT...`` prints ``WHAT:VALUE`` lines; ``CHASSIS.json set WHAT VALUE...`` acts."""
    about, verb, *rest = words
    chassis = Chassis(json.loads(Path(about).read_text()))
    if verb == "get":
        for what in rest:
            print(f"{what}:{int(chassis.read()) if what == 'power' else 0}")
        return 0
    wanted = dict(zip(rest[::2], rest[1::2], strict=True))
    for what, value in wanted.items():
        # A reset (value 1 of `reset`) is none of ringfence's orders; an NMI or a soft-off must not pass for one.
        if what != "power" or not chassis.request(value == "1"):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
