"""A Redfish BMC before each worker: the lab's own (`lab.bmc`), with docker for its power."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kind.engine import Machine
from lab import bmc
from lab.pki import Pki

FIRST_PORT = 8700
USER, PASSWORD = "fence", "of-the-kind-cluster"
TESTS = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Started:
    address: str
    process: subprocess.Popen[bytes]
    """It outlives whoever has started it."""


def start(folder: Path, machine: Machine, uuid: str, listen: str, port: int, pki: Pki) -> Started:
    """Start the BMC of one machine. Its process number is kept in ``folder``."""
    home = folder / f"bmc-{machine.name}"
    home.mkdir(parents=True, exist_ok=True)
    crt, key = pki.certificate(f"bmc-{listen}", "bmc", hosts=(listen,))
    users = folder / "bmc.htpasswd"
    bmc.write_htpasswd(users, USER, PASSWORD)
    command = bmc.command(
        listen=listen,
        port=port,
        cert=crt,
        key=key,
        htpasswd=users,
        node=machine.name,
        uuid=uuid,
        node_dir=home,
        control=home / "control.json",
        log=home / "bmc.jsonl",
        reads=json.dumps(machine.reads()),
        off=machine.off(),
        on=machine.on(),
    )
    with (home / "bmc.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            start_new_session=True,
        )
    (home / "pid").write_text(str(process.pid))
    return Started(f"https://{listen}:{port}", process)


def stop(folder: Path) -> None:
    """End every BMC that :func:`start` has started here; one whose number is another process's by now is left alone."""
    for file in folder.glob("bmc-*/pid"):
        pid = int(file.read_text())
        try:
            mine = b"lab.bmc" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:
            mine = False
        if mine:
            os.kill(pid, signal.SIGTERM)
        file.unlink()
