"""Devices are exercised before they are needed: what stands in their status, and whose VMs no longer count as protected."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringfence.api.v1alpha1.hazone import HAZone
from ringfence.api.v1alpha1.protectedvm import ProtectedVM
from ringfence.controller.bootstrap import Keys
from ringfence.controller.devices import DeviceBook
from ringfence.controller.evidence import Witness
from ringfence.controller.keys import KeyKeeper, Secrets
from ringfence.controller.loop import Loop
from ringfence.controller.narrator import Narrator
from ringfence.controller.policies import Policies
from ringfence.controller.refusals import Refusals
from ringfence.controller.rfc3339 import parse, stamp
from ringfence.controller.setbacks import Setbacks
from ringfence.controller.statuses import Statuses
from ringfence.controller.trust import RosterTrust
from ringfence.controller.watchdogs import Watchdogs
from ringfence.controller.world import World
from ringfence.core.detection.verdict import Judgement
from ringfence.core.model import Mode, PowerState
from ringfence.core.setback import SetBack
from ringfence.kube.client import ApiServer
from ringfence.kube.objects import NodeObject, VmiObject, VmObject
from ringfence.metrics import ControllerMetrics
from ringfence.net.crypto import verify
from ringfence.net.stream import StreamClient
from ringfence.ports import (
    Clock,
    Cluster,
    DeviceIdentity,
    DeviceSpec,
    DeviceUnauthorized,
    Json,
    Kind,
    ObjectRef,
    OrderReceipt,
    PowerDevice,
    PowerReading,
    Unavailable,
)

UUID = "11111111-2222-3333-4444-555555555555"
HOUR, DAY = 3600.0, 86400.0


class Hands:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_800_000_000.0 + self.now


def node(name: str) -> NodeObject:
    return NodeObject.from_raw(
        {
            "metadata": {"name": name, "uid": f"u-{name}", "labels": {"kubevirt.io/schedulable": "true"}},
            "status": {
                "nodeInfo": {
                    "bootID": f"boot-{name}",
                    "systemUUID": UUID if name == "n1" else f"other-{name}",
                },
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            },
        }
    )


class Site:
    """A zone, a BMC before n1, and a protected VM that runs there."""

    def __init__(self, **fencing: Any) -> None:
        self.clock = Hands()
        self.password = "good"
        self.writes = 0
        self.world = World(
            cast("ApiServer", None),
            self.clock,
            "ringfence-system",
            Witness(verify),
            lambda: 0.5,
            lambda: None,
        )
        for name in ("n1", "n2"):
            self.world.nodes.store["", name] = node(name)
        meta = {"name": "db", "namespace": "shop", "uid": "vm-1"}
        self.world.vms.store["shop", "db"] = VmObject.from_raw(
            {"metadata": meta, "spec": {"runStrategy": "Always"}}
        )
        self.world.vmis.store["shop", "db"] = VmiObject.from_raw(
            {"metadata": meta | {"uid": "vmi-1"}, "status": {"phase": "Running", "nodeName": "n1"}}
        )
        fencing = {"levels": [{"devices": ["bmc-n1"]}], **fencing}
        self.seen("hazones", "a", {"nodes": {"names": ["n1"]}, "fencing": fencing})
        redfish = {"address": "https://10.0.8.1", "secretRef": {"name": "bmc"}}
        self.seen("fencedevices", "bmc-n1", {"driver": "redfish", "nodes": ["n1"], "redfish": redfish})
        cluster = cast("Cluster", self)
        self.book = DeviceBook(cluster, self.clock, self.open_device, lambda: None)
        self.metrics = ControllerMetrics()
        self.judgements: dict[str, Judgement] = {}
        """What this replica finds of each node."""
        loop = SimpleNamespace(
            mode=Mode.ACTIVE, zone_of=self.zone_of, leader="c-1", judgements=self.judgements
        )
        nobody = cast("StreamClient", None)
        self.setbacks = Setbacks(
            self.clock, self.world._witness, nobody, 7947, lambda _data, _signature: False
        )
        narrator = Narrator(cluster)
        self.statuses = Statuses(
            cluster,
            self.clock,
            self.world,
            self.book,
            cast("Watchdogs", None),
            cast("Loop", loop),
            narrator,
            cast("KeyKeeper", SimpleNamespace(told=None, trouble=None)),
            RosterTrust(
                *(cast("Secrets", None), Keys(b"", b"s" * 32, b""), "ringfence-system", self.world._witness),
                lambda: 0.0,
            ),
            self.setbacks,
            cast("Policies", SimpleNamespace(words={})),
            lambda: self.clock.now + 3.0,
            self.metrics,
            Refusals(self.clock, narrator, self.metrics, lambda: 0.5),
        )

    def zone_of(self, _node: NodeObject | None) -> tuple[HAZone | None, str | None]:
        return self.world.own.all(HAZone)["", "a"], None

    def seen(self, plural: str, name: str, spec: Json, status: Json | None = None) -> None:
        self.writes += 1
        meta = {"name": name, "uid": name, "generation": 1, "resourceVersion": str(self.writes)}
        self.world.own.seen(plural, {"metadata": meta, "spec": spec, "status": status or {}})

    @property
    def device(self) -> Json:
        found: Json = (self.world.own.raw("fencedevices", ("", "bmc-n1")) or {})["status"]
        return found

    async def round(self) -> int:
        """What the controller does once a minute, and the number of writes that it took."""
        before = self.writes
        self.statuses.declare()
        await self.book.prove(frozenset())
        await self.statuses._fence_devices()
        return self.writes - before

    def protected(self) -> tuple[str, str]:
        pvm = ProtectedVM.model_validate({"metadata": {"name": "db"}, "spec": {"vm": {"name": "db"}}})
        found, _ = self.statuses.protections.of(pvm, "shop")
        return found.reason, found.message

    # the cluster

    async def read_secret(self, _name: str) -> dict[str, bytes]:
        return {"username": b"admin", "password": b"x"}

    async def patch_status(
        self, kind: Kind, name: str, _namespace: str, status: Json, *, deadline: float | None = None
    ) -> Json:
        assert deadline is not None
        known = self.world.own.raw(kind.plural, ("", name)) or {}
        self.seen(kind.plural, name, known["spec"], {**known["status"], **status})
        return self.world.own.raw(kind.plural, ("", name)) or {}

    async def record_event(self, regarding: ObjectRef, type_: str, reason: str, message: str) -> None:
        assert regarding.name in ("a", "bmc-n1", "default"), (type_, reason, message)

    # the device

    order_lasts = 10.0

    def open_device(self, _spec: DeviceSpec, _secret: Mapping[str, bytes], _clock: Clock) -> PowerDevice:
        return cast("PowerDevice", self)

    async def open(self) -> None:
        if self.password != "good":
            raise DeviceUnauthorized("the BMC refuses user or password")

    async def identity(self) -> DeviceIdentity:
        return DeviceIdentity(UUID, "")

    async def power(self) -> PowerReading:
        return PowerReading(PowerState.ON, self.clock.now)

    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        raise AssertionError(f"an exercise orders nothing off, until {deadline}")

    async def close(self) -> None: ...


async def test_b7_the_password_that_rots_is_told_days_before_with_since_when() -> None:
    site = Site()
    await site.round()
    assert site.protected()[0] == "Ready"
    proved = site.device["provedAt"]
    assert proved == site.device["powerState"][0]["provedAt"] == stamp(site.clock.wall())
    site.password = "rotten"
    site.clock.now += 2 * DAY
    await site.round()
    (condition,) = site.device["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "Unauthorized")
    assert site.device["provedAt"] == proved
    assert site.device["powerState"][0]["checkedAt"] == stamp(site.clock.wall())
    assert site.protected() == ("FenceDeviceUnproved", "bmc-n1: the BMC refuses user or password")
    site.statuses.measure()
    name = 'ringfence_fence_device_proved_timestamp_seconds{device="bmc-n1",node="n1"}'
    (line,) = [text for text in site.metrics.render().decode().splitlines() if text.startswith(name)]
    assert site.clock.wall() - float(line.split()[1]) == pytest.approx(2 * DAY, abs=0.01)


async def test_the_status_is_not_written_every_minute() -> None:
    site = Site()
    writes = []
    for _ in range(11):
        writes.append(await site.round())
        site.clock.now += 60.0
    assert writes == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert parse(site.device["provedAt"]) == site.clock.wall() - 60.0


async def test_a_proof_that_is_too_old_for_the_zone_counts_no_more() -> None:
    """Nobody looks at a device that an incident uses, or while no controller runs."""
    site = Site(proofMaxAgeSeconds=600)
    await site.round()
    site.clock.now += 601.0
    reason, message = site.protected()
    assert reason == "FenceDeviceUnproved"
    assert (
        message
        == "bmc-n1: last proved 10 min ago, which its zone takes for too long (proofMaxAgeSeconds 600)"
    )
    await site.book.read("bmc-n1", "n1", "n1-1")  # a reading in an incident is one as well
    assert site.protected()[0] == "Ready"


async def test_what_is_on_record_outlives_the_controller_but_not_the_declaration() -> None:
    site = Site()
    await site.round()
    proved = site.device["provedAt"]
    site.password = "rotten"
    site.book.declare({})  # as a new process begins
    site.clock.now += DAY
    await site.round()
    assert site.device["provedAt"] == proved
    known = site.world.own.raw("fencedevices", ("", "bmc-n1")) or {}
    site.seen("fencedevices", "bmc-n1", known["spec"], {**known["status"], "observedGeneration": 0})
    await site.round()
    assert site.device["provedAt"] is None


async def test_a_device_that_was_caught_lying_says_so_until_a_drill_has_passed() -> None:
    site = Site()
    await site.round()

    def ready() -> tuple[str, str, str]:
        (condition,) = site.device["conditions"]
        return condition["status"], condition["reason"], condition["message"]

    assert ready()[:2] == ("True", "Proved")
    lied = {"phase": "Withdrawn", "liedBy": [{"device": "bmc-n1", "at": stamp(site.clock.wall())}]}
    assert site.protected()[0] == "Ready"
    site.seen("failovers", "n1-1", {"node": "n1", "nodeUID": "u-n1", "bootID": "boot-n1"}, lied)
    await site.round()
    assert ready()[:2] == ("False", "CaughtLying")
    assert ready()[2] == (
        "n1: it called n1 off while that was heard (Failover n1-1), and proves nothing before a drill: see to it, and when n1 is well and"
        " empty: ringfence fence drill bmc-n1 n1"
    )
    reason, message = site.protected()
    assert reason == "FenceDeviceUnproved", "its zone doesn't count on it either"
    assert message.startswith("bmc-n1: called n1 off while that was heard: see to it")
    (lie,) = site.world.own.known_lies("n1")
    assert lie.device == "bmc-n1", "and the next incident begins with it"
    drill = {"node": "n1", "outlet": "x", "passedAt": stamp(site.clock.wall() + 60.0)}
    known = site.world.own.raw("fencedevices", ("", "bmc-n1")) or {}
    site.seen("fencedevices", "bmc-n1", known["spec"], known["status"] | {"drills": [drill]})
    await site.round()
    assert ready()[:2] == ("True", "Proved")
    assert site.world.own.known_lies("n1") == ()


async def test_a_zone_may_want_drills() -> None:
    site = Site(drillMaxAgeDays=30)
    await site.round()
    reason, message = site.protected()
    assert reason == "FenceDeviceUnproved"
    assert message.startswith("bmc-n1: drilled never, and its zone wants a drill every 30 days")
    known = site.world.own.raw("fencedevices", ("", "bmc-n1")) or {}
    target = site.book.target("bmc-n1", "n1")
    assert target is not None
    passed = {"node": "n1", "passedAt": stamp(site.clock.wall() - 29 * DAY)}
    for outlet, reason in (("another plug", "FenceDeviceUnproved"), (target.outlet, "Ready")):
        drills = [{**passed, "outlet": outlet, "nodeUuid": UUID}]
        site.seen("fencedevices", "bmc-n1", known["spec"], {**known["status"], "drills": drills})
        assert site.protected()[0] == reason
    site.clock.now += 2 * DAY
    await site.round()
    assert "drilled last 31 d ago" in site.protected()[1]


def somebody(site: Site) -> None:
    """A person who fences n1."""
    site.seen("fencedevices", "somebody", {"driver": "manual", "nodes": ["n1"]})


async def test_a_zone_with_nothing_but_a_person_says_what_that_person_must_do() -> None:
    site = Site(levels=[{"devices": ["somebody"]}])
    somebody(site)
    await site.round()
    assert site.protected() == (
        "ManualFence",
        (
            "only a person fences node n1 (somebody): if it dies, db waits until somebody has made sure that it is off and says so:"
            " ringfence fence confirm n1"
        ),
    )
    await site.statuses._zones()
    (ready,) = (site.world.own.raw("hazones", ("", "a")) or {})["status"]["conditions"]
    assert (ready["status"], ready["message"]) == (
        "True",
        "1 nodes, each with a fence device; only a person fences n1: ringfence fence confirm NODE",
    )


async def test_a_person_on_the_last_level_takes_nothing_from_a_bmc_that_is_proved() -> None:
    """As `docs/choosing-a-fence.md` says that a ladder should be."""
    site = Site(levels=[{"devices": ["bmc-n1"]}, {"devices": ["somebody"]}])
    somebody(site)
    await site.round()
    assert site.protected()[0] == "Ready"
    site.password = "rotten"
    await site.round()
    assert site.protected() == ("FenceDeviceUnproved", "bmc-n1: the BMC refuses user or password")


async def test_a_person_on_the_level_of_a_bmc_makes_that_level_a_persons() -> None:
    site = Site(levels=[{"devices": ["bmc-n1", "somebody"]}])
    somebody(site)
    await site.round()
    assert site.protected()[0] == "ManualFence"


async def test_a_person_is_no_second_proof() -> None:
    """A person's word stands alone; what a zone that asks for two can do by itself is another matter."""
    site = Site(levels=[{"devices": ["bmc-n1"]}, {"devices": ["somebody"]}], proofs=2)
    somebody(site)
    await site.round()
    assert site.protected() == (
        "TooFewProofs",
        "zone a asks for 2 independent proofs, and only bmc-n1 reaches node n1: after its death a person must confirm",
    )


async def test_a_store_that_was_set_back_is_told_until_it_has_settled() -> None:
    site = Site()
    site.seen("haclusters", "default", {"mode": "Active"})

    async def ready() -> tuple[str, str, str]:
        await site.statuses._clusters()
        raw = site.world.own.raw("haclusters", ("", "default")) or {}
        (said,) = (c for c in raw["status"]["conditions"] if c["type"] == "Ready")
        return said["status"], said["reason"], said["message"]

    assert await ready() == ("True", "Active", "mode Active, led by c-1")
    site.setbacks.wrote(SetBack(501, 480, 7))
    assert await ready() == ("False", "StoreSetBack", SetBack(501, 480).sentence)
    site.setbacks.wrote(SetBack(501, 480, 7, settled=True))
    assert await ready() == ("True", "Active", "mode Active, led by c-1")


async def test_a_round_of_conditions_ends_at_one_that_nobody_answers_and_the_next_goes_on_behind_it() -> None:
    """Each takes a time-out: with twenty thousand objects no other chore would have its turn for a day."""
    site = Site()
    cast("Any", site.statuses)._loop.judgements = {}
    asked: list[str] = []

    async def hang(kind: Kind, _name: str, _namespace: str, _status: Json, **_how: Any) -> Json:
        asked.append(kind.plural)
        raise Unavailable("no answer within 5 s")

    site.patch_status = hang  # type: ignore[method-assign, assignment]
    site.statuses.declare()
    await site.statuses.write()
    assert asked == ["hazones"]
    await site.statuses.write()
    assert asked == ["hazones", "fencedevices"]
