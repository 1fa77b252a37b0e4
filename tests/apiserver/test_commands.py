"""Every command of the pages is typed, by somebody before a real API server, and comes to what the page says.

The tests of this file follow one another, as the chapters do. Which commands are not here, and why: ``elsewhere.py``; a unit test holds
both to the pages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter, methodcaller

import pytest

from apiserver import chapters
from apiserver.programs import binaries
from apiserver.server import running_server
from apiserver.stage import Drills, Stage

pytestmark = pytest.mark.apiserver


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("commands")
    # As on most clusters: Services are reached by their endpoints' addresses, and one that has none costs no time.
    with running_server(binaries(), folder, "--enable-aggregator-routing=true") as server:
        made = Stage(server, folder)
        with made.kubernetes():
            yield made


def play(stage: Stage, chapter: tuple[chapters.Step, ...]) -> None:
    """One step after the other; those that only look, as many at once as there are processors."""
    for looks, steps in groupby(chapter, key=attrgetter("looks")):
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if looks else 1) as pool:
            list(pool.map(methodcaller("play", stage), steps))


def test_it_is_installed(stage: Stage) -> None:
    play(stage, chapters.INSTALL)


def test_it_is_told_what_there_is_and_looked_at(stage: Stage) -> None:
    stage.make_pods()
    with stage.led():
        play(stage, chapters.DECLARE)


def test_a_fence_is_tried(stage: Stage) -> None:
    chapters.protect(stage)
    with stage.played(Drills(stage)):
        play(stage, chapters.TRY)


def test_a_node_is_down(stage: Stage) -> None:
    play(stage, chapters.INCIDENT)


def test_the_rosters_key_is_changed(stage: Stage) -> None:
    play(stage, chapters.KEYS)


def test_it_is_upgraded_and_rolled_back(stage: Stage) -> None:
    play(stage, chapters.UPGRADE)


def test_the_webhooks_keys_are_thrown_away(stage: Stage) -> None:
    with stage.cert_manager():
        play(stage, chapters.CERTIFICATES)


def test_it_is_taken_away(stage: Stage) -> None:
    play(stage, chapters.AWAY)
