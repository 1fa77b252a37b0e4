"""Which address of a node is on which of its zone's networks, and what each network is for."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping

from ringfence.api.v1alpha1.hazone import ZoneNetwork
from ringfence.core.detection.evidence import NetworkRole


def on_networks(
    networks: Iterable[ZoneNetwork], addresses: Iterable[str], management: Collection[str]
) -> tuple[tuple[str, str], ...]:
    """The node's address on each network that it has one on, sorted by the networks' names.

    ``management`` are its InternalIPs, which are on no other network. A network's ranges are tried in their order, so
    all nodes that have one use an address of the same family.
    """
    known = [parsed for text in addresses if (parsed := _parsed(text)) is not None]
    taken = {_parsed(text) for text in management}
    free = sorted({one for one in known if one not in taken}, key=lambda one: (one.version, one.packed))
    found: dict[str, str] = {}
    for network in networks:
        for cidr in network.cidrs:
            span = ipaddress.ip_network(cidr, strict=False)
            address = next((one for one in free if one in span), None)
            if address is not None:
                found[network.name] = str(address)
                break
    return tuple(sorted(found.items()))


def roles(networks: Iterable[ZoneNetwork]) -> Mapping[str, NetworkRole]:
    """What each network is for."""
    return {network.name: NetworkRole(network.role) for network in networks}


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None  # a report may say anything
