"""kubectl's options: what is said before the command, behind it, in the kubeconfig; and what of it can't be together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ringfence.kube.access import Access, seconds
from ringfence.kube.kubeconfig import KubeconfigError, configured

from .cluster import FakeReader, incident
from .conftest import Run


@pytest.mark.parametrize(
    ("text", "meant"), [("0", 0), ("5", 5), ("30s", 30), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400)]
)
def test_durations_as_kubectl_takes_them(text: str, meant: float) -> None:
    assert seconds(text) == meant


@pytest.mark.parametrize("text", ["", "soon", "5 s", "-1s", "1d", "s"])
def test_what_is_no_duration(run: Run, text: str) -> None:
    shown = run(incident(), "status", "--request-timeout", text)
    assert shown.exit_code == 2
    assert "write 30s or 1m30s" in shown.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--as-group", "a"], "--as-group needs --as"),
        (["--insecure-skip-tls-verify", "--certificate-authority", "ca"], "give one of them"),
    ],
)
def test_what_cant_be_together(run: Run, words: list[str], sentence: str) -> None:
    shown = run(incident(), "status", *words)
    assert shown.exit_code == 2
    assert sentence in " ".join(shown.stderr.split())
    assert run(incident(), *words, "version").exit_code == 2, "before the command, too"


def test_what_stands_behind_the_command_counts_more() -> None:
    before = Access(context="lab", token="a", as_group=("x",))
    behind = Access(token="b", as_user="kim", insecure_skip_tls_verify=False)
    assert before.but(behind) == Access(
        context="lab",
        token="b",
        as_user="kim",
        as_group=("x",),
        insecure_skip_tls_verify=False,
    )


def test_help_shows_all_at_the_root_and_the_daily_ones_in_a_command(run: Run) -> None:
    root, command = run(FakeReader(), "--help").stdout, run(FakeReader(), "status", "--help").stdout
    assert "--as-group" in root
    assert "--as-group" not in command
    assert "--kubeconfig" in command


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    """Two clusters, two users, two contexts."""
    (tmp_path / "ca").write_text("")
    file = tmp_path / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "current-context": "first",
                "contexts": [
                    {"name": "first", "context": {"cluster": "east", "user": "alice", "namespace": "shop"}},
                    {"name": "second", "context": {"cluster": "west", "user": "bob"}},
                ],
                "clusters": [
                    {"name": "east", "cluster": {"server": "https://east:6443"}},
                    {
                        "name": "west",
                        "cluster": {"server": "https://west:6443", "insecure-skip-tls-verify": True},
                    },
                ],
                "users": [
                    {"name": "alice", "user": {"token": "of-alice"}},
                    {"name": "bob", "user": {"token": "of-bob"}},
                ],
            }
        )
    )
    return str(file)


def told(access: Access) -> tuple[str, str, bool, str]:
    """Of the second request: the client takes over the kubeconfig anew with each."""
    configuration, namespace = configured(access)
    for _ in range(2):
        token = configuration.auth_settings()["BearerToken"]["value"]
    return configuration.host, str(token), configuration.verify_ssl, namespace


def test_each_option_replaces_its_part_of_the_kubeconfig(kubeconfig: str) -> None:
    east = ("https://east:6443", "Bearer of-alice", True, "shop")
    west = ("https://west:6443", "Bearer of-bob", False, "default")
    assert told(Access(kubeconfig)) == east
    assert told(Access(kubeconfig, "second")) == west
    assert told(Access(kubeconfig, cluster="west")) == (west[0], east[1], west[2], east[3])
    assert told(Access(kubeconfig, user="bob")) == (east[0], west[1], *east[2:])
    assert told(Access(kubeconfig, server="http://here:1/")) == ("http://here:1", *east[1:])
    assert told(Access(kubeconfig, token="mine")) == (east[0], "Bearer mine", *east[2:])
    assert told(Access(kubeconfig, insecure_skip_tls_verify=True)) == (*east[:2], False, "shop")
    assert told(Access(kubeconfig, "second", insecure_skip_tls_verify=False)) == (*west[:2], True, "default")
    authority = str(Path(kubeconfig).parent / "ca")
    assert configured(Access(kubeconfig, certificate_authority=authority))[0].ssl_ca_cert == authority


@pytest.mark.parametrize(
    ("access", "sentence"),
    [
        (Access(cluster="north"), "north"),
        (Access(user="carol"), "carol"),
        (Access(context="third"), "third"),
        (Access(certificate_authority="/nowhere"), "there is no file /nowhere"),
    ],
)
def test_what_the_kubeconfig_does_not_have(kubeconfig: str, access: Access, sentence: str) -> None:
    with pytest.raises(KubeconfigError, match=sentence):
        configured(Access(kubeconfig).but(access))


def test_a_server_needs_no_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert told(Access(server="https://here:6443", token="t"))[:2] == ("https://here:6443", "Bearer t")
    with pytest.raises(KubeconfigError, match="there is none at"):
        configured(Access())


def test_a_kubeconfig_that_is_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("a: [\n")
    with pytest.raises(KubeconfigError, match="kubeconfig: "):
        configured(Access(str(tmp_path / "kubeconfig")))
