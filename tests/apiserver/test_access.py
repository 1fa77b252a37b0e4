"""The command line with kubectl's options before a real API server: the same words, the same answers as kubectl's."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner, Result

from apiserver.server import ADMIN, ADMIN_TOKEN, Server
from ringfence.cli.main import World, _connect, app

pytestmark = pytest.mark.apiserver

SOMEBODY = "somebody"
"""A user without rights, and his token."""


def run(*words: str) -> Result:
    world = World(connect=_connect, now=lambda: datetime.now(UTC), again=lambda: False)
    return CliRunner().invoke(app, list(words), obj=world)


def test_by_the_kubeconfig_and_without_it(server: Server) -> None:
    by_file = run("status", "--kubeconfig", str(server.kubeconfig))
    assert (by_file.exit_code, by_file.stderr) == (0, "")
    by_hand = run(
        *("status", "--server", server.url, "--token", ADMIN_TOKEN),
        *("--certificate-authority", str(server.authority), "--kubeconfig", str(server.kubeconfig)),
    )
    assert (by_hand.exit_code, by_hand.stdout) == (0, by_file.stdout)
    before = run("--kubeconfig", str(server.kubeconfig), "status")
    assert before.stdout == by_file.stdout


def test_another_token_and_another_name(server: Server) -> None:
    by_file = ("--kubeconfig", str(server.kubeconfig))
    assert run("failovers", *by_file).exit_code == 0
    for words in (("--token", SOMEBODY), ("--as", SOMEBODY), ("--as", SOMEBODY, "--as-group", "people")):
        refused = run("failovers", *by_file, *words)
        assert refused.exit_code == 5, words
        assert f'User "{SOMEBODY}" cannot list resource "failovers"' in refused.stderr
        assert f'"{SOMEBODY}"' in server.kubectl("get", "failovers", *words, ok=False), "as kubectl has it"
    assert run("failovers", *by_file, "--token", "nobody's").exit_code == 5


def test_groups_count_all_of_them(server: Server) -> None:
    server.kubectl(
        *("create", "clusterrolebinding", "may-see", "--clusterrole=cluster-admin", "--group=watchers")
    )
    words = ("failovers", "--kubeconfig", str(server.kubeconfig), "--as", SOMEBODY, "--as-group", "people")
    try:
        assert run(*words).exit_code == 5
        assert run(*words, "--as-group", "watchers").exit_code == 0
    finally:
        server.kubectl("delete", "clusterrolebinding", "may-see")


def test_whom_it_trusts(server: Server) -> None:
    bare = ("failovers", "--server", server.url, "--token", ADMIN_TOKEN)
    named = (*bare, "--kubeconfig", str(server.kubeconfig))
    assert run(*named, "--insecure-skip-tls-verify").exit_code == 0
    assert run(*named, "--insecure-skip-tls-verify", "--no-insecure-skip-tls-verify").exit_code == 0
    assert run(*named, "--certificate-authority", str(server.kubeconfig)).exit_code == 3


def test_cluster_user_and_context(server: Server) -> None:
    by_file = ("failovers", "--kubeconfig", str(server.kubeconfig))
    assert run(*by_file, "--context", "test", "--cluster", "test", "--user", ADMIN).exit_code == 0
    for words in (("--context", "prod"), ("--cluster", "prod"), ("--user", "prod")):
        shown = run(*by_file, *words)
        assert shown.exit_code == 3, words
        assert "prod" in shown.stderr


def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        shown = run(
            *("failovers", "--server", f"https://127.0.0.1:{mute.getsockname()[1]}", "--token", "t"),
            *("--insecure-skip-tls-verify", "--request-timeout", "200ms", "--kubeconfig", "/dev/null"),
        )
        assert time.monotonic() - began < 30
    assert shown.exit_code == 3
