"""What FenceDevices declare, and what becomes of it: the driver's own words, and what speaks against a device."""

from __future__ import annotations

from typing import Any

import pytest

from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.api.v1alpha1.hazone import HAZone
from ringfence.controller.chassis import chassis_of, sessions_at
from ringfence.controller.targets import DeviceTarget, SecretWord, host_and_port, targets

UUIDS = {"n1": "11111111-2222-3333-4444-555555555555", "n2": "66666666-7777-8888-9999-aaaaaaaaaaaa"}


def device(name: str, driver: str, nodes: list[str], **block: Any) -> FenceDevice:
    return FenceDevice.model_validate(
        {"metadata": {"name": name}, "spec": {"driver": driver, "nodes": nodes, driver: block}}
    )


def ipmi(name: str, node: str, address: str) -> FenceDevice:
    return device(name, "ipmi", [node], address=address, secretRef={"name": "bmc"})


def pdu(name: str, plugs: dict[str, str], **more: Any) -> FenceDevice:
    return device(
        name,
        "agent",
        [*plugs],
        program="fence_apc",
        parameters={"ip": "10.0.8.9"},
        secretParameters={"password": {"name": "pdu", "key": "word"}},
        nodeParameters={node: {"plug": plug} for node, plug in plugs.items()},
        **more,
    )


def zone(*allowed: str) -> HAZone:
    return HAZone.model_validate(
        {
            "metadata": {"name": "rack-a"},
            "spec": {"nodes": {"names": ["n1", "n2"]}, "fencing": {"allowedAddresses": [*allowed]}},
        }
    )


def of(
    *devices: FenceDevice, uuids: dict[str, str] | None = None, zones: list[HAZone] | None = None
) -> dict[tuple[str, str], DeviceTarget]:
    known = UUIDS if uuids is None else uuids
    return targets(devices, known, {node: zones or [] for node in known}, {node: [] for node in known})


def test_redfish() -> None:
    found = of(
        device("bmc", "redfish", ["n1"], address="https://10.0.8.1", secretRef={"name": "bmc"}, systemId="1")
    )
    target = found["bmc", "n1"]
    assert (target.spec.driver, target.spec.address, target.spec.system_id) == (
        "redfish",
        "https://10.0.8.1",
        "1",
    )
    assert target.spec.expected_uuid == target.node_uuid == UUIDS["n1"]
    assert target.secret == (
        SecretWord("username", "bmc", "username"),
        SecretWord("password", "bmc", "password"),
    )
    assert target.objection is None


def test_ipmi() -> None:
    target = of(ipmi("bmc", "n1", "10.0.8.1"))["bmc", "n1"]
    assert (target.spec.driver, target.spec.address) == ("ipmi", "10.0.8.1")
    assert (target.spec.cipher_suite, target.spec.privilege, target.spec.timeout_seconds) == (
        17,
        "OPERATOR",
        5.0,
    )


def test_an_agent_gets_what_is_for_all_and_what_is_for_the_node() -> None:
    found = of(pdu("pdu", {"n1": "3", "n2": "4"}))
    assert found["pdu", "n1"].spec.parameters == (("ip", "10.0.8.9"), ("plug", "3"))
    assert found["pdu", "n2"].spec.parameters == (("ip", "10.0.8.9"), ("plug", "4"))
    assert found["pdu", "n1"].secret == (SecretWord("password", "pdu", "word"),)
    assert {t.objection for t in found.values()} == {None}


def test_a_person_is_no_target() -> None:
    assert (
        of(
            FenceDevice.model_validate(
                {"metadata": {"name": "x"}, "spec": {"driver": "manual", "nodes": ["n1"]}}
            )
        )
        == {}
    )


@pytest.mark.parametrize(
    "devices",
    [
        (ipmi("a", "n1", "10.0.8.1"), ipmi("b", "n2", "10.0.8.1:623")),
        (ipmi("a", "n1", "bmc-1.example"), ipmi("b", "n2", "BMC-1.example")),
        (pdu("a", {"n1": "3"}), pdu("b", {"n2": "3"})),
        (pdu("a", {"n1": "3", "n2": "3"}),),
        (
            device("a", "redfish", ["n1"], address="https://10.0.8.1", secretRef={"name": "s"}, systemId="1"),
            device("b", "redfish", ["n2"], address="https://10.0.8.1", secretRef={"name": "s"}, systemId="1"),
        ),
    ],
)
def test_two_nodes_with_the_same_outlet(devices: tuple[FenceDevice, ...]) -> None:
    found = of(*devices)
    assert len(found) == 2
    assert {t.objection.reason for t in found.values() if t.objection} == {"OutletShared"}
    assert all(t.objection for t in found.values())


def test_one_bmc_of_two_systems_finds_each_by_its_uuid() -> None:
    found = of(device("a", "redfish", ["n1", "n2"], address="https://10.0.8.1", secretRef={"name": "s"}))
    assert {t.objection for t in found.values()} == {None}


def test_an_address_outside_of_the_zone() -> None:
    found = of(ipmi("a", "n1", "10.0.8.1"), ipmi("b", "n2", "10.9.8.1"), zones=[zone("10.0.8.0/24")])
    assert found["a", "n1"].objection is None
    assert (objection := found["b", "n2"].objection) is not None
    assert objection.reason == "AddressNotAllowed"


def test_two_machines_with_one_number() -> None:
    found = of(ipmi("a", "n1", "10.0.8.1"), uuids={"n1": UUIDS["n1"], "n2": UUIDS["n1"].upper()})
    assert (objection := found["a", "n1"].objection) is not None
    assert objection.reason == "IdentityShared"


def test_a_drill_counts_for_what_was_declared_and_the_machine_that_it_was() -> None:
    device = pdu("pdu", {"n1": "3"})
    mark = of(device)["pdu", "n1"].outlet

    def drilled(outlet: str, uuid: str, node: str = "n1") -> bool:
        passed = {"node": node, "outlet": outlet, "nodeUuid": uuid, "passedAt": "2026-11-25T12:00:00Z"}
        told = FenceDevice.model_validate({**device.to_json(), "status": {"drills": [passed]}})
        return of(told)["pdu", "n1"].drilled is not None

    assert drilled(mark, UUIDS["n1"])
    assert not drilled(mark, UUIDS["n2"])
    assert not drilled(mark, UUIDS["n1"], node="n2")
    assert not drilled(of(pdu("pdu", {"n1": "4"}))["pdu", "n1"].outlet, UUIDS["n1"])


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("10.0.8.1", ("10.0.8.1", "623")),
        ("10.0.8.1:6230", ("10.0.8.1", "6230")),
        ("[fd00::9]", ("fd00::9", "623")),
        ("[fd00::9]:6230", ("fd00::9", "6230")),
    ],
)
def test_host_and_port(address: str, parts: tuple[str, str]) -> None:
    assert host_and_port(address) == parts


@pytest.mark.parametrize(
    "address",
    [
        *(
            "https://[fe80::1",
            "https://fe80::1]",
            "https://[zz]",
            "https://[1:2]",
            "https://[::1]x",
            "https://[v1.x]",
        ),
        *(
            "https://bmc:port",
            "https://bmc:99999",
            "https://bmc:",
            "https://\u2100.example",
            "https://a/../[",
            "https://%zz",
        ),
        *("https://bmc_1.example.:8443/base", "https://[fd00::9]:443", "https://10.0.0.9"),
    ],
)
def test_an_address_that_is_none_is_refused_or_only_not_reached(address: str) -> None:
    """Every controller looks at every FenceDevice each second: an error there would end them all."""
    spec = {"driver": "redfish", "nodes": ["n1"], "redfish": {"address": address, "secretRef": {"name": "s"}}}
    try:
        device = FenceDevice.model_validate({"metadata": {"name": "bmc"}, "spec": spec})
    except ValueError:
        return
    found = targets([device], {"n1": "u"}, {}, {"n1": ["10.0.0.1"]})
    assert found["bmc", "n1"].spec.address == address
    assert chassis_of([device]) == {}
    assert sessions_at([device]).keys() == {("bmc", "n1")}
