"""Whether a fence device stands before the machine that a node is: UUIDs, and the orders they are told in.

A node's ``nodeInfo.systemUUID`` is what its kernel reads from SMBIOS. Firmware and BMCs tell the same sixteen bytes in
different orders: SMBIOS before 2.6 left the order of the first three fields open, and IPMI's *Get System GUID* returns
bytes that vendors fill as SMBIOS does, as RFC 4122 does, or as the IPMI specification says (all sixteen reversed).
Every order is a permutation, so two machines are taken for one only if their UUIDs are permutations of each other.
"""

from __future__ import annotations

from typing import Final

_PLACEHOLDERS: Final = frozenset(
    {
        "03000200040005000006000700080009",  # thousands of boards left the factory with this one
        "00020003000400050006000700080009",
        "03020100050407060809 0a0b0c0d0e0f".replace(" ", ""),
        "00010203040506070809 0a0b0c0d0e0f".replace(" ", ""),
    }
)


def same_machine(device_uuid: str, system_uuid: str) -> bool:
    """Whether a device's UUID and a node's ``systemUUID`` name one machine, as told or with its first fields swapped.

    Empty, malformed and placeholder UUIDs name no machine.
    """
    one, other = plain(device_uuid), plain(system_uuid)
    if not (names_a_machine(one) and names_a_machine(other)):
        return False
    return other in {one, _swapped(one)}


def names_a_machine(uuid: str) -> bool:
    """Whether this is a UUID that a single machine may have: none that boards without one of their own share."""
    text = plain(uuid)
    return (
        len(text) == 32
        and set(text) <= set("0123456789abcdef")
        and len({text[i : i + 2] for i in range(0, 32, 2)}) > 2
        and text not in _PLACEHOLDERS
    )


def spelled(guid: bytes, system_uuid: str) -> str:
    """The UUID in an IPMI GUID's sixteen bytes: in the order that makes it the node's if there is one, else in SMBIOS'.

    The caller compares: this picks a spelling and permits nothing.
    """
    told = guid.hex()
    spellings = (_swapped(told), told, guid[::-1].hex())
    wanted = plain(system_uuid)
    return _dashed(next((text for text in spellings if text == wanted), spellings[0]))


def plain(uuid: str) -> str:
    """A UUID's 32 digits."""
    return uuid.replace("-", "").strip().lower()


def _swapped(text: str) -> str:
    """The first three fields with their bytes in the other order."""
    return (
        text[6:8]
        + text[4:6]
        + text[2:4]
        + text[:2]
        + text[10:12]
        + text[8:10]
        + text[14:16]
        + text[12:14]
        + text[16:]
    )


def _dashed(text: str) -> str:
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
