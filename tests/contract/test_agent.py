"""What only fence agents have: programs of strangers, their parameters and their ways to end."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.controller.targets import targets
from ringfence.core.model import PowerState
from ringfence.fencing import open_device
from ringfence.ports import (
    DeviceError,
    DeviceMisconfigured,
    DeviceRefused,
    DeviceSpec,
    DeviceUnauthorized,
    DeviceUnreachable,
    PowerDevice,
    SystemClock,
)

CLOCK = SystemClock()
METADATA = """<?xml version="1.0" ?><resource-agent name="fence_odd"><parameters>
<parameter name="ip" required="1"/><parameter name="plug" required="0"/><parameter name="password" required="0"/>
</parameters><actions>
<action name="on"/><action name="off"/><action name="reboot"/><action name="status"/></actions></resource-agent>"""
WORD = "s3cret-word"


def spec(
    program: str = "fence_odd", parameters: Mapping[str, str] | None = None, timeout: float = 15.0
) -> DeviceSpec:
    given = {"ip": "10.0.0.9"} if parameters is None else parameters
    return DeviceSpec(
        "odd-1", "agent", "", program=program, parameters=tuple(given.items()), timeout_seconds=timeout
    )


def odd(folder: Path, *acts: str, timeout: float = 15.0, metadata: str = METADATA) -> PowerDevice:
    """A device whose agent does this for every action but ``metadata``."""
    (folder / "metadata.xml").write_text(metadata)
    path = folder / "fence_odd"
    lines = (
        "#!/bin/sh",
        f'here={folder}; cat >"$here/input"; env >"$here/env"; tr "\\0" " " </proc/$$/cmdline >"$here/args"',
        'if grep -q "^action=metadata$" "$here/input"; then cat "$here/metadata.xml"; exit 0; fi',
        *acts,
    )
    path.write_text("\n".join(lines) + "\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return open_device(spec(timeout=timeout), {"password": WORD.encode()}, CLOCK, agents=(folder,))


async def test_what_it_gets_comes_on_its_standard_input_alone(tmp_path: Path) -> None:
    device = odd(tmp_path, "echo 'Status: ON'")
    await device.open()
    assert (await device.power()).state is PowerState.ON
    assert sorted((tmp_path / "input").read_text().splitlines()) == [
        "action=status",
        "ip=10.0.0.9",
        f"password={WORD}",
    ]
    assert (tmp_path / "args").read_text().split() == ["/bin/sh", str(tmp_path / "fence_odd")]
    assert WORD not in (tmp_path / "env").read_text()


@pytest.mark.parametrize(
    ("acts", "why"),
    [
        # A shell with a syntax error ends with 2 too, and so does Python without its file: that is no "off".
        (("exit 2",), "exit status 2 without a word"),
        (("(",), "yntax error"),
        (("exec python3 /no/such/agent",), "No such file"),
        (("echo 'Status: OFF'",), "Status: OFF"),
        (("echo 'Status: ON'", "exit 2"), "Status: ON"),
        (("echo 'Status: OFF (of plug 4)'", "exit 2"), "plug 4"),
        (("echo OFF", "exit 2"), "OFF"),
        (("exit 0",), "exit status 0"),
        (("exit 1",), "exit status 1"),
    ],
)
async def test_off_is_believed_only_in_full(tmp_path: Path, acts: tuple[str, ...], why: str) -> None:
    with pytest.raises(DeviceRefused, match=why):
        await odd(tmp_path, *acts).power()


async def test_its_last_words_are_told_without_secrets_and_without_time(tmp_path: Path) -> None:
    line = f"2026-01-01 10:00:00,001 ERROR: no outlet for {WORD}\x1b[1m"
    device = odd(tmp_path, f"printf '%s\\n\\n' 'warming up' '{line}' >&2", "exit 1")
    with pytest.raises(DeviceRefused) as refused:
        await device.power()
    assert str(refused.value) == "fence device odd-1: fence_odd status: no outlet for *** [1m"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Connection timed out", DeviceUnreachable),
        ("Connection lost", DeviceUnreachable),
        ("Unable to connect/login to fencing device", DeviceUnauthorized),
        ("Failed: You have to set login password", DeviceUnauthorized),
        ("anything else", DeviceRefused),
    ],
)
async def test_the_sentences_that_agents_share_say_who_must_act(
    tmp_path: Path, words: str, kind: type[DeviceError]
) -> None:
    device = odd(
        tmp_path,
        f"echo '2026-01-01 10:00:00,001 ERROR: {words}' >&2; echo >&2",
        "echo \"2026-01-01 10:00:00,001 ERROR: Please use '-h' for usage\" >&2",
        "exit 1",
    )
    with pytest.raises(kind):
        await device.power()
    with pytest.raises(kind) as failed:
        await device.order_off(deadline=CLOCK.monotonic() + 10)
    assert failed.value.sent_at is not None, "an agent that failed may have given the order all the same"


async def test_an_agent_that_never_ends_is_ended(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnreachable, match=r"within 1.5 s and was ended"):
        await odd(tmp_path, "sleep 600 & wait", timeout=1.5).power()


async def test_one_that_never_stops_talking_is_ended(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnreachable, match="KiB"):
        await odd(tmp_path, "exec yes 'Status: OFF'").power()


@pytest.mark.parametrize(
    "program", ["fence_ODD", "../fence_odd", "/usr/sbin/fence_apc", "fence_", "reboot", "fence_a b"]
)
def test_a_program_is_named_and_not_pointed_at(program: str) -> None:
    with pytest.raises(DeviceMisconfigured, match=r"spec.agent.program: .* is no name like fence_apc"):
        open_device(spec(program), {}, CLOCK)


async def test_an_agent_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DeviceMisconfigured, match="there is no fence_nobody in") as absent:
        await open_device(spec("fence_nobody"), {}, CLOCK, agents=(tmp_path,)).open()
    assert absent.value.reason == "AgentNotFound"


async def test_one_that_describes_itself_badly(tmp_path: Path) -> None:
    device = odd(tmp_path, metadata='<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><resource-agent/>')
    with pytest.raises(DeviceMisconfigured, match="document type") as wrong:
        await device.open()
    assert wrong.value.reason == "NoFenceAgent"


@pytest.mark.parametrize(
    ("parameters", "secret", "sentence"),
    [
        ({"ip": "1\naction=on"}, {}, "parameter ip has control characters"),
        ({"ip": "1"}, {"password": b"x\naction=on"}, "control characters"),
        ({"ip": "1"}, {"password": b""}, "key 'password' is empty"),
        ({"a=b\nc": "1"}, {}, "is no name"),
        ({"-o": "1"}, {}, "is no name"),
        ({"action": "on"}, {}, "ringfence says what is to be done"),
        ({"ip": "1"}, {"password_script": b"/bin/sh"}, "names no programs and scripts"),
        ({"password": "x"}, {"password": b"x"}, "in the clear and as a secret"),
    ],
)
def test_parameters_that_can_not_be_right(
    parameters: dict[str, str], secret: dict[str, bytes], sentence: str
) -> None:
    with pytest.raises(DeviceMisconfigured, match=sentence):
        open_device(spec(parameters=parameters), secret, CLOCK)


@pytest.mark.fences
@pytest.mark.parametrize(
    ("program", "parameters", "reason", "words"),
    [
        (
            "fence_apc",
            {"ip": "10.0.0.9", "username": "x"},
            "MissingParameter",
            "nodeParameters: fence_apc needs plug",
        ),
        ("fence_apc", {"ipaddr": "10.0.0.9"}, "DeprecatedParameter", "use ip"),
        ("fence_ipmilan", {"ip": "10.0.0.9", "lan_plus": "1"}, "UnknownParameter", "did you mean lanplus?"),
        (
            "fence_ipmilan",
            {"ip": "10.0.0.9", "privlvl": "root"},
            "InvalidParameter",
            "not among callback, user",
        ),
        ("fence_ipmilan", {"ip": "10.0.0.9", "password": "x"}, "SecretInTheClear", "secretParameters"),
        ("fence_scsi", {"plug": "a"}, "NoPowerAgent", "it has no action reboot"),
        ("fence_kdump", {}, "NoPowerAgent", "switches nothing off"),
        ("fence_pve", {"ip": "a", "plug": "1", "username": "u"}, "MissingParameter", "needs vmtype"),
    ],
)
async def test_debians_agents_are_asked_what_they_know(
    program: str, parameters: dict[str, str], reason: str, words: str
) -> None:
    with pytest.raises(DeviceMisconfigured) as wrong:
        await open_device(spec(program, parameters), {}, CLOCK).open()
    assert wrong.value.reason == reason
    assert words in str(wrong.value)


@pytest.mark.fences
@pytest.mark.parametrize(
    "program", ["fence_apc_snmp", "fence_idrac", "fence_ilo5", "fence_ironic", "fence_vmware_rest"]
)
async def test_debians_agents_describe_themselves(program: str) -> None:
    """Whatever else is wrong with no parameters at all, the metadata is read."""
    device = open_device(DeviceSpec("d", "agent", "", program=program), {}, CLOCK)
    try:
        await device.open()
    except DeviceMisconfigured as wrong:
        assert wrong.reason == "MissingParameter"  # noqa: PT017 - some need nothing


@pytest.mark.fences
async def test_the_example_in_the_docs_fits_the_agent() -> None:
    page = (Path(__file__).parents[2] / "docs" / "fence-by-agent.md").read_text()
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (shown,) = (d for d in yaml.safe_load_all(text) if d["kind"] == "FenceDevice")
    found = targets([FenceDevice.model_validate(shown)], {}, {}, {})
    assert {node for _, node in found} == {"node-1", "node-2"}
    for target in found.values():
        await open_device(target.spec, {word.name: b"x" for word in target.secret}, CLOCK).open()
