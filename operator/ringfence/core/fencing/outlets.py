"""What each declared fence device would cut, before any of them is asked: shared outlets, addresses out of bounds.

An *outlet* is what a device needs to know to cut one machine: the address, and the plug or system behind it. Two nodes
with the same outlet are a mistake of which nobody can say which half is wrong, so neither is ever used.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where one device cuts one node."""

    device: str
    node: str
    at: tuple[str, ...]
    """Equal for two outlets that are the same one: driver, address, plug."""
    host: str = ""
    """The address that is spoken to, for :func:`out_of_bounds`; empty: not known."""


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a device is never used for a node: the condition's reason, and a sentence with the mend."""

    reason: str
    sentence: str


def shared(outlets: Iterable[Outlet]) -> dict[tuple[str, str], Objection]:
    """The objections to outlets that two *nodes* have, by (device, node). One node may be cut by two devices there."""
    by_place: dict[tuple[str, ...], list[Outlet]] = {}
    for outlet in outlets:
        by_place.setdefault(outlet.at, []).append(outlet)
    found: dict[tuple[str, str], Objection] = {}
    for group in by_place.values():
        for outlet in group:
            others = sorted({f"{o.node} (by {o.device})" for o in group if o.node != outlet.node})
            if others:
                found[outlet.device, outlet.node] = Objection(
                    "OutletShared",
                    f"the same outlet is declared for {', '.join(others)}: correct the one that is wrong,"
                    " until then none of them is used",
                )
    return found


def same_uuid(uuids: dict[str, str]) -> dict[str, Objection]:
    """The objections to nodes that share a ``systemUUID`` with another (by node): no identity can tell them apart."""
    by_uuid: dict[str, list[str]] = {}
    for node, uuid in uuids.items():
        if uuid:
            by_uuid.setdefault(uuid.lower(), []).append(node)
    return {
        node: Objection(
            "IdentityShared",
            f"its systemUUID {uuid} is also {', '.join(sorted(set(group) - {node}))}'s:"
            " no device can prove which of them it cuts; give each machine its own",
        )
        for uuid, group in by_uuid.items()
        if len(group) > 1
        for node in group
    }


def out_of_bounds(outlet: Outlet, allowed: tuple[str, ...], zone: str) -> Objection | None:
    """Why the outlet's address may not be spoken to: it is in none of the zone's networks (CIDRs; none: any)."""
    if not allowed or not outlet.host:
        return None
    where = f"zone {zone}'s spec.fencing.allowedAddresses ({', '.join(allowed)})"
    try:
        address = ipaddress.ip_address(outlet.host.strip("[]"))
    except ValueError:
        return Objection(
            "AddressNotAllowed",
            f"{outlet.host} is a name, and {where} allows addresses only: write the device's IP address",
        )
    if any(address in network for network in map(_network, allowed) if network is not None):
        return None
    return Objection(
        "AddressNotAllowed", f"{address} is in none of {where}: correct the address, or add its network"
    )


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network; None where it is none (the CRD's rule refuses that)."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
