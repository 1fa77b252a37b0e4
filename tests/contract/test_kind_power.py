"""The BMC of a kind node, through our own driver, before a stand-in for docker: what it orders, what it reads, what it doesn't know."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contract.apiserver import free_port, until
from kind import power
from kind.engine import Machine
from lab.pki import Pki
from ringfence.core.model import PowerState
from ringfence.fencing.redfish import RedfishDevice
from ringfence.ports import DeviceError, DeviceSpec, SystemClock

UUID = "11111111-2222-3333-4444-555555555555"
DOCKER = """\
#!/bin/sh
# A stand-in for docker: one container, whose state is a file; without the file the engine doesn't answer.
here=$(dirname "$0")
[ -f "$here/running" ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }
[ "$1" = inspect ] || echo "$*" >> "$here/asked"
case $1 in
  inspect) cat "$here/running" ;;
  kill) echo false > "$here/running" ;;
  start) echo true > "$here/running" ;;
esac
"""


@pytest.fixture
async def bmc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedfishDevice]:
    docker = tmp_path / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    (tmp_path / "running").write_text("true\n")
    monkeypatch.setenv("RINGFENCE_DOCKER", str(docker))
    pki, port = Pki(tmp_path / "pki"), free_port()
    started = power.start(tmp_path, Machine("ringfence-worker"), UUID, "127.0.0.1", port, pki)

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(answers, "the BMC's port", bound=30)
        spec = DeviceSpec("bmc", "redfish", started.address, expected_uuid=UUID, ca_bundle=pki.ca)
        secret = {"username": power.USER.encode(), "password": power.PASSWORD.encode()}
        device = RedfishDevice(spec, secret, SystemClock())
        await device.open()
        yield device
        await device.close()
    finally:
        power.stop(tmp_path)
        started.process.wait(20)


async def test_orders_are_dockers_and_readings_are_what_docker_says(
    bmc: RedfishDevice, tmp_path: Path
) -> None:
    assert (await bmc.identity()).uuid == UUID
    assert (await bmc.power()).state is PowerState.ON
    await bmc.order_off()
    assert (tmp_path / "asked").read_text() == "kill ringfence-worker\n"
    assert (await bmc.power()).state is PowerState.OFF
    await bmc.order_on()
    assert (await bmc.power()).state is PowerState.ON


async def test_a_docker_that_does_not_answer_never_reads_as_off(bmc: RedfishDevice, tmp_path: Path) -> None:
    (tmp_path / "running").unlink()
    with pytest.raises(DeviceError):
        await bmc.power()
