"""The support bundle: what is in it, and what can't be."""

from __future__ import annotations

import stat
import tarfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ringfence.cli import redaction
from ringfence.cli.bundle import collect

from .cluster import NOW, FakeReader, Object, incident, named
from .conftest import Run

SECRET = "s3cr3t-Passw0rd!"
RELEASE = "/api/v1/namespaces/ringfence-system"


def content(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as opened:
        read = {}
        for member in opened.getmembers():
            file = opened.extractfile(member)
            assert file is not None
            read[member.name.partition("/")[2]] = file.read().decode()
    return read


def leaky() -> FakeReader:
    """A cluster in which people have put a password wherever one can be put."""
    reader = incident()
    device = named(
        "pdu",
        spec={
            "driver": "agent",
            "nodes": ["n1"],
            "agent": {
                "program": "fence_apc_snmp",
                "parameters": {"ip": "10.0.0.9", "snmp_priv": SECRET, "community": SECRET, "x": SECRET},
                "nodeParameters": {"n1": {"plug": "7", "y": SECRET}},
                "secretParameters": {"password": {"name": "pdu-login", "key": "password"}},
            },
        },
        status={"conditions": [{"type": "Ready", "message": f"https://admin:{SECRET}@10.0.0.9 refuses"}]},
    )
    device["metadata"] = {
        "name": "pdu",
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": f'{{"x":"{SECRET}"}}',
            "note/password": SECRET,
        },
        "managedFields": [{"x": SECRET}],
    }
    reader.objects["fencedevices"].append(device)
    container = {
        "name": "controller",
        "args": [f"--password={SECRET}", "--port=7947"],
        "env": [{"name": "BMC_PASSWORD", "value": SECRET}, {"name": "LANG", "value": "C.UTF-8"}],
    }
    reader.served |= {
        f"{RELEASE}/pods": {"items": [named("c1", "ringfence-system", spec={"containers": [container]})]},
        "/version": {"gitVersion": "v1.36.3"},
        # Should the API server ever answer with one where none was asked for.
        f"{RELEASE}/events": {"items": [{"kind": "Secret", "data": {"password": SECRET}}]},
    }
    reader.texts = {
        f"{RELEASE}/pods/c1/log": f"state changed from 'a' to 'b'\nAuthorization: Basic {SECRET}\nretry password={SECRET} n1\n"
    }
    return reader


def test_no_secret_value_is_in_it(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "bundle.tar.gz"
    shown = run(leaky(), "support-bundle", "--file", str(target))
    assert shown.exit_code == 0
    for name, text in content(target).items():
        assert SECRET not in text, name
    assert SECRET not in shown.stdout


def test_secrets_are_not_even_asked_for() -> None:
    reader = leaky()
    collect(reader, "ringfence-system", NOW)
    assert len(reader.fetched) > 20
    assert not [path for path in reader.fetched if "secret" in path.lower()]


def test_what_helps_is_in_it(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "bundle.tar.gz"
    run(leaky(), "support-bundle", "--file", str(target))
    files = content(target)
    assert {
        "ringfence/failovers.json",
        "doctor.json",
        "nodes.json",
        "logs/c1_controller.log",
        "about.json",
    } <= (files.keys())
    devices = files["ringfence/fencedevices.json"]
    for kept in ("10.0.0.9", '"plug": "7"', "pdu-login", "fence_apc_snmp", "snmp_priv"):
        assert kept in devices
    assert "state changed from 'a' to 'b'" in files["logs/c1_controller.log"]
    assert "C.UTF-8" in files["release/pods.json"]
    assert "kubevirt/kubevirts: " in files["missing.txt"]


def test_it_is_for_its_owner_and_never_written_over_another(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "bundle.tar.gz"
    assert run(incident(), "support-bundle", "--file", str(target)).exit_code == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    before = target.read_bytes()
    again = run(incident(), "support-bundle", "--file", str(target))
    assert (again.exit_code, "can't be written" in again.stderr) == (1, True)
    assert target.read_bytes() == before


TELLING = st.sampled_from(
    [
        "password",
        "Passwd",
        "api_key",
        "snmp_community",
        "authToken",
        "clientSecret",
        "auth",
        "privateKey",
        "cookie",
    ]
)
PLAIN = st.text(alphabet="abcdefgh", min_size=1, max_size=6)


@given(TELLING, st.lists(st.one_of(PLAIN, st.just(0)), max_size=4))
def test_under_a_telling_name_no_value_survives_however_deep(name: str, path: list[str | int]) -> None:
    value: object = SECRET
    for step in reversed(path):
        value = [value] if step == 0 else {str(step): value}
    shown: Object = {"spec": {name: value}}
    assert SECRET not in str(redaction.tree(shown))


@given(st.sampled_from(["password=", "token: ", "BMC_PASSWORD='", 'secret="', "Bearer ", "Basic "]), PLAIN)
def test_in_a_line_no_shape_of_a_secret_survives(before: str, around: str) -> None:
    value = "Abc123+/xyz456=="
    end = before[-1] if before[-1] in "'\"" else ""
    assert value not in redaction.text(f"{around} {before}{value}{end} {around}")


def test_private_keys_and_tokens_are_known_by_their_shape() -> None:
    key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----"
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
    certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
    shown = redaction.text(f"a {key} b {token} c {certificate}")
    assert "MHcCAQEE" not in shown
    assert "eyJ" not in shown
    assert certificate in shown
