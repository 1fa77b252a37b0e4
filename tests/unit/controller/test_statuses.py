"""A status fits into etcd however many nodes it is about; and the conditions of very many VMs keep nothing else waiting."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ringfence.controller.statuses import AT_A_TIME, AT_IT, LOOKED_AT, room_for_each
from ringfence.core.detection.dissent import DIFFERS_FOR
from ringfence.core.detection.verdict import Judgement
from ringfence.core.model import Verdict
from ringfence.ports import Json
from unit.controller.test_exercise import Site

ETCD = 1_500_000
MANAGED = len('"k:{\\"name\\":\\"\\"}":{".":{},"f:name":{},"f:sentence":{},"f:slot":{},"f:verdict":{}},')


@pytest.mark.parametrize("nodes", [1, 100, 1000, 2500, 4000])
def test_a_zones_verdicts_fit(nodes: int) -> None:
    names = [f"worker-{number:05}.example.org" for number in range(nodes)]
    rows = [
        {
            "name": name,
            "verdict": "ControlPathLost",
            "sentence": "x" * room_for_each(nodes),
            "slot": "Moving",
        }
        for name in names
    ]
    status = json.dumps({"nodes": names, "nodeVerdicts": rows}, separators=(",", ":"))
    assert len(status) + sum(MANAGED + len(name) for name in names) < ETCD
    assert room_for_each(nodes) >= 75, "a sentence that says nothing is none"


async def test_of_very_many_vms_a_round_looks_at_some_and_the_next_goes_on_where_it_ended() -> None:
    """Behind the conditions stand the launchers' tolerations and the drills: they wait for one round, not for all VMs."""
    site = Site()
    names = [f"vm-{number}" for number in range(LOOKED_AT + 1)]
    for name in names:
        site.seen("protectedvms", name, {"vm": {"name": name}})

    def told() -> int:
        found = (site.world.own.raw("protectedvms", ("", name)) or {} for name in names)
        return sum("conditions" in raw["status"] for raw in found)

    await site.statuses._protected_vms()
    assert told() == LOOKED_AT
    assert "ringfence_declared_vms 0.0" in site.metrics.render().decode()
    await site.statuses._protected_vms()
    assert told() == len(names)
    assert f"ringfence_declared_vms {len(names)}.0" in site.metrics.render().decode()
    before = site.writes
    for _ in range(2):
        await site.statuses._protected_vms()
    assert site.writes == before, "nothing has changed"


async def test_a_round_whose_writes_take_long_ends_before_the_next_chore_has_waited_long() -> None:
    class Slow(Site):
        async def patch_status(self, *of: Any, deadline: float | None = None) -> Json:
            self.clock.now += 0.2
            return await super().patch_status(*of, deadline=deadline)

    site = Slow()
    for number in range(3 * AT_A_TIME):
        site.seen("protectedvms", f"vm-{number}", {"vm": {"name": f"vm-{number}"}})
    began = site.clock.now
    await site.statuses._protected_vms()
    assert AT_IT <= site.clock.now - began <= AT_IT + 0.2 * AT_A_TIME


async def test_a_replica_tells_where_it_finds_something_else_than_the_leader() -> None:
    site = Site()
    site.seen(
        "hazones",
        "a",
        {"nodes": {"names": ["n1"]}, "fencing": {"levels": []}},
        {"nodeVerdicts": [{"name": "n1", "verdict": "Healthy", "sentence": "n1 is alive"}]},
    )
    site.judgements["n1"] = Judgement(Verdict.DOWN, "n1 is down")

    def differing() -> str:
        site.statuses.measure()
        lines = site.metrics.render().decode().splitlines()
        return next(line.split()[1] for line in lines if line.startswith("ringfence_verdicts_differing "))

    assert differing() == "0.0"
    site.clock.now += DIFFERS_FOR
    assert differing() == "1.0"
    site.judgements["n1"] = Judgement(Verdict.HEALTHY, "n1 is alive")
    assert differing() == "0.0"
