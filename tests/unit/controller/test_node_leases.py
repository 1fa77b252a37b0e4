"""The Lease of a node as another program has left it: what can't be read there holds nobody up."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from ringfence.controller.node_leases import NodeLeases
from ringfence.core.failover.node_lease import HOLDER
from ringfence.core.model import Boot
from ringfence.kube.objects import LeaseObject
from ringfence.ports import Cluster, Json, LeaseRecord

N1 = Boot("n1", "uid-1", "boot-1")
WALL = 1_790_000_000.0
"""Some day of 2026."""
RECENT, EXPIRED = "2026-09-21T14:13:15.000000Z", "2026-09-21T14:03:15.000000Z"


class Remediators:
    """Their namespace with the one Lease in it, and a clock that stands still."""

    def __init__(self, spec: Json) -> None:
        raw: Json = {
            "metadata": {"namespace": "nhc", "name": "node-n1", "resourceVersion": "7"},
            "spec": spec,
        }
        self.lease: LeaseRecord = LeaseObject.from_raw(raw)

    def monotonic(self) -> float:
        return 1000.0

    def wall(self) -> float:
        return WALL

    async def get_lease(self, _name: str, _namespace: str = "") -> LeaseRecord | None:
        return self.lease

    async def replace_lease(self, lease: LeaseRecord, *, deadline: float | None = None) -> LeaseRecord:
        assert (lease.resource_version, deadline) == (self.lease.resource_version, 1010.0)
        self.lease = replace(lease, resource_version="8")
        return self.lease


def of_another(**changed: object) -> Json:
    return {
        "holderIdentity": "NHC",
        "leaseDurationSeconds": 60,
        "acquireTime": EXPIRED,
        "renewTime": RECENT,
        "leaseTransitions": 3,
        **changed,
    }


async def taken(world: Remediators) -> NodeLeases:
    leases = NodeLeases(cast("Cluster", world), world, "nhc")
    await leases.take(N1, 1010.0)
    return leases


async def test_one_that_is_renewed_is_its_holders() -> None:
    world = Remediators(of_another())
    look = (await taken(world)).look("n1")
    assert (look.ours, look.settled) == (False, True)
    assert "NHC acts on n1: it holds the Lease nhc/node-n1" in (look.foreign or "")
    assert world.lease.holder == "NHC"


@pytest.mark.parametrize(
    "renewed",
    [
        EXPIRED,
        None,
        "",
        12,
        "0000-01-01T00:00:00.000000Z",  # Go reads and writes it, and an API server takes it; Python has no such year
        "10000-01-01T09:59:59.000000Z",  # as an API server writes the last hour of 9999 in a zone west of Greenwich
        "0001-01-01T00:00:00",
        "yesterday",
    ],
)
async def test_one_without_a_time_that_can_be_read_is_taken_as_an_expired_one_is(renewed: object) -> None:
    world = Remediators(of_another(renewTime=renewed))
    look = (await taken(world)).look("n1")
    assert (look.ours, look.foreign, look.settled) == (True, None, True)
    assert (world.lease.holder, world.lease.transitions) == (HOLDER, 4)
    assert world.lease.renew_time == world.lease.acquire_time == "2026-09-21T14:13:20.000000Z"


@pytest.mark.parametrize("duration", [None, 0, "60"])
async def test_one_that_lasts_nobody_knows_how_long_is_taken(duration: object) -> None:
    assert (await taken(Remediators(of_another(leaseDurationSeconds=duration)))).look("n1").ours
