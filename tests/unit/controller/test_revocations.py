"""What a replica knows of a revoked Lease when the cluster's store is set back under it: it never counts from before."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from ringfence.api.v1alpha1.hazone import ZoneWatchdog
from ringfence.controller.evidence import Witness
from ringfence.controller.setbacks import Setbacks
from ringfence.controller.watchdogs import Watchdogs
from ringfence.controller.world import World
from ringfence.core.fencing.proof import SelfFenced
from ringfence.core.fencing.selffence import WatchdogLook, assume
from ringfence.core.gossip.members import Member, Roster
from ringfence.core.model import Boot
from ringfence.core.setback import SetBack
from ringfence.kube import kinds
from ringfence.kube.client import ApiServer
from ringfence.net.crypto import verify
from ringfence.net.stream import StreamClient
from ringfence.ports import AlreadyExists, Cluster, Conflict, Json, Kind, LeaseRecord, NotFound

N1 = Boot("n1", "uid-n1", "boot-n1")
HOLDER = "uid-n1/boot-n1"
TIMES = ZoneWatchdog.model_validate({"assumeSeconds": 80})
ARMED = {"armed": True, "timeoutSeconds": 60, "isolationSeconds": 10, "legs": ["Api", "Gossip"]}


class Hearing:
    """Two agents, who have not heard n1 for a long time."""

    def __init__(self, site: Site, address: str) -> None:
        self.reporter, self.subject = address, N1
        self.latest_age = site.now


class Site:
    """The store, a clock that a test sets, and the agents' words; it can be set back."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.version = 10
        self.lease: LeaseRecord | None = None
        self.reported = 0
        self.witness = Witness(verify)
        members = (Member(n, f"uid-{n}", f"boot-{n}", (n,), "", b"") for n in ("n1", "n2", "n3"))
        self.witness.roster = Roster(1, "test", b"salt", tuple(members))
        self.witness.boot_seen("n1", N1.node_uid, N1.boot_id)
        agents = cast("StreamClient", self)
        self.setbacks = Setbacks(self, self.witness, agents, 7947, lambda _data, _signature: False)
        self.world = World(
            cast("ApiServer", None), self, "ringfence-system", self.witness, lambda: 0.5, lambda: None
        )
        cluster = cast("Cluster", self)
        self.dogs = Watchdogs(
            *(cluster, self, self.world, self.witness, agents, 7947, lambda: None, self.setbacks)
        )
        self.write(HOLDER)
        self.report()

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def write(self, holder: str) -> LeaseRecord:
        self.version += 1
        name, version = "ringfence-agent-n1", str(self.version)
        self.lease = LeaseRecord("ringfence-system", name, holder, resource_version=version)
        return self.lease

    def report(self) -> None:
        """The agent writes its report anew."""
        self.version += 1
        self.reported = self.version
        self.world.own.seen("nodereports", self.raw)

    @property
    def raw(self) -> Json:
        status = {"nodeUID": N1.node_uid, "bootID": N1.boot_id, "watchdog": ARMED}
        return {
            "metadata": {"name": "n1", "resourceVersion": str(self.reported)},
            "spec": {},
            "status": status,
        }

    def set_back(self, version: int, lease: LeaseRecord | None) -> None:
        self.version, self.lease = version, lease

    # --- the cluster and the agents, as the product asks them ------------------------------------------------------

    async def get_lease(self, _name: str, _namespace: str = "") -> LeaseRecord | None:
        return self.lease

    async def create_lease(self, lease: LeaseRecord, *, deadline: float | None = None) -> LeaseRecord:
        assert deadline is not None
        if self.lease is not None:
            raise AlreadyExists(lease.name)
        return self.write(lease.holder)

    async def replace_lease(self, lease: LeaseRecord, *, deadline: float | None = None) -> LeaseRecord:
        assert deadline is not None
        if self.lease is None or self.lease.resource_version != lease.resource_version:
            raise Conflict(lease.name)
        return self.write(lease.holder)

    async def get(self, kind: Kind, name: str, _namespace: str = "") -> Json:
        if (kind, name) != (kinds.NODE_REPORT, "n1"):
            raise NotFound(name)
        return self.raw

    async def hearing(self, address: str, _port: int, _uid: str) -> Hearing:
        return Hearing(self, address)

    # --- what the ladder does --------------------------------------------------------------------------------------

    def look(self) -> WatchdogLook:
        return self.dogs.look("dogs", N1, TIMES)

    def proved(self) -> bool:
        return isinstance(assume(N1, self.look(), life_at=900.0, now=self.now), SelfFenced)

    async def revoke(self) -> None:
        self.look()
        await self.dogs.revoke(N1, self.now + 3.0)

    async def last_look(self) -> None:
        self.look()
        await self.dogs.look_once_more(N1)


async def test_a_lease_that_stays_revoked_is_counted_to_the_end() -> None:
    site = Site()
    await site.revoke()
    site.now += 79.0
    await site.last_look()
    assert not site.proved()
    site.now += 2.0
    await site.last_look()
    assert site.proved()


@pytest.mark.parametrize("gone", [False, True], ids=["held in the backup", "not there in the backup"])
async def test_a_revocation_that_the_store_has_lost_is_made_again_and_counted_from_then(gone: bool) -> None:
    site = Site()
    backup, version = site.lease, site.version
    await site.revoke()
    site.now += 40.0
    site.set_back(version, None if gone else backup)
    site.now += 41.0
    await site.last_look()
    assert not site.proved(), "the count of before"
    assert site.look().revoked_at is None
    await site.revoke()
    assert site.lease is not None
    assert site.lease.holder == f"revoked/{HOLDER}"
    site.now += 79.0
    await site.last_look()
    assert not site.proved()
    site.now += 2.0
    await site.last_look()
    assert site.proved()


async def test_a_marker_of_another_version_is_counted_from_when_it_was_seen() -> None:
    """The Lease was held in between, for however long: a backup with an older marker looks the same."""
    site = Site()
    await site.revoke()
    older, version = site.lease, site.version
    assert older is not None
    site.write(HOLDER)
    await site.last_look()
    await site.revoke()
    site.now += 81.0
    site.set_back(version, older)
    await site.last_look()
    assert not site.proved()
    assert site.look().revoked_at == site.now


async def test_what_was_reported_before_the_store_was_set_back_promises_nothing() -> None:
    site = Site()
    site.setbacks.wrote(SetBack(9, 7, version=site.version))
    await site.revoke()
    site.now += 81.0
    await site.last_look()
    assert not site.proved()
    assert "has not reported since the cluster's store was set back" in (site.look().unusable or "")
    site.report()
    await site.last_look()
    assert site.proved()


async def test_a_process_that_has_just_begun_counts_from_its_own_sight_of_the_marker() -> None:
    site = Site()
    site.write(f"revoked/{HOLDER}")
    assert site.look().revoked_at is None, "nobody has shown it the Lease yet"
    await site.revoke()
    assert site.look().revoked_at == site.now
    assert site.lease is not None
    assert site.lease == replace(site.lease, holder=f"revoked/{HOLDER}")
