"""Adapters to the devices that cut nodes off; named for what is at the other end of the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ringfence.fencing.agent import FOLDERS, AgentDevice
from ringfence.fencing.ipmi import IpmiDevice
from ringfence.fencing.redfish import RedfishDevice
from ringfence.ports import Clock, DeviceMisconfigured, DeviceSpec, PowerDevice

__all__ = ["open_device"]


def open_device(
    spec: DeviceSpec, secret: Mapping[str, bytes], clock: Clock, *, agents: Sequence[Path] = FOLDERS
) -> PowerDevice:
    """The device, not connected yet: ``await device.open()`` does that. DeviceMisconfigured.

    ``secret`` is ``username`` and ``password``; for an agent its secret parameters by name. ``agents`` are the folders
    that fence agents are looked for in.
    """
    match spec.driver:
        case "redfish":
            return RedfishDevice(spec, secret, clock)
        case "ipmi":
            return IpmiDevice(spec, secret, clock)
        case "agent":
            return AgentDevice(spec, secret, clock, agents)
        case _:
            raise DeviceMisconfigured(
                f"fence device {spec.name}: no driver {spec.driver!r} with power to switch"
            )
