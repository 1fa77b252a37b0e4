"""A fence agent's metadata, and what is wrong with what it is to be given: each fault names field and mend."""

from __future__ import annotations

import pytest

from ringfence.fencing.metadata import Metadata, MetadataError, Parameter, check, forbidden, parse

APC = """<?xml version="1.0" ?>
<resource-agent name="fence_apc" shortdesc="a &lt;PDU&gt;">
<parameters>
<parameter name="action" unique="0" required="1"><content type="string" default="reboot" /></parameter>
<parameter name="ip" unique="0" required="1" obsoletes="ipaddr"><content type="string"  /></parameter>
<parameter name="ipaddr" unique="0" required="1" deprecated="1"><content type="string"  /></parameter>
<parameter name="ipport" unique="0" required="0"><content type="integer" default="23"  /></parameter>
<parameter name="plug" unique="0" required="1" obsoletes="port"><content type="string"  /></parameter>
<parameter name="port" unique="0" required="1" deprecated="1"><content type="string"  /></parameter>
<parameter name="password" unique="0" required="0" obsoletes="passwd"><content type="string"  /></parameter>
<parameter name="ssh_path" unique="0" required="0"><content type="string"  /></parameter>
<parameter name="api_path" unique="0" required="0"><content type="string"  /></parameter>
<parameter name="method" unique="0" required="0">
  <content type="select" default="onoff"  ><option value="onoff" /><option value="cycle" /></content>
</parameter>
</parameters>
<actions><action name="on" automatic="0"/><action name="off" /><action name="reboot" /><action name="status" />
<action name="monitor" /></actions>
</resource-agent>
"""
GOOD = {"ip": "10.0.0.9", "plug": "3"}


@pytest.fixture(scope="module")
def apc() -> Metadata:
    return parse(APC)


def test_it_is_read(apc: Metadata) -> None:
    assert apc.actions == {"on", "off", "reboot", "status", "monitor"}
    assert apc.parameters["ip"] == Parameter(required=True, obsoletes="ipaddr")
    assert apc.parameters["ipport"].type == "integer"
    assert apc.parameters["method"].choices == ("onoff", "cycle")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no XML"),
        ("Usage: fence_x", "is no XML"),
        ("<a/>", "no fence agent"),
        ("<resource-agent/>", "no fence agent"),
        (APC.replace("<resource-agent", "<!DOCTYPE x><resource-agent", 1), "document type"),
        (
            APC.replace(
                "<resource-agent", '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><resource-agent', 1
            ).replace("a &lt;", "&e;"),
            "document type",
        ),
        (
            '<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><resource-agent name="&b;"/>',
            "document type",
        ),
    ],
)
def test_what_is_none_is_refused(text: str, why: str) -> None:
    with pytest.raises(MetadataError, match=why):
        parse(text)


def test_good_parameters_have_no_fault(apc: Metadata) -> None:
    assert (
        check(
            "fence_apc",
            apc,
            {**GOOD, "method": "onoff", "ipport": "22", "api_path": "/x"},
            frozenset({"password"}),
        )
        is None
    )


@pytest.mark.parametrize(
    ("more", "secret", "reason", "words"),
    [
        (
            {"pulg": "3"},
            (),
            "UnknownParameter",
            "parameter pulg: fence_apc does not know it; did you mean plug?",
        ),
        ({"secure_boot": "3"}, (), "UnknownParameter", "`fence_apc -o metadata` tells what it knows"),
        ({"ip-port": "3"}, (), "UnknownParameter", "did you mean ipport?"),
        ({"port": "3"}, (), "DeprecatedParameter", "parameter port is deprecated: use plug"),
        ({"password": "x"}, (), "SecretInTheClear", "move it to spec.agent.secretParameters"),
        ({"method": "off"}, (), "InvalidParameter", "'off' is not among onoff, cycle"),
        ({"ipport": "ssh"}, (), "InvalidParameter", "parameter ipport: 'ssh' is no whole number"),
        ({"ssh_path": "/tmp/x"}, (), "ForbiddenParameter", "names no programs and scripts"),
        ({"delay": "9"}, (), "ForbiddenParameter", "HACluster spec.holdSeconds"),
        ({}, ("action",), "ForbiddenParameter", "ringfence says what is to be done"),
    ],
)
def test_a_fault_names_field_and_mend(
    apc: Metadata, more: dict[str, str], secret: tuple[str, ...], reason: str, words: str
) -> None:
    fault = check("fence_apc", apc, {**GOOD, **more}, frozenset(secret))
    assert fault is not None
    assert fault.reason == reason
    assert words in fault.sentence
    assert fault.sentence.startswith("spec.agent")


def test_what_is_missing_is_told(apc: Metadata) -> None:
    fault = check("fence_apc", apc, {"ip": "10.0.0.9"}, frozenset())
    assert fault is not None
    assert fault.sentence == "spec.agent.nodeParameters: fence_apc needs plug: add what is missing"
    fault = check("fence_apc", apc, {}, frozenset({"plug"}))
    assert fault is not None
    assert (fault.reason, fault.sentence) == (
        "MissingParameter",
        "spec.agent.parameters: fence_apc needs ip: add what is missing",
    )


@pytest.mark.parametrize("lacks", ["reboot", "status", "off"])
def test_an_agent_that_can_not_prove_a_power_off(apc: Metadata, lacks: str) -> None:
    fault = check("fence_x", Metadata(apc.parameters, apc.actions - {lacks}), GOOD, frozenset())
    assert fault is not None
    assert (
        fault.sentence
        == f"spec.agent.program: fence_x proves no power off: it has no action {lacks}; use another"
    )


def test_an_agent_that_takes_a_missing_ping_for_off(apc: Metadata) -> None:
    fault = check("fence_crosslink", apc, GOOD, frozenset())
    assert fault is not None
    assert fault.reason == "NoPowerAgent"
    assert "ping" in fault.sentence


@pytest.mark.parametrize(
    "name",
    ["action", "missing_as_off", "password_script", "ipmitool_path", "ssh_options", "debug_file", "sudo"],
)
def test_parameters_that_nobody_may_give(name: str) -> None:
    why = forbidden(name)
    assert why is not None
    assert ": " in why
