"""What holds for every fence device with power to switch, on the real parts: who is believed, what is bounded, what is hidden."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from contract.power_rigs import (
    DELAY,
    WRONG,
    FenceDummyRig,
    FenceIpmilanRig,
    FenceRedfishRig,
    IpmiRig,
    RedfishRig,
    Rig,
)
from ringfence.core.model import PowerState
from ringfence.fencing import open_device
from ringfence.ports import (
    DeviceError,
    DeviceSpec,
    DeviceUnauthorized,
    DeviceUnreachable,
    OrderReceipt,
    PowerDevice,
    SystemClock,
    TooLate,
)

CLOCK = SystemClock()
SLACK = 8.0
"""Seconds that a busy machine may add to a bound."""
KINDS: dict[str, type[Rig]] = {
    "redfish": RedfishRig,
    "ipmi": IpmiRig,
    "agent-fence_ipmilan": FenceIpmilanRig,
    "agent-fence_redfish": FenceRedfishRig,
    "agent-fence_dummy": FenceDummyRig,
}
_REAL = pytest.mark.fences


def kinds(*modes: str) -> pytest.MarkDecorator:
    """The kinds of device that can be made to behave in one of these ways."""
    return pytest.mark.parametrize(
        "rig",
        [
            pytest.param(name, marks=() if name == "redfish" else _REAL)
            for name, kind in KINDS.items()
            if set(modes or ("ok",)) <= set(kind.MODES)
        ],
        indirect=True,
    )


@pytest.fixture(scope="module")
def rigs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Rig]]:
    """Each is started when a test first asks for it."""

    class Rigs(dict[str, Rig]):
        def __missing__(self, name: str) -> Rig:
            self[name] = KINDS[name](tmp_path_factory.mktemp(name))  # type: ignore[call-arg] # a Protocol's type
            return self[name]

    started = Rigs()
    yield started
    for rig in started.values():
        rig.stop()


@pytest.fixture
def rig(rigs: dict[str, Rig], request: pytest.FixtureRequest) -> Rig:
    found: Rig = rigs[request.param]
    found.behave("ok")
    return found


@asynccontextmanager
async def opened(
    rig: Rig, spec: DeviceSpec | None = None, secret: dict[str, bytes] | None = None
) -> AsyncIterator[PowerDevice]:
    device = open_device(spec or rig.spec(), rig.secret() if secret is None else secret, CLOCK)
    try:
        await device.open()
        yield device
    finally:
        await device.close()


async def ordered_off(device: PowerDevice) -> OrderReceipt | DeviceError:
    """The order, whatever the device makes of it: an agent looks itself and fails, a BMC just answers."""
    try:
        return await device.order_off(deadline=CLOCK.monotonic() + SLACK)
    except DeviceError as error:
        return error


@kinds()
async def test_off_is_ordered_and_read_back_and_on_again(rig: Rig) -> None:
    async with opened(rig) as device:
        before = CLOCK.monotonic()
        assert (await device.power()).state is PowerState.ON
        receipt = await device.order_off(deadline=CLOCK.monotonic() + SLACK)
        assert not rig.on()
        assert before <= receipt.sent_at <= receipt.answered_at
        assert receipt.effective_until == receipt.sent_at + device.order_lasts
        reading = await device.power()
        assert reading.state is PowerState.OFF
        assert reading.at >= receipt.answered_at
        await device.order_on()
        assert rig.on()
        assert (await device.power()).state is PowerState.ON


@kinds()
async def test_it_says_who_it_is_or_nothing(rig: Rig) -> None:
    async with opened(rig) as device:
        assert (await device.identity()).uuid == rig.uuid


@kinds()
async def test_off_again_is_no_error(rig: Rig) -> None:
    rig.behave("ok", on=False)
    async with opened(rig) as device:
        await device.order_off(deadline=CLOCK.monotonic() + SLACK)
        assert (await device.power()).state is PowerState.OFF
    assert not rig.on()


@kinds("ignore")
async def test_an_order_without_a_deed_is_seen_by_reading(rig: Rig) -> None:
    rig.behave("ignore")
    async with opened(rig) as device:
        began = CLOCK.monotonic()
        while not rig.orders():  # an agent on a starved machine may give up before it has ordered anything
            assert CLOCK.monotonic() - began < 60
            assert (await ordered_off(device)).sent_at is not None
        assert (await device.power()).state is PowerState.ON
    assert rig.on()


@kinds("refuse")
async def test_a_refusal_is_an_error_and_switches_nothing(rig: Rig) -> None:
    rig.behave("refuse")
    async with opened(rig) as device:
        with pytest.raises(DeviceError):
            await device.order_off(deadline=CLOCK.monotonic() + SLACK)
        assert (await device.power()).state is PowerState.ON
    assert rig.on()


@kinds("hang")
async def test_silence_ends_by_the_time_out_and_owns_that_the_order_may_come(rig: Rig) -> None:
    spec = rig.spec(timeout_seconds=1.5)
    async with opened(rig, spec) as device:
        rig.behave("hang")
        began = CLOCK.monotonic()
        with pytest.raises(DeviceUnreachable) as silent:
            await device.order_off(deadline=began + SLACK)
        assert silent.value.sent_at is not None
        assert began <= silent.value.sent_at <= CLOCK.monotonic()
        assert CLOCK.monotonic() - began < spec.timeout_seconds + SLACK
        with pytest.raises(DeviceUnreachable) as silent:
            await device.power()
        assert silent.value.sent_at is None


@kinds("slow")
async def test_a_slow_device_is_off_once_it_reads_off_and_not_before(rig: Rig) -> None:
    rig.behave("slow")
    async with opened(rig) as device:
        began = CLOCK.monotonic()
        assert isinstance(await ordered_off(device), OrderReceipt)
        while (reading := await device.power()).state is PowerState.ON:
            assert CLOCK.monotonic() - began < DELAY + SLACK
            await asyncio.sleep(0.1)
        assert reading.state is PowerState.OFF
    assert not rig.on()


@kinds()
async def test_no_order_after_its_deadline(rig: Rig) -> None:
    async with opened(rig) as device:
        with pytest.raises(TooLate):
            await device.order_off(deadline=CLOCK.monotonic() - 0.001)
        with pytest.raises(TooLate):
            await device.order_on(deadline=CLOCK.monotonic() - 0.001)
    assert rig.orders() == []
    assert rig.on()


@kinds("hang")
async def test_a_wrong_password_is_told_and_not_shown(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    kind = DeviceUnauthorized if rig.tells_who_must_act else DeviceError
    with pytest.raises(kind) as refused:
        async with opened(rig, secret=rig.secret(WRONG)) as device:
            await device.power()
    assert WRONG not in f"{refused.value!r}{refused.value}{caplog.text}"


@kinds("hang")
async def test_nobody_there(rig: Rig) -> None:
    kind = DeviceUnreachable if rig.tells_who_must_act else DeviceError
    began = CLOCK.monotonic()
    spec = rig.away()
    with pytest.raises(kind) as nobody:
        async with opened(rig, spec) as device:
            await device.power()
    assert nobody.value.sent_at is None
    assert CLOCK.monotonic() - began < spec.timeout_seconds + SLACK


@kinds()
async def test_closing_twice_is_no_error(rig: Rig) -> None:
    async with opened(rig) as device:
        assert (await device.power()).state is PowerState.ON
        await device.close()
