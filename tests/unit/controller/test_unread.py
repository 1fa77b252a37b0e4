"""Failovers that this controller can't read are told where people look: in HACluster, as an Event, in a metric."""

from __future__ import annotations

import asyncio

import pytest

from ringfence.core.failover.record import STATE_VERSION
from ringfence.kube import kinds
from ringfence.ports import Json, ObjectRef
from unit.controller.test_exercise import Site


class Told(Site):
    """It takes down the Events about Failovers."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, str, str]] = []
        self.seen("haclusters", "default", {"mode": "Active"})

    async def record_event(self, regarding: ObjectRef, type_: str, reason: str, message: str) -> None:
        if regarding.kind == kinds.FAILOVER:
            self.events.append((regarding.name, reason, message))
        else:
            await super().record_event(regarding, type_, reason, message)

    @property
    def ready(self) -> Json:
        status = (self.world.own.raw("haclusters", ("", "default")) or {})["status"]
        return next(c for c in status["conditions"] if c["type"] == "Ready")

    async def look(self) -> None:
        self.statuses.measure()
        await self.statuses._clusters()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    @property
    def shown(self) -> str:
        lines = self.metrics.render().decode().splitlines()
        return next(line.split()[1] for line in lines if line.startswith("ringfence_unread_failovers "))


INCIDENT = {"node": "n1", "nodeUID": "u", "bootID": "b"}


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"phase": "Fencing", "stateVersion": STATE_VERSION + 1}, "a newer one has written it"),
        ({"phase": "Haunted", "stateVersion": STATE_VERSION}, "phase"),
    ],
)
async def test_an_incident_that_nobody_here_can_read_is_told_and_its_node_named(
    status: Json, why: str
) -> None:
    site = Told()
    await site.look()
    assert (site.ready["status"], site.shown) == ("True", "0.0")
    site.seen("failovers", "n1-new", INCIDENT, status)
    await site.look()
    await site.look()
    assert (site.ready["status"], site.ready["reason"], site.shown) == ("False", "FailoverUnread", "1.0")
    sentence = site.ready["message"]
    assert sentence.startswith("Failover n1-new can't be read by this controller, so n1 is left alone: ")
    assert why in sentence
    assert "\n" not in sentence
    assert site.events == [("n1-new", "FailoverUnread", sentence)], "once"
    site.seen("failovers", "n1-new", INCIDENT, {**status, "phase": "Closed"})
    await site.look()
    assert (site.ready["status"], site.shown) == ("True", "0.0"), "it is over, whoever has ended it"
