"""kubectl's and helm's commands in the pages are commands: the real programs know each word and option.

They are only asked for help: with it they parse a whole command line and then do nothing. Of `ringfence`'s own commands the unit tests see to it.
"""

from __future__ import annotations

import subprocess

import pytest

from apiserver.programs import binaries, program
from apiserver.shown import Shown, commands
from lab.helm import helm

pytestmark = pytest.mark.apiserver

EXTERNAL = ("ringfence",)
"""kubectl's plug-ins: it finds them on the path."""


def help_with(called: list[str], shown: Shown) -> str:
    """The help of the subcommand that these words reach; an option that it hasn't is an error."""
    words = shown.words
    end = words.index("--") if "--" in words else len(words)
    done = subprocess.run(
        [*called, *words[:end], "--help", *words[end:]],
        text=True,
        capture_output=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, f"{shown.page}: {shown.line}: {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("shown", commands("kubectl"), ids=lambda one: f"{one.page}: {one.line}")
def test_kubectl_knows_it(shown: Shown) -> None:
    if shown.words[0] in EXTERNAL:
        assert len(shown.words) <= 2, "its own words are tested as those of ringfence"
        return
    told = help_with(program(binaries(), "kubectl"), shown)
    assert f"  kubectl {_subcommand(shown)}" in told.partition("Usage:")[2], shown


@pytest.mark.parametrize("shown", commands("helm"), ids=lambda one: f"{one.page}: {one.line}")
def test_helm_knows_it(shown: Shown) -> None:
    told = help_with([str(helm("4.3.1"))], shown)
    assert f"  helm {_subcommand(shown)}" in told.partition("Usage:")[2], shown


def _subcommand(shown: Shown) -> str:
    """The first word that is neither an option nor the value of one that comes before the command."""
    words = iter(shown.words)
    for word in words:
        if word in ("-n", "--namespace", "--context", "--kubeconfig"):
            next(words)
        elif not word.startswith("-"):
            return word
    raise AssertionError(f"no command in {shown.line}")


def test_the_pages_do_show_commands() -> None:
    assert len(commands("kubectl")) > 40
    assert len(commands("helm")) > 10
