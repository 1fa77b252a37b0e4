"""What is said to whoever writes one of our objects: refused is what can't be meant, and nothing because of our own trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from ringfence.api.v1alpha1.protectedvm import ProtectedVM
from ringfence.controller.admission import Admission, Answer
from ringfence.controller.evidence import Witness
from ringfence.controller.world import World
from ringfence.core.protection import Protection
from ringfence.kube.client import ApiServer
from ringfence.kube.objects import NodeObject
from ringfence.net.crypto import verify
from ringfence.ports import (
    Clock,
    Cluster,
    DeviceMisconfigured,
    DeviceSpec,
    Json,
    Kind,
    NotFound,
    PowerDevice,
    Unavailable,
)


class Still:
    def monotonic(self) -> float:
        return 100.0

    def wall(self) -> float:
        return 1_790_000_000.0


class Agent:
    """A fence agent that knows the parameter ``ip``, and is asked for nothing but that."""

    def __init__(self, spec: DeviceSpec) -> None:
        self._given = dict(spec.parameters)
        self._name = spec.name

    async def open(self) -> None:
        if unknown := sorted(self._given.keys() - {"ip"}):
            raise DeviceMisconfigured(
                f"fence device {self._name}: spec.agent: parameter {unknown[0]}: fence_apc does not know it",
                reason="UnknownParameter",
            )


class Site:
    """Nodes n1 and n2, the Secret `bmc`, the StorageClass `rbd`."""

    def __init__(self) -> None:
        self.world = World(
            cast("ApiServer", None),
            Still(),
            "ringfence-system",
            Witness(verify),
            lambda: 0.5,
            lambda: None,
        )
        for number, name in enumerate(("n1", "n2"), 1):
            self.world.nodes.store["", name] = NodeObject.from_raw(
                {
                    "metadata": {"name": name, "uid": f"u-{name}"},
                    "status": {
                        "nodeInfo": {"bootID": f"b-{name}", "systemUUID": f"uuid-{name}"},
                        "addresses": [{"type": "InternalIP", "address": f"10.0.0.{number}"}],
                    },
                }
            )
        for one in self.world.reflectors:
            one.synced.set()
        self.world.own.swept = True
        self.hangs = self.down = False
        self.writes = 0
        self.gone: set[str] = set()
        self.protection = Protection(True, "Ready", "")
        self.admission = Admission(
            cast("Cluster", self), Still(), self.world, self.open, self.protected, patience=0.2
        )

    def stored(self, plural: str, name: str, spec: Json) -> None:
        self.writes += 1
        meta = {"name": name, "resourceVersion": str(self.writes)}
        self.world.own.seen(plural, {"metadata": meta, "spec": spec})

    async def asked(self, plural: str, name: str, spec: Json, old: Json | None = None) -> Answer:
        def whole(one: Json) -> Json:
            return {"metadata": {"name": name, "namespace": "shop"}, "spec": one}

        return await self.admission.answer(plural, whole(spec), None if old is None else whole(old))

    # what it asks

    async def read_secret(self, name: str) -> dict[str, bytes]:
        if self.hangs:
            await asyncio.Event().wait()
        if self.down:
            raise Unavailable("no connection")
        if name != "bmc":
            raise NotFound(name)
        return {"username": b"u", "password": b"p"}

    async def list(self, kind: Kind) -> tuple[Json, ...]:
        found = self.world.own._raw[kind.plural].items()
        return tuple(stored.raw for (_, name), stored in found if name not in self.gone)

    async def get(self, _kind: Kind, name: str, _namespace: str = "") -> Json:
        if name != "rbd":
            raise NotFound(name)
        return {"provisioner": "rbd.csi.ceph.com"}

    def open(self, spec: DeviceSpec, _secret: Mapping[str, bytes], _clock: Clock) -> PowerDevice:
        return cast("PowerDevice", Agent(spec))

    def protected(self, _declared: ProtectedVM, namespace: str) -> tuple[Protection, str | None]:
        assert namespace == "shop"
        return self.protection, None


@pytest.fixture
def site() -> Site:
    return Site()


def zone(*nodes: str, **more: Any) -> Json:
    return {"nodes": {"names": [*nodes]}} | more


def bmc(node: str, address: str = "10.0.8.1", secret: str = "bmc") -> Json:
    redfish = {"address": f"https://{address}", "secretRef": {"name": secret}, "systemId": "1"}
    return {"driver": "redfish", "nodes": [node], "redfish": redfish}


def pdu(secret: str = "bmc", **parameters: str) -> Json:
    block = {
        "program": "fence_apc",
        "parameters": parameters,
        "secretParameters": {"password": {"name": secret, "key": "password"}},
    }
    return {"driver": "agent", "nodes": ["n1"], "agent": block}


async def test_two_zones_never_get_the_same_node(site: Site) -> None:
    site.stored("hazones", "a", zone("n1"))
    answer = await site.asked("hazones", "b", zone("n1", "n2"))
    assert answer.refusals == [
        "spec.nodes: n1 also in zone a: take them out of one, until then none acts on them"
    ]
    assert (await site.asked("hazones", "b", zone("n2"))).refusals == []
    assert (await site.asked("hazones", "a", zone("n1", "n2"), zone("n1"))).refusals == [], "it is itself"
    assert (await site.asked("hazones", "b", zone("n1", enabled=False))).refusals == [], "nobody acts by it"


async def test_what_may_only_not_be_there_yet_is_no_reason_to_refuse(site: Site) -> None:
    levels = {"levels": [{"devices": ["bmc-n1"]}]}
    answer = await site.asked("hazones", "a", zone("n1", "n9", fencing=levels))
    assert answer.refusals == []
    assert answer.warnings == [
        "spec.fencing.levels[].devices: no FenceDevice bmc-n1",
        "spec.nodes.names: no node n9",
        "spec.fencing.levels[].devices: no fence device reaches n1",
    ]
    answer = await site.asked("fencedevices", "bmc", bmc("n9", secret="later"))
    assert answer.refusals == []
    assert answer.warnings == [
        "spec.nodes: the cluster has no node n9 now",
        "spec.redfish.secretRef: Secret later was not found in ringfence's namespace: create it",
    ]


async def test_what_was_wrong_before_may_be_written_again(site: Site) -> None:
    site.stored("hazones", "a", zone("n1"))
    site.stored("hazones", "b", zone("n1"))
    answer = await site.asked("hazones", "b", zone("n1", "n2"), zone("n1"))
    assert answer.refusals == []
    assert answer.warnings[0].startswith("spec.nodes: n1 also in zone a")
    site.stored("hazones", "a", zone("n1", "n2"))
    answer = await site.asked("hazones", "b", zone("n1", "n2"), zone("n1"))
    assert [one[:29] for one in answer.refusals] == ["spec.nodes: n1, n2 also in zo"], "it has become worse"


async def test_one_outlet_is_not_declared_twice_but_two_may_be_exchanged(site: Site) -> None:
    site.stored("fencedevices", "one", bmc("n1"))
    answer = await site.asked("fencedevices", "two", bmc("n2"))
    (refusal,) = answer.refusals
    assert refusal.startswith(
        "spec.redfish.address: node n2: the same outlet is declared for n1 (by one): correct the one"
    )
    answer = await site.asked("fencedevices", "two", bmc("n2"), bmc("n2", "10.0.8.2"))
    assert answer.refusals == []
    assert "the same outlet" in answer.warnings[0]


async def test_an_address_outside_of_the_zones_networks_is_refused(site: Site) -> None:
    site.stored("hazones", "a", zone("n1", fencing={"allowedAddresses": ["10.9.0.0/16"]}))
    (refusal,) = (await site.asked("fencedevices", "one", bmc("n1"))).refusals
    assert refusal.startswith("spec.redfish.address: node n1: 10.0.8.1 is in none of zone a's")


async def test_a_parameter_that_the_agent_does_not_know_is_refused_whatever_its_secret(site: Site) -> None:
    sentence = "fence device pdu: spec.agent: parameter pulg: fence_apc does not know it"
    assert (await site.asked("fencedevices", "pdu", pdu(ip="10.0.8.9", pulg="3"))).refusals == [sentence]
    answer = await site.asked("fencedevices", "pdu", pdu("later", ip="10.0.8.9", pulg="3"))
    assert answer.refusals == [sentence]
    assert "Secret later was not found" in answer.warnings[0]
    assert await site.asked("fencedevices", "pdu", pdu(ip="10.0.8.9")) == Answer()


async def test_classes_that_a_storage_has_not_are_told_of(site: Site) -> None:
    block = {
        "csiDriver": "cephfs.csi.ceph.com",
        "storageClasses": ["rbd", "none"],
        "networkFenceClassName": "ceph",
    }
    answer = await site.asked(
        "fencedevices", "ceph", {"driver": "storage", "nodes": ["n1"], "storage": block}
    )
    assert answer.refusals == []
    anothers, unknown = answer.warnings
    assert anothers.startswith(
        "spec.storage.storageClasses: rbd is rbd.csi.ceph.com's, not cephfs.csi.ceph.com's"
    )
    assert (
        unknown
        == "spec.storage.storageClasses: there is no StorageClass none: correct the name, or create it"
    )


async def test_a_vm_that_would_not_survive_is_told_of_and_stored(site: Site) -> None:
    site.protection = Protection(False, "VolumeNotShared", "claim db is bound to a volume of n1 alone")
    answer = await site.asked("protectedvms", "db", {"vm": {"name": "db"}})
    assert answer == Answer(
        warnings=["not protected now (VolumeNotShared): claim db is bound to a volume of n1 alone"]
    )


async def test_nobody_is_refused_because_of_an_object_that_is_gone(site: Site) -> None:
    """kopf tells of no deletion that falls into its own relist."""
    site.stored("hazones", "a", zone("n1"))
    site.stored("fencedevices", "one", bmc("n1"))
    site.gone = {"a", "one"}
    assert (await site.asked("hazones", "b", zone("n1"))).refusals == []
    assert (await site.asked("fencedevices", "two", bmc("n2"))).refusals == []


async def test_our_own_trouble_refuses_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.stored("hazones", "a", zone("n1"))
    site.down = True
    answer = await site.asked("fencedevices", "one", bmc("n1"))
    assert answer == Answer(warnings=["spec.redfish.secretRef: no connection"])
    site.hangs = True
    assert "there was no time" in (await site.asked("fencedevices", "one", bmc("n1"))).warnings[0]
    (failed,) = (await site.asked("strangers", "one", {})).warnings
    assert failed == "not checked: ringfence failed at it, see the controller's log"
    assert "strangers one was not checked" in caplog.text
    site.world.own.swept = False
    answer = await site.asked("hazones", "b", zone("n1"))
    assert answer == Answer(warnings=["not checked beyond its schema: ringfence has just started"])
