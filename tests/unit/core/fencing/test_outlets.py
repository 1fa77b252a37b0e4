"""Outlets that two nodes have, machines that share a number, addresses that a zone doesn't allow."""

from __future__ import annotations

import pytest

from ringfence.core.fencing.outlets import Outlet, out_of_bounds, same_uuid, shared

PDU = ("agent", "fence_apc", "ip=10.0.0.9", "plug=3")


def test_two_nodes_on_one_outlet_are_both_told_and_both_out() -> None:
    found = shared(
        [
            Outlet("pdu", "n1", PDU),
            Outlet("pdu", "n2", PDU),
            Outlet("pdu", "n3", (*PDU[:3], "plug=4")),
        ]
    )
    assert found.keys() == {("pdu", "n1"), ("pdu", "n2")}
    assert found["pdu", "n1"].reason == "OutletShared"
    assert "n2 (by pdu)" in found["pdu", "n1"].sentence
    assert "until then none of them is used" in found["pdu", "n2"].sentence


def test_one_node_may_be_cut_by_two_devices_there() -> None:
    assert shared([Outlet("a", "n1", PDU), Outlet("b", "n1", PDU)]) == {}


def test_a_shared_outlet_spoils_every_device_on_it() -> None:
    found = shared([Outlet("a", "n1", PDU), Outlet("b", "n1", PDU), Outlet("c", "n2", PDU)])
    assert found.keys() == {("a", "n1"), ("b", "n1"), ("c", "n2")}


def test_machines_that_share_a_number() -> None:
    found = same_uuid({"n1": "AAAA", "n2": "aaaa", "n3": "bbbb", "n4": "", "n5": ""})
    assert found.keys() == {"n1", "n2"}
    assert "also n2's" in found["n1"].sentence


@pytest.mark.parametrize(
    ("host", "allowed", "words"),
    [
        ("10.0.8.1", (), None),
        ("10.0.8.1", ("10.0.8.0/24",), None),
        ("10.0.8.1", ("10.0.9.0/24", "10.0.8.1/32"), None),
        ("fd00::9", ("fd00::/64", "10.0.8.0/24"), None),
        ("", ("10.0.8.0/24",), None),
        (
            "10.0.9.1",
            ("10.0.8.0/24",),
            "10.0.9.1 is in none of zone a's spec.fencing.allowedAddresses (10.0.8.0/24)",
        ),
        ("fd00::9", ("10.0.8.0/24",), "correct the address, or add its network"),
        ("bmc-1.example", ("10.0.8.0/24",), "is a name"),
        ("10.0.8.1", ("no network",), "in none of"),
    ],
)
def test_addresses_that_a_zone_allows(host: str, allowed: tuple[str, ...], words: str | None) -> None:
    objection = out_of_bounds(Outlet("d", "n1", ("x",), host), allowed, "a")
    assert (objection is None) == (words is None)
    if objection is not None:
        assert objection.reason == "AddressNotAllowed"
        assert str(words) in objection.sentence
