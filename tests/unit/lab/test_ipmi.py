"""The lab's IPMI BMC: what it does beyond what every fence device's contract asks of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from itertools import pairwise

import pytest

from contract.power_rigs import PASSWORD, USER, IpmiRig
from lab import ipmi
from ringfence.core.model import PowerState
from ringfence.fencing import open_device
from ringfence.ports import PowerDevice, SystemClock

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


@pytest.fixture
def device(rig: IpmiRig) -> PowerDevice:
    return open_device(rig.spec(), rig.secret(), CLOCK)


async def test_lie_says_off_until_the_mode_changes(rig: IpmiRig, device: PowerDevice) -> None:
    rig.behave("lie")
    assert (await device.power()).state is PowerState.ON
    await device.order_off(deadline=CLOCK.monotonic() + 10)
    assert (await device.power()).state is PowerState.OFF
    assert rig.on()
    rig.behave("ok")
    assert (await device.power()).state is PowerState.ON


async def test_flap_contradicts_itself(rig: IpmiRig, device: PowerDevice) -> None:
    rig.behave("flap")
    for _ in range(3):
        await device.power()
    said = [row["state"] for row in rig.control.log() if row["what"] == "read"]
    assert len(said) >= 3
    assert all(one != other for one, other in pairwise(said))


async def test_off_runs_the_command_and_tells(rig: IpmiRig, device: PowerDevice) -> None:
    await device.order_off(deadline=CLOCK.monotonic() + 10)
    rows = [(row["what"], row.get("state", row.get("key"))) for row in rig.control.log()]
    assert rows == [("request", "ForceOff"), ("hook", "off")]


@pytest.mark.parametrize("what", ["reset", "diag"])
def test_what_is_no_off_and_no_on_is_refused(rig: IpmiRig, what: str) -> None:
    done = subprocess.run(
        ["ipmitool", "-I", "lanplus", "-C", str(ipmi.CIPHER_SUITE), "-H", "127.0.0.1", "-p", str(rig.port),
         "-U", USER, "-P", PASSWORD, "chassis", "power", what],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert rig.on()
    assert rig.orders() == []
