"""What the lab's stories type is what there is to type: they are played rarely, and a misspelt command may pass for a refused one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from ringfence.cli.main import app

STORIES = sorted((Path(__file__).parents[2] / "e2e").glob("*.py"))


def typed() -> list[tuple[str, tuple[str, ...]]]:
    """Every call of `ringfence(lab, ...)` whose words are counted there, with a node's name for each that isn't written."""
    found = []
    for story in STORIES:
        for call in ast.walk(ast.parse(story.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "ringfence":
                if any(isinstance(word, ast.Starred) for word in call.args):
                    continue
                words = [str(one.value) if isinstance(one, ast.Constant) else "n1" for one in call.args[1:]]
                found.append((f"{story.name}:{call.lineno}", tuple(words)))
    return found


@pytest.mark.parametrize(("where", "words"), typed())
def test_it_is_a_command(where: str, words: tuple[str, ...]) -> None:
    at, left = typer.main.get_command(app), list(words)
    while isinstance(at, TyperGroup) and left and left[0] in at.commands:
        at, left = at.commands[left[0]], left[1:]
    assert isinstance(at, TyperCommand), where
    at.make_context(where, left)


def test_the_stories_type_some() -> None:
    assert len(typed()) > 5
