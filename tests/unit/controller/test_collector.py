"""When the collector of cycles leaves the caches alone."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from ringfence.controller.collector import GROWN, THRESHOLDS, tend


@pytest.fixture
def _restored() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("_restored")
async def test_what_is_cached_is_left_alone_as_soon_as_all_is_there() -> None:
    cache = [[number] for number in range(GROWN)]
    gc.collect()
    filled = asyncio.Event()

    async def until_filled() -> None:
        await filled.wait()

    tending = asyncio.create_task(tend(until_filled()))
    await asyncio.sleep(0)
    assert gc.get_threshold() == THRESHOLDS
    assert gc.get_freeze_count() == 0, "what fills a cache may yet be garbage"
    filled.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert gc.get_freeze_count() >= len(cache)
    assert len(gc.get_objects(generation=2)) < GROWN
    tending.cancel()
