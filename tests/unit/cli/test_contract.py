"""What docs/command-line.md promises of every command: its options, its exit codes, its form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.testing import CliRunner

from ringfence.cli import main
from ringfence.cli.main import World, app
from ringfence.kube.access import Access

from .cluster import NOW, FakeReader, incident
from .conftest import Run

PAGE = (Path(__file__).parents[3] / "docs" / "command-line.md").read_text(encoding="utf-8")
WRITES = {"fence confirm", "fence drill", "keys rotate", "support-bundle", "completion", "failover release"}
"""Commands that do something instead of showing it."""
GROUPS = {"fence", "failover"}
"""They do nothing without a command of theirs."""
KUBECTLS = {
    *("--kubeconfig", "--context", "--cluster", "--user", "--server", "-s", "--token", "--as", "--as-group"),
    *("--request-timeout", "--insecure-skip-tls-verify", "--certificate-authority"),
}
ALONE = {"version", "completion", "simulate"}
"""Commands that ask no cluster."""


def commands(group: TyperGroup, before: str = "") -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    for name, command in group.commands.items():
        assert isinstance(command, TyperCommand | TyperGroup)
        here = f"{before} {name}".strip()
        yield here, command
        if isinstance(command, TyperGroup):
            yield from commands(command, here)


def tree() -> dict[str, TyperCommand | TyperGroup]:
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    return {name: command for name, command in commands(root) if name not in GROUPS}


def options(command: TyperCommand | TyperGroup) -> set[str]:
    return {word for one in command.params if isinstance(one, TyperOption) for word in one.opts}


@pytest.mark.parametrize("name", tree())
def test_every_command_has_kubectls_options(name: str) -> None:
    own = options(tree()[name])
    assert name in ALONE or own >= KUBECTLS
    assert name in WRITES or {"--output", "-o"} <= own


@pytest.mark.parametrize("name", tree())
def test_every_command_and_option_is_in_the_page(name: str) -> None:
    assert f"`ringfence {name}" in PAGE
    for option in options(tree()[name]) - {"--help", "--wait"}:
        assert option in PAGE, option


def test_the_page_has_no_command_that_there_is_not() -> None:
    rows = re.findall(r"^\| (`ringfence [^|]*)\|", PAGE, re.MULTILINE)
    shown = {words.strip() for row in rows for words in re.findall(r"`ringfence ([a-z -]+)", row)}
    assert shown <= tree().keys()


def test_exit_codes_are_the_same_in_code_and_page() -> None:
    table = PAGE.partition("## Exit codes")[2]
    in_page = {int(code) for code in re.findall(r"^\| (\d) \|", table, re.MULTILINE)}
    in_code = {int(code) for code in re.findall(r"^(\d)  ", main.__doc__ or "", re.MULTILINE)}
    known = {main.REFUSED, main.UNREACHABLE, main.NOT_THERE, main.FORBIDDEN, main.NOT_DONE, main.NOT_WELL}
    assert in_page == in_code == known | {0, 2}


def test_options_before_the_command_count_and_those_behind_it_count_more() -> None:
    asked = []

    def connect(access: Access) -> FakeReader:
        asked.append((access.kubeconfig, access.context, access.as_group))
        return incident()

    world = World(connect=connect, now=lambda: NOW, again=lambda: False)
    for words in (
        ["--context", "lab", "--kubeconfig", "file", "status"],
        ["--context", "lab", "status", "--context", "other"],
        ["--context", "lab", "fence", "status"],
        ["fence", "status", "--as", "kim", "--as-group", "a", "--as-group", "b"],
        ["--as", "kim", "--as-group", "a", "fence", "status"],
    ):
        assert CliRunner().invoke(app, words, obj=world).exit_code == 0
    assert asked == [
        ("file", "lab", ()),
        (None, "other", ()),
        (None, "lab", ()),
        (None, None, ("a", "b")),
        (None, None, ("a",)),
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(run: Run, shell: str) -> None:
    shown = run(incident(), "completion", shell)
    assert shown.exit_code == 0
    assert f"complete_{shell}" in shown.stdout


def test_completion_of_an_unknown_shell_is_a_usage_error(run: Run) -> None:
    assert run(incident(), "completion", "cmd").exit_code == 2


def test_version_as_json(run: Run) -> None:
    assert '"version"' in run(incident(), "version", "-o", "json").stdout
