"""How long a fence takes, by its parts; each run adds its part to ``bench/out/fencing.json``.

``python bench/fencing.py`` runs all parts in ten minutes, ``--only drivers`` one. As root: what is missing is installed by apt.

**drivers**: from the order to the proof, for each driver on its real counterpart (sushy-tools' Redfish emulator over
TLS, OpenIPMI's ``ipmi_sim``, Debian's fence agents before both), ``--runs`` times, no node behind them. ``order_s`` until
the device took the order, ``read_s`` one reading, ``proof_s`` until ``off`` was read twice, 0.3 s apart
(``core/timing.py``). ``device_s`` is the device's own share of it: the same order and two readings without ringfence, by
a plain HTTPS client that keeps its connection, by ipmitool, by the agent itself.

**found**: the node's power is off when the verdict falls. ``proof_s`` from the verdict to the stored proof, without an order, with
the log-in and the comparing of identities, by the controller's own machine, ladder and book of devices; ``read_s`` is one
reading on an open session. What comes before, the detection, is measured on the lab (``proof_s`` of a power cut in
``bench/failover.py``) and by ``bench/detector.py``.

**hanging**: a ladder of two Redfish devices, the first of which gives no answer; ``proof_s`` from the end of the hold,
without and with ``hedgeAfterSeconds`` (to reach: that, and what the second level takes alone).

**proving**: one round of the periodic proof over 100 devices, sixteen at a time, behind ten emulators whose CPU time (``emulators_cpu_s``) is told apart.

**selffence**, **heartbeat**: see ``bench/fencing_node.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import http.client
import json
import os
import platform
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "operator"), str(PROJECT / "tests"), str(PROJECT)]

from bench import fencing_incident, fencing_node  # noqa: E402 - the paths are set above
from bench.fencing_figures import Row, spread  # noqa: E402
from contract.power_rigs import (  # noqa: E402
    PASSWORD,
    USER,
    FenceIpmilanRig,
    FenceRedfishRig,
    IpmiRig,
    RedfishRig,
    Rig,
)
from contract.redfish_bmc import ONE  # noqa: E402
from lab import ipmi, machine  # noqa: E402
from lab.console import say  # noqa: E402
from ringfence.core.model import PowerState  # noqa: E402
from ringfence.core.timing import READ_SPACING  # noqa: E402
from ringfence.fencing import open_device  # noqa: E402
from ringfence.host.privileges import NICE  # noqa: E402
from ringfence.ports import DeviceError, PowerDevice, SystemClock  # noqa: E402

PACKAGES = ("openipmi", "ipmitool", "fence-agents")
CLOCK = SystemClock()
Bare = Callable[[str], None]
"""Does ``off`` or ``status`` without ringfence."""


def bare_redfish(rig: RedfishRig) -> Bare:
    context = ssl.create_default_context(cafile=str(rig.bmc.folder / "bmc.crt"))
    kept = http.client.HTTPSConnection("127.0.0.1", rig.bmc.port, context=context, timeout=10)
    word = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    headers = {"Authorization": f"Basic {word}", "Content-Type": "application/json"}
    system = f"/redfish/v1/Systems/{ONE}"

    def act(what: str) -> None:
        if what == "off":
            body = json.dumps({"ResetType": "ForceOff"})
            kept.request("POST", f"{system}/Actions/ComputerSystem.Reset", body, headers)
        else:
            kept.request("GET", system, headers=headers)
        answer = kept.getresponse()
        answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{what}: HTTP {answer.status}")

    return act


def bare_ipmi(rig: IpmiRig) -> Bare:
    def act(what: str) -> None:
        command = ["ipmitool", "-I", "lanplus", "-C", str(ipmi.CIPHER_SUITE), "-H", "127.0.0.1"]
        command += ["-p", str(rig.port), "-U", USER, "-P", PASSWORD, "chassis", "power", what]
        subprocess.run(command, check=True, capture_output=True)

    return act


def bare_agent(rig: Rig) -> Bare:
    spec = rig.spec()
    given = {**dict(spec.parameters), "password": PASSWORD}

    def act(what: str) -> None:
        lines = "".join(f"{name}={value}\n" for name, value in {**given, "action": what}.items())
        done = subprocess.run(
            [f"/usr/sbin/{spec.program}"], input=lines, text=True, capture_output=True, check=False
        )
        if done.returncode not in (0, 2):
            raise RuntimeError(f"{what}: {done.stderr}")

    return act


SYSTEMS: dict[str, tuple[Callable[[Path], Any], Callable[[Any], Bare]]] = {
    "redfish": (RedfishRig, bare_redfish),
    "ipmi": (IpmiRig, bare_ipmi),
    "agent fence_ipmilan": (FenceIpmilanRig, bare_agent),
    "agent fence_redfish": (FenceRedfishRig, bare_agent),
}


async def once(device: PowerDevice) -> Row:
    """One order and its proof, read as the ladder reads: at once, and again after the spacing."""
    began = CLOCK.monotonic()
    await device.order_off(deadline=began + 30)
    row: Row = {"order_s": CLOCK.monotonic() - began, "read_s": []}
    first: float | None = None
    while True:
        asked = CLOCK.monotonic()
        state = (await device.power()).state
        row["read_s"].append(CLOCK.monotonic() - asked)
        if state is not PowerState.OFF:
            first = None
        elif first is None:
            first = asked
        elif asked - first >= READ_SPACING:
            row["proof_s"] = CLOCK.monotonic() - began
            return row
        await asyncio.sleep(max(0.0, asked + READ_SPACING - CLOCK.monotonic()))


async def drivers(runs: int) -> list[Row]:
    rows = []
    for name, (kind, plain) in SYSTEMS.items():
        with tempfile.TemporaryDirectory(prefix="rff-") as place:
            rig = kind(Path(place))
            try:
                rig.behave("ok")
                device = open_device(rig.spec(timeout_seconds=20.0), rig.secret(), CLOCK)
                await device.open()
                measured: list[Row] = []
                alone: list[float] = []
                act, failed = plain(rig), 0
                while len(measured) < runs:
                    try:
                        rig.behave("ok")
                        row = await once(device)
                        rig.behave("ok")
                        began = time.monotonic()
                        for what in ("off", "status", "status"):
                            act(what)
                        alone.append(time.monotonic() - began)
                        measured.append(row)
                    except (DeviceError, RuntimeError, subprocess.CalledProcessError) as error:
                        failed += 1  # an agent has time-outs of its own, too short for a starved machine
                        say(f"{name}: {error}")
                        if failed > runs:
                            raise
                await device.close()
            finally:
                rig.stop()
        rows.append(
            {
                "driver": name,
                "n": runs,
                "failed": failed,
                **spread("proof_s", [row["proof_s"] for row in measured]),
                **spread("order_s", [row["order_s"] for row in measured]),
                **spread("read_s", [one for row in measured for one in row["read_s"]]),
                **spread("device_s", alone),
            }
        )
        say(" ".join(f"{key}={value}" for key, value in rows[-1].items()))
    return rows


Part = Callable[[argparse.Namespace], Awaitable[list[Row]]]
PARTS: dict[str, Part] = {
    "drivers": lambda chosen: drivers(chosen.runs),
    "found": lambda chosen: fencing_incident.found(chosen.runs),
    "hanging": lambda chosen: fencing_incident.hanging(max(1, chosen.runs // 4)),
    "proving": lambda chosen: fencing_incident.proving(max(1, chosen.runs // 4), chosen.devices),
    "selffence": lambda chosen: fencing_node.selffence(max(1, chosen.runs // 4)),
    "heartbeat": lambda chosen: fencing_node.heartbeat(chosen.nodes, chosen.seconds),
}


async def whole(part: Part, chosen: argparse.Namespace) -> list[Row]:
    return await part(chosen)


def version(package: str) -> str:
    words = ["dpkg-query", "--show", "--showformat=${Version}", package]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--runs", type=int, default=20, help="of the quick parts; a quarter of it of the long ones"
    )
    parser.add_argument("--devices", type=int, default=100, help="of the part proving")
    parser.add_argument("--nodes", type=int, default=50, help="of the part heartbeat")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the heartbeat's two windows")
    parser.add_argument("--out", type=Path, default=PROJECT / "bench/out/fencing.json")
    chosen = parser.parse_args()
    machine.equip(PACKAGES)
    # Devices and those who ask them go before what else runs here; what is left of it, the load averages tell.
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    result = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    commit = ["git", "rev-parse", "HEAD"]
    for part in chosen.only:
        setup = {
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": subprocess.run(
                commit, cwd=PROJECT, capture_output=True, text=True, check=True
            ).stdout.strip(),
            "python": platform.python_version(),
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "load_average_before": [round(one, 2) for one in os.getloadavg()],
            **{package: version(package) for package in PACKAGES},
        }
        rows = asyncio.run(whole(PARTS[part], chosen))
        setup["load_average_after"] = [round(one, 2) for one in os.getloadavg()]
        result[part] = {"setup": setup, "rows": rows}
        print(json.dumps(setup, indent=1))
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
