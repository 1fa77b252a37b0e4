"""What makes a proof, what voids it, and who may recover on it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.fencing.proof import (
    AdminConfirmed,
    FencingProof,
    PoweredOff,
    PowerOffHow,
    Reading,
    Rebooted,
    Recover,
    independent_methods,
    permit,
    powered_off,
    void_because,
)
from ringfence.core.model import Boot, PowerState
from ringfence.core.timing import READ_FRESH, READ_SPACING

BOOT = Boot("n1", "uid-1", "boot-1")
OTHER = Boot("n1", "uid-1", "boot-2")
ON, OFF = PowerState.ON, PowerState.OFF


def read(*pairs: tuple[PowerState, float]) -> tuple[Reading, ...]:
    return tuple(Reading(state, at, at + 0.05) for state, at in pairs)


def off(device: str = "bmc", boot: Boot = BOOT, seen_at: float = 10.0) -> PoweredOff:
    return PoweredOff(boot, device, PowerOffHow.ORDERED, seen_at)


@pytest.mark.parametrize(
    ("readings", "ordered_at", "expected"),
    [
        (read(), None, None),
        (read((OFF, 10.0)), None, None),
        (read((OFF, 10.0), (OFF, 10.29)), None, None),
        (read((OFF, 10.0), (OFF, 10.31)), None, (PowerOffHow.FOUND, 10.0)),
        (read((OFF, 10.0), (OFF, 15.0)), None, (PowerOffHow.FOUND, 10.0)),
        (read((OFF, 10.0), (OFF, 15.1)), None, None),
        (read((OFF, 10.0), (OFF, 10.2), (OFF, 10.4)), None, (PowerOffHow.FOUND, 10.0)),
        (read((OFF, 10.0), (ON, 10.2), (OFF, 10.4)), None, None),
        (read((OFF, 10.0), (OFF, 10.4), (ON, 10.8)), None, None),
        (read((OFF, 10.0), (PowerState.UNKNOWN, 10.2), (OFF, 10.4)), None, None),
        (read((OFF, 10.0), (PowerState.TRANSITION, 10.2), (OFF, 10.4)), None, None),
        (read((OFF, 10.0), (OFF, 10.4)), 10.2, None),
        (read((OFF, 10.0), (OFF, 10.4), (OFF, 10.8)), 10.2, (PowerOffHow.ORDERED, 10.4)),
        (read((ON, 9.0), (OFF, 10.0), (OFF, 10.4)), 9.5, (PowerOffHow.ORDERED, 10.0)),
    ],
)
def test_two_readings_apart(
    readings: tuple[Reading, ...], ordered_at: float | None, expected: tuple[PowerOffHow, float] | None
) -> None:
    proof = powered_off(BOOT, "bmc", readings, ordered_at)
    assert (None if proof is None else (proof.how, proof.seen_at)) == expected


@given(
    st.lists(st.tuples(st.sampled_from(PowerState), st.floats(0.0, 20.0)), max_size=8).map(
        lambda rows: read(*sorted(rows, key=lambda row: row[1]))
    ),
    st.none() | st.floats(0.0, 20.0),
)
def test_a_proof_always_rests_on_two_readings(
    readings: tuple[Reading, ...], ordered_at: float | None
) -> None:
    proof = powered_off(BOOT, "bmc", readings, ordered_at)
    if proof is None:
        return
    last = readings[-1]
    assert last.state is OFF
    assert READ_SPACING <= last.asked_at - proof.seen_at <= READ_FRESH
    assert all(r.state is OFF for r in readings if r.asked_at > proof.seen_at)
    assert ordered_at is None or proof.seen_at >= ordered_at


@pytest.mark.parametrize("proof", [off(), AdminConfirmed(BOOT, "kim", "off", 10.0)])
def test_newer_life_voids(proof: FencingProof) -> None:
    assert void_because(proof, 10.0, "a packet") is None
    assert void_because(proof, 12.5, "a packet") == "a packet was seen 2.5 s after the proof's first reading"


def test_nothing_voids_a_reboot() -> None:
    assert void_because(Rebooted(BOOT, "boot-2", 10.0), 99.0, "a packet") is None


def test_recover_is_built_by_permit_only() -> None:
    with pytest.raises(TypeError, match="permit"):
        Recover(BOOT, (off(),), object())


def test_a_proof_of_another_boot_is_refused() -> None:
    assert permit(BOOT, (off(boot=OTHER),), 1) is None
    assert permit(BOOT, (Rebooted(OTHER, "boot-3", 1.0),), 1) is None
    recover = permit(BOOT, (off(), off("pdu", OTHER)), 1)
    assert recover is not None
    assert recover.proofs == (off(),)


@pytest.mark.parametrize(
    ("proofs", "required", "leave"),
    [
        ((), 0, False),
        ((), 1, False),
        ((off(),), 1, True),
        ((off(),), 2, False),
        ((off(), off(seen_at=11.0)), 2, False),
        ((off(), off("pdu")), 2, True),
        ((Rebooted(BOOT, "boot-2", 1.0),), 2, True),
        ((AdminConfirmed(BOOT, "kim", "off", 1.0),), 2, True),
    ],
)
def test_how_many_methods(proofs: tuple[FencingProof, ...], required: int, leave: bool) -> None:
    assert (permit(BOOT, proofs, required) is not None) is leave


def test_a_device_counts_once() -> None:
    assert independent_methods((off(), off(seen_at=3.0), off("pdu"))) == 2


def test_what_one_address_says_by_two_protocols_is_said_once() -> None:
    """A BMC that lies by Redfish lies by IPMI too."""
    redfish, ipmi = replace(off("redfish"), address="10.0.8.1"), replace(off("ipmi"), address="10.0.8.1")
    assert permit(BOOT, (redfish, ipmi), 1) is not None
    assert permit(BOOT, (redfish, ipmi), 2) is None
    assert permit(BOOT, (redfish, ipmi, replace(off("pdu"), address="10.0.9.1")), 2) is not None
