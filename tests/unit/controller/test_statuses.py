"""A status fits into etcd however many nodes it is about."""

from __future__ import annotations

import json

import pytest

from ringfence.controller.statuses import room_for_each

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
