"""One BMC as the tests see it: its address, its behaviour and what it was asked. :mod:`lab.redfish` is the service."""

from __future__ import annotations

import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Literal, get_args

import bcrypt

from lab import process
from lab.node import Node
from lab.pki import Authority
from lab.plan import PASSWORD, USER, Plan
from lab.process import run
from lab.state import State, write
from lab.wait import until

Mode = Literal["ok", "ignore", "lie", "refuse", "hang", "slow"]


class Bmc:
    """The BMC of one node."""

    def __init__(self, lab: Plan, node: Node) -> None:
        self.lab = lab
        self.node = node.name
        self.port = node.plan.bmc_port
        self._system = node
        self._control = lab.folder / f"bmc-{node.name}.json"
        self._lie = lab.folder / f"bmc-{node.name}.lie"

    @property
    def address(self) -> str:
        """Where it listens; its certificate is signed by the lab's CA."""
        return f"https://{self.lab.address}:{self.port}"

    @property
    def uuid(self) -> str:
        """The node's systemUUID, spelt as Redfish does."""
        return str(uuid.UUID(self._system.system_uuid()))

    def mode(self, mode: Mode, *, delay: float = 0.0) -> None:
        """Make it behave; *delay* in seconds, for ``slow`` and ``hang``."""
        if mode not in get_args(Mode):
            raise ValueError(f"no BMC mode {mode}: one of {', '.join(get_args(Mode))}")
        self._lie.unlink(missing_ok=True)
        write(self._control, json.dumps({"mode": mode, "delay": delay}))

    def behaviour(self) -> tuple[Mode, float]:
        """How it behaves now."""
        try:
            control = json.loads(self._control.read_text())
        except FileNotFoundError:
            return "ok", 0.0
        return control["mode"], control["delay"]

    def lie(self, *, off: bool) -> None:
        """Claim from now on that the node is off, or stop claiming it."""
        if off:
            self._lie.touch()
        else:
            self._lie.unlink(missing_ok=True)

    def lied(self) -> bool:
        return self._lie.exists()

    def note(self, what: str, **more: Any) -> None:
        """Write one line of the fences' log."""
        with (self.lab.logs / "bmc.jsonl").open("a") as log:
            log.write(json.dumps({"at": time.time(), "node": self.node, "what": what, **more}) + "\n")

    def log(self, since: float = 0.0) -> list[dict[str, Any]]:
        """What it was asked and did since *since*, wall time."""
        return [row for row in _rows(self.lab.logs / "bmc.jsonl") if row["node"] == self.node and row["at"] >= since]


def _rows(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]


def start(state: State, ports: tuple[int, ...]) -> None:
    """Start the service of all BMCs and return when each port answers."""
    plan = state.plan
    Authority(plan.pki).issue("bmc", "ringfence-lab-bmc", addresses=(plan.address,))
    secret = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds=4)).decode()
    write(plan.pki / "bmc.htpasswd", f"{USER}:{secret}\n", 0o600)
    log = plan.logs / "bmc.log"
    packages = str(Path(__file__).parents[1])
    state.remember(
        "bmc", process.start([sys.executable, "-m", "lab.redfish", plan.name], log, env={"PYTHONPATH": packages})
    )

    def listening() -> bool:
        sockets = run("ss", "--listening", "--tcp", "--numeric", "--no-header")
        return all(f"{plan.address}:{port} " in sockets for port in ports)

    until("the BMCs listen", listening, 30, log=log)
