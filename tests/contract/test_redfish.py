"""The Redfish adapter against a real emulator: own process, TLS, htpasswd, power that is what it is."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contract.apiserver import free_port
from contract.redfish_bmc import ONE, SECRET, TWO, Bmc
from contract.tls import make_certificate
from ringfence.core.model import PowerState
from ringfence.fencing import open_device
from ringfence.ports import (
    DeviceMisconfigured,
    DeviceRefused,
    DeviceSpec,
    DeviceUnauthorized,
    DeviceUnreachable,
    PowerDevice,
    SystemClock,
    TooLate,
)

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bmc]:
    bmc = Bmc(tmp_path_factory.mktemp("bmc"))
    yield bmc
    bmc.stop()


@pytest.fixture
def bmc(emulator: Bmc) -> Bmc:
    emulator.reset()
    return emulator


@asynccontextmanager
async def opened(spec: DeviceSpec, secret: dict[str, bytes] | None = None) -> AsyncIterator[PowerDevice]:
    device = open_device(spec, SECRET if secret is None else secret, CLOCK)
    try:
        await device.open()
        yield device
    finally:
        await device.close()


async def test_off_is_ordered_and_read_back_and_on_again(bmc: Bmc) -> None:
    async with opened(bmc.spec()) as device:
        assert (await device.identity()).uuid == ONE
        before = CLOCK.monotonic()
        assert (await device.power()).state is PowerState.ON
        receipt = await device.order_off(deadline=CLOCK.monotonic() + 5)
        assert before <= receipt.sent_at <= receipt.answered_at
        assert receipt.effective_until == receipt.sent_at + device.order_lasts
        reading = await device.power()
        assert reading.state is PowerState.OFF
        assert reading.at >= receipt.answered_at
        assert bmc.system()["power"] == "Off"
        await device.order_on()
        assert (await device.power()).state is PowerState.ON


async def test_only_the_named_system_is_cut(bmc: Bmc) -> None:
    async with opened(bmc.spec()) as device:
        await device.order_off()
    assert (bmc.system(ONE)["power"], bmc.system(TWO)["power"]) == ("Off", "On")


async def test_off_again_is_no_error_and_is_sent_all_the_same(bmc: Bmc) -> None:
    bmc.reset(power="Off")
    async with opened(bmc.spec()) as device:
        assert (await device.power()).state is PowerState.OFF
        assert not (await device.order_off()).already
    assert bmc.system()["orders"] == ["ForceOff"]


async def test_a_device_that_refuses_because_it_is_off_already(bmc: Bmc) -> None:
    bmc.reset(mode="refuse", power="Off")
    async with opened(bmc.spec()) as device:
        assert (await device.order_off()).already


async def test_an_answer_without_a_deed_is_seen_by_reading(bmc: Bmc) -> None:
    bmc.reset(mode="ignore")
    async with opened(bmc.spec()) as device:
        await device.order_off()
        assert (await device.power()).state is PowerState.ON


async def test_a_refusal_carries_the_devices_words(bmc: Bmc) -> None:
    bmc.reset(mode="refuse")
    async with opened(bmc.spec()) as device:
        with pytest.raises(DeviceRefused, match="not today") as refused:
            await device.order_off()
        assert refused.value.sent_at is None
    assert bmc.system()["orders"] == ["ForceOff"]


async def test_a_device_in_transition_is_asked_again(bmc: Bmc) -> None:
    bmc.reset(mode="busy", busy=2)
    async with opened(bmc.spec()) as device:
        await device.order_off(deadline=CLOCK.monotonic() + 5)
        assert (await device.power()).state is PowerState.OFF
    assert bmc.system()["orders"] == ["ForceOff"] * 3


async def test_a_device_in_transition_for_ever_is_given_up_at_the_deadline(bmc: Bmc) -> None:
    bmc.reset(mode="busy", busy=1000)
    async with opened(bmc.spec()) as device:
        deadline = CLOCK.monotonic() + 1.2
        with pytest.raises(DeviceRefused, match="power change"):
            await device.order_off(deadline=deadline)
        assert CLOCK.monotonic() < deadline + 0.5
    assert len(bmc.system()["orders"]) in {2, 3}


async def test_silence_ends_by_the_time_out_and_owns_that_the_order_may_come(bmc: Bmc) -> None:
    async with opened(bmc.spec(timeout_seconds=0.7)) as device:
        bmc.reset(mode="hang")
        began = CLOCK.monotonic()
        with pytest.raises(DeviceUnreachable, match="no answer") as silent:
            await device.order_off(deadline=began + 5)
        assert silent.value.sent_at is not None
        assert began <= silent.value.sent_at < began + 0.5
        with pytest.raises(DeviceUnreachable) as silent:
            await device.power()
        assert silent.value.sent_at is None
        assert CLOCK.monotonic() - began < 3


async def test_no_order_after_its_deadline(bmc: Bmc) -> None:
    async with opened(bmc.spec()) as device:
        with pytest.raises(TooLate):
            await device.order_off(deadline=CLOCK.monotonic() - 0.001)
        with pytest.raises(TooLate):
            await device.order_on(deadline=CLOCK.monotonic() - 0.001)
    assert "orders" not in bmc.system()


async def test_a_wrong_password_is_the_administrators(bmc: Bmc, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(DeviceUnauthorized) as refused:
        async with opened(bmc.spec(), {"username": b"fence", "password": b"n0t-it"}):
            pass
    assert "n0t-it" not in f"{refused.value}{caplog.text}"
    assert base64.b64encode(b"fence:n0t-it").decode() not in f"{refused.value}{caplog.text}"


@pytest.mark.parametrize("secret", [{}, {"username": b"x"}, {"username": b"x", "password": b""}])
def test_a_secret_without_its_words(bmc: Bmc, secret: dict[str, bytes]) -> None:
    with pytest.raises(DeviceMisconfigured, match="Secret"):
        open_device(bmc.spec(), secret, CLOCK)


async def test_a_certificate_that_nobody_vouches_for(bmc: Bmc, tmp_path: Path) -> None:
    other, _ = make_certificate(tmp_path, "other")
    for bundle in ("", other.read_text()):
        with pytest.raises(DeviceMisconfigured, match="TLS"):
            async with opened(bmc.spec(ca_bundle=bundle)):
                pass
    async with opened(bmc.spec(ca_bundle="", insecure_skip_verify=True)) as device:
        assert (await device.power()).state is PowerState.ON


async def test_a_bundle_in_base64_is_one_too(bmc: Bmc) -> None:
    bundle = base64.b64encode((bmc.folder / "bmc.crt").read_bytes()).decode()
    async with opened(bmc.spec(ca_bundle=bundle)) as device:
        assert (await device.power()).state is PowerState.ON
    with pytest.raises(DeviceMisconfigured, match="caBundle"):
        open_device(bmc.spec(ca_bundle="!"), SECRET, CLOCK)


async def test_the_system_is_found_by_the_nodes_uuid_or_not_at_all(bmc: Bmc) -> None:
    async with opened(bmc.spec(system_id="", expected_uuid=TWO.upper())) as device:
        assert (await device.identity()).uuid == TWO
    with pytest.raises(DeviceMisconfigured, match="none of its 2 systems"):
        async with opened(bmc.spec(system_id="", expected_uuid="99999999" + ONE[8:])):
            pass
    with pytest.raises(DeviceMisconfigured, match="say which"):
        async with opened(bmc.spec(system_id="")):
            pass
    with pytest.raises(DeviceMisconfigured):
        async with opened(bmc.spec(system_id="no-such")):
            pass


async def test_a_swapped_device_says_who_it_is(bmc: Bmc) -> None:
    """A named system that isn't the node's opens all the same: whoever decides compares the identity."""
    async with opened(bmc.spec(system_id=f"/redfish/v1/Systems/{TWO}", expected_uuid=ONE)) as device:
        assert (await device.identity()).uuid == TWO


async def test_nobody_there(bmc: Bmc) -> None:
    with pytest.raises(DeviceUnreachable) as nobody:
        async with opened(bmc.spec(address=f"https://127.0.0.1:{free_port()}")):
            pass
    assert nobody.value.sent_at is None


@pytest.mark.parametrize("address", ["http://127.0.0.1", "127.0.0.1", "", "https://u:p@127.0.0.1"])
def test_an_address_that_is_none(bmc: Bmc, address: str) -> None:
    with pytest.raises(DeviceMisconfigured):
        open_device(bmc.spec(address=address), SECRET, CLOCK)


def test_a_driver_that_has_no_power(bmc: Bmc) -> None:
    with pytest.raises(DeviceMisconfigured, match="no driver 'manual'"):
        open_device(bmc.spec(driver="manual"), SECRET, CLOCK)
