"""Events hold up nothing, however many there are."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from ringfence.controller.narrator import AT_ONCE, MOST, Narrator
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import Record
from ringfence.core.failover.sentences import NEVER_OFF
from ringfence.core.model import Boot
from ringfence.kube import kinds
from ringfence.ports import Cluster, ObjectRef


class Slow:
    """A cluster that takes its Events one at a time, when the test lets it."""

    def __init__(self) -> None:
        self.on_their_way = self.most = self.taken = 0
        self.gate = asyncio.Event()

    async def record_event(self, _about: ObjectRef, _type: str, _reason: str, _sentence: str) -> None:
        self.on_their_way += 1
        self.most = max(self.most, self.on_their_way)
        await self.gate.wait()
        self.on_their_way -= 1
        self.taken += 1


async def test_thousands_of_events_take_few_connections_and_what_is_too_much_stands_in_the_log_alone() -> (
    None
):
    cluster = Slow()
    narrator = Narrator(cast("Cluster", cluster))
    for number in range(MOST + 10):
        narrator.tell(ObjectRef(kinds.VM, f"vm-{number}", "shop"), "Reason", "a sentence")
    for _ in range(3):
        await asyncio.sleep(0)
    assert cluster.most == AT_ONCE
    cluster.gate.set()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others)
    assert (cluster.taken, cluster.most) == (MOST, AT_ONCE)
    narrator.tell(ObjectRef(kinds.VM, "vm", "shop"), "Reason", "a sentence")
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
    assert cluster.taken == MOST + 1


class Kept:
    """A cluster that keeps its Events' kinds."""

    def __init__(self) -> None:
        self.types: list[str] = []

    async def record_event(self, _about: ObjectRef, type_: str, _reason: str, _sentence: str) -> None:
        self.types.append(type_)


@pytest.mark.parametrize("phase", [Phase.RECOVERED, Phase.CLOSED])
@pytest.mark.parametrize(("more", "type_"), [("", "Normal"), (f"; n1 {NEVER_OFF}", "Warning")])
async def test_that_a_node_was_never_off_is_a_warning_in_whatever_phase(
    phase: Phase, more: str, type_: str
) -> None:
    cluster = Kept()
    record = Record("n1-x", Boot("n1", "uid-1", "boot-1"), phase, f"recovered: db runs on n2{more}", 0.0, 0.0)
    Narrator(cast("Cluster", cluster)).phase(record, "uid-x")
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
    assert cluster.types == [type_]
