"""Addresses that take only so many orders at once: which devices lie behind them, and what is in work there.

Whether there is room for one more order is decided in :mod:`ringfence.core.fencing.chassis`; here is what that is told. An
order is counted as long as it is on record, may take effect and has not been read to have done so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.controller.targets import host_and_port
from ringfence.core.fencing.chassis import Chassis
from ringfence.core.fencing.orders import Action, Order
from ringfence.core.fencing.rungs import DeviceLook
from ringfence.core.model import Boot

ANSWERED = 1.0
"""Seconds that an order on counts as in work at least: until it is seen that the device is busy with it."""


def chassis_of(devices: Iterable[FenceDevice]) -> dict[tuple[str, str], Chassis]:
    """What is behind an address that takes only so many orders at once, by (device, node).

    The limit is the address's: it binds every device there, and of several limits the smallest. Addresses are compared as
    they are written, without the port.
    """
    found = [(d.metadata.name, node, host, d) for d in devices for node, host in _hosts(d).items()]
    limits: dict[str, int] = {}
    for _, _, host, device in found:
        if (most := device.spec.max_concurrent_orders) is not None:
            limits[host] = min(most, limits.get(host, most))
    return {(name, node): Chassis(host, limits[host]) for name, node, host, _ in found if host in limits}


def hosts_of(devices: Iterable[FenceDevice]) -> dict[tuple[str, str], str]:
    """The address behind which each device cuts each of its nodes, as it is written, without the port; left out: it has none."""
    return {
        (d.metadata.name, node): host
        for d in devices
        for node, host in _hosts(d).items()
        if host != d.metadata.name
    }


def _hosts(device: FenceDevice) -> dict[str, str]:
    """The address behind which each of its nodes is cut; the device's own name, where it has none."""
    spec, name = device.spec, device.metadata.name
    match spec.driver:
        case "redfish" if spec.redfish is not None:
            host = urlsplit(spec.redfish.address).hostname or name
        case "ipmi" if spec.ipmi is not None:
            host = host_and_port(spec.ipmi.address)[0].lower()
        case "agent" if spec.agent is not None:
            return {node: spec.agent.for_node(node).get("ip", name).lower() for node in spec.nodes}
        case _:
            return {}
    return dict.fromkeys(spec.nodes, host)


def sessions_at(devices: Iterable[FenceDevice]) -> dict[tuple[str, str], str]:
    """Where each device takes its sessions, by (device, node): the address as it is written, with its port.

    What has no address of its own (an agent's serial line, a storage) is left out.
    """
    found: dict[tuple[str, str], str] = {}
    for device in devices:
        spec, name = device.spec, device.metadata.name
        for node in spec.nodes:
            if spec.redfish is not None:
                found[name, node] = urlsplit(spec.redfish.address).netloc.lower()
            elif spec.ipmi is not None:
                found[name, node] = ":".join(host_and_port(spec.ipmi.address)).lower()
            elif spec.agent is not None and "ip" in (given := spec.agent.for_node(node)):
                found[name, node] = f"{given['ip']}:{given.get('ipport', '')}".lower()
    return found


def orders_at(
    address: str,
    own: Boot,
    incidents: Iterable[tuple[Boot, tuple[Order, ...]]],
    look: Callable[[str, str], DeviceLook],
    now: float,
    drills: Iterable[tuple[str, Order]] = (),
) -> tuple[str, ...]:
    """The nodes of other incidents than ``own``'s that have an order in work behind this address, one for each order.

    ``incidents`` are the open ones with their orders on record, ``look`` gives a device's look by device and node;
    ``drills`` are the orders off of drills by node, until they are read to have taken effect.
    """
    ordered = [(boot.node, order) for boot, orders in incidents if boot != own for order in orders]
    working = [n for n, order in ordered if _in_work(order, look(order.device, n), address, now)]
    for node, order in drills:
        chassis = look(order.device, node).chassis
        if chassis is not None and chassis.address == address and now < order.effective_until:
            working.append(node)
    return tuple(sorted(working))


def _in_work(order: Order, look: DeviceLook, address: str, now: float) -> bool:
    if look.chassis is None or look.chassis.address != address:
        return False
    if order.action is Action.ON:  # done when it is answered: nobody waits for its effect
        return now < order.effective_until and (look.busy or now - order.sent_at < ANSWERED)
    return order.works_until_read(look.readings, now)
