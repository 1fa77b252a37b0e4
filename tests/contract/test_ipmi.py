"""What only IPMI has: privileges, cipher suites, GUIDs, and a password that nobody may see."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from contract.apiserver import until
from contract.power_rigs import PASSWORD, USER, IpmiRig
from contract.redfish_bmc import ONE
from ringfence.fencing import open_device
from ringfence.ports import (
    DeviceError,
    DeviceMisconfigured,
    DeviceUnauthorized,
    DeviceUnreachable,
    PowerDevice,
    SystemClock,
)

pytestmark = pytest.mark.fences
CLOCK = SystemClock()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IpmiRig]:
    rig = IpmiRig(tmp_path_factory.mktemp("ipmi"))
    yield rig
    rig.stop()


@pytest.fixture
def rig(running: IpmiRig) -> IpmiRig:
    running.behave("ok")
    return running


def device(rig: IpmiRig, **more: object) -> PowerDevice:
    return open_device(rig.spec(**more), rig.secret(), CLOCK)


async def test_a_cipher_suite_that_the_bmc_has_not(rig: IpmiRig) -> None:
    with pytest.raises(DeviceMisconfigured, match=r"cipher suite 17: set spec.ipmi.cipherSuite"):
        await device(rig, cipher_suite=17).power()


async def test_a_user_that_the_bmc_does_not_know(rig: IpmiRig) -> None:
    secret = {**rig.secret(), "username": b"nobody"}
    with pytest.raises(DeviceUnauthorized, match="no such user"):
        await open_device(rig.spec(), secret, CLOCK).power()


async def test_a_level_that_may_read_but_not_switch(rig: IpmiRig) -> None:
    reader = device(rig, privilege="USER")
    assert (await reader.power()).state.value == "on"
    with pytest.raises(DeviceUnauthorized, match="may not act at level USER: raise"):
        await reader.order_off(deadline=CLOCK.monotonic() + 10)
    assert rig.on()


async def test_a_name_that_nobody_knows(rig: IpmiRig) -> None:
    with pytest.raises(DeviceUnreachable, match=r"bmc.invalid:623 is no address and no name"):
        await device(rig, address="bmc.invalid:623", timeout_seconds=20.0).power()


@pytest.mark.parametrize(
    "address", ["", "-h", "https://10.0.0.1", "a b", "10.0.0.1:99999", "10.0.0.1:0", "u@h", "::1"]
)
def test_an_address_that_is_none(rig: IpmiRig, address: str) -> None:
    with pytest.raises(DeviceMisconfigured, match="no host"):
        device(rig, address=address)


@pytest.mark.parametrize(
    ("key", "word", "sentence"),
    [
        ("username", b"x" * 17, "longer than the 16 bytes that IPMI allows: shorten it"),
        ("password", b"x" * 21, "longer than the 20 bytes that IPMI allows: shorten it"),
        ("password", b"", "key 'password' is empty: fill it"),
        ("password", b"a\nb", "has control characters"),
        ("password", b"\xff", "is no UTF-8"),
        ("password", None, "has no key 'password': add it"),
    ],
)
def test_a_secret_that_can_not_be_right(rig: IpmiRig, key: str, word: bytes | None, sentence: str) -> None:
    secret = {name: value for name, value in {**rig.secret(), key: word}.items() if value is not None}
    with pytest.raises(DeviceMisconfigured, match=sentence) as wrong:
        open_device(rig.spec(), secret, CLOCK)
    assert wrong.value.reason.startswith("Secret")


@pytest.mark.parametrize("order", ["smbios", "rfc4122", "reversed"])
async def test_whatever_the_order_of_its_bytes_a_guid_finds_its_node(order: str, tmp_path: Path) -> None:
    told = uuid.UUID(ONE)
    guid = {"smbios": told.bytes_le, "rfc4122": told.bytes, "reversed": told.bytes[::-1]}[order]
    rig = IpmiRig(tmp_path, guid.hex())
    try:
        assert (await device(rig).identity()).uuid == ONE
        other = await device(rig, expected_uuid="0c9f3a52-5d64-4a5e-8a43-6f1c2f1b7d11").identity()
        assert other.uuid == str(uuid.UUID(bytes_le=guid))
    finally:
        rig.stop()


async def test_a_guid_of_zeros_is_nobody(tmp_path: Path) -> None:
    rig = IpmiRig(tmp_path, "00" * 16)
    try:
        assert (await device(rig).identity()).uuid == ""
    finally:
        rig.stop()


async def test_the_password_is_in_no_argument_and_no_environment(rig: IpmiRig) -> None:
    rig.behave("hang")
    reading = asyncio.ensure_future(device(rig, timeout_seconds=8.0).power())
    seen: dict[str, bytes] = {}

    def look() -> bool:
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (process / "cmdline").read_bytes()
                if line.startswith(b"/usr/bin/ipmitool") and str(rig.port).encode() in line.split(b"\0"):
                    seen[process.name] = line + (process / "environ").read_bytes()
        return bool(seen)

    await asyncio.to_thread(until, look, "ipmitool to run")
    with suppress(DeviceError):
        await reading
    for words in seen.values():
        assert USER.encode() in words
        assert PASSWORD.encode() not in words
