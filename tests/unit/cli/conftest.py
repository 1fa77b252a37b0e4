from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from ringfence.cli.main import World, app

from .cluster import NOW, FakeReader

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run one command against a reader, with the terminal's answer if it asks."""

    def invoke(reader: FakeReader, *arguments: str, answer: str = "") -> Result:
        world = World(connect=lambda _access: reader, now=lambda: NOW, again=reader.again)
        return CliRunner().invoke(app, list(arguments), obj=world, input=answer)

    return invoke
