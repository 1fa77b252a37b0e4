"""Adapters to the devices that cut nodes off; named for what is at the other end of the wire."""

from __future__ import annotations

from collections.abc import Mapping

from ringfence.fencing.redfish import RedfishDevice
from ringfence.ports import Clock, DeviceMisconfigured, DeviceSpec, PowerDevice

__all__ = ["open_device"]


def open_device(spec: DeviceSpec, secret: Mapping[str, bytes], clock: Clock) -> PowerDevice:
    """The device, not connected yet: ``await device.open()`` does that. DeviceMisconfigured.

    ``secret`` is the data of the FenceDevice's Secret: ``username`` and ``password``.
    """
    match spec.driver:
        case "redfish":
            return RedfishDevice(spec, secret, clock)
        case _:
            raise DeviceMisconfigured(
                f"fence device {spec.name}: no driver {spec.driver!r} with power to switch"
            )
