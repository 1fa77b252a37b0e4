"""Fence devices as a person asks for them: which of them would work now, since when, and a drill of one.

A row is a device *and* a node, since a device that cuts ten nodes may fail for one. A drill is only asked for here; whether it may be
(empty, cordoned, no incident) is judged by the controller, at the moment when it would begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ringfence.cli.document import Document
from ringfence.cli.picture import Reader, objects
from ringfence.ports import NotFound

SWITCHABLE = frozenset({"redfish", "ipmi", "agent"})
"""Drivers that have power to switch."""
RUNNING, PASSED = "Running", "Passed"


class NoDrillError(Exception):
    """No drill can be asked for; the sentence says why."""


@dataclass(frozen=True, slots=True)
class DeviceRow:
    device: str
    driver: str
    node: str
    ready: str
    """``True``, else the reason why not."""
    power: str
    proved_at: str
    """When it was last proved usable for this node; empty: never."""
    drilled_at: str
    """When it last passed a drill with this node; empty: never."""
    drill: str
    """The drill with this node that was asked for last, where it has not passed."""
    message: str


def device_rows(reader: Reader) -> list[DeviceRow]:
    """Every device and node, by name. Raises NotInstalledError, ClusterError."""
    devices = sorted(objects(reader, "fencedevices"), key=lambda device: device.name)
    return [row for device in devices for row in rows_of(device)]


def rows_of(device: Document) -> Iterator[DeviceRow]:
    ready = device.condition("Ready")
    powers = {power.text("node"): power for power in device.parts("status", "powerState")}
    drills = {drill.text("node"): drill for drill in device.parts("status", "drills")}
    asked = device.part("status", "drill")
    for node in device.texts("spec", "nodes"):
        power = powers.get(node, Document({}))
        about = asked.text("request").partition(" ")[0] == node and asked.text("phase") != PASSED
        yield DeviceRow(
            device=device.name,
            driver=device.text("spec", "driver"),
            node=node,
            ready="True" if ready.text("status") == "True" else ready.text("reason") or "?",
            power=power.text("power"),
            # A watchdog has no power to tell; it stands in its device's own time.
            proved_at=power.text("provedAt") if powers else device.text("status", "provedAt"),
            drilled_at=drills.get(node, Document({})).text("passedAt"),
            drill=f"{asked.text('phase')}: {asked.text('sentence')}" if about else "",
            message=ready.text("message"),
        )


@dataclass(frozen=True, slots=True)
class DrillState:
    """How far a drill has come."""

    sentence: str
    over: bool
    passed: bool


def ask(reader: Reader, device: str, node: str, now: datetime) -> str:
    """Ask for a drill; what was asked, for :func:`look`. Raises NoDrillError, NotFound, ClusterError."""
    found = _device(reader, device)
    driver = found.text("spec", "driver")
    if driver not in SWITCHABLE:
        raise NoDrillError(
            f"{device} is a {driver} device: it has no power to switch, so there is nothing to drill"
        )
    nodes = found.texts("spec", "nodes")
    if node not in nodes:
        raise NoDrillError(f"{device} doesn't cut {node}: name one of {', '.join(nodes)}")
    if found.text("status", "drill", "phase") == RUNNING:
        raise NoDrillError(f"a drill of {device} runs: {found.text('status', 'drill', 'sentence')}")
    request = f"{node} {now.strftime('%Y-%m-%dT%H:%M:%SZ')}"
    reader.ask_for_drill(device, found.text("metadata", "uid"), request)
    return request


def look(reader: Reader, device: str, request: str) -> DrillState:
    """How far the drill has come. Raises NotFound, ClusterError."""
    drill = _device(reader, device).part("status", "drill")
    if drill.text("request") != request:
        return DrillState(
            "asked for; the acting controller has not taken it up yet", over=False, passed=False
        )
    phase = drill.text("phase")
    return DrillState(f"{phase}: {drill.text('sentence')}", phase != RUNNING, phase == PASSED)


def _device(reader: Reader, name: str) -> Document:
    found = next((d for d in objects(reader, "fencedevices") if d.name == name), None)
    if found is None:
        raise NotFound(f"no FenceDevice {name}: ringfence fence status names them", status=404)
    return found
