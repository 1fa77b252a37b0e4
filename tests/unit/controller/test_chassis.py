"""Which devices lie behind one address, how many orders it takes, and what is in work there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.controller.chassis import ANSWERED, chassis_of, orders_at, sessions_at
from ringfence.core import timing
from ringfence.core.fencing.chassis import Chassis
from ringfence.core.fencing.orders import Action, Order
from ringfence.core.fencing.proof import Reading
from ringfence.core.fencing.rungs import DeviceLook
from ringfence.core.model import Boot, PowerState


def device(name: str, driver: str, nodes: list[str], most: int | None = None, **block: Any) -> FenceDevice:
    spec: dict[str, Any] = {"driver": driver, "nodes": nodes, driver: block, "maxConcurrentOrders": most}
    return FenceDevice.model_validate({"metadata": {"name": name}, "spec": spec})


def redfish(name: str, node: str, address: str, most: int | None = None) -> FenceDevice:
    return device(name, "redfish", [node], most, address=address, secretRef={"name": "s"}, systemId=node)


def pdu(name: str, nodes: list[str], most: int | None = None, **parameters: str) -> FenceDevice:
    plugs = {node: {"plug": node} for node in nodes}
    return device(
        name, "agent", nodes, most, program="fence_apc", parameters=parameters, nodeParameters=plugs
    )


def test_where_nobody_says_so_there_is_no_limit() -> None:
    assert chassis_of([redfish("a", "n1", "https://10.0.8.9"), pdu("b", ["n2"], ip="10.0.8.9")]) == {}


def test_the_limit_is_the_addresss_and_the_smallest_counts() -> None:
    found = chassis_of(
        [
            redfish("a", "n1", "https://10.0.8.9:8443/redfish", most=4),
            redfish("b", "n2", "https://10.0.8.9", most=2),
            redfish("c", "n3", "https://10.0.8.9"),
            device("d", "ipmi", ["n4"], address="10.0.8.9:6230", secretRef={"name": "s"}),
            pdu("e", ["n5"], ip="10.0.8.9"),
            redfish("f", "n6", "https://10.0.8.10"),
        ]
    )
    there = Chassis("10.0.8.9", 2)
    assert found == dict.fromkeys([("a", "n1"), ("b", "n2"), ("c", "n3"), ("d", "n4"), ("e", "n5")], there)


def test_an_agent_without_an_address_is_a_chassis_of_its_own() -> None:
    found = chassis_of([pdu("serial-pdu", ["n1", "n2"], most=1), pdu("other", ["n3"])])
    assert found == dict.fromkeys([("serial-pdu", "n1"), ("serial-pdu", "n2")], Chassis("serial-pdu", 1))


NOW = 100.0
N1, N2, N3 = (Boot(n, f"uid-{n}", f"boot-{n}") for n in ("n1", "n2", "n3"))
SENT = Order("bmc", 1, NOW - 3.0, NOW - 3.0 + timing.ORDER_EFFECT)


def look(_device: str, _node: str) -> DeviceLook:
    on = Reading(PowerState.ON, NOW - 1.0, NOW - 1.0)
    return DeviceLook("bmc", readings=(on,), chassis=Chassis("10.0.8.9", 1))


def test_orders_of_other_incidents_are_counted_one_by_one() -> None:
    two = (SENT, replace(SENT, device="pdu"))
    found = orders_at("10.0.8.9", N1, [(N1, (SENT,)), (N2, two), (N3, ())], look, NOW)
    assert found == ("n2", "n2")
    assert orders_at("10.0.8.10", N1, [(N2, two)], look, NOW) == ()


def test_another_boot_of_the_same_node_is_another_incident() -> None:
    assert orders_at("10.0.8.9", N1, [(replace(N1, boot_id="before"), (SENT,))], look, NOW) == ("n1",)


@pytest.mark.parametrize(
    "order",
    [
        replace(SENT, effective_until=NOW),
        replace(SENT, action=Action.REVOKE),
        replace(SENT, action=Action.ON, sent_at=NOW - ANSWERED),
    ],
    ids=["takes no effect any more", "no order to a device", "answered"],
)
def test_what_is_not_in_work(order: Order) -> None:
    assert orders_at("10.0.8.9", N1, [(N2, (order,))], look, NOW) == ()


def test_an_order_is_done_when_the_device_reads_off_and_an_order_on_when_it_was_answered() -> None:
    off = Reading(PowerState.OFF, NOW - 1.0, NOW - 1.0)

    def reads_off(device: str, node: str) -> DeviceLook:
        return replace(look(device, node), readings=(off,))

    def busy(device: str, node: str) -> DeviceLook:
        return replace(look(device, node), busy=True)

    assert orders_at("10.0.8.9", N1, [(N2, (SENT,))], reads_off, NOW) == ()
    on = replace(SENT, action=Action.ON)
    assert orders_at("10.0.8.9", N1, [(N2, (on,))], busy, NOW) == ("n2",)
    assert orders_at("10.0.8.9", N1, [(N2, (replace(on, sent_at=NOW - 0.5),))], look, NOW) == ("n2",)


def test_a_drills_order_takes_its_place_until_it_is_over() -> None:
    chassis = Chassis("10.0.8.9", 1)

    def look(name: str, _node: str) -> DeviceLook:
        return DeviceLook(
            name, chassis=chassis if name == "blades" else replace(chassis, address="10.0.8.10")
        )

    drills = (("n7", Order("blades", 1, NOW - 1.0, NOW + 9.0)), ("n9", Order("others", 1, NOW, NOW + 10.0)))
    own = Boot("n8", "uid-8", "boot-8")
    assert orders_at("10.0.8.9", own, (), look, NOW, drills) == ("n7",)
    assert orders_at("10.0.8.9", own, (), look, NOW + 9.0, drills) == ()


def test_where_sessions_go_is_told_with_the_port() -> None:
    devices = [
        redfish("a", "n1", "https://10.0.8.9:8443/redfish"),
        redfish("b", "n2", "https://10.0.8.9"),
        device("c", "ipmi", ["n3"], address="BMC-3", secretRef={"name": "s"}),
        pdu("d", ["n4", "n5"], ip="10.0.8.9"),
        pdu("serial", ["n6"]),
    ]
    assert sessions_at(devices) == {
        ("a", "n1"): "10.0.8.9:8443",
        ("b", "n2"): "10.0.8.9",
        ("c", "n3"): "bmc-3:623",
        ("d", "n4"): "10.0.8.9:",
        ("d", "n5"): "10.0.8.9:",
    }
