"""From what FenceDevices declare to what is asked: one target for each device and node, with what speaks against it.

Pure: it looks at objects and asks nobody.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.api.v1alpha1.hazone import HAZone
from ringfence.core.fencing.drill import Drilled
from ringfence.core.fencing.outlets import Objection, Outlet, out_of_bounds, same_uuid, shared
from ringfence.ports import DeviceSpec


@dataclass(frozen=True, slots=True)
class SecretWord:
    """One word that a driver gets out of a Secret, under the name that the driver knows it by."""

    name: str
    secret: str
    key: str


@dataclass(frozen=True, slots=True)
class DeviceTarget:
    """One node behind one device, as declared."""

    spec: DeviceSpec
    secret: tuple[SecretWord, ...]
    node: str
    node_uuid: str
    objection: Objection | None = None
    """Why it is never used, whatever the device says: it is not even asked."""
    outlet: str = ""
    """A fingerprint of where the device cuts the node, as declared."""
    drilled: Drilled | None = None
    """The drill that has proved just this."""
    by_address: bool = False
    """A storage: it names the node by the node's own addresses, so no UUID tells whether it is the right one."""


def targets(
    devices: Iterable[FenceDevice],
    uuids: Mapping[str, str],
    zones: Mapping[str, Iterable[HAZone]],
    addresses: Mapping[str, Sequence[str]],
) -> dict[tuple[str, str], DeviceTarget]:
    """The targets by (device, node).

    Args:
        uuids: the ``systemUUID`` of each node of the cluster, by its name.
        zones: the enabled zones that claim a node, by its name.
        addresses: the InternalIPs of each node of the cluster, by its name.
    """
    devices = list(devices)
    drills = {
        d.metadata.name: [(p.node, Drilled(p.outlet, p.node_uuid, p.device_uuid)) for p in d.status.drills]
        for d in devices
    }
    places: dict[tuple[str, str], tuple[Outlet, DeviceSpec, tuple[SecretWord, ...]]] = {}
    for device in devices:
        for node in device.spec.nodes:
            if (place := _place(device, node, uuids.get(node, ""), addresses.get(node))) is not None:
                places[device.metadata.name, node] = place
    doubled = shared(outlet for outlet, _, _ in places.values()) | _wide(
        [spec for _, spec, _ in places.values() if spec.driver == "storage"], addresses
    )
    twins = same_uuid(dict(uuids))
    found = {}
    for (name, node), (outlet, spec, secret) in places.items():
        bounds = (
            out_of_bounds(outlet, tuple(zone.spec.fencing.allowed_addresses), zone.metadata.name)
            for zone in zones.get(node, ())
        )
        by_address = spec.driver == "storage"
        twin = None if by_address else twins.get(node)
        objection = doubled.get((name, node)) or twin or next(filter(None, bounds), None)
        mark, uuid = fingerprint(outlet), uuids.get(node, "")
        drilled = next(
            (d for n, d in drills.get(name, ()) if (n, d.outlet, d.node_uuid) == (node, mark, uuid)), None
        )
        found[name, node] = DeviceTarget(spec, secret, node, uuid, objection, mark, drilled, by_address)
    return found


def _wide(
    storages: Sequence[DeviceSpec], addresses: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], Objection]:
    """The objections to fences that would shut out another node too, by (device, node)."""
    found = {}
    for spec in storages:
        mine = _networks(spec.cidrs)
        reached = {node: _networks(known) for node, known in addresses.items() if node != spec.node}
        for other in storages:
            if other.node in reached:
                reached[other.node] = [*reached[other.node], *_networks(other.cidrs)]
        hit = sorted(
            node
            for node, theirs in reached.items()
            if any(a.version == b.version and a.overlaps(b) for a in mine for b in theirs)
        )
        if hit:
            found[spec.name, spec.node] = Objection(
                "OutletShared",
                f"{', '.join(spec.cidrs)} of {spec.node} is also {', '.join(hit)}'s: its fence would shut out both, so it is never"
                " used; name single addresses in spec.storage.addresses",
            )
    return found


def _networks(texts: Iterable[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(text, strict=False) for text in texts]


def fingerprint(outlet: Outlet) -> str:
    """The outlet in a few characters."""
    return hashlib.sha256("\0".join(outlet.at).encode()).hexdigest()[:32]


def _place(
    device: FenceDevice, node: str, uuid: str, addresses: Sequence[str] | None
) -> tuple[Outlet, DeviceSpec, tuple[SecretWord, ...]] | None:
    name, declared = device.metadata.name, device.spec
    if (redfish := declared.redfish) is not None:
        url = urlsplit(redfish.address)
        at = ("redfish", url.netloc.lower(), redfish.system_id or uuid or node)
        spec = DeviceSpec(
            name=name,
            driver="redfish",
            address=redfish.address,
            system_id=redfish.system_id or "",
            expected_uuid=uuid,
            ca_bundle=redfish.ca_bundle or "",
            insecure_skip_verify=redfish.insecure_skip_verify,
            timeout_seconds=redfish.timeout_seconds,
        )
        return Outlet(name, node, at, url.hostname or ""), spec, _account(redfish.secret_ref.name)
    if (ipmi := declared.ipmi) is not None:
        host, port = host_and_port(ipmi.address)
        spec = DeviceSpec(
            name=name,
            driver="ipmi",
            address=ipmi.address,
            expected_uuid=uuid,
            timeout_seconds=ipmi.timeout_seconds,
            cipher_suite=ipmi.cipher_suite,
            privilege=ipmi.privilege_level.upper(),
        )
        return Outlet(name, node, ("ipmi", host.lower(), port), host), spec, _account(ipmi.secret_ref.name)
    if (agent := declared.agent) is not None:
        given = agent.for_node(node)
        spec = DeviceSpec(
            name=name,
            driver="agent",
            address=given.get("ip", ""),
            timeout_seconds=agent.timeout_seconds,
            program=agent.program,
            parameters=tuple(sorted(given.items())),
        )
        told = (f"{key}={value}" for key, value in spec.parameters)
        secret = tuple(
            SecretWord(parameter, source.name, source.key)
            for parameter, source in sorted(agent.secret_parameters.items())
        )
        return Outlet(name, node, ("agent", agent.program, *told), given.get("ip", "")), spec, secret
    if (storage := declared.storage) is not None:
        named = next((one.cidrs for one in storage.addresses if one.node == node), None)
        if addresses is None:
            return None  # no node of the cluster
        reference = storage.secret_ref
        spec = DeviceSpec(
            name=name,
            driver="storage",
            address="",
            expected_uuid=uuid,
            parameters=tuple(sorted(storage.parameters.items())),
            node=node,
            cidrs=tuple(named) if named else tuple(str(ipaddress.ip_network(one)) for one in addresses),
            csi_driver=storage.csi_driver,
            fence_class=storage.network_fence_class_name or "",
            fence_secret=(reference.namespace, reference.name) if reference else ("", ""),
        )
        # ringfence never reads the CSI driver's Secret: it is named to csi-addons.
        return Outlet(name, node, ("storage", storage.csi_driver, *sorted(spec.cidrs))), spec, ()
    return None


def host_and_port(address: str, default: str = "623") -> tuple[str, str]:
    """Split ``host[:port]``; an IPv6 address stands in brackets."""
    host, colon, port = address.rpartition(":")
    if not colon or port.endswith("]"):
        return address.strip("[]"), default
    return host.strip("[]"), port


def _account(secret: str) -> tuple[SecretWord, ...]:
    return tuple(SecretWord(key, secret, key) for key in ("username", "password"))
