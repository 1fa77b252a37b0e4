"""A drill from its annotation to the status: refused, passed, failed, and taken over from a leader that died."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.controller.devices import DeviceBook
from ringfence.controller.drills import ANNOTATION, SEEN_LATE, Drills
from ringfence.controller.loop import Loop
from ringfence.controller.narrator import Narrator
from ringfence.controller.targets import targets
from ringfence.controller.world import OwnKinds, World
from ringfence.core.model import Mode, PowerState
from ringfence.kube.objects import NodeObject
from ringfence.ports import (
    Clock,
    Cluster,
    DeviceIdentity,
    DeviceSpec,
    DeviceUnreachable,
    Json,
    Kind,
    ObjectRef,
    OrderReceipt,
    PowerDevice,
    PowerReading,
    SystemClock,
)

CLOCK = SystemClock()
UUID = "11111111-2222-3333-4444-555555555555"


def node(boot: str, *, cordoned: bool = True, ready: str = "True") -> NodeObject:
    return NodeObject.from_raw(
        {
            "metadata": {"name": "n1", "uid": "u1"},
            "spec": {"unschedulable": cordoned},
            "status": {
                "nodeInfo": {"bootID": boot, "systemUUID": UUID},
                "conditions": [{"type": "Ready", "status": ready}],
            },
        }
    )


@dataclass
class Site:
    """One FenceDevice, one node behind it, and the API server that keeps the status."""

    raw: Json = field(default_factory=dict)
    nodes: dict[tuple[str, str], NodeObject] = field(default_factory=lambda: {("", "n1"): node("boot-1")})
    on: bool = True
    reachable: bool = True
    orders: list[str] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    version: int = 1
    takes: asyncio.Event | None = None
    """Until it is set whoever orders off waits for a connection."""
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    """Somebody does."""
    heard: frozenset[str] = frozenset()
    """Other nodes of which there are signs of life."""

    def __post_init__(self) -> None:
        self.raw = {
            "metadata": {"name": "pdu", "uid": "f1", "resourceVersion": "1", "annotations": {}},
            "spec": {
                "driver": "agent",
                "nodes": ["n1"],
                "agent": {"program": "fence_apc", "parameters": {"ip": "10.0.8.200", "plug": "3"}},
            },
        }
        self.own = OwnKinds(lambda _plural, _key: None)
        self.own.seen("fencedevices", self.raw)
        self.book = DeviceBook(cast("Cluster", self), CLOCK, self.open_device, lambda: None)
        self.declare()

    def declare(self) -> None:
        self.book.declare(targets(self.own.all(FenceDevice).values(), {"n1": UUID}, {}, {"n1": ["10.0.0.1"]}))

    def drills(self) -> Drills:
        world = SimpleNamespace(
            own=self.own, nodes=SimpleNamespace(store=self.nodes), vmis=SimpleNamespace(store={})
        )
        loop = SimpleNamespace(mode=Mode.ACTIVE, busy_nodes=frozenset)
        cluster = cast("Cluster", self)
        return Drills(
            cluster,
            CLOCK,
            cast("World", world),
            self.book,
            cast("Loop", loop),
            Narrator(cluster),
            "n2",
            self.until,
            lambda name: CLOCK.monotonic() if name in self.heard else float("-inf"),
        )

    def until(self) -> float:
        return CLOCK.monotonic() + 3.0

    def ask(self, request: str) -> None:
        self.write({"metadata": {**self.raw["metadata"], "annotations": {ANNOTATION: request}}})

    def write(self, changes: Json) -> Json:
        self.version += 1
        self.raw = {**self.raw, **changes}
        self.raw["metadata"] = {**self.raw["metadata"], "resourceVersion": str(self.version)}
        self.own.seen("fencedevices", self.raw)
        return self.raw

    @property
    def drill(self) -> Any:
        return self.raw.get("status", {}).get("drill", {})

    # the cluster

    async def patch_status(
        self, _kind: Kind, _name: str, _namespace: str, status: Json, *, deadline: float | None = None
    ) -> Json:
        assert deadline is not None
        self.phases.append(status["drill"]["phase"])
        return self.write({"status": {**self.raw.get("status", {}), **status}})

    async def record_event(self, regarding: ObjectRef, type_: str, reason: str, message: str) -> None:
        assert regarding.name == "pdu"
        assert (type_ == "Warning") == (reason in {"DrillFailed", "DrillRefused"}), message

    # the device

    def open_device(self, _spec: DeviceSpec, _secret: Mapping[str, bytes], _clock: Clock) -> PowerDevice:
        return cast("PowerDevice", self)

    order_lasts = 0.5

    async def open(self) -> None:
        if not self.reachable:
            raise DeviceUnreachable("no answer")

    async def close(self) -> None: ...

    async def identity(self) -> DeviceIdentity:
        return DeviceIdentity("", "")

    async def power(self) -> PowerReading:
        return PowerReading(PowerState.ON if self.on else PowerState.OFF, CLOCK.monotonic())

    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        if self.takes is not None:
            self.waits.set()
            await self.takes.wait()
        return self.order("off", deadline)

    async def order_on(self, *, deadline: float | None = None) -> OrderReceipt:
        self.nodes["", "n1"] = node("boot-2")
        return self.order("on", deadline)

    def order(self, what: str, deadline: float | None) -> OrderReceipt:
        now = CLOCK.monotonic()
        assert deadline is not None
        assert self.drill["phase"] == "Running", "the order came before the record of it"
        self.orders.append(what)
        self.on = what == "on"
        return OrderReceipt(what, now, now, now + self.order_lasts)


@pytest.fixture
def site() -> Site:
    return Site()


async def finished(drills: Drills) -> None:
    await drills.step()
    if drills.running is not None:
        async with asyncio.timeout(30):
            await drills.running


async def test_a_passed_drill_proves_the_device(site: Site) -> None:
    site.ask("n1 first time")
    await finished(site.drills())
    assert site.phases == ["Running", "Passed"]
    assert site.orders == ["off", "on"]
    await site.book.prove(frozenset())
    before = site.book.proof("pdu", "n1")
    site.declare()
    await site.book.prove(frozenset())
    after = site.book.proof("pdu", "n1")
    assert before is not None
    assert after is not None
    assert (before.reason, after.reason) == ("IdentityUnproved", "Proved")


async def test_a_request_is_served_once_and_another_word_is_another_request(site: Site) -> None:
    drills = site.drills()
    site.nodes["", "n1"] = node("boot-1", cordoned=False)
    site.ask("n1")
    await finished(drills)
    await finished(drills)
    assert site.phases == ["Refused"]
    assert "drain it first" in site.drill["sentence"]
    site.nodes["", "n1"] = node("boot-1")
    await finished(drills)
    assert site.phases == ["Refused"]
    site.ask("n1 again")
    await finished(drills)
    assert site.phases == ["Refused", "Running", "Passed"]
    assert site.orders == ["off", "on"]


async def test_who_is_ready_has_to_be_heard_while_the_node_is_off_and_nobody_else(site: Site) -> None:
    site.nodes["", "n2"], site.nodes["", "n3"] = node("boot-of-2"), node("boot-of-3", ready="Unknown")
    site.heard = frozenset({"n2"})
    site.ask("n1")
    began = CLOCK.monotonic()
    await finished(site.drills())
    assert site.phases == ["Running", "Passed"]
    assert CLOCK.monotonic() - began > SEEN_LATE


async def test_a_device_that_is_away_fails_the_drill_and_orders_nothing(site: Site) -> None:
    site.reachable = False
    site.ask("n1")
    await finished(site.drills())
    assert site.phases == ["Running", "Failed"]
    assert site.drill["sentence"] == "no answer"
    assert site.orders == []


@pytest.mark.parametrize("on", [True, False])
async def test_a_drill_of_a_leader_that_died_leaves_nobody_off_and_proves_nothing(
    site: Site, *, on: bool
) -> None:
    running = {"request": "n1", "phase": "Running", "changedAt": "2026-11-25T12:00:00Z"}
    site.write({"status": {"drill": running}})
    site.on = on
    await finished(site.drills())
    assert site.phases == ["Failed"]
    assert "interrupted" in site.drill["sentence"]
    assert site.orders == ([] if on else ["on"])
    assert site.on
    assert "drills" not in site.raw["status"]


async def test_a_node_that_the_device_does_not_cut(site: Site) -> None:
    site.ask("n7")
    await finished(site.drills())
    assert site.phases == ["Refused"]
    assert site.drill["sentence"] == "pdu has no power of n7 to switch: name a node of its spec.nodes"


async def test_a_storage_is_never_ordered_for_a_drill(site: Site) -> None:
    """It has no power to switch: it would shut the node out, and the boot that a drill waits for would never come."""
    storage = {"csiDriver": "rbd.csi.ceph.com", "storageClasses": ["rbd"], "networkFenceClassName": "ceph"}
    site.write({"spec": {"driver": "storage", "nodes": ["n1"], "storage": storage}})
    site.declare()
    site.ask("n1")
    await finished(site.drills())
    assert site.phases == ["Refused"]
    assert site.drill["sentence"].startswith("a storage has no power to switch")
    assert site.orders == []


async def test_a_leader_that_stands_down_orders_nothing_more_and_the_next_one_mends_its_drill(
    site: Site,
) -> None:
    drills = site.drills()
    site.takes = asyncio.Event()
    site.ask("n1")
    await drills.step()
    await site.waits.wait()
    await drills.stand_down()
    site.takes.set()
    await drills.step()
    assert site.orders == []
    assert site.drill["phase"] == "Running", "whoever leads next looks after the node"
    assert drills.running is not None
    await finished(drills)
    assert site.phases == ["Running", "Failed"]
    assert site.orders == []
