"""UUIDs and the orders that they are told in; what is no machine's UUID."""

from __future__ import annotations

import uuid as uuids

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.fencing.identity import names_a_machine, same_machine, spelled

UUID = "00112233-4455-6677-8899-aabbccddeeff"


def test_one_machine_in_both_byte_orders() -> None:
    assert same_machine(UUID.upper(), UUID)
    assert same_machine("33221100-5544-7766-8899-aabbccddeeff", UUID)
    assert not same_machine("00112233-4455-6677-8899-aabbccddeefe", UUID)


@pytest.mark.parametrize(
    "uuid",
    [
        "",
        "abc",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
        "0011223344556677-8899-aabbccddeefg",
    ],
)
def test_a_number_that_boards_share_names_no_machine(uuid: str) -> None:
    assert not names_a_machine(uuid)
    assert not same_machine(uuid, uuid)


@given(st.uuids().map(str))
def test_each_order_of_an_ipmi_guid_finds_its_node(uuid: str) -> None:
    told = uuids.UUID(uuid)
    for guid in (told.bytes_le, told.bytes, told.bytes[::-1]):
        assert spelled(guid, uuid) == uuid


@given(st.uuids().map(str), st.uuids())
def test_another_machines_guid_is_never_spelled_as_the_nodes(uuid: str, other: uuids.UUID) -> None:
    if sorted(other.bytes) != sorted(uuids.UUID(uuid).bytes):
        for guid in (other.bytes_le, other.bytes, other.bytes[::-1]):
            assert not same_machine(spelled(guid, uuid), uuid)


def test_a_guid_of_no_known_node_is_told_as_smbios_has_it() -> None:
    assert spelled(uuids.UUID(UUID).bytes_le, "") == UUID
